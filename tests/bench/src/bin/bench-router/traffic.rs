//! NAT beside plain forwarding; balancing beside the same connections made to the members directly, and beside haproxy.
//!
//! ```text
//!   outside (16 addresses) ── the router, or a namespace that forwards and has haproxy ── switch ── 4 VMs
//! ```
//! They have the same cables, and servers and clients of their own. All contestants run for a moment in each round, and in
//! the next round in the opposite order.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use podzol_appliance_api::{Balancer, IngressRule, Member, Method, PortRange, Traffic, Transport};
use podzol_netns_tests::{GATEWAY, Namespace, OUTSIDE, PUBLIC, Running, Vm, World};
use podzol_vocab::{FirewallRuleId, LoadBalancerId};

use crate::figures::{Aims, Figures};
use crate::load::{self, Kind, Way, measure, serve};
use crate::need;
use crate::rules::nft;

const ROUNDS: usize = 15;
const MOMENT: Duration = Duration::from_millis(500);

const VMS: u8 = 4;
/// Addresses outside: the ports of one are soon used up, as connection tracking remembers connections for a while.
const ADDRESSES: u8 = 16;

/// What a router that knows connections has at least.
const TRACKING: &str = "
table ip tracking {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state vmap { established : accept, related : accept, invalid : drop }
        accept
    }
}
";

/// Who connects how.
struct Contestant<'a> {
    space: &'a Namespace,
    from: Vec<Ipv4Addr>,
    to: Vec<Ipv4Addr>,
    /// A process that has a part in it.
    process: Option<u32>,
    /// What was measured, for each kind of load: in a second, and in a second of one processor's time.
    rates: [Figures; 3],
    rates_of_one: [Figures; 3],
}

pub(crate) fn run(aims: &mut Aims) -> Result<()> {
    need("haproxy", "haproxy")?;
    let (world, vms) = router()?;
    let (plain, tracking) = (Plain::make("")?, Plain::make(TRACKING)?);
    let folder = tempfile::tempdir()?;
    let haproxy = plain.haproxy(folder.path())?;
    let vm = vms.first().context("a VM")?;
    let outside: Vec<Ipv4Addr> = outside().collect();
    let members: Vec<Ipv4Addr> = (0..VMS).map(address).collect();
    let new = |space, from: &[Ipv4Addr], to: &[Ipv4Addr]| Contestant {
        space,
        from: from.to_vec(),
        to: to.to_vec(),
        process: None,
        rates: Default::default(),
        rates_of_one: Default::default(),
    };
    let through = new(&plain.outside, &outside, &[PUBLIC]);
    let mut all = [
        new(&vm.space, &[vm.address], &outside),
        new(plain.vm()?, &[vm.address], &outside),
        new(tracking.vm()?, &[vm.address], &outside),
        new(&world.outside, &outside, &[PUBLIC]),
        new(&plain.outside, &outside, &members),
        new(&tracking.outside, &outside, &members),
        Contestant { process: Some(haproxy.pid()), ..through },
    ];
    for contestant in &all {
        Kind::ALL.iter().for_each(|kind| load::reach(contestant.space, &contestant.way(*kind)));
    }
    for round in 0..ROUNDS {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            let mut turns: Vec<&mut Contestant<'_>> = all.iter_mut().collect();
            if round % 2 == 1 {
                turns.reverse();
            }
            for one in turns {
                let done = measure(one.space, kind, &one.way(kind), MOMENT, one.process)?;
                one.rates[number].add(done.rate);
                one.rates_of_one[number].add(done.rate_of_one);
            }
        }
    }
    print(aims, &all);
    Ok(())
}

impl Contestant<'_> {
    fn way(&self, kind: Kind) -> Way {
        let to = self.to.iter().map(|address| SocketAddrV4::new(*address, kind.port()));
        Way { from: self.from.clone(), to: to.collect() }
    }
}

fn print(
    aims: &mut Aims,
    [nat, forwarding, tracking, balancing, direct, tracked, haproxy]: &[Contestant<'_>; 7],
) {
    println!("{:<62} in a second   in a second of one processor's time", "");
    let [own, other, share] = ["router", "other", "share"];
    println!("{:<58} {own:>7} {other:>7} {share:>6} {own:>7} {other:>7} {share:>6} spread", "");
    for (what, own, others) in
        [("NAT ÷ plain forwarding", nat, forwarding), ("balancing ÷ direct", balancing, direct)]
    {
        for (number, kind) in Kind::ALL.iter().enumerate() {
            let share = row(what, *kind, number, own, others);
            aims.at_least(&format!("{what}, {}, for the time of one processor", kind.name()), share, 0.95);
        }
    }
    for (what, own, others) in [
        ("NAT ÷ forwarding with tracking", nat, tracking),
        ("balancing ÷ direct with tracking", balancing, tracked),
        ("balancing ÷ haproxy", balancing, haproxy),
    ] {
        for (number, kind) in Kind::ALL.iter().enumerate() {
            row(what, *kind, number, own, others);
        }
    }
}

/// Prints one, and gives the share for the time of one processor.
fn row(what: &str, kind: Kind, number: usize, own: &Contestant<'_>, other: &Contestant<'_>) -> f64 {
    let digits = if kind == Kind::Bulk { 2 } else { 0 };
    print!("{what:<34}{:<24}", kind.name());
    let mut last = Figures::default();
    for (own, other) in [(&own.rates, &other.rates), (&own.rates_of_one, &other.rates_of_one)] {
        let (own, other) = (&own[number], &other[number]);
        last = own.over(other);
        print!(" {:>7.digits$} {:>7.digits$} {:>6.3}", own.median(), other.median(), last.median());
    }
    println!(" {:>5.1}%", last.spread() * 100.0);
    last.median()
}

/// Other addresses outside.
fn outside() -> impl Iterator<Item = Ipv4Addr> {
    (100..100 + ADDRESSES).map(|last| Ipv4Addr::new(203, 0, 113, last))
}

fn address(vm: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 1, 2 + vm)
}

