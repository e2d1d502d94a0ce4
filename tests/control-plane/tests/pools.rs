//! Pools come and go, whatever else is being done with them.

use podzol_rpc::{AddressBook, Client, PeerId};
use podzol_sim::{SimPod, SimStorage};
use podzol_storage_api::{VolumeDelete, VolumePlan, VolumePut};
use podzol_test_support::{ControlPlane, SOON, text};
use podzol_vocab::{ByteSize, VolumeId};
use serde_json::{Value, json};

#[tokio::test]
async fn a_pool_that_is_deleted_while_it_is_being_made_goes_whatever_becomes_of_that() {
    let control_plane = ControlPlane::start().await;
    let mut pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    pod.storage.kill_agent();
    let folder = pod.storage.pool_folder("more");
    let body = json!({ "name": "more", "storage_server": pod.storage.id, "path": folder });
    let made = admin.post("/v1/pools", &body).await.ok();
    let path = format!("/v1/pools/{}", text(&made, "object.id"));
    let deleted = admin.delete(&path).await.ok();
    let create = text(&made, "operation.id");
    // It may have found that itself by now.
    let cancelled = admin.post(&format!("/v1/operations/{create}/cancel"), &Value::Null).await;
    assert!([200, 202, 409].contains(&cancelled.status), "{cancelled:?}");
    assert_eq!(admin.ended(&create).await["state"], "cancelled");
    assert_eq!(text(&admin.get(&path).await.ok(), "state"), "deleting");

    pod.storage.start_agent();
    admin.succeeded(&text(&deleted, "operation.id")).await;
    admin.get(&path).await.refused(404, "not_found");
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_deletion_that_failed_is_not_tried_again_for_a_pool_that_is_in_use() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let path = format!("/v1/pools/{}", pod.pool);
    // Something is in it that nobody here knows of.
    let (server, book) = (PeerId::StorageServer(pod.storage.id.parse().unwrap()), AddressBook::default());
    let shown = admin.get(&format!("/v1/storage-servers/{}", pod.storage.id)).await.ok();
    book.set(server, text(&shown, "address"));
    let client = Client::new(&control_plane.identity(), book).unwrap();
    let stray = (pod.pool.parse().unwrap(), VolumeId::new());
    let plan = VolumePlan { template: None, size: ByteSize::from_gib(1) };
    client.call::<VolumePut>(server, &stray, &plan, SOON).await.unwrap();
    let deleted = text(&admin.delete(&path).await.ok(), "operation.id");
    assert_eq!(admin.ended(&deleted).await["state"], "failed");
    client.call::<VolumeDelete>(server, &stray, &(), SOON).await.unwrap();
    admin.in_state(&path, "ready").await;
    let network = pod.network(admin, "n1", "10.1.1.0/24").await;
    let vm = pod.vm(admin, "web", &network).await;

    let retried = admin.post(&format!("/v1/operations/{deleted}/retry"), &Value::Null).await;
    retried.refused(409, "in_use");
    assert_eq!(text(&admin.get(&path).await.ok(), "state"), "ready");
    admin.delete_vm(&vm).await;
    admin.post(&format!("/v1/operations/{deleted}/retry"), &Value::Null).await.ok();
    admin.succeeded(&deleted).await;
    admin.get(&path).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_storage_server_that_was_removed_gets_no_pool() {
    let control_plane = ControlPlane::start().await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let gone = SimStorage::join(&control_plane, &pod.pod, "s2", 1).await;
    let path = format!("/v1/storage-servers/{}", gone.id);
    admin.in_state(&path, "up").await;
    admin.delete(&path).await.ok();
    let body = json!({ "name": "more", "storage_server": gone.id, "path": gone.pool_folder("more") });
    admin.post("/v1/pools", &body).await.refused(422, "invalid_field");
}
