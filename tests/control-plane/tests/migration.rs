//! VMs move between hosts while they run, and are on exactly one whatever happens meanwhile.

mod maintenance;
mod sent;

use std::time::Duration;

use podzol_hypervisor::{DomainState, Hypervisor};
use podzol_sim::{Fault, PodPlan, SimHost, SimPod, Step};
use podzol_test_support::{Api, ControlPlane, SOON, text, wait_for};
use serde_json::{Value, json};

struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    network: String,
    vm: String,
}

impl World {
    /// A VM on h1; h2 is empty.
    async fn make() -> Self {
        Self::with_silent_secs(15).await
    }

    async fn with_silent_secs(secs: u64) -> Self {
        let control_plane = ControlPlane::with(|config| config.silent_secs = secs).await;
        let plan = PodPlan { hosts: vec![("h1", 2049), ("h2", 2048)], ..PodPlan::default() };
        let pod = SimPod::with(&control_plane, plan).await;
        let network = pod.network(&control_plane.admin, "n1", "10.1.1.0/24").await;
        let vm = pod.vm(&control_plane.admin, "web", &network).await;
        assert_eq!(pod.running(&vm)[0].0, "h1");
        Self { control_plane, pod, network, vm }
    }

    fn admin(&self) -> &Api {
        &self.control_plane.admin
    }

    fn h1(&self) -> &SimHost {
        &self.pod.hosts[0]
    }

    fn h2(&self) -> &SimHost {
        &self.pod.hosts[1]
    }

    /// Asks for the VM to move, and gives the operation's id.
    async fn migrate(&self) -> String {
        self.admin().change_vm(&self.vm, "migrate", json!({})).await
    }

    /// Waits until the move has begun on its host.
    async fn is_leaving(&self) {
        wait_for("the VM to leave", SOON, async || {
            let report = self.admin().get(&format!("/v1/hosts/{}", self.h1().id)).await.ok();
            let state = report["report"]["vms"][0]["state"].clone();
            if state == "leaving" { Ok(()) } else { Err(report.to_string()) }
        })
        .await;
    }

