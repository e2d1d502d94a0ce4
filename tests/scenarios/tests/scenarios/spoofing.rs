//! A VM with root forges frames, and gets none through: they are sent as they are, and looked for on the other host.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use podzol_lab::cloud::wait_for;
use podzol_lab::{Lab, proof};
use podzol_scenarios::capture::Capture;
use podzol_scenarios::{account, console_of, lab, vlan};
use serde_json::Value;

const SHORT: Duration = Duration::from_secs(180);

type Mac = [u8; 6];

const EVERYBODY: Mac = [0xff; 6];

/// The VM that sends: its addresses, and those of its neighbour.
struct Sender {
    mac: Mac,
    address: Ipv4Addr,
    own6: Ipv6Addr,
    victim_mac: Mac,
    victim: Ipv4Addr,
    victim6: Ipv6Addr,
    gateway: Ipv4Addr,
}

/// A frame with a name, which ends with a mark by which it is known again.
struct Forged {
    what: &'static str,
    bytes: Vec<u8>,
}

/// The mark of the frame with this number.
fn mark(number: usize) -> Vec<u8> {
    format!("<podzol {number:02}>").into_bytes()
}

fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from[..], &kind.to_be_bytes()[..], payload].concat()
}

fn arp(operation: u16, from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4];
    let operation = operation.to_be_bytes();
    [&head[..], &operation, &from.0, &from.1.octets(), &to.0, &to.1.octets()].concat()
}

fn udp(from: u16, to: u16) -> Vec<u8> {
    // The length covers the header and the mark; no checksum.
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &(8 + mark(0).len() as u16).to_be_bytes(), &[0, 0]].concat()
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() + mark(0).len()) as u16;
    let mut header = [&[0x45, 0][..], &length.to_be_bytes(), &[0, 0, 0, 0, 64, 17, 0, 0]].concat();
    header.extend([from.octets(), to.octets()].concat());
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header, payload.to_vec()].concat()
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() + mark(0).len()) as u16;
    let head = [&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[next, 255]].concat();
    [&head[..], &from.octets(), &to.octets(), payload].concat()
}

/// An ICMPv6 message about a target.
fn icmpv6(kind: u8, target: Ipv6Addr) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target.octets()].concat()
}

impl Sender {
    /// Frames that are the sender's own, and pass.
    fn honest(&self) -> Vec<Forged> {
        let (own, any) = (self.mac, Ipv4Addr::BROADCAST);
        let all: Ipv6Addr = "ff02::1".parse().unwrap();
        let frame =
            |what, kind, payload: Vec<u8>| Forged { what, bytes: ethernet(EVERYBODY, own, kind, &payload) };
        vec![
            frame("IPv4 from its own address", 0x0800, ipv4(self.address, any, &udp(9, 9))),
            frame("ARP of its own", 0x0806, arp(1, (own, self.address), ([0; 6], self.victim))),
            frame("a question to DHCP servers", 0x0800, ipv4(Ipv4Addr::UNSPECIFIED, any, &udp(68, 67))),
            frame("IPv6 from its own address", 0x86dd, ipv6(self.own6, all, 17, &udp(9, 9))),
            frame(
                "a neighbour advertisement of its own",
                0x86dd,
                ipv6(self.own6, all, 58, &icmpv6(136, self.own6)),
            ),
        ]
    }

    /// Frames that only a router sends.
    fn of_routers(&self) -> Vec<Forged> {
        let (own, any) = (self.mac, Ipv4Addr::BROADCAST);
        let all: Ipv6Addr = "ff02::1".parse().unwrap();
        let elsewhere = Ipv4Addr::new(192, 0, 2, 1);
        let frame =
            |what, kind, payload: Vec<u8>| Forged { what, bytes: ethernet(EVERYBODY, own, kind, &payload) };
        vec![
            frame("IPv4 from another network", 0x0800, ipv4(elsewhere, any, &udp(9, 9))),
            frame("IPv4 from its neighbour's address", 0x0800, ipv4(self.victim, any, &udp(9, 9))),
            frame("a DHCP server's answer", 0x0800, ipv4(self.address, any, &udp(67, 68))),
            frame("ARP for its neighbour's address", 0x0806, arp(2, (own, self.victim), (own, self.address))),
            frame("a router advertisement", 0x86dd, ipv6(self.own6, all, 58, &icmpv6(134, self.own6))),
            frame("a redirect", 0x86dd, ipv6(self.own6, all, 58, &icmpv6(137, self.own6))),
            frame("a DHCPv6 server's answer", 0x86dd, ipv6(self.own6, all, 17, &udp(547, 546))),
            frame("IPv6 from its neighbour's address", 0x86dd, ipv6(self.victim6, all, 17, &udp(9, 9))),
            frame(
                "a neighbour's advertisement",
                0x86dd,
                ipv6(self.own6, all, 58, &icmpv6(136, self.victim6)),
            ),
        ]
    }

