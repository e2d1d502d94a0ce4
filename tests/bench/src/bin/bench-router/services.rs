//! DHCP and DNS beside dnsmasq: the server's own processor time for each request.
//!
//! Both servers have the same links, VMs and names, and are asked by the same clients in turn. The processor time is the
//! kernel's figure for the server's threads, to the nanosecond; the kernel's work for the server's packets is in it.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;
use podzol_appliance_api::{EgressPolicy, GuestNetwork, VmFacts, VmNic};
use podzol_appliance_nft::skeleton;
use podzol_netns_tests::{Namespace, Running, World};
use podzol_vocab::{MacAddr, NetworkId, NicId, VmId};

use crate::dhcp::{self, Asked};
use crate::dns;
use crate::figures::{Aims, Figures};
use crate::need;
use crate::rules::nft;

/// Networks of VMs. The router answers 500 DHCP packets a second in each, and 2 of each VM, so more is asked on several.
pub(crate) const LINKS: u8 = 4;

/// VMs in each. A kernel has 1,024 neighbours in all of its namespaces, and dnsmasq tells it of each VM.
pub(crate) const VMS: u16 = 220;

/// The number of the first link among the router's interfaces.
const FIRST_PLUG: u8 = 10;

const ROUNDS: usize = 5;

/// Requests of a kind in a round.
const OF_DHCP: usize = 10_000;
const OF_DNS: usize = 200_000;

/// A server, and where its clients are.
struct Server {
    name: &'static str,
    clients: Namespace,
    /// The process that serves DHCP.
    dhcp: u32,
    /// The process that serves names, which may be the same.
    dns: u32,
    offers: Figures,
    acks: Figures,
    names: Figures,
    /// How many requests had to be asked again.
    again: usize,
}

pub(crate) fn run(aims: &mut Aims) -> Result<()> {
    let clients = Namespace::new("clients");
    let world = router(&clients)?;
    let mut podzol = Server::new("podzol-appliance", clients, [world.router_pid(); 2]);
    let folder = tempfile::tempdir()?;
    let (clients, server) = (Namespace::new("clients"), Namespace::new("dnsmasq"));
    filter(&server, &clients)?;
    let processes = dnsmasq(&clients, &server, folder.path())?;
    let mut other = Server::new("dnsmasq", clients, processes.each_ref().map(Running::pid));
    podzol.warm_up()?;
    other.warm_up()?;
    for _ in 0..ROUNDS {
        for server in [&mut podzol, &mut other] {
            server.round()?;
        }
    }
    println!("{:<34} podzol-appliance  dnsmasq  share  spread", "the server's CPU for each, µs");
    let exchange = |server: &Server| server.offers.sum(&server.acks);
    let rows = [
        ("DHCP offer", &podzol.offers, &other.offers),
        ("DHCP acknowledgement", &podzol.acks, &other.acks),
        ("DHCP offer and acknowledgement", &exchange(&podzol), &exchange(&other)),
        ("DNS, a local name", &podzol.names, &other.names),
    ];
    for (name, own, others) in rows {
        let share = own.over(others);
        println!(
            "{name:<34} {:>16.2} {:>8.2} {:>6.2} {:>6.1}%",
            own.median(),
            others.median(),
            share.median(),
            share.spread() * 100.0
        );
    }
    let requests = ROUNDS * 2 * OF_DHCP;
    println!("{requests} DHCP requests and {} DNS queries of each, all answered", ROUNDS * OF_DNS);
    for server in [&podzol, &other] {
        println!("{}: {} of them were asked again", server.name, server.again);
    }
    let dhcp = exchange(&podzol).over(&exchange(&other)).median();
    aims.at_most("DHCP, CPU for a request ÷ dnsmasq's", dhcp, 0.6);
    aims.at_most("DNS, CPU for a query ÷ dnsmasq's", podzol.names.over(&other.names).median(), 0.9);
    Ok(())
}

impl Server {
    fn new(name: &'static str, clients: Namespace, [dhcp, dns]: [u32; 2]) -> Self {
        let (offers, acks, names) = Default::default();
        Self { name, clients, dhcp, dns, offers, acks, names, again: 0 }
    }

    /// Has every VM get its address before anything is measured, as most packets prolong a lease.
    fn warm_up(&self) -> Result<()> {
        dhcp::ask(&self.clients, Asked::Request, usize::from(LINKS) * usize::from(VMS)).map(drop)
    }

    fn round(&mut self) -> Result<()> {
        for (asked, figures) in [(Asked::Discover, &mut self.offers), (Asked::Request, &mut self.acks)] {
            let before = cpu(self.dhcp)?;
            self.again += dhcp::ask(&self.clients, asked, OF_DHCP)?;
            figures.add((cpu(self.dhcp)? - before) * 1e6 / OF_DHCP as f64);
        }
        let before = cpu(self.dns)?;
        self.again += dns::ask(&self.clients, OF_DNS)?;
        self.names.add((cpu(self.dns)? - before) * 1e6 / OF_DNS as f64);
        Ok(())
    }
}

/// The processor time of all threads of a process, in seconds.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += text.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(nanoseconds / 1e9)
}

