mod world;

use std::time::Duration;

use podzol_appliance_api::{
    Counters, DiagnosisGet, Document, Health, LogsGet, PublicSide, StatusGet, VmFacts, VmNic,
};
use podzol_hypervisor::{Change, Hypervisor};
use podzol_rpc::{CallError, PeerId};
use podzol_test_support::{SOON, wait_for};
use podzol_vocab::{ErrorCode, Generation, HostId, NicId, Secret, Tag, VmId, WireError};

use super::Calls;
use crate::{Fault, Step};
use world::{World, document, mac, network, nic};

fn refusal<T: std::fmt::Debug>(answer: Result<T, CallError>) -> WireError {
    answer.unwrap_err().refusal().expect("it was refused").clone()
}

#[tokio::test]
async fn a_router_answers_the_management_service_alone() {
    let world = World::new();
    let router = world.up().await;
    let status = world.status().await.unwrap();
    assert_eq!((status.generation, status.image.as_str(), status.repairs), (None, "simulated", 0));
    assert_eq!(status, router.status());
    assert_eq!(status.boot.len(), 4);
    assert_eq!(router.links(), [mac(1), mac(2)].into());

    let host = world.client_of(PeerId::Host(HostId::new()));
    let to = PeerId::Router(world.plan.vm);
    let answer = host.call::<StatusGet>(to, &(), &(), SOON).await;
    assert_eq!(refusal(answer).code, ErrorCode::Refused);
}

#[tokio::test]
async fn a_vm_with_other_user_data_is_no_router() {
    let mut world = World::new();
    world.plan.seed.user_data = Secret::new("#cloud-config\n".to_owned());
    world.start().await;
    let hypervisor = &world.hosts[0].hypervisor;
    assert!(hypervisor.domain(world.plan.vm).unwrap().runs());
    assert_eq!(hypervisor.router(world.plan.vm), None);
}

#[tokio::test]
async fn a_newer_document_is_applied_the_same_is_success_and_all_else_is_refused() {
    let world = World::new();
    let router = world.up().await;
    world.put(&document(3)).await.unwrap();
    world.put(&document(3)).await.unwrap();
    assert_eq!(router.document(), Some(document(3)));

    let older = refusal(world.put(&document(2)).await);
    assert_eq!((older.code, older.in_force), (ErrorCode::StaleGeneration, Some(Generation(3))));
    let other = Document { forwarders: vec![[192, 0, 2, 53].into()], ..document(3) };
    assert_eq!(refusal(world.put(&other).await).code, ErrorCode::GenerationConflict);

    let invalid =
        refusal(world.put(&Document { forwarders: vec![[127, 0, 0, 1].into()], ..document(4) }).await);
    assert_eq!(invalid.code, ErrorCode::Invalid);
    assert!(invalid.message.starts_with("forwarders: "), "{invalid}");
    let mut beside = document(4);
    beside.guests.get_mut(&network()).unwrap().cidr = "172.16.0.0/24".parse().unwrap();
    let invalid = refusal(world.put(&beside).await);
    assert_eq!(invalid.code, ErrorCode::Invalid);
    assert!(invalid.message.contains("management network"), "{invalid}");

    assert_eq!(router.document(), Some(document(3)));
    assert_eq!(router.count_calls(), Calls { puts: 6, patches: 0 });
}

#[tokio::test]
async fn a_change_begins_at_the_document_in_force() {
    let world = World::new();
    let router = world.up().await;
    let next = Document { forwarders: vec![[192, 0, 2, 53].into()], ..document(4) };
    let untold = refusal(world.patch(&document(3), &next).await);
    assert_eq!((untold.code, untold.in_force), (ErrorCode::StaleGeneration, Some(Generation(0))));

    world.put(&document(3)).await.unwrap();
    world.patch(&document(3), &next).await.unwrap();
    assert_eq!(router.document().as_ref(), Some(&next));

    world.patch(&document(3), &next).await.unwrap();
    let other = Document { forwarders: vec![[192, 0, 2, 54].into()], ..document(4) };
    assert_eq!(refusal(world.patch(&document(3), &other).await).code, ErrorCode::GenerationConflict);
    let elsewhere = refusal(world.patch(&document(2), &document(5)).await);
    assert_eq!((elsewhere.code, elsewhere.in_force), (ErrorCode::StaleGeneration, Some(Generation(4))));
    assert_eq!(refusal(world.patch(&document(4), &document(4)).await).code, ErrorCode::Invalid);
    assert_eq!(router.document(), Some(next));
    assert_eq!(router.count_calls(), Calls { puts: 1, patches: 6 });
}

