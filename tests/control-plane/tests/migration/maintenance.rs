//! A host that is to be empty sends its VMs to others.

use super::*;

impl World {
    /// Turns maintenance of h1 on or off, and gives the operation's id, if there is one.
    async fn maintenance(&self, on: bool) -> Option<String> {
        let path = format!("/v1/hosts/{}", self.h1().id);
        let answer = self.admin().patch(&path, &json!({ "maintenance": on })).await.ok();
        answer["operation"]["id"].as_str().map(str::to_owned)
    }

    /// An operation, once it says this of what keeps it.
    async fn says(&self, operation: &str, detail: &str) {
        wait_for(&format!("the operation to say {detail:?}"), SOON, async || {
            let shown = self.admin().get(&format!("/v1/operations/{operation}")).await.ok();
            if shown["error"]["detail"] == detail { Ok(()) } else { Err(shown.to_string()) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_host_in_maintenance_becomes_empty_and_its_vms_run_on() {
    let world = World::make().await;
    let admin = world.admin();
    assert_eq!(world.maintenance(false).await, None);
    let mut vms = vec![world.vm.clone()];
    for name in ["a", "b", "c", "d", "e"] {
        vms.push(world.pod.vm(admin, name, &world.network).await);
    }
    let runs = |world: &World| vms.iter().map(|vm| world.pod.running(vm)[0].1.run).collect::<Vec<_>>();
    let (before, starts) = (runs(&world), world.h2().hypervisor().starts());
    let here = world.h1().hypervisor().domains().len();
    assert!(here >= 3);

    let operation = world.maintenance(true).await.unwrap();
    assert_eq!(world.maintenance(true).await.as_ref(), Some(&operation));
    let ended = admin.succeeded(&operation).await;

    assert_eq!((&ended["kind"], &ended["step"]), (&json!("host.drain"), &json!("no VM is left")));
    assert_eq!(world.h1().leftovers(), Vec::<String>::new());
    assert_eq!((runs(&world), world.h2().hypervisor().starts()), (before, starts));
    assert_eq!(world.maintenance(true).await, None);
    assert_eq!(world.maintenance(false).await, None);
    let host = admin.get(&format!("/v1/hosts/{}", world.h1().id)).await.ok();
    assert_eq!((&host["state"], &host["vms"]), (&json!("up"), &json!(0)));
}

#[tokio::test]
async fn a_host_whose_vms_fit_nowhere_else_says_so_until_there_is_room_or_nobody_wants_it_empty() {
    let world = World::make().await;
    let admin = world.admin();
    let h2 = format!("/v1/hosts/{}", world.h2().id);
    admin.patch(&h2, &json!({ "maintenance": true })).await.ok();

    let operation = world.maintenance(true).await.unwrap();
    let why = "web: no host fits: 1 host: in maintenance (h2); 1 host: it is there already (h1)";
    world.says(&operation, why).await;
    admin.post(&format!("/v1/operations/{operation}/cancel"), &json!({})).await.ok();
    assert_eq!(admin.ended(&operation).await["state"], "cancelled");
    assert_eq!(admin.get(&format!("/v1/hosts/{}", world.h1().id)).await.ok()["state"], "maintenance");

    let operation = world.maintenance(true).await.unwrap();
    world.says(&operation, why).await;
    world.maintenance(false).await;
    assert_eq!(admin.ended(&operation).await["state"], "cancelled");

    let operation = world.maintenance(true).await.unwrap();
    world.says(&operation, why).await;
    admin.patch(&h2, &json!({ "maintenance": false })).await.ok();
    admin.succeeded(&operation).await;
    world.is_only_on("h2", "running").await;
}

#[tokio::test]
async fn emptying_a_host_goes_on_after_a_crash_of_the_service_and_passes_over_what_fails() {
    let mut world = World::make().await;
    let second = world.pod.vm(world.admin(), "a", &world.network).await;
    let back = json!({ "host": world.h1().id });
    if world.pod.running(&second)[0].0 == "h2" {
        world.admin().succeeded(&world.admin().change_vm(&second, "migrate", back).await).await;
    }
    world.h1().hypervisor().fault(Step::Move, Fault::Fails(1));
    let operation = world.maintenance(true).await.unwrap();
    world.control_plane.kill();
    world.control_plane.start_again().await;

    // One has failed and sets out again after a while; the other has left.
    wait_for("one VM to have left", SOON, async || {
        let left = world.h1().hypervisor().domains().len();
        if left == 1 { Ok(()) } else { Err(format!("{left} are there")) }
    })
    .await;
    assert!(world.admin().get(&format!("/v1/operations/{operation}")).await.ok()["finished_at"].is_null());
}