/// The router, with all links and VMs.
fn router(clients: &Namespace) -> Result<World> {
    let mut world = World::new();
    let mut document = world.document.clone();
    for link in 0..LINKS {
        let mac = world.plug(FIRST_PLUG + link, clients, &name(link));
        prepare(clients, link);
        let id = NetworkId::from_bytes([100 + link; 16]);
        let network = GuestNetwork {
            mac,
            cidr: format!("10.{}.0.0/23", 20 + link).parse()?,
            prefix6: None,
            mtu: 1500,
            domain: domain(link).parse()?,
            lease_secs: 3600,
            source_nat: None,
            egress: EgressPolicy::Allow,
        };
        document.guests.insert(id, network);
        for number in 0..VMS {
            let (vm, nic) = (VmId::new(), NicId::new());
            let facts = VmFacts {
                name: vm_name(link, number).parse()?,
                ssh_keys: Vec::new(),
                user_data: None,
                password: None,
                zone: "z1".parse()?,
                offering: "small".parse()?,
            };
            document.vms.insert(vm, facts);
            let (mac, address) = (mac_of(link, number), address(link, number));
            document.nics.insert(nic, VmNic { vm, network: id, mac, address, address6: None, primary: true });
        }
    }
    world.put(|all| *all = document);
    dns::wait(clients);
    Ok(world)
}

/// Gives a namespace links to clients, and the router's packet filter: what stands in its place needs one too.
fn filter(server: &Namespace, clients: &Namespace) -> Result<()> {
    let mut rules = skeleton().to_owned();
    for link in 0..LINKS {
        server.ip(&format!("link add l{link} type veth peer name {} netns {}", name(link), clients.name()));
        server.ip(&format!("address add {}/23 dev l{link}", gateway(link)));
        server.ip(&format!("link set l{link} up"));
        prepare(clients, link);
        writeln!(rules, "add element ip podzol guests {{ \"l{link}\" }}")?;
        writeln!(rules, "add element ip podzol same_link {{ \"l{link}\" . \"l{link}\" }}")?;
    }
    server.inside(|| nft(&rules))
}

/// dnsmasq, told in files what it serves, DHCP by a process of its own. One that serves names besides makes all of its
/// names anew with each lease that it prolongs, which took it 4 ms with a thousand VMs. It keeps no file of leases either.
fn dnsmasq(clients: &Namespace, server: &Namespace, folder: &Path) -> Result<[Running; 2]> {
    let program = need("dnsmasq", "dnsmasq-base")?;
    let (mut hosts, mut names) = (String::new(), String::new());
    let common = format!(
        "{} -k -C /dev/null --user=root --pid-file= --log-facility=/dev/null --bind-interfaces --except-interface=lo",
        program.display()
    );
    let mut dhcp =
        "--port=0 --quiet-dhcp --no-ping --leasefile-ro --dhcp-authoritative --dhcp-lease-max=10000 \
                    --dhcp-option=option:mtu,1500"
            .to_owned();
    for link in 0..LINKS {
        let [gateway, network] = [gateway(link), Ipv4Addr::from_bits(gateway(link).to_bits() - 1)];
        write!(dhcp, " --dhcp-range=set:l{link},{network},static,255.255.254.0,3600")?;
        write!(
            dhcp,
            " --dhcp-option=tag:l{link},option:dns-server,{gateway} --domain={},{network}/23",
            domain(link)
        )?;
        for number in 0..VMS {
            let (mac, address) = (mac_of(link, number), address(link, number));
            writeln!(hosts, "{mac},{address},{}", vm_name(link, number))?;
            writeln!(names, "{address} {}.{}", vm_name(link, number), domain(link))?;
        }
    }
    let folder = folder.display();
    std::fs::write(format!("{folder}/hosts"), hosts)?;
    std::fs::write(format!("{folder}/names"), names)?;
    let dhcp = server.start(&format!("{common} {dhcp} --dhcp-hostsfile={folder}/hosts"));
    let dns = server
        .start(&format!("{common} --no-resolv --no-hosts --local=/internal/ --addn-hosts={folder}/names"));
    dns::wait(clients);
    Ok([dhcp, dns])
}

/// The clients' end of a link, with the addresses that names are asked from.
fn prepare(clients: &Namespace, link: u8) {
    clients.ip(&format!("link set {} up", name(link)));
    for source in sources(link) {
        clients.ip(&format!("address add {source}/23 dev {}", name(link)));
    }
}

pub(crate) fn name(link: u8) -> String {
    format!("c{link}")
}

/// The server's address on a link.
pub(crate) fn gateway(link: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 20 + link, 0, 1)
}

/// Addresses on a link that are no VM's.
pub(crate) fn sources(link: u8) -> [Ipv4Addr; 2] {
    [250, 251].map(|last| Ipv4Addr::new(10, 20 + link, 1, last))
}

pub(crate) fn address(link: u8, number: u16) -> Ipv4Addr {
    let [high, low] = (10 + number).to_be_bytes();
    Ipv4Addr::new(10, 20 + link, high, low)
}

pub(crate) fn mac_of(link: u8, number: u16) -> MacAddr {
    let [high, low] = number.to_be_bytes();
    MacAddr::local([2, 0, 3, link, high, low])
}

pub(crate) fn vm_name(link: u8, number: u16) -> String {
    format!("vm-{link}-{number}")
}

pub(crate) fn domain(link: u8) -> String {
    format!("net-{link}.acme.internal")
}