#[tokio::test]
async fn an_interface_is_plugged_in_before_a_document_is_about_it() {
    let world = World::new();
    let router = world.up().await;
    let hypervisor = &world.hosts[0].hypervisor;
    let public = PublicSide {
        mac: mac(3),
        mtu: 1500,
        addresses: [([203, 0, 113, 10].into(), 24)].into(),
        gateway: [203, 0, 113, 1].into(),
        ipv6: None,
    };
    let with_public = Document { public: Some(public), ..document(1) };
    let missing = refusal(world.put(&with_public).await);
    assert_eq!(missing.code, ErrorCode::Unavailable);
    assert_eq!(missing.message, format!("public.mac: no interface has the MAC address {}", mac(3)));
    assert_eq!(router.document(), None);

    let third = Change::AttachNic(nic(3, Tag::try_from(101).unwrap()), "br-guest".parse().unwrap());
    hypervisor.change(world.plan.vm, third).await.unwrap();
    assert_eq!(router.links(), [mac(1), mac(2), mac(3)].into());
    world.put(&with_public).await.unwrap();
    assert!(world.status().await.unwrap().health.contains_key("dhcp eth0"));
    let diagnosis = world.call::<DiagnosisGet>(&(), SOON).await.unwrap();
    assert_eq!(diagnosis.links.len(), 3, "{diagnosis:?}");

    // One that goes takes its services along, and stands in nobody's way.
    hypervisor.change(world.plan.vm, Change::DetachNic(mac(2))).await.unwrap();
    assert_eq!(world.status().await.unwrap().health, [].into());
    world.put(&Document { generation: Generation(2), ..with_public }).await.unwrap();
}

#[tokio::test]
async fn a_router_without_an_interface_to_the_management_network_answers_nobody_and_starts_anew_with_one() {
    let world = World::new();
    world.up().await;
    world.put(&document(1)).await.unwrap();
    let before = world.status().await.unwrap();
    let hypervisor = &world.hosts[0].hypervisor;

    hypervisor.change(world.plan.vm, Change::DetachNic(mac(1))).await.unwrap();
    world.is_silent().await;

    let again = Change::AttachNic(world.plan.nics[0].clone(), "br-management".parse().unwrap());
    hypervisor.change(world.plan.vm, again).await.unwrap();
    let after = world.answers().await;
    assert_ne!(after.boot_id, before.boot_id);
    assert_eq!(after.generation, None);
}

#[tokio::test]
async fn a_boot_takes_its_time() {
    let world = World::new();
    world.hosts[0].hypervisor.routers_boot_in(Duration::from_secs(3600));
    world.start().await;
    world.is_silent().await;
    let router = world.hosts[0].hypervisor.router(world.plan.vm).unwrap();
    assert_eq!(router.status().boot, []);
}

#[tokio::test]
async fn a_router_that_is_rebooted_has_forgotten_its_document() {
    let world = World::new();
    let router = world.up().await;
    world.put(&document(7)).await.unwrap();
    let before = world.status().await.unwrap();
    assert_eq!(before.generation, Some(Generation(7)));

    world.hosts[0].hypervisor.reboot(world.plan.vm).await.unwrap();

    let after = world.answers().await;
    assert_ne!(after.boot_id, before.boot_id);
    assert_eq!((after.generation, router.document()), (None, None));
    world.put(&document(7)).await.unwrap();
}

#[tokio::test]
async fn a_router_whose_domain_ends_answers_nobody_until_it_is_started_again() {
    let world = World::new();
    world.up().await;
    world.put(&document(7)).await.unwrap();
    let before = world.status().await.unwrap();
    let hypervisor = &world.hosts[0].hypervisor;

    hypervisor.kill_domain(world.plan.vm);
    world.is_silent().await;
    assert_eq!(hypervisor.router(world.plan.vm), None);

    let router = world.up().await;
    assert_ne!(router.status().boot_id, before.boot_id);
    assert_eq!(router.document(), None);
    hypervisor.shut_down(world.plan.vm).await.unwrap();
    world.is_silent().await;

    world.up().await;
    hypervisor.host_crashes();
    world.is_silent().await;

    world.up().await;
    hypervisor.remove(world.plan.vm).await.unwrap();
    world.is_silent().await;
}

#[tokio::test]
async fn a_router_that_is_paused_answers_nobody_and_goes_on_where_it_was() {
    let world = World::new();
    world.up().await;
    world.put(&document(7)).await.unwrap();
    let before = world.status().await.unwrap();
    let hypervisor = &world.hosts[0].hypervisor;

    hypervisor.pause(world.plan.vm).await.unwrap();
    world.is_silent().await;

    hypervisor.resume(world.plan.vm).await.unwrap();
    assert_eq!(world.answers().await, before);
}

#[tokio::test]
async fn a_router_that_moves_takes_its_memory_along_and_its_connections_break() {
    let world = World::new();
    let router = world.up().await;
    world.put(&document(7)).await.unwrap();
    let before = world.status().await.unwrap();
    let [from, to] = &world.hosts;
    from.hypervisor.fault(Step::LetGo, Fault::Hangs);

    let passes = async {
        world.passes().await;
        world.is_silent().await;
        from.hypervisor.heal(Step::LetGo);
    };
    let (moved, ()) = tokio::join!(world.moves(), passes);

    moved.unwrap();
    assert_eq!(world.answers().await, before);
    assert_eq!(from.hypervisor.router(world.plan.vm), None);
    assert_eq!(to.hypervisor.router(world.plan.vm), Some(router));
    to.hypervisor.kill_domain(world.plan.vm);
    world.is_silent().await;
}