    /// Frames of a VM that takes its gateway's place. One that may route is not asked for them: its neighbours would believe it.
    fn of_its_gateway(&self) -> Vec<Forged> {
        let frame = |what, kind, payload: Vec<u8>| Forged {
            what,
            bytes: ethernet(EVERYBODY, self.mac, kind, &payload),
        };
        let arp = |operation| arp(operation, (self.mac, self.gateway), (EVERYBODY, self.gateway));
        vec![
            frame(
                "IPv4 from its gateway's address",
                0x0800,
                ipv4(self.gateway, Ipv4Addr::BROADCAST, &udp(9, 9)),
            ),
            frame("an answer of ARP for its gateway's address", 0x0806, arp(2)),
            frame("a question of ARP from its gateway's address", 0x0806, arp(1)),
        ]
    }

    /// Frames that are nobody's to send.
    fn of_nobody(&self) -> Vec<Forged> {
        let honest = ipv4(self.address, Ipv4Addr::BROADCAST, &udp(9, 9));
        let as_victim = |what, kind, payload: &[u8]| Forged {
            what,
            bytes: ethernet(EVERYBODY, self.victim_mac, kind, payload),
        };
        let asks = arp(1, (self.victim_mac, self.victim), ([0; 6], self.address));
        vec![
            as_victim("its neighbour's MAC address", 0x0800, &honest),
            as_victim("all of its neighbour's addresses", 0x0806, &asks),
        ]
    }

    /// Frames of other kinds than IP and ARP.
    fn of_other_kinds(&self) -> Vec<Forged> {
        let honest = ipv4(self.address, Ipv4Addr::BROADCAST, &udp(9, 9));
        let tagged = [&[0, 101, 8, 0][..], &honest].concat();
        let frame =
            |what, kind, payload: &[u8]| Forged { what, bytes: ethernet(EVERYBODY, self.mac, kind, payload) };
        vec![frame("a VLAN tag", 0x8100, &tagged), frame("an unknown kind", 0x88b5, &[0; 46])]
    }
}

fn mac(nic: &Value) -> Mac {
    let text = nic["mac"].as_str().unwrap();
    let bytes: Vec<u8> = text.split(':').map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

fn link_local([a, b, c, d, e, f]: Mac) -> Ipv6Addr {
    let bytes = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    bytes.into()
}

/// Two VMs of acme on different hosts, in a network with this number.
pub(crate) struct Neighbours<'a> {
    pub(crate) from: &'a str,
    pub(crate) to: &'a str,
    pub(crate) tag: u64,
}

/// Sends frames from one VM, and says of which names some were seen on the other's host.
fn seen(lab: &Lab, vms: &Neighbours<'_>, frames: &[Forged]) -> Vec<&'static str> {
    let admin = lab.cloud().unwrap();
    let host = |vm: &str| {
        let shown = admin.podzol(&format!("vm show {vm}")).unwrap();
        let host = admin.podzol(&format!("host show {}", shown["host"].as_str().unwrap())).unwrap();
        host["name"].as_str().unwrap().to_owned()
    };
    assert_ne!(host(vms.from), host(vms.to));
    let mut console = console_of(lab, &admin, vms.from).unwrap();
    let own = admin.podzol(&format!("vm show {}", vms.from)).unwrap();
    let find = format!("sh grep -l {} /sys/class/net/*/address", own["nics"][0]["mac"].as_str().unwrap());
    let link = console.ask(&find, SHORT).unwrap()[0].split('/').nth(4).unwrap().to_owned();
    let capture = Capture::on_bridge(lab, &host(vms.to), vms.tag, "-U -w -").unwrap();
    for (number, frame) in frames.iter().enumerate() {
        let bytes = [&frame.bytes[..], &mark(number)].concat();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        console.ask(&format!("send-raw {link} {hex}"), SHORT).unwrap();
    }
    let captured = capture.end().unwrap();
    assert!(captured.len() >= 24, "nothing was captured");
    let got = |number: usize| captured.windows(mark(number).len()).any(|bytes| bytes == mark(number));
    frames.iter().enumerate().filter(|(number, _)| got(*number)).map(|(_, frame)| frame.what).collect()
}

fn names(frames: &[Forged]) -> Vec<&'static str> {
    frames.iter().map(|frame| frame.what).collect()
}

