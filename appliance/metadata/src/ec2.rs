//! What is below a version: EC2's tree (Amazon EC2 User Guide, "Instance metadata categories") with the leaves that
//! CloudStack has besides (its administration guide, "Using Metadata to Access VM's Attributes").
//!
//! What a VM has not is not in the tree: no public address, no keys and no user-data are 404, which the sources take as
//! "none".

use std::net::Ipv4Addr;

use serde_json::json;

use crate::facts::{Asker, Nic, Vm};
use crate::tree::Node;

/// The versions without a date, which CloudStack has too.
pub(crate) const UNDATED: [&str; 2] = ["1.0", "latest"];

/// The versions of EC2's service. cloud-init takes the newest of a few that it knows.
pub(crate) const DATED: [&str; 24] = [
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
];

/// The list of all versions.
pub(crate) fn versions() -> String {
    let [first, latest] = UNDATED;
    [&[first][..], &DATED, &[latest]].concat().join("\n")
}

/// The tree of a version.
pub(crate) fn tree(asker: Asker<'_>) -> Node {
    Node::directory([
        ("dynamic", Some(dynamic(asker))),
        ("meta-data", Some(meta_data(asker))),
        ("user-data", asker.vm.user_data.as_ref().map(|data| Node::Data(data.expose().clone()))),
    ])
}

/// All keys as text, one a line: CloudStack's form.
pub(crate) fn keys_as_text(vm: &Vm) -> String {
    vm.ssh_keys.join("\n")
}

fn meta_data(Asker { vm, nic }: Asker<'_>) -> Node {
    let public = |address: Option<Ipv4Addr>| address.map(Node::text);
    let text = |value: &dyn ToString| Some(Node::text(value.to_string()));
    Node::directory([
        ("availability-zone", text(&vm.zone)),
        ("cloud-identifier", text(&"podzol")),
        ("hostname", text(&full_name(vm, nic))),
        ("instance-id", text(&vm.id)),
        ("instance-type", text(&vm.offering)),
        ("local-hostname", text(&vm.name)),
        ("local-ipv4", text(&nic.address)),
        ("mac", text(&nic.mac)),
        ("network", Some(network(vm))),
        ("placement", Some(placement(vm))),
        // There are no public names.
        ("public-hostname", public(nic.public)),
        ("public-ipv4", public(nic.public)),
        ("public-keys", keys(vm)),
        ("service-offering", text(&vm.offering)),
        ("vm-id", text(&vm.id)),
    ])
}

fn placement(vm: &Vm) -> Node {
    let zone = || Some(Node::text(&vm.zone));
    Node::directory([("availability-zone", zone()), ("region", zone())])
}

/// The keys by number. Their names are their numbers again: cloud-init keeps one of those with the same name, and what is
/// written in a key as its comment can be anything.
fn keys(vm: &Vm) -> Option<Node> {
    let key = |(number, key): (usize, &String)| {
        (format!("key-{number}"), Node::directory([("openssh-key", Some(Node::text(key)))]))
    };
    let keys: Vec<_> = vm.ssh_keys.iter().enumerate().map(key).collect();
    (!keys.is_empty()).then_some(Node::Numbered(keys))
}

fn network(vm: &Vm) -> Node {
    let macs = vm.numbered_nics().map(|(number, nic)| (nic.mac.to_string(), interface(vm, nic, number)));
    let macs = Node::Directory(macs.collect());
    let interfaces = Node::directory([("macs", Some(macs))]);
    Node::directory([("interfaces", Some(interfaces))])
}

fn interface(vm: &Vm, nic: &Nic, number: usize) -> Node {
    Node::directory([
        ("device-number", Some(Node::text(number))),
        ("interface-id", Some(Node::text(nic.id))),
        ("local-hostname", Some(Node::text(full_name(vm, nic)))),
        ("local-ipv4s", Some(Node::text(nic.address))),
        ("mac", Some(Node::text(nic.mac))),
        ("public-ipv4s", nic.public.map(Node::text)),
        ("subnet-id", Some(Node::text(nic.network))),
        ("subnet-ipv4-cidr-block", Some(Node::text(nic.cidr))),
    ])
}

/// The VM's name in the domain of an interface's network.
fn full_name(vm: &Vm, nic: &Nic) -> String {
    format!("{}.{}", vm.name, nic.domain)
}

/// The identity document. It is not signed, so it proves nothing to anybody else.
fn dynamic(Asker { vm, nic }: Asker<'_>) -> Node {
    let document = json!({
        "version": "2017-09-30",
        "instanceId": vm.id.to_string(),
        "instanceType": vm.offering.to_string(),
        "availabilityZone": vm.zone.to_string(),
        "region": vm.zone.to_string(),
        "privateIp": nic.address.to_string(),
    });
    let identity = Node::directory([("document", Some(Node::text(format!("{document:#}"))))]);
    Node::directory([("instance-identity", Some(identity))])
}
