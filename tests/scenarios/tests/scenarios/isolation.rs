//! Frames of one account never reach another's, though both use the same addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use podzol_lab::{Console, Lab, proof};
use podzol_scenarios::capture::Capture;
use podzol_scenarios::{lab, vlan};

/// Prints a line for each frame as it comes.
const LINES: &str = "-nn -e -l";

/// The lines that were captured, each one frame.
fn lines(capture: Capture) -> Vec<String> {
    String::from_utf8_lossy(&capture.end().unwrap()).lines().map(str::to_owned).collect()
}

#[test]
fn frames_of_one_account_are_never_on_the_others_bridges_or_under_its_tag() {
    let lab = lab().unwrap();
    let vms = proof::demo_vms(&lab).unwrap();
    assert_eq!(vms.len(), 4, "the lab has two VMs of each account: {vms:?}");
    let vlans: BTreeMap<&str, u64> = ["acme", "globex"].map(|name| (name, vlan(&lab, name).unwrap())).into();
    assert_ne!(vlans["acme"], vlans["globex"]);
    let macs = macs(&lab);

    let switch = Capture::on_switch(&lab, LINES).unwrap();
    let bridges: Vec<(String, &str, Capture)> =
        [("h1", "acme"), ("h1", "globex"), ("h2", "acme"), ("h2", "globex")]
            .into_iter()
            .map(|(host, name)| {
                (host.to_owned(), name, Capture::on_bridge(&lab, host, vlans[name], LINES).unwrap())
            })
            .collect();
    // Both accounts ping at the same time, across hosts, at the very same addresses.
    std::thread::scope(|scope| {
        for from in &vms {
            let lab = &lab;
            let to = vms.iter().find(|to| to.account == from.account && to.name != from.name).unwrap();
            scope.spawn(move || {
                let mut console = Console::open(&lab.ssh(&lab.host(&from.host).unwrap()), &from.id).unwrap();
                for _ in 0..3 {
                    let answer =
                        console.ask(&format!("ping {}", to.address), Duration::from_secs(90)).unwrap();
                    assert!(answer.iter().any(|line| line.starts_with("pong")), "{answer:?}");
                }
            });
        }
    });

    let frames = lines(switch);
    let mut tags_seen = BTreeSet::new();
    let mut of_vms = 0;
    for frame in &frames {
        let Some(account) = sender(frame, &macs) else { continue };
        of_vms += 1;
        let tag = tag(frame).unwrap_or_else(|| panic!("a VM's frame without a tag: {frame}"));
        assert_eq!(tag, vlans[account], "a frame of {account} under a wrong tag: {frame}");
        tags_seen.insert(tag);
    }
    assert!(of_vms >= 24, "too few frames to tell anything: {of_vms} of {}", frames.len());
    assert_eq!(tags_seen, vlans.values().copied().collect());
    for (host, name, capture) in bridges {
        let frames = lines(capture);
        let senders: BTreeSet<&str> = frames.iter().filter_map(|frame| sender(frame, &macs)).collect();
        assert_eq!(senders, BTreeSet::from([name]), "on the bridge of {name} on {host}");
    }
}

#[test]
fn each_account_reaches_its_own_at_the_same_addresses_and_nobody_else() {
    let lab = lab().unwrap();
    let vms = proof::demo_vms(&lab).unwrap();
    proof::reachability(&lab, &vms).unwrap();
}

/// The account of each VM's MAC address.
fn macs(lab: &Lab) -> BTreeMap<String, &'static str> {
    let cloud = lab.cloud().unwrap();
    let mut macs = BTreeMap::new();
    for account in ["acme", "globex"] {
        let vms = cloud.podzol(&format!("vm list --filter account={account}")).unwrap();
        for nic in vms.as_array().unwrap().iter().flat_map(|vm| vm["nics"].as_array().unwrap()) {
            macs.insert(nic["mac"].as_str().unwrap().to_owned(), account);
        }
    }
    macs
}

/// The account of the VM that sent a frame: tcpdump prints `TIME SOURCE > DESTINATION, …`.
fn sender<'a>(frame: &str, macs: &BTreeMap<String, &'a str>) -> Option<&'a str> {
    macs.get(frame.split(' ').nth(1)?).copied()
}

/// The 802.1q tag of a frame: tcpdump prints `vlan 100,`.
fn tag(frame: &str) -> Option<u64> {
    frame.split("vlan ").nth(1)?.split(',').next()?.parse().ok()
}
