//! A network on a VXLAN: its VMs reach each other through tunnels between hosts, on the move too, and forge nothing.

use std::time::Duration;

use podzol_lab::cloud::wait_for;
use podzol_lab::{Cloud, Lab};
use podzol_scenarios::capture::Capture;
use podzol_scenarios::pings::Pings;
use podzol_scenarios::{account, console_of, lab, links_of_podzol, wait_until_well};

use crate::spoofing::{Neighbours, only_honest_frames_pass};

const SHORT: Duration = Duration::from_secs(180);

/// The VXLAN.
const TAG: u64 = 5000;

fn nic(cloud: &Cloud, vm: &str, field: &str) -> String {
    cloud.podzol(&format!("vm show {vm}")).unwrap()["nics"][0][field].as_str().unwrap().to_owned()
}

/// Waits until one VM reaches another: it may still be booting.
fn reaches(lab: &Lab, from: &str, address: &str) {
    let admin = lab.cloud().unwrap();
    wait_for(&format!("{from} to reach {address}"), Duration::from_secs(300), || {
        let answer = console_of(lab, &admin, from)?.ask(&format!("ping {address}"), SHORT)?;
        Ok(answer.iter().any(|line| line.starts_with("pong")).then_some(()))
    })
    .unwrap();
}

/// The peers of the network on a host, as its kernel has them.
fn peers(lab: &Lab, host: &str) -> Vec<String> {
    let list = format!("bridge fdb show dev pzx{TAG} | grep ^00:00:00:00:00:00 || true");
    let text = lab.ssh(&lab.host(host).unwrap()).run(&list).unwrap();
    text.lines().filter_map(|line| line.split("dst ").nth(1)?.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn vms_reach_each_other_through_tunnels_between_hosts_and_forge_nothing() {
    let lab = lab().unwrap();
    let (admin, acme) = (lab.cloud().unwrap(), account(&lab, "acme").unwrap());
    admin.podzol(&format!("zone ids z1 --vxlans {TAG}-{}", TAG + 9)).unwrap();
    let made =
        "network create tunnels --zone z1 --cidr 10.1.3.0/24 --router no --account acme --isolation vxlan";
    assert_eq!(admin.podzol(made).unwrap()["vxlan"], TAG);
    for (vm, host) in [("far-1", "h1"), ("far-2", "h2")] {
        acme.podzol(&format!("vm create {vm} --offering tiny --template tiny --network tunnels --wait"))
            .unwrap();
        let shown = admin.podzol(&format!("vm show {vm}")).unwrap();
        let at = admin.podzol(&format!("host show {}", shown["host"].as_str().unwrap())).unwrap();
        if at["name"] != host {
            admin
                .podzol(&format!("vm migrate {} --to {host} --wait", shown["id"].as_str().unwrap()))
                .unwrap();
        }
    }
    let underlay = Capture::on_link(&lab, "h1", "eth0", "-nn -l udp port 4789").unwrap();
    let trunk = Capture::on_switch(&lab, "-nn -e -l").unwrap();
    let (first, second) = (nic(&acme, "far-1", "address"), nic(&acme, "far-2", "address"));
    reaches(&lab, "far-1", &second);
    reaches(&lab, "far-2", &first);
    let underlay = String::from_utf8(underlay.end().unwrap()).unwrap();
    assert!(underlay.contains(&format!("vni {TAG}")), "{underlay}");
    let trunk = String::from_utf8_lossy(&trunk.end().unwrap()).into_owned();
    for vm in ["far-1", "far-2"] {
        assert!(!trunk.contains(&nic(&acme, vm, "mac")), "a frame of {vm} is on the trunk");
    }
    for host in ["h1", "h2"] {
        assert_eq!(peers(&lab, host).len(), 1, "{host}");
    }

    // The whole of what fits goes through, and the VM knows how much that is.
    let whole = format!("sh ping -c 3 -s {} {second} 2>&1 | grep received", 1430 - 28);
    let said = console_of(&lab, &admin, "far-1").unwrap().ask(&whole, SHORT).unwrap();
    let mtu = console_of(&lab, &admin, "far-1").unwrap().ask("sh cat /sys/class/net/*/mtu", SHORT).unwrap();
    assert!(mtu.iter().any(|line| line.trim() == "1430"), "{mtu:?}");
    assert!(said.iter().any(|line| line.contains("3 packets received")), "{said:?}");

    only_honest_frames_pass(&lab, &Neighbours { from: "far-1", to: "far-2", tag: TAG });

    // It moves while the other pings it, over a tunnel that is not there any more in the end.
    let mut console = console_of(&lab, &admin, "far-1").unwrap();
    let pings = Pings::begin(&mut console, &second).unwrap();
    second_moves(&admin, "h1");
    pings.hardly_one_is_lost(&mut console).unwrap();
    assert!(peers(&lab, "h1").is_empty(), "h1 carries the network alone");

    for vm in ["far-1", "far-2"] {
        acme.podzol(&format!("vm delete {vm} --expunge --wait")).unwrap();
    }
    acme.podzol("network delete tunnels").unwrap();
    wait_until_well(&lab, Duration::from_secs(300)).unwrap();
    for host in ["h1", "h2"] {
        let links = links_of_podzol(&lab, host).unwrap();
        assert!(links.iter().all(|link| !link.ends_with("5000")), "{links:?}");
    }
}

fn second_moves(admin: &Cloud, to: &str) {
    let id = admin.podzol("vm show far-2").unwrap()["id"].as_str().unwrap().to_owned();
    admin.podzol(&format!("vm migrate {id} --to {to} --wait")).unwrap();
}
