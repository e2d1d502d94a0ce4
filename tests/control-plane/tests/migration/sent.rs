//! A VM whose move's last step nobody heard of: its memory stands still on one host, and it may have run on the other.

use podzol_vocab::VmId;

use super::*;

impl World {
    fn id(&self) -> VmId {
        self.vm.parse().expect("a VM's id is one")
    }

    /// A VM that runs on h2, of which h1 has not heard; and the operation that moves it.
    async fn sent() -> (Self, String) {
        let world = Self::make().await;
        world.h1().hypervisor().fault(Step::Answered, Fault::NoAnswer(1));
        let operation = world.migrate().await;
        wait_for("the VM to run on h2", SOON, async || {
            let there = world.h2().hypervisor().domain(world.id());
            if there.is_some_and(|domain| domain.runs()) { Ok(()) } else { Err("it does not".into()) }
        })
        .await;
        (world, operation)
    }

    /// Waits until the VM runs on one host alone, and has not gone on with memory that is older than its disks.
    async fn runs_on_one_host(&self) {
        wait_for("the VM to run on one host alone", SOON, async || {
            let (running, shown) = (self.pod.running(&self.vm), self.admin().show_vm(&self.vm).await);
            let settled = shown["moving_to"].is_null() && shown["state"] == "running";
            if settled && running.len() == 1 { Ok(()) } else { Err(format!("{running:?} {shown:#}")) }
        })
        .await;
        assert_eq!(self.pod.storage.exports.locks().refused(), [""; 0]);
    }
}

#[tokio::test]
async fn a_move_whose_last_answer_is_lost_between_the_hypervisors_has_happened() {
    let world = World::make().await;
    world.h1().hypervisor().fault(Step::Answered, Fault::NoAnswer(1));
    world.admin().succeeded(&world.migrate().await).await;
    world.is_only_on("h2", "running").await;
    assert_eq!(world.h2().hypervisor().starts(), 0);
}

#[tokio::test]
async fn a_vm_that_nobody_had_go_on_goes_on_where_it_was_once_the_other_host_is_certain() {
    for take_back in [None, Some(Fault::Fails(1)), Some(Fault::NoAnswer(1))] {
        let world = World::make().await;
        let run = world.pod.running(&world.vm)[0].1.run;
        world.h1().hypervisor().fault(Step::LetGo, Fault::NoAnswer(1));
        if let Some(fault) = take_back {
            world.h1().hypervisor().fault(Step::TakeBack, fault);
        }

        assert_eq!(world.admin().ended(&world.migrate().await).await["state"], "failed");

        world.is_only_on("h1", "running").await;
        assert_eq!(world.pod.running(&world.vm)[0].1.run, run);
        assert_eq!((world.h1().hypervisor().starts(), world.h2().hypervisor().starts()), (1, 0));
        world.runs_on_one_host().await;
    }
}

#[tokio::test]
async fn a_vm_that_was_sent_and_ended_on_the_other_host_boots_anew() {
    for fails_to_start in [false, true] {
        let (world, operation) = World::sent().await;
        if fails_to_start {
            world.h2().hypervisor().fault(Step::Start, Fault::Fails(1));
        }
        world.h2().hypervisor().kill_domain(world.id());
        world.admin().ended(&operation).await;
        world.runs_on_one_host().await;
    }
}

#[tokio::test]
async fn a_vm_that_was_sent_and_is_stopped_boots_anew_when_it_is_started() {
    let (world, _) = World::sent().await;
    let path = format!("/v1/vms/{}", world.vm);
    let stop = world.admin().post(&format!("{path}/stop"), &json!({ "grace_secs": 30 })).await.ok();
    wait_for("the VM to have shut down on h2", SOON, async || {
        match world.h2().hypervisor().domain(world.id()) {
            None => Ok(()),
            there => Err(format!("{there:?}")),
        }
    })
    .await;
    world.admin().post(&format!("{path}/start"), &json!({})).await.ok();
    world.admin().ended(&text(&stop, "operation.id")).await;
    world.runs_on_one_host().await;
    assert_eq!(world.h1().hypervisor().starts() + world.h2().hypervisor().starts(), 2);
}
