//! What VMs are told of themselves, asked by curl.

use podzol_netns_tests::{Vm, World};

fn curl(vm: &Vm, arguments: &str) -> String {
    vm.space.run(&format!("curl -sS -m 30 -w \\n%{{http_code}} {arguments}"))
}

#[test]
fn a_vm_is_told_of_itself_and_of_no_other() {
    let mut world = World::new();
    let (one, other) = (world.vm("web-1", 2), world.vm("db-1", 3));
    for (vm, name) in [(&one, "web-1"), (&other, "db-1")] {
        vm.configure();
        for place in ["169.254.169.254", "10.1.1.1"] {
            let told = curl(vm, &format!("http://{place}/latest/meta-data/local-hostname"));
            assert!(told.starts_with(name) && told.ends_with("200"), "{told}");
        }
        let user_data = curl(vm, "http://169.254.169.254/latest/user-data");
        assert_eq!(user_data, format!("#!/bin/sh\necho {name}\n\n200"));
        let seed = curl(vm, "http://169.254.169.254/nocloud/meta-data");
        assert!(seed.contains(&vm.id.to_string()) && seed.ends_with("200"), "{seed}");
    }
    // With an address that is no VM's.
    let stranger = world.stranger_vm("stranger", 9);
    stranger.configure();
    assert!(is_refused(&stranger));
}

/// Whether it is told nothing, by all ways there are.
fn is_refused(vm: &Vm) -> bool {
    ["169.254.169.254", "10.1.1.1", "10.1.1.1:8080"].iter().all(|place| {
        let asked = vm.space.output(&format!("curl -sS -m 10 http://{place}/latest/user-data"));
        // curl's word for a connection that is refused.
        asked.status.code() == Some(7) && asked.stdout.is_empty()
    })
}

#[test]
fn a_vm_that_routes_and_takes_its_neighbours_address_is_told_nothing_of_that() {
    let mut world = World::new();
    let (victim, router) = (world.vm("web-1", 2), world.vm("router-1", 3));
    victim.configure();
    router.configure();
    assert!(curl(&victim, "http://169.254.169.254/latest/user-data").ends_with("200"));
    router.space.ip("addr flush dev eth0 scope global");
    router.space.ip("addr add 10.1.1.2/24 dev eth0");
    router.space.ip("route replace default via 10.1.1.1");
    // It answers whoever asks for the address, and is answered.
    victim.unplug();
    router.space.run("dig +time=5 +tries=3 @10.1.1.1 web-1.internal");
    assert!(is_refused(&router));
    victim.space.ip("link set eth0 up");
    router.space.ip("addr flush dev eth0 scope global");
    victim.space.ip("route replace default via 10.1.1.1");
    victim.space.run("dig +time=5 +tries=3 @10.1.1.1 web-1.internal");
    assert!(curl(&victim, "http://169.254.169.254/latest/user-data").ends_with("200"));
}

#[test]
fn a_password_is_given_until_it_is_set() {
    let mut world = World::new();
    let (one, other) = (world.vm("web-1", 2), world.vm("db-1", 3));
    let id = one.id;
    let password = podzol_vocab::Secret::new("correct horse".to_owned());
    world.put(|document| document.vms.get_mut(&id).unwrap().password = Some(password));
    one.configure();
    other.configure();
    let ask = |vm: &Vm, what: &str| {
        vm.space
            .run(&format!("curl -sS -m 30 -H DomU_Request:{what} http://10.1.1.1:8080/"))
            .trim()
            .to_owned()
    };
    assert_eq!(ask(&other, "send_my_password"), "saved_password");
    assert_eq!(ask(&one, "send_my_password"), "correct horse");
    assert_eq!(ask(&one, "send_my_password"), "correct horse");
    ask(&one, "saved_password");
    assert_eq!(ask(&one, "send_my_password"), "saved_password");
    assert_eq!(world.status().unwrap().passwords_set, [id]);
}
