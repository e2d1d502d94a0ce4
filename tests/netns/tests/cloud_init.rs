//! cloud-init, as Debian packages it, in a VM that has nothing but its disk and a router.

use std::path::Path;

use podzol_netns_tests::World;
use podzol_vocab::Secret;

/// What the VM runs at its first boot: it says on its console what has become of it.
const SCRIPT: &str = r#"#!/bin/sh
{
    echo "name-is $(hostname)"
    echo "keys-are $(cat /home/*/.ssh/authorized_keys | grep -c 'AAAA web-1')"
    echo "source-is $(cat /run/cloud-init/result.json /var/lib/cloud/data/status.json | grep -om1 'DataSource[A-Za-z]*')"
    echo "failed-requests $(grep -c 'url_helper.*\(rror\|refused\|timed out\)' /var/log/cloud-init.log)"
    echo "address-is $(hostname -I)"
    echo "resolves $(getent hosts db-1.net.acme.internal | tr -s ' ')"
} > /dev/ttyS0
"#;

#[test]
fn a_vm_of_the_debian_template_gets_name_keys_and_script_from_its_router() {
    let Some(template) = std::env::var_os("PODZOL_DEBIAN") else {
        // Images are made beside these tests; those that come after them have one.
        assert!(std::env::var_os("PODZOL_ROUTER").is_none(), "PODZOL_DEBIAN must name the template");
        return;
    };
    let mut world = World::new();
    let (vm, _other) = (world.vm("web-1", 2), world.vm("db-1", 3));
    let id = vm.id;
    world.put(|document| {
        let facts = document.vms.get_mut(&id).unwrap();
        facts.user_data = Some(Secret::new(SCRIPT.to_owned()));
        facts.ssh_keys = vec!["ssh-ed25519 AAAA web-1".into()];
    });
    let machine = world.boot(&vm, Path::new(&template));
    for (beginning, rest) in [
        ("name-is ", "web-1"),
        ("keys-are ", "1"),
        ("source-is ", "DataSourceNoCloudNet"),
        ("failed-requests ", "0"),
        ("address-is ", "10.1.1.2"),
        ("resolves ", "10.1.1.3 db-1.net.acme.internal"),
    ] {
        assert_eq!(machine.says(beginning), rest, "{beginning}");
    }
}