    /// Waits until the VM is in a state on one host alone, and nothing of it is on any other.
    async fn is_only_on(&self, name: &str, state: &str) {
        wait_for(&format!("the VM to be {state} on {name} alone"), SOON, async || {
            let shown = self.admin().show_vm(&self.vm).await;
            let placed = self.pod.hosts.iter().find(|host| shown["host"] == host.id.as_str());
            let settled = shown["moving_to"].is_null() && shown["state"] == state;
            let elsewhere: Vec<String> =
                self.pod.hosts.iter().filter(|host| host.name != name).flat_map(SimHost::leftovers).collect();
            let there = self.pod.running(&self.vm).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
            let good = placed.is_some_and(|host| host.name == name)
                && settled
                && elsewhere.is_empty()
                && there == [name];
            if good { Ok(()) } else { Err(format!("{there:?}, {elsewhere:?}, {shown:#}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_vm_moves_to_another_host_and_back_in_one_run() {
    let world = World::make().await;
    let (admin, before) = (world.admin(), world.pod.running(&world.vm).remove(0).1);

    let ended = admin.succeeded(&world.migrate().await).await;
    assert_eq!(ended["kind"], "vm.migrate");
    world.is_only_on("h2", "running").await;
    let after = world.pod.running(&world.vm).remove(0).1;
    assert_eq!((after.run, &after.devices), (before.run, &before.devices));
    assert_eq!(world.h2().hypervisor().starts(), 0);
    assert!(after.record.plan.generation > before.record.plan.generation);

    let back = json!({ "host": world.h1().id });
    admin.succeeded(&admin.change_vm(&world.vm, "migrate", back).await).await;
    world.is_only_on("h1", "running").await;
    // What it can do here it can do there.
    let reboot = admin.change_vm(&world.vm, "reboot", Value::Null).await;
    admin.succeeded(&reboot).await;
    assert_eq!(world.pod.running(&world.vm)[0].1.reboots, 1);
    admin.delete_vm(&world.vm).await;
    world.pod.is_clean().await;
}

#[tokio::test]
async fn a_vm_that_cannot_move_is_refused_with_the_reason() {
    let world = World::make().await;
    let (admin, vm) = (world.admin(), &world.vm);
    let path = format!("/v1/vms/{vm}/migrate");
    let reasons = async |host: &str| {
        let refused = admin.post(&path, &json!({ "host": host })).await.refused(409, "no_host_fits");
        refused["reasons"].clone()
    };
    assert_eq!(reasons(&world.h1().id).await, json!(["1 host: it is there already (h1)"]));
    let maintenance = async |on: bool| {
        admin.patch(&format!("/v1/hosts/{}", world.h2().id), &json!({ "maintenance": on })).await.ok();
    };
    maintenance(true).await;
    assert_eq!(reasons(&world.h2().id).await, json!(["1 host: in maintenance (h2)"]));
    let all = admin.post(&path, &json!({})).await.refused(409, "no_host_fits");
    assert_eq!(all["reasons"], json!(["1 host: in maintenance (h2)", "1 host: it is there already (h1)"]));
    maintenance(false).await;
    let elsewhere = world.pod.zone.clone();
    let refused = admin.post(&path, &json!({ "host": elsewhere })).await.refused(422, "invalid_field");
    assert_eq!(refused["field"], "host");
    assert_eq!(admin.show_vm(vm).await["state"], "running");

    admin.stop_vm(vm).await;
    for what in ["migrate", "pause", "resume"] {
        let body = if what == "migrate" { json!({}) } else { Value::Null };
        admin.post(&format!("/v1/vms/{vm}/{what}"), &body).await.refused(409, "vm_not_running");
    }
}

#[tokio::test]
async fn a_vm_on_its_way_takes_no_changes_and_holds_room_on_both_hosts() {
    let world = World::make().await;
    let (admin, vm) = (world.admin(), &world.vm);
    world.h1().hypervisor().fault(Step::Move, Fault::Hangs);
    let operation = world.migrate().await;
    world.is_leaving().await;

    let shown = admin.vm_in_state(vm, "migrating").await;
    assert_eq!(
        (text(&shown, "host"), text(&shown, "moving_to")),
        (world.h1().id.clone(), world.h2().id.clone())
    );
    for host in &world.pod.hosts {
        let host = admin.get(&format!("/v1/hosts/{}", host.id)).await.ok();
        assert_eq!((&host["vms"], &host["memory_allocated_mib"]), (&json!(1), &json!(64)));
    }
    for (what, body) in [("migrate", json!({})), ("reboot", Value::Null), ("pause", Value::Null)] {
        admin.post(&format!("/v1/vms/{vm}/{what}"), &body).await.refused(409, "vm_migrating");
    }
    let other = world.pod.network(admin, "n2", "10.2.0.0/24").await;
    let nic = json!({ "network": other });
    admin.post(&format!("/v1/vms/{vm}/nics"), &nic).await.refused(409, "vm_migrating");
    wait_for("the operation to say how far it is", SOON, async || {
        let shown = admin.get(&format!("/v1/operations/{operation}")).await.ok();
        let says = shown["step"] == "moving: 1 MiB sent, 0 MiB left";
        if says { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;

    world.h1().hypervisor().heal(Step::Move);
    admin.succeeded(&operation).await;
    world.is_only_on("h2", "running").await;
}

#[tokio::test]
async fn a_move_that_fails_leaves_the_vm_where_it_was_and_nothing_elsewhere() {
    let world = World::make().await;
    let run = world.pod.running(&world.vm)[0].1.run;
    world.h1().hypervisor().fault(Step::Move, Fault::Fails(u32::MAX));

    let ended = world.admin().ended(&world.migrate().await).await;

    assert_eq!((&ended["state"], &ended["error"]["code"]), (&json!("failed"), &json!("migration_failed")));
    world.is_only_on("h1", "running").await;
    assert_eq!(world.pod.running(&world.vm)[0].1.run, run);
    world.h1().hypervisor().heal(Step::Move);
    world.admin().succeeded(&world.migrate().await).await;
    world.is_only_on("h2", "running").await;
}

#[tokio::test]
async fn a_move_that_failed_is_tried_again_as_a_start_once_its_vm_has_failed_as_well() {
    let world = World::make().await;
    let (admin, vm) = (world.admin(), &world.vm);
    world.h1().hypervisor().fault(Step::Move, Fault::Fails(u32::MAX));
    let operation = world.migrate().await;
    assert_eq!(admin.ended(&operation).await["state"], "failed");
    let retry = format!("/v1/operations/{operation}/retry");
    admin.post(&retry, &Value::Null).await.refused(409, "goal_gone");
    admin.stop_vm(vm).await;
    world.pod.hosts.iter().for_each(|host| host.hypervisor().fault(Step::Start, Fault::Fails(u32::MAX)));
    let start = admin.change_vm(vm, "start", Value::Null).await;
    assert_eq!(admin.ended(&start).await["state"], "failed");
    admin.vm_in_state(vm, "failed").await;
    world.pod.hosts.iter().for_each(|host| host.hypervisor().heal(Step::Start));

    let again = admin.post(&retry, &Value::Null).await.ok();

    assert_eq!((&again["id"], &again["kind"]), (&json!(operation), &json!("vm.start")));
    admin.succeeded(&operation).await;
    assert_eq!(admin.show_vm(vm).await["state"], "running");
}

#[tokio::test]
async fn a_move_whose_end_nobody_heard_of_has_happened() {
    let world = World::make().await;
    world.h1().hypervisor().fault(Step::Moved, Fault::NoAnswer(1));
    world.admin().succeeded(&world.migrate().await).await;
    world.is_only_on("h2", "running").await;
    assert_eq!(world.h2().hypervisor().starts(), 0);
}

#[tokio::test]
async fn a_move_that_is_cancelled_leaves_the_vm_where_it_was() {
    let world = World::make().await;
    world.h1().hypervisor().fault(Step::Move, Fault::Hangs);
    let operation = world.migrate().await;
    world.is_leaving().await;

    world.admin().post(&format!("/v1/operations/{operation}/cancel"), &json!({})).await.ok();
    assert_eq!(world.admin().ended(&operation).await["state"], "cancelled");
    wait_for("the VM to be called back", SOON, async || {
        let called_back = world.h1().hypervisor().is_called_back(world.vm.parse().unwrap());
        if called_back { Ok(()) } else { Err("it is not".into()) }
    })
    .await;
    world.h1().hypervisor().heal(Step::Move);

    world.is_only_on("h1", "running").await;
}

#[tokio::test]
async fn a_vm_of_which_another_host_may_still_have_something_does_not_set_out_again() {
    let mut world = World::make().await;
    world.h1().hypervisor().fault(Step::Move, Fault::Hangs);
    let operation = world.migrate().await;
    world.is_leaving().await;
    world.pod.hosts[1].kill_agent();
    world.admin().post(&format!("/v1/operations/{operation}/cancel"), &json!({})).await.ok();
    assert_eq!(world.admin().ended(&operation).await["state"], "cancelled");
    world.h1().hypervisor().heal(Step::Move);

    // It runs where it was, and what the other host has of it nobody can tell.
    let path = format!("/v1/vms/{}/migrate", world.vm);
    assert_eq!(text(&world.admin().show_vm(&world.vm).await, "moving_to"), world.h2().id);
    world.admin().post(&path, &json!({})).await.refused(409, "vm_migrating");

    world.pod.hosts[1].start_agent();
    world.is_only_on("h1", "running").await;
    world.admin().succeeded(&world.migrate().await).await;
    world.is_only_on("h2", "running").await;
}

#[tokio::test]
async fn a_vm_that_is_stopped_or_deleted_on_its_way_is_nowhere_in_the_end() {
    for (what, fault) in [
        ("stop", Fault::Hangs),
        ("delete", Fault::Hangs),
        ("delete", Fault::Takes(Duration::from_millis(500))),
    ] {
        let world = World::make().await;
        let (admin, vm) = (world.admin(), &world.vm);
        world.h1().hypervisor().fault(Step::Move, fault);
        world.migrate().await;
        // One that does not hang may be there before its host has reported that it leaves.
        wait_for("the VM to set out", SOON, async || {
            if world.h1().hypervisor().taken().contains(&Step::Move) {
                Ok(())
            } else {
                Err("it has not".into())
            }
        })
        .await;

        let answer = match what {
            "stop" => admin.post(&format!("/v1/vms/{vm}/stop"), &json!({ "grace_secs": 0 })).await.ok(),
            _ => admin.delete(&format!("/v1/vms/{vm}")).await.ok(),
        };
        world.h1().hypervisor().heal(Step::Move);
        admin.succeeded(&text(&answer, "operation.id")).await;

        assert!(world.pod.running(vm).is_empty(), "{what} {fault:?}");
        if what == "stop" {
            admin.start_vm(vm).await;
            admin.delete_vm(vm).await;
        }
        world.pod.is_clean().await;
    }
}

/// Who is killed in the middle of a move.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Source,
    Target,
    Service,
}

#[tokio::test]
async fn whoever_is_killed_during_a_move_the_vm_runs_on_one_host_alone() {
    for victim in [Victim::Source, Victim::Target, Victim::Service] {
        for step in [Step::Move, Step::Moved] {
            let mut world = World::make().await;
            let run = world.pod.running(&world.vm)[0].1.run;
            world.h1().hypervisor().fault(step, Fault::Hangs);
            let operation = world.migrate().await;
            world.is_leaving().await;

            match victim {
                Victim::Source => world.pod.hosts[0].restart_agent(),
                Victim::Target => world.pod.hosts[1].restart_agent(),
                Victim::Service => {
                    world.control_plane.kill();
                    world.control_plane.start_again().await;
                }
            }
            world.h1().hypervisor().heal(step);

            world.admin().ended(&operation).await;
            let shown = wait_for("the VM to have settled", SOON, async || {
                let shown = world.admin().show_vm(&world.vm).await;
                let settled = shown["moving_to"].is_null() && shown["state"] == "running";
                if settled { Ok(shown) } else { Err(shown.to_string()) }
            })
            .await;
            let on = world.pod.host(&text(&shown, "host")).name.clone();
            world.is_only_on(&on, "running").await;
            assert_eq!(world.pod.running(&world.vm)[0].1.run, run, "{victim:?} {step:?}");
            assert_eq!(world.h2().hypervisor().starts(), 0, "{victim:?} {step:?}");
        }
    }
}

#[tokio::test]
async fn a_host_that_dies_while_a_vm_is_to_come_there_keeps_that_vm_from_nothing() {
    let mut world = World::with_silent_secs(2).await;
    world.h1().hypervisor().fault(Step::Move, Fault::Hangs);
    let operation = world.migrate().await;
    world.is_leaving().await;

    world.pod.hosts[1].kill_agent();
    world.h1().hypervisor().heal(Step::Move);
    assert_eq!(world.admin().ended(&operation).await["state"], "failed");

    let admin = world.admin();
    admin.vm_in_state(&world.vm, "running").await;
    let other = world.pod.network(admin, "n2", "10.2.0.0/24").await;
    let added = admin.post(&format!("/v1/vms/{}/nics", world.vm), &json!({ "network": other })).await.ok();
    admin.succeeded(&text(&added, "operation.id")).await;
    assert_eq!(world.pod.running(&world.vm)[0].1.devices.nics.len(), 2);
    assert_eq!(text(&admin.show_vm(&world.vm).await, "moving_to"), world.h2().id);

    world.pod.hosts[1].start_agent();
    world.is_only_on("h1", "running").await;
}

#[tokio::test]
async fn a_vm_that_has_arrived_and_ended_before_anybody_heard_of_it_is_started_where_it_arrived() {
    let mut world = World::make().await;
    let vm = world.vm.parse().unwrap();
    world.h2().hypervisor().fault(Step::Noted, Fault::Hangs);
    let operation = world.migrate().await;
    let before = world.pod.running(&world.vm)[0].1.record.plan.generation;
    wait_for("the VM to be told to run on h2", SOON, async || {
        let there = world.h2().hypervisor().domain(vm).map(|domain| domain.record.plan.generation);
        if there > Some(before) { Ok(()) } else { Err(format!("{there:?}")) }
    })
    .await;

    world.pod.hosts[1].kill_agent();
    world.h2().hypervisor().kill_domain(vm);
    world.h2().hypervisor().heal(Step::Noted);
    world.pod.hosts[1].start_agent();

    world.admin().succeeded(&operation).await;
    world.is_only_on("h2", "running").await;
}

#[tokio::test]
async fn a_vm_that_arrives_and_stands_still_at_once_as_with_a_full_disk_goes_on_in_the_same_run() {
    for is_cancelled in [false, true] {
        let mut world = World::make().await;
        let (vm, run) = (world.vm.parse().unwrap(), world.pod.running(&world.vm)[0].1.run);
        world.h2().hypervisor().fault(Step::Note, Fault::Hangs);
        let operation = world.migrate().await;
        wait_for("the VM to run on h2", SOON, async || {
            let there = world.h2().hypervisor().domain(vm).is_some_and(|domain| domain.runs());
            if there && world.h1().hypervisor().domain(vm).is_none() { Ok(()) } else { Err("not yet".into()) }
        })
        .await;

        world.pod.hosts[1].kill_agent();
        world.h2().hypervisor().pause(vm).await.unwrap();
        if is_cancelled {
            world.admin().post(&format!("/v1/operations/{operation}/cancel"), &json!({})).await.ok();
        }
        world.h2().hypervisor().heal(Step::Note);
        world.pod.hosts[1].start_agent();

        world.admin().ended(&operation).await;
        world.is_only_on("h2", "running").await;
        assert_eq!(world.pod.running(&world.vm)[0].1.run, run);
        assert_eq!(world.h2().hypervisor().starts(), 0);
    }
}

#[tokio::test]
async fn a_paused_vm_stands_still_through_moves_and_restarts_until_it_is_resumed() {
    let mut world = World::make().await;
    let state = |world: &World| {
        let domains =
            world.pod.hosts.iter().filter_map(|host| host.hypervisor().domain(world.vm.parse().unwrap()));
        domains.map(|domain| domain.state).collect::<Vec<_>>()
    };
    let pause = world.admin().change_vm(&world.vm, "pause", Value::Null).await;
    world.admin().succeeded(&pause).await;
    world.admin().vm_in_state(&world.vm, "paused").await;
    assert_eq!(state(&world), [DomainState::Paused]);
    let path = format!("/v1/vms/{}/reboot", world.vm);
    world.admin().post(&path, &Value::Null).await.refused(409, "vm_paused");
    // It gets devices, and cannot let go of any.
    let data = json!({ "name": "data", "zone": world.pod.zone, "size_gib": 1 });
    let made = world.admin().post("/v1/volumes", &data).await.ok();
    world.admin().succeeded(&text(&made, "operation.id")).await;
    let volume = format!("/v1/volumes/{}", text(&made, "object.id"));
    let attached = world.admin().post(&format!("{volume}/attach"), &json!({ "vm": world.vm })).await.ok();
    world.admin().succeeded(&text(&attached, "operation.id")).await;
    world.admin().post(&format!("{volume}/detach"), &json!({})).await.refused(409, "vm_paused");

    world.admin().succeeded(&world.migrate().await).await;
    let shown = world.admin().vm_in_state(&world.vm, "paused").await;
    assert_eq!((text(&shown, "host"), state(&world)), (world.h2().id.clone(), vec![DomainState::Paused]));
    world.pod.hosts[1].restart_agent();
    world.control_plane.restart().await;
    assert_eq!(state(&world), [DomainState::Paused]);

    let resume = world.admin().change_vm(&world.vm, "resume", Value::Null).await;
    world.admin().succeeded(&resume).await;
    world.is_only_on("h2", "running").await;
    world.admin().stop_vm(&world.vm).await;
    world.admin().delete_vm(&world.vm).await;
    let deleted = world.admin().delete(&volume).await.ok();
    world.admin().succeeded(&text(&deleted, "operation.id")).await;
    world.pod.is_clean().await;
}