/// The router, with its balancers.
fn router() -> Result<(World, Vec<Vm>)> {
    let mut world = World::new();
    outside().for_each(|address| world.outside.ip(&format!("address add {address}/24 dev eth0")));
    serve(&world.outside)?;
    let mut vms = Vec::new();
    for number in 0..VMS {
        let vm = world.vm(&format!("web-{number}"), 2 + number);
        vm.configure();
        serve(&vm.space)?;
        vms.push(vm);
    }
    let mut document = world.document.clone();
    for kind in Kind::ALL {
        let port = kind.port();
        let member = |vm: &Vm| (vm.nic, Member { address: vm.address, port, weight: 1, drains: false });
        let balancer = Balancer {
            public: PUBLIC,
            transport: Transport::Tcp,
            port,
            method: Method::RoundRobin,
            members: vms.iter().map(member).collect(),
            check: None,
        };
        document.balancers.insert(LoadBalancerId::new(), balancer);
        let traffic = Traffic::Tcp { ports: PortRange::new(port, port)? };
        let rule = IngressRule { public: PUBLIC, sources: vec![ipnet::Ipv4Net::default()], traffic };
        document.ingress.insert(FirewallRuleId::new(), rule);
    }
    world.put(|all| *all = document);
    Ok((world, vms))
}

/// The same with a namespace in the router's place that only forwards, with these rules for it.
struct Plain {
    router: Namespace,
    outside: Namespace,
    vms: Vec<Namespace>,
    _switch: Namespace,
}

impl Plain {
    fn make(rules: &str) -> Result<Self> {
        let [router, outside, switch] = ["plain", "outside", "switch"].map(Namespace::new);
        switch.ip("link add br0 type bridge");
        switch.ip("link set br0 up");
        router.inside(|| nft(rules))?;
        cable(&router, "eth2", &outside, "eth0");
        cable(&router, "eth0", &switch, "router");
        switch.ip("link set router master br0");
        router.ip(&format!("address add {PUBLIC}/24 dev eth2"));
        router.ip(&format!("address add {GATEWAY}/24 dev eth0"));
        let settings = [("ip_forward", "1"), ("ip_local_port_range", "1024 65535")];
        router.inside(|| {
            settings
                .iter()
                .try_for_each(|(name, value)| std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value))
        })?;
        for address in [OUTSIDE].into_iter().chain(self::outside()) {
            outside.ip(&format!("address add {address}/24 dev eth0"));
        }
        outside.ip(&format!("route add 10.1.1.0/24 via {PUBLIC}"));
        serve(&outside)?;
        let mut vms = Vec::new();
        for number in 0..VMS {
            let vm = Namespace::new("vm");
            cable(&vm, "eth0", &switch, &format!("vm{number}"));
            switch.ip(&format!("link set vm{number} master br0"));
            vm.ip(&format!("address add {}/24 dev eth0", address(number)));
            vm.ip(&format!("route add default via {GATEWAY}"));
            serve(&vm)?;
            vms.push(vm);
        }
        Ok(Self { router, outside, vms, _switch: switch })
    }

    /// The VM that the others are alike.
    fn vm(&self) -> Result<&Namespace> {
        self.vms.first().context("a VM")
    }

    /// haproxy for TCP, as it comes.
    fn haproxy(&self, folder: &Path) -> Result<Running> {
        let mut text = "global\n maxconn 4000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
            .to_owned();
        for kind in Kind::ALL {
            let port = kind.port();
            writeln!(text, "listen port-{port}\n bind {PUBLIC}:{port}\n balance roundrobin")?;
            for number in 0..VMS {
                writeln!(text, " server vm-{number} {}:{port}", address(number))?;
            }
        }
        let path = folder.join("haproxy.cfg");
        std::fs::write(&path, text)?;
        Ok(self.router.start(&format!("haproxy -db -q -f {}", path.display())))
    }
}

fn cable(one: &Namespace, name: &str, other: &Namespace, other_name: &str) {
    one.ip(&format!("link add {name} type veth peer name {other_name} netns {}", other.name()));
    one.ip(&format!("link set {name} up"));
    other.ip(&format!("link set {other_name} up"));
}
