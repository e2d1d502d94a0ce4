//! VMs that stand still, and whether they should.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_vm_stands_still_and_runs_on_as_described() {
    let (_folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    let paused = VmPlan { paused: true, ..described(2) };
    assert_eq!(put(&vms, paused.clone()).await.unwrap().state, VmState::Paused);
    assert_eq!(vms.platform().hypervisor.all()[0].state, DomainState::Paused);
    assert_eq!(put(&vms, paused).await.unwrap().state, VmState::Paused);
    assert_eq!(put(&vms, described(3)).await.unwrap().state, VmState::Running);
    assert_eq!(vms.platform().hypervisor.all()[0].state, DomainState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_stands_still_unasked_is_resumed_after_a_while() {
    let (_folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    vms.platform().hypervisor.is_now(example().vm, DomainState::Paused);
    vms.look().await.unwrap();
    assert_eq!(vms.list()[0].state, VmState::Paused);

    tokio::time::sleep(Duration::from_secs(6)).await;
    vms.look().await.unwrap();

    assert_eq!(vms.settled(example().vm, Duration::from_secs(60)).await.state, VmState::Running);
    assert_eq!(vms.platform().hypervisor.all()[0].state, DomainState::Running);
}

/// Has a VM be found by an agent that begins, and says what it does in the end.
async fn found(paused: bool, state: DomainState) -> (VmState, DomainState) {
    let (_folder, vms) = host().await;
    let record = Record::of(&VmPlan { paused, ..described(1) });
    vms.platform().hypervisor.has(example().vm, Ok(record));
    vms.platform().hypervisor.is_now(example().vm, state);
    vms.look().await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    vms.look().await.unwrap();
    let settled = vms.settled(example().vm, Duration::from_secs(60)).await;
    assert_eq!(settled.error, None);
    (settled.state, vms.platform().hypervisor.all()[0].state)
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_an_agent_finds_when_it_begins_runs_or_stands_still_as_described_before_anybody_tells_it() {
    use DomainState::{Paused, Running};
    for state in [Paused, Running] {
        assert_eq!(found(false, state).await, (VmState::Running, Running));
        assert_eq!(found(true, state).await, (VmState::Paused, Paused));
    }
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_stands_still_goes_on_when_it_is_told_again_to_run() {
    let (_folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    vms.platform().hypervisor.is_now(example().vm, DomainState::Paused);
    vms.look().await.unwrap();

    assert_eq!(put(&vms, described(1)).await.unwrap().state, VmState::Running);
    assert_eq!(vms.platform().hypervisor.all()[0].state, DomainState::Running);
}
