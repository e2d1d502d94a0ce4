//! VMs leave for another host, and come from one.

use podzol_agent_api::vm::{MoveChannel, VmArriveRequest, VmLeaveRequest, VmStayRequest};

use super::*;

async fn depart(vms: &Vms<Host>, generation: u64) -> VmStatus {
    let (generation, to) = (Generation(generation), HostId::from_bytes([7; 16]));
    let request = VmLeaveRequest { generation, to, address: "127.0.0.1:1".into(), wait_ms: 60_000 };
    vms.depart(example().vm, request).await.unwrap()
}

async fn keep(vms: &Vms<Host>, generation: u64) -> VmStatus {
    let request = VmStayRequest { generation: Generation(generation), wait_ms: 60_000 };
    vms.keep(example().vm, request).await.unwrap()
}

async fn arrive(vms: &Vms<Host>, generation: u64) -> VmStatus {
    let (plan, from) = (described(generation), HostId::from_bytes([8; 16]));
    vms.arrive(example().vm, VmArriveRequest { plan, from, wait_ms: 60_000 }).await.unwrap()
}

fn is_empty(vms: &Vms<Host>, folder: &TempDir) -> bool {
    let files = std::fs::read_dir(folder.path().join("vms")).unwrap().count();
    let bridge = vms.platform().links.get(&"pzb100".parse().unwrap());
    let guarded = vms.platform().rules.0.lock().unwrap().len();
    vms.platform().hypervisor.all().is_empty() && files == 0 && bridge.is_none() && guarded == 0
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_has_left_leaves_nothing_behind() {
    let (folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    assert_eq!(depart(&vms, 2).await.state, VmState::Absent);
    assert!(is_empty(&vms, &folder));
    // Told again, by whoever did not hear the answer.
    assert_eq!(depart(&vms, 2).await.state, VmState::Absent);
    assert_eq!(keep(&vms, 3).await.state, VmState::Absent);
    assert_eq!(*vms.platform().hypervisor.starts.lock().unwrap(), 1);
    assert_eq!(
        vms.put(example().vm, VmPutRequest { plan: described(1), wait_ms: 0 }).await.unwrap_err().code,
        ErrorCode::StaleGeneration
    );
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_did_not_get_away_runs_on_and_says_why() {
    let (folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    let error = HypervisorError::Failed { step: "move the VM", reason: "no way".into() };
    vms.platform().hypervisor.moves.lock().unwrap().push(error);

    let status = depart(&vms, 2).await;

    assert_eq!(status.state, VmState::Running);
    assert!(status.error.unwrap().contains("no way"));
    assert!(!folder.path().join("vms").join(example().vm.to_string()).join("move").exists());
    let stayed = keep(&vms, 3).await;
    assert_eq!((stayed.state, stayed.error), (VmState::Running, None));
    let status = put(&vms, described(3)).await.unwrap();
    assert_eq!((status.state, status.generation), (VmState::Running, Generation(3)));
    assert_eq!(vms.platform().hypervisor.all()[0].record, Ok(Record::of(&described(3))));
}

#[tokio::test(start_paused = true)]
async fn a_vm_of_which_nothing_is_heard_any_more_stands_still_until_it_is_told_to_run() {
    let (_folder, vms) = host().await;
    put(&vms, described(1)).await.unwrap();
    let error = HypervisorError::Unavailable { step: "move the VM", reason: "the line is dead".into() };
    vms.platform().hypervisor.moves.lock().unwrap().push(error);

    let status = depart(&vms, 2).await;
    assert_eq!(status.state, VmState::Sent);
    assert!(status.error.unwrap().contains("the line is dead"));
    vms.look().await.unwrap();
    vms.converge().await;
    for status in [depart(&vms, 2).await, keep(&vms, 3).await] {
        assert_eq!(status.state, VmState::Sent);
    }
    assert_eq!(vms.platform().hypervisor.all()[0].state, DomainState::Passing);

    assert_eq!(put(&vms, described(3)).await.unwrap().state, VmState::Running);
    assert_eq!(vms.platform().hypervisor.all()[0].state, DomainState::Running);
    assert_eq!(*vms.platform().hypervisor.starts.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_here_of_a_vm_since_all_was_made_ready_for_it_has_come_and_what_was_before_has_not() {
    let (_folder, vms) = host().await;
    let off = || {
        vms.platform().hypervisor.has(example().vm, Ok(Record::of(&described(1))));
        vms.platform().hypervisor.is_now(example().vm, DomainState::Off(Ended::ByForce));
    };
    off();
    assert_eq!(arrive(&vms, 2).await.state, VmState::Arriving);
    assert!(vms.platform().hypervisor.all().is_empty());
    off();
    assert_eq!(arrive(&vms, 2).await.state, VmState::Stopped);
    // An agent that begins anew tells no otherwise.
    vms.entries().clear();
    vms.look().await.unwrap();
    assert_eq!(arrive(&vms, 2).await.state, VmState::Stopped);
    assert_eq!(arrive(&vms, 3).await.state, VmState::Arriving);
}

#[tokio::test(start_paused = true)]
async fn only_what_was_awaited_and_neither_told_to_run_nor_removed_since_has_certainly_never_come() {
    let (_folder, vms) = host().await;
    arrive(&vms, 2).await;
    // Told again, by whoever did not hear the answer.
    for status in [keep(&vms, 3).await, keep(&vms, 3).await] {
        assert_eq!((status.state, status.never_came), (VmState::Absent, true));
    }

    arrive(&vms, 4).await;
    assert!(!delete(&vms, 5, Duration::ZERO).await.never_came);
    assert!(!keep(&vms, 6).await.never_came);

    arrive(&vms, 7).await;
    put(&vms, described(7)).await.unwrap();
    vms.platform().hypervisor.remove(example().vm).await.unwrap();
    assert!(!keep(&vms, 8).await.never_came);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_a_new_agent_has_found_stays_as_it_is_described() {
    let (_folder, vms) = host().await;
    vms.platform().hypervisor.has(example().vm, Ok(Record::of(&described(3))));
    vms.platform().hypervisor.is_now(example().vm, DomainState::Running);
    vms.look().await.unwrap();

    let stayed = keep(&vms, 3).await;

    assert_eq!((stayed.state, stayed.error), (VmState::Running, None));
    assert_eq!(put(&vms, described(3)).await.unwrap().state, VmState::Running);
    assert_eq!(*vms.platform().hypervisor.starts.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_vm_from_another_host_needs_is_made_and_goes_again_if_it_does_not_come() {
    let (folder, vms) = host().await;
    assert_eq!(arrive(&vms, 2).await.state, VmState::Arriving);
    let files = folder.path().join("vms").join(example().vm.to_string());
    assert!(files.join("seed.iso").exists() && files.join("move").exists());
    assert!(vms.platform().links.get(&"pzb100".parse().unwrap()).is_some());
    vms.converge().await;
    assert!(files.exists());

    assert_eq!(delete(&vms, 3, Duration::ZERO).await.state, VmState::Absent);

    assert!(is_empty(&vms, &folder));
}

#[tokio::test(start_paused = true)]
async fn a_vm_from_another_host_is_there_when_it_runs_and_is_not_started_anew() {
    let (_folder, vms) = host().await;
    arrive(&vms, 2).await;
    vms.platform().hypervisor.has(example().vm, Ok(Record::of(&described(1))));
    vms.platform().hypervisor.is_now(example().vm, DomainState::Passing);
    assert_eq!(arrive(&vms, 2).await.state, VmState::Arriving);
    vms.platform().hypervisor.is_now(example().vm, DomainState::Running);
    assert_eq!(arrive(&vms, 2).await.state, VmState::Running);

    assert_eq!(put(&vms, described(2)).await.unwrap().state, VmState::Running);

    assert_eq!(vms.platform().hypervisor.all()[0].record, Ok(Record::of(&described(2))));
    assert_eq!(*vms.platform().hypervisor.starts.lock().unwrap(), 0);
    assert_eq!(arrive(&vms, 2).await.state, VmState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_a_new_agent_finds_on_its_way_here_is_not_said_to_run() {
    let (_folder, vms) = host().await;
    vms.platform().hypervisor.has(example().vm, Ok(Record::of(&described(1))));
    vms.platform().hypervisor.is_now(example().vm, DomainState::Passing);
    assert_eq!(vms.look_at(example().vm).await.unwrap().state, VmState::Arriving);

    vms.platform().hypervisor.remove(example().vm).await.unwrap();
    assert_eq!(vms.look_at(example().vm).await.unwrap().state, VmState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_ends_on_its_way_here_is_still_waited_for() {
    let (_folder, vms) = host().await;
    arrive(&vms, 2).await;
    vms.platform().hypervisor.has(example().vm, Ok(Record::of(&described(1))));
    for state in [DomainState::Passing, DomainState::Off(Ended::ByForce)] {
        vms.platform().hypervisor.is_now(example().vm, state);
        assert_eq!(vms.look_at(example().vm).await.unwrap().state, VmState::Arriving);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_host_from_which_a_vm_comes_is_let_in() {
    let (_folder, vms) = host().await;
    let code = async |from: u8| {
        let from = HostId::from_bytes([from; 16]);
        vms.let_in(example().vm, from, MoveChannel::Data).await.unwrap_err().code
    };
    assert_eq!(code(8).await, ErrorCode::Refused);
    arrive(&vms, 2).await;
    // Nobody listens there yet.
    assert_eq!(code(8).await, ErrorCode::Unavailable);
    assert_eq!(code(9).await, ErrorCode::Refused);
    delete(&vms, 3, Duration::ZERO).await;
    assert_eq!(code(8).await, ErrorCode::Refused);
}
