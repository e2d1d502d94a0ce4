//! Where connections go and come from, and who is counted.

use podzol_appliance_api::{Balancer, HttpBalancer, LocalPort, PortForward, StaticNat, Transport, VmNic};
use podzol_appliance_pieces::Way;
use podzol_vocab::LoadBalancerId;

use super::{Down, Rules};
use crate::balancer::{Chain, chain_name};
use crate::ruleset::Set;

impl Rules {
    pub(super) fn nic(&mut self, way: Way, nic: &VmNic) {
        self.edit(way, Set::Vms, format_args!("{} . {}", nic.mac, nic.address), None);
        self.edit(way, Set::NicSent, nic.address, None);
        self.edit(way, Set::NicReceived, nic.address, None);
        let Some(address) = nic.address6 else { return };
        self.edit(way, Set::NicSent6, address, None);
        self.edit(way, Set::NicReceived6, address, None);
        if let Some(link) = self.links.get(&nic.network) {
            let key = format!("\"{link}\" . {address}");
            self.edit(way, Set::Sources6, key, None);
        }
    }

    pub(super) fn port_forward(&mut self, way: Way, forward: &PortForward) {
        let PortForward { public, transport, ports, to, to_port } = forward;
        if ports.count() > 1 && ports.first() == *to_port {
            let key = format_args!("{public} . {transport} . {ports}");
            return self.edit(way, Set::ForwardRange, key, Some(to.to_string()));
        }
        for (port, to_port) in (ports.first()..=ports.last()).zip(*to_port..=u16::MAX) {
            let key = format_args!("{public} . {transport} . {port}");
            self.edit(way, Set::ForwardPort, key, Some(format!("{to} . {to_port}")));
        }
    }

    pub(super) fn static_nat(&mut self, way: Way, nat: &StaticNat) {
        self.edit(way, Set::StaticIn, nat.public, Some(nat.to.to_string()));
        self.edit(way, Set::StaticOut, nat.to, Some(nat.public.to_string()));
    }

    pub(super) fn balancer(&mut self, way: Way, id: LoadBalancerId, balancer: &Balancer, down: &Down) {
        let key = format!("{} . {} . {}", balancer.public, balancer.transport, balancer.port);
        match Chain::of(id, balancer, down) {
            Some(chain) => {
                self.edit(way, Set::Balancers, key, Some(format!("goto {}", chain_name(id))));
                self.chain(way, id, chain);
            }
            // UDP has no reset; its packets go to the router itself, which drops them.
            None if balancer.transport == Transport::Udp => {}
            None => self.edit(way, Set::Refused, key, None),
        }
    }

    /// Those who balance HTTP are in this machine: who is let in comes to it, and no further.
    pub(super) fn http_balancer(&mut self, way: Way, balancer: &HttpBalancer) {
        let key = format_args!("{} . tcp . {}", balancer.public, balancer.port);
        self.edit(way, Set::Answered, key, None);
    }

    /// A console proxy is in this machine too.
    pub(super) fn local_port(&mut self, way: Way, local: &LocalPort) {
        let key = format_args!("{} . tcp . {}", local.public, local.port);
        self.edit(way, Set::Answered, key, None);
    }
}
