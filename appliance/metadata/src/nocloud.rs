//! The files of cloud-init's NoCloud source, with `seedfrom` set to `http://169.254.169.254/nocloud/`. They are what the
//! config drive has, and the network's MTU and name server besides. IPv6 is by DHCPv6 on both. JSON is YAML, so nothing in a
//! name or key can break out of its place.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::facts::{Nic, Vm};
use crate::tree::Node;

/// The directory of the files.
pub(crate) fn tree(vm: &Vm) -> Node {
    Node::directory([
        ("meta-data", Some(Node::text(meta_data(vm)))),
        ("network-config", Some(Node::text(network_config(vm)))),
        ("user-data", Some(Node::Data(user_data(vm)))),
        // Empty rather than absent: a source that asks again after 404 would hold up the boot.
        ("vendor-data", Some(Node::text(""))),
    ])
}

fn meta_data(vm: &Vm) -> Value {
    json!({
        "instance-id": vm.id.to_string(),
        "local-hostname": vm.name.to_string(),
        "public-keys": vm.ssh_keys,
    })
}

/// The owner's user-data, or a cloud-config with the name and the keys where there is none.
fn user_data(vm: &Vm) -> Bytes {
    match &vm.user_data {
        Some(own) => own.expose().clone(),
        None => {
            let config = json!({ "hostname": vm.name.to_string(), "ssh_authorized_keys": vm.ssh_keys });
            format!("#cloud-config\n{config}\n").into()
        }
    }
}

fn network_config(vm: &Vm) -> Value {
    let ethernets: Map<_, _> =
        vm.numbered_nics().map(|(number, nic)| (format!("nic{number}"), ethernet(nic))).collect();
    json!({ "version": 2, "ethernets": ethernets })
}

fn ethernet(nic: &Nic) -> Value {
    let gateway = nic.cidr.gateway().to_string();
    let mut ethernet = json!({
        "match": { "macaddress": nic.mac.to_string() },
        "addresses": [format!("{}/{}", nic.address, nic.cidr.prefix_len())],
        "mtu": nic.mtu,
        "nameservers": { "addresses": [gateway], "search": [nic.domain.as_str()] },
    });
    if nic.has_ipv6 {
        ethernet["dhcp6"] = json!(true);
    }
    if nic.primary {
        ethernet["gateway4"] = json!(gateway);
    }
    ethernet
}
