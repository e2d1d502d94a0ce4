//! What routers count is kept over all that there are one after the other.

use std::net::Ipv4Addr;

use podzol_appliance_api::Counters;
use podzol_mgmt_db::{Db, traffic};
use podzol_test_support::ControlPlane;
use podzol_vocab::NicId;
use serde_json::{Value, json};

use super::{SOON, World, text, wait_for};

fn sent(bytes: u64) -> Counters {
    Counters { sent_bytes: bytes, sent_packets: bytes / 100, ..Counters::default() }
}

/// What is kept of the VM's interface and of its public address, in bytes sent.
async fn kept(world: &World, vm: &str, address: &str) -> [Value; 2] {
    let vm = world.acme.api.get(&format!("/v1/vms/{vm}")).await.ok();
    let address = world.acme.api.get(&format!("/v1/public-ips/{address}")).await.ok();
    [vm["nics"][0]["traffic"]["sent_bytes"].clone(), address["traffic"]["sent_bytes"].clone()]
}

#[tokio::test]
async fn what_was_sent_goes_on_when_the_router_is_restarted_and_when_it_is_replaced() {
    let world = World::make().await;
    let network = world.pod.network(&world.acme.api, "net", "10.1.1.0/24").await;
    let vm = world.pod.vm(&world.acme.api, "web", &network).await;
    let shown = world.acme.api.get(&format!("/v1/vms/{vm}")).await.ok();
    let nic: NicId = text(&shown["nics"][0], "id").parse().unwrap();
    let public_ip = world.acme.api.list("/v1/public-ips").await.remove(0);
    let (ip, address) = (text(&public_ip, "id"), text(&public_ip, "address").parse::<Ipv4Addr>().unwrap());
    let router = world.router().await;
    let path = format!("/v1/routers/{}", text(&router, "id"));

    let mut all = 0;
    for change in ["restart", "replace", "restart"] {
        let machine = world.machine(&world.router().await).await;
        machine.add_traffic(nic, sent(1000));
        machine.add_public_traffic(address, sent(1500));
        let asked = world.admin().post(&format!("{path}/{change}"), &json!({})).await.ok();
        world.admin().succeeded(&text(&asked, "operation.id")).await;
        all += 1000;
        wait_for("all of it to be kept, and nothing twice", SOON, async || {
            let kept = kept(&world, &vm, &ip).await;
            if kept == [json!(all), json!(all / 2 * 3)] { Ok(()) } else { Err(format!("{kept:?} of {all}")) }
        })
        .await;
    }

    // By the hour the account has had the same, over all routers that there were.
    let path = format!("/v1/accounts/{}/traffic", world.acme.account);
    let entries = world.acme.api.list(&path).await;
    let of = |field: &str, id: &str| entries.iter().find(|entry| entry[field] == id).cloned().unwrap();
    assert_eq!(entries.len(), 2, "{entries:#?}");
    let (by_nic, by_address) = (of("nic", &nic.to_string()), of("public_ip", &ip));
    assert_eq!((&by_nic["sent_bytes"], &by_nic["sent_packets"]), (&json!(3000), &json!(30)));
    assert_eq!((&by_nic["vm"], &by_nic["address"]), (&json!(vm), &Value::Null));
    assert_eq!((&by_address["sent_bytes"], &by_address["received_bytes"]), (&json!(4500), &json!(0)));
    assert_eq!((&by_address["address"], &by_address["vm"]), (&json!(address), &Value::Null));
    let mut paged = vec![];
    let mut page = world.acme.api.get(&format!("{path}?limit=1")).await.ok();
    while let Some(next) = page["next"].as_str().map(str::to_owned) {
        paged.extend(page["items"].as_array().unwrap().clone());
        page = world.acme.api.get(&format!("{path}?limit=1&after={next}")).await.ok();
    }
    assert_eq!((paged, &page["items"]), (entries, &json!([])));
    // Not in another time, nor for others.
    let before = format!("{path}?from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z");
    assert_eq!(world.acme.api.list(&before).await, Vec::<Value>::new());
    for (query, status, code) in [
        ("from=2020-02-01T00:00:00Z&to=2020-01-01T00:00:00Z", 422, "invalid_field"),
        ("from=2020-01-01T00:00:00Z", 422, "invalid_field"),
        ("from=yesterday", 422, "invalid_query"),
        ("limit=501", 422, "invalid_field"),
        ("name=x&colour=red", 422, "unknown_parameter"),
    ] {
        world.acme.api.get(&format!("{path}?{query}")).await.refused(status, code);
    }
    world.admin().customer("initech").await.api.get(&path).await.refused(404, "not_found");
    assert_eq!(world.admin().list(&path).await.len(), 2);

    // It is the account's own, and goes with what it is of.
    let other = world.admin().customer("globex").await;
    other.api.get(&format!("/v1/public-ips/{ip}")).await.refused(404, "not_found");
    let listed = world.acme.api.list("/v1/public-ips").await.remove(0);
    assert!(listed["traffic"].is_null(), "{listed}");
}

#[tokio::test]
async fn what_was_counted_outlives_the_vm_the_address_the_router_and_the_account() {
    let mut world = World::with(ControlPlane::with(|config| config.router_idle_secs = 1).await).await;
    let (pod, acme) = (&world.pod, &world.acme);
    let network = pod.network(&acme.api, "net", "10.1.1.0/24").await;
    let [web, stays] = [pod.vm(&acme.api, "web", &network).await, pod.vm(&acme.api, "stays", &network).await];
    let shown = acme.api.get(&format!("/v1/vms/{web}")).await.ok();
    let nic: NicId = text(&shown["nics"][0], "id").parse().unwrap();
    let made = acme.api.post("/v1/public-ips", &json!({ "zone": pod.zone })).await.ok();
    acme.api.succeeded(&text(&made, "operation.id")).await;
    let (ip, address) =
        (text(&made, "object.id"), text(&made, "object.address").parse::<Ipv4Addr>().unwrap());
    let machine = world.machine(&world.router().await).await;

    // What is sent right before the end, and what the router finds out after it.
    machine.add_traffic(nic, sent(1000));
    machine.add_public_traffic(address, sent(1500));
    acme.api.delete_vm(&web).await;
    let freed = acme.api.delete(&format!("/v1/public-ips/{ip}")).await.ok();
    acme.api.succeeded(&text(&freed, "operation.id")).await;
    machine.add_traffic(nic, sent(200));
    machine.add_public_traffic(address, sent(300));
    acme.api.delete_vm(&stays).await;
    world.has_no_router().await;
    acme.api.delete(&format!("/v1/networks/{network}")).await.ok();
    world.admin().delete(&format!("/v1/users/{}", acme.user)).await.ok();
    world.admin().delete(&format!("/v1/accounts/{}", acme.account)).await.ok();
    world.control_plane.stop().await;

    let db = Db::open(&world.control_plane.data_dir().join("podzol.sqlite")).await.unwrap();
    let kept = traffic::ended(db.reader(), world.acme.account.parse().unwrap()).await.unwrap();
    let of = |whose: &str| {
        let own = kept.iter().filter(|row| row.whose.as_deref() == Some(whose));
        own.map(|row| row.total.0.sent_bytes).collect::<Vec<_>>()
    };
    assert_eq!((of(&web), of(&address.to_string())), (vec![1200], vec![1800]), "{kept:#?}");
}
