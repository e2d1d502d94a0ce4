//! cloud-init, as Debian packages it, in a VM that has nothing but its disk and a router.

use std::path::PathBuf;

use podzol_netns_tests::{Firmware, World};
use podzol_vocab::Secret;

use crate::rules6::serve;

/// What the VM runs at its first boot: it says on its console what has become of it.
const SCRIPT: &str = r#"#!/bin/bash
{
    echo "name-is $(hostname)"
    echo "keys-are $(cat /home/*/.ssh/authorized_keys | grep -c 'AAAA web-1')"
    echo "source-is $(cat /run/cloud-init/result.json /var/lib/cloud/data/status.json | grep -om1 'DataSource[A-Za-z0-9]*')"
    log=/var/log/cloud-init.log
    echo "failed-requests $(grep -c 'url_helper.*\(rror\|refused\|timed out\)' $log)"
    echo "asked-again $(grep 'Read from http' $log | grep -vc ' after 1 attempts')"
    echo "waits $(grep -c 'Please wait .* try again\|Giving up \|did not produce expected files' $log)"
    python3 - $log << 'END'
import datetime, re, sys
begun, took, pauses, last = {}, {}, [], None
for line in open(sys.argv[1]):
    found = re.match(r'(\d{4}-\S+ \S+) - (.*)', line)
    if not found:
        continue
    at = datetime.datetime.strptime(found[1], '%Y-%m-%d %H:%M:%S,%f')
    if last and begun.keys() - took.keys():
        pauses.append(((at - last[0]).total_seconds(), last[1], found[2]))
    last = at, found[2]
    event = re.search(r': (start|finish): (\S+/search-\S+?):', line)
    if event and event[1] == 'start':
        begun[event[2]] = at
    elif event:
        took[event[2]] = (at - begun[event[2]]).total_seconds()
print('longest-pause %.1fs after %s, before %s' % max(pauses))
print('searches', *(f'{name}={seconds:.1f}s' for name, seconds in took.items()))
END
    echo "address-is $(ip -4 -oneline address show scope global | awk '{ print $4 }')"
    echo "resolves $(getent ahostsv4 db-1.net.acme.internal | grep -om1 '^10[^ ]*')"
    # The quickest of three, as the machine may have others to do.
    best=99999
    for absent in data-server instance-data nobody; do
        begun=$(date +%s%3N)
        getent hosts $absent
        took=$(($(date +%s%3N) - begun))
        [ $took -lt $best ] && best=$took
    done
    echo "no-name-is-known $([ $best -lt 1500 ] && echo soon || echo after $best ms)"
} > /dev/ttyS0
# This script is a part of what it waits for.
setsid sh -c '
    how=$(cloud-init status --wait | tail -n 1)
    errors=$(python3 -c "import json; print(json.load(open(\"/run/cloud-init/result.json\"))[\"v1\"][\"errors\"])")
    echo "cloud-init-ended $how, errors: $errors" > /dev/ttyS0
' > /dev/null 2>&1 < /dev/null &
"#;

/// What it runs besides, in a network with IPv6, which comes a moment after the rest. `bash` connects to who says from where.
const SCRIPT6: &str = r#"
{
    own() { ip -6 -oneline address show scope global -tentative | awk '{ print $4 }'; }
    for second in {1..120}; do [ -n "$(own)" ] && break; sleep 1; done
    echo "address6-is $(own)"
    echo "way6-is $(ip -6 route show default | grep -om1 'via fe80::1 ')"
    echo "seen-as $(cat < /dev/tcp/2001:db8:ffff::7/8000)"
    echo "resolves6 $(getent ahostsv6 db-1.net.acme.internal | grep -om1 '^2001[^ ]*')"
} > /dev/ttyS0 2>&1
"#;

#[test]
fn a_vm_of_the_debian_template_gets_name_keys_script_and_an_ipv6_address_that_it_is_told_to_ask_for() {
    boots(Firmware::NoCloud, "DataSourceNoCloudNet", IpVersions::Both);
}

#[test]
fn a_vm_that_takes_its_cloud_for_cloudstack_gets_them_too_and_asks_for_ipv6_as_its_router_advertises() {
    boots(Firmware::CloudStack, "DataSourceCloudStack", IpVersions::Both);
}

#[test]
fn a_vm_that_takes_its_cloud_for_ec2_gets_them_too_in_a_network_without_ipv6() {
    boots(Firmware::Ec2, "DataSourceEc2Local", IpVersions::Four);
}

/// What a network has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IpVersions {
    Four,
    Both,
}

/// The template that VMs are of; none before there is one.
fn template() -> Option<PathBuf> {
    let template = std::env::var_os("PODZOL_DEBIAN").map(PathBuf::from);
    // Images are made beside these tests; those that come after them have one.
    let must_be = std::env::var_os("PODZOL_ROUTER").is_some();
    assert!(template.is_some() || !must_be, "PODZOL_DEBIAN must name the template");
    template
}

/// Boots a VM, and finds that it says what all should, and which source has told it, without a wait.
///
/// How long a source was searched for is by the clock of a machine that is emulated, beside others, and so it is printed only.
/// What may not be is that somebody waits: cloud-init waits for a second and longer after each request that fails, and says so.
fn boots(firmware: Firmware, source: &str, versions: IpVersions) {
    let Some(template) = template() else { return };
    let mut world = World::new();
    let mut script = SCRIPT.to_owned();
    if versions == IpVersions::Both {
        world.add_ipv6();
        serve(&world.outside, 8000);
        script += SCRIPT6;
    }
    let (vm, other) = (world.vm("web-1", 2), world.vm("db-1", 3));
    let id = vm.id;
    world.put(|document| {
        let facts = document.vms.get_mut(&id).unwrap();
        facts.user_data = Some(Secret::new(script));
        facts.ssh_keys = vec!["ssh-ed25519 AAAA web-1".into()];
    });
    let machine = world.boot(&vm, &template, firmware);
    let all = [
        ("name-is ", "web-1"),
        ("keys-are ", "1"),
        ("address-is ", "10.1.1.2/24"),
        ("resolves ", "10.1.1.3"),
        ("no-name-is-known ", "soon"),
    ];
    let is = |(beginning, rest): (&str, &str)| assert_eq!(machine.says(beginning), rest, "{beginning}");
    all.into_iter().for_each(is);
    let searches = machine.says("searches ");
    println!("{source} was found by {searches}, with a pause of {}", machine.says("longest-pause "));
    assert!(searches.contains("/search-"), "{searches}");
    [("source-is ", source), ("failed-requests ", "0"), ("asked-again ", "0"), ("waits ", "0")]
        .into_iter()
        .for_each(is);
    if versions == IpVersions::Both {
        let own = vm.address6().to_string();
        is(("address6-is ", &format!("{own}/128")));
        is(("way6-is ", "via fe80::1"));
        is(("seen-as ", &own));
        is(("resolves6 ", &other.address6().to_string()));
    }
    is(("cloud-init-ended ", "status: done, errors: []"));
}