#[tokio::test]
async fn a_router_whose_move_breaks_off_goes_on_where_it_was() {
    let world = World::new();
    let router = world.up().await;
    world.put(&document(7)).await.unwrap();
    let before = world.status().await.unwrap();
    let [from, to] = &world.hosts;
    from.hypervisor.fault(Step::LetGo, Fault::Hangs);

    let breaks = async {
        world.passes().await;
        to.hypervisor.kill_domain(world.plan.vm);
        from.hypervisor.heal(Step::LetGo);
    };
    let (moved, ()) = tokio::join!(world.moves(), breaks);

    moved.unwrap_err();
    assert_eq!(world.answers().await, before);
    assert_eq!(
        (from.hypervisor.router(world.plan.vm), to.hypervisor.router(world.plan.vm)),
        (Some(router), None)
    );
}

#[tokio::test]
async fn a_call_under_way_breaks_when_the_router_goes() {
    let world = World::new();
    let router = world.up().await;
    router.hang();
    let document = document(1);
    let ends = async {
        wait_for("the call to arrive", SOON, async || match router.count_calls().puts {
            0 => Err("it has not".to_owned()),
            _ => Ok(()),
        })
        .await;
        world.hosts[0].hypervisor.kill_domain(world.plan.vm);
    };
    let (answer, ()) = tokio::join!(world.put(&document), ends);
    assert!(matches!(&answer, Err(CallError::NoAnswer { source, .. }) if !source.is_timeout()), "{answer:?}");
    assert_eq!(router.document(), None);
}

#[tokio::test]
async fn a_router_that_hangs_answers_when_it_goes_on() {
    let world = World::new();
    let router = world.up().await;
    router.hang();
    let answer = world.call::<StatusGet>(&(), Duration::from_millis(200)).await;
    assert!(matches!(&answer, Err(CallError::NoAnswer { source, .. }) if source.is_timeout()), "{answer:?}");
    router.heal();
    world.status().await.unwrap();
}

#[tokio::test]
async fn a_change_is_refused_as_a_test_says_and_other_calls_are_answered() {
    let world = World::new();
    let router = world.up().await;
    router.refuse_next(WireError::new(ErrorCode::Internal, "nft fails"));
    world.status().await.unwrap();
    assert_eq!(refusal(world.put(&document(1)).await).message, "nft fails");
    assert_eq!(router.document(), None);
    world.put(&document(1)).await.unwrap();
}

#[tokio::test]
async fn what_a_test_counts_and_says_is_in_the_status_until_the_next_boot() {
    let world = World::new();
    let router = world.up().await;
    let (vm, id) = (VmId::new(), NicId::new());
    let facts = VmFacts {
        name: "web".parse().unwrap(),
        ssh_keys: vec![],
        user_data: None,
        password: Some(Secret::new("hunter2".to_owned())),
        zone: "z1".parse().unwrap(),
        offering: "small".parse().unwrap(),
    };
    let address = [10, 1, 1, 5].into();
    let nic = VmNic { vm, network: network(), mac: mac(9), address, address6: None, primary: true };
    let with_vm = Document { vms: [(vm, facts)].into(), nics: [(id, nic)].into(), ..document(1) };
    world.put(&with_vm).await.unwrap();
    let status = world.status().await.unwrap();
    assert_eq!(status.nics, [(id, Counters::default())].into());
    assert_eq!(status.passwords_set, []);

    let some = Counters { sent_bytes: 10, sent_packets: 1, received_bytes: 20, received_packets: 2 };
    router.add_traffic(id, some);
    router.add_traffic(id, Counters { sent_bytes: 5, ..Counters::default() });
    router.add_public_traffic([203, 0, 113, 10].into(), some);
    let down = Health::Down { why: "out of memory".into() };
    router.set_health("dns eth0", down.clone());
    router.vm_sets_password(vm);
    let status = world.status().await.unwrap();
    assert_eq!(status.nics, [(id, Counters { sent_bytes: 15, ..some })].into());
    assert_eq!(status.public, [([203, 0, 113, 10].into(), some)].into());
    assert_eq!((&status.health["dns eth0"], &status.health["dhcp eth0"]), (&down, &Health::Up));
    assert_eq!(status.passwords_set, [vm]);

    let mut without = Document { generation: Generation(2), ..with_vm };
    without.vms.get_mut(&vm).unwrap().password = None;
    world.put(&without).await.unwrap();
    assert_eq!(world.status().await.unwrap().passwords_set, []);
    let logs = world.call::<LogsGet>(&(), SOON).await.unwrap();
    let last = logs.lines.last().unwrap();
    assert_eq!((last.number, last.text.as_str()), (2, "a document is in force generation=2"));

    world.hosts[0].hypervisor.reboot(world.plan.vm).await.unwrap();
    let status = world.answers().await;
    assert_eq!((status.nics.len(), status.public.len(), status.health.len()), (0, 0, 0));
}
