//! What becomes of routers that run until their certificates end.

use podzol_mgmt_db::{Db, DbError, find, now, router, vm};
use podzol_test_support::ControlPlane;

use super::{SOON, World, json, text, wait_for};

/// As if all routers had been started so many days ago, in the database of a service that is stopped.
async fn make_routers_old(control_plane: &ControlPlane, days: i64) -> Result<(), DbError> {
    let db = Db::open(&control_plane.data_dir().join("podzol.sqlite")).await?;
    let tx = db.begin().await?;
    for row in router::all(tx.reader()).await? {
        let vm = find::<vm::Entity>(tx.reader(), row.vm_id).await?.expect("a router is a VM");
        let started_at = Some(now().0 - days * 86_400_000);
        tx.vm_update(vm::Model { started_at, ..vm }).await?;
    }
    tx.commit().await
}

#[tokio::test]
async fn a_router_is_replaced_before_its_certificate_ends_and_no_sooner() {
    let mut world = World::make().await;
    let network = world.pod.network(&world.acme.api, "net", "10.1.1.0/24").await;
    world.pod.vm(&world.acme.api, "web", &network).await;
    let first = text(&world.router().await, "vm");
    world.control_plane.stop().await;
    make_routers_old(&world.control_plane, 732).await.unwrap();
    world.control_plane.start_again().await;
    // It is looked after while the doctor has all routers asked.
    let diagnosis = world.admin().post("/v1/doctor/repair", &json!({})).await.ok();
    assert_eq!(diagnosis["findings"], json!([]));
    assert_eq!(text(&world.router().await, "vm"), first);

    world.control_plane.stop().await;
    make_routers_old(&world.control_plane, 764).await.unwrap();
    world.control_plane.start_again().await;

    world.admin().event("router.replace", "its certificate ends on").await;
    wait_for("another VM to be the router", SOON, async || {
        let router = world.router().await;
        let is_other = text(&router, "vm") != first && router["state"] == "running";
        if is_other { Ok(()) } else { Err(format!("{router:#}")) }
    })
    .await;
}