impl Sender {
    /// One VM, whose neighbour is another.
    fn of(lab: &Lab, vms: &Neighbours<'_>) -> Self {
        let admin = lab.cloud().unwrap();
        let nic = |vm: &str| admin.podzol(&format!("vm show {vm}")).unwrap()["nics"][0].clone();
        let (own, victim) = (nic(vms.from), nic(vms.to));
        let address = |nic: &Value| nic["address"].as_str().unwrap().parse().unwrap();
        let network = admin.podzol(&format!("network show {}", own["network"].as_str().unwrap())).unwrap();
        let (base, _) = network["cidr"].as_str().unwrap().split_once('/').unwrap();
        Self {
            mac: mac(&own),
            address: address(&own),
            own6: link_local(mac(&own)),
            victim_mac: mac(&victim),
            victim: address(&victim),
            victim6: link_local(mac(&victim)),
            // The first address of a network.
            gateway: Ipv4Addr::from_bits(u32::from(base.parse::<Ipv4Addr>().unwrap()) + 1),
        }
    }

    fn all(&self) -> Vec<Forged> {
        [self.honest(), self.of_routers(), self.of_nobody(), self.of_other_kinds()]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Sees that only what is a VM's own gets through.
pub(crate) fn only_honest_frames_pass(lab: &Lab, vms: &Neighbours<'_>) {
    let sender = Sender::of(lab, vms);
    let frames: Vec<Forged> = sender.all().into_iter().chain(sender.of_its_gateway()).collect();
    assert_eq!(seen(lab, vms, &frames), names(&sender.honest()));
}

#[test]
fn a_vm_gets_nothing_through_that_is_not_its_own_until_it_may_route() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let vms = Neighbours { from: "acme-1", to: "acme-2", tag: vlan(&lab, "acme").unwrap() };
    let sender = Sender::of(&lab, &vms);
    only_honest_frames_pass(&lab, &vms);

    let acme = account(&lab, "acme").unwrap();
    let own = admin.podzol("vm show acme-1").unwrap()["nics"][0].clone();
    let id = own["id"].as_str().unwrap();
    acme.podzol(&format!("vm nic route {id} on --wait")).unwrap();
    let passed = seen(&lab, &vms, &sender.all());
    for frame in sender.honest().iter().chain(&sender.of_routers()) {
        assert!(passed.contains(&frame.what), "{} did not pass: {passed:?}", frame.what);
    }
    for frame in sender.of_nobody().iter().chain(&sender.of_other_kinds()) {
        assert!(!passed.contains(&frame.what), "{} passed", frame.what);
    }
    acme.podzol(&format!("vm nic route {id} off --wait")).unwrap();

    // Somebody flushes the rules: they are there again before long.
    for host in ["h1", "h2"] {
        lab.ssh(&lab.host(host).unwrap()).run("nft delete table bridge podzol").unwrap();
    }
    wait_for("the rules to be there again", Duration::from_secs(240), || {
        let listed = |host: &str| {
            let list = "nft list table bridge podzol 2> /dev/null || true";
            Ok::<_, anyhow::Error>(lab.ssh(&lab.host(host)?).run(list)?.contains("pzt"))
        };
        Ok((listed("h1")? && listed("h2")?).then_some(()))
    })
    .unwrap();
    only_honest_frames_pass(&lab, &vms);
    // Who could route has said that its neighbour's address is its own. The neighbour speaks for itself, so that all,
    // the router too, know again where it is.
    only_honest_frames_pass(&lab, &Neighbours { from: "acme-2", to: "acme-1", ..vms });
    proof::reachability(&lab, &proof::demo_vms(&lab).unwrap()).unwrap();
}
