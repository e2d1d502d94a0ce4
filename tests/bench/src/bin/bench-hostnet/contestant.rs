//! Who brings networks up and down, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use podzol_hostnet::{Desired, Kernel, Links, MARK_GROUP, MtuRule, Segment, alias, converge};
use podzol_vocab::{InterfaceName, NetworkId, Tag, VlanId};
use rtnetlink::LinkUnspec;

/// The networks, their VLANs and ports.
pub(crate) struct Plan {
    networks: Vec<(VlanId, NetworkId)>,
}

impl Plan {
    pub(crate) fn new(networks: u16) -> Self {
        let vlans = (1..=networks).filter_map(|id| VlanId::try_from(id).ok());
        Self { networks: vlans.map(|vlan| (vlan, NetworkId::new())).collect() }
    }

    /// Makes the trunk and a port for each network.
    pub(crate) fn prepare(&self) -> Result<()> {
        let ports = self.networks.iter().map(|(vlan, _)| format!("link add port{vlan} up type dummy"));
        let trunk = ["link add trunk type dummy", "link set trunk up"].map(str::to_owned);
        batch(&trunk.into_iter().chain(ports).collect::<Vec<_>>())
    }

    pub(crate) fn assert_gone(&self) -> Result<()> {
        let links = std::fs::read_to_string("/proc/net/dev")?;
        ensure!(!links.contains("pzb") && !links.contains("pzv"), "links are left");
        Ok(())
    }

    fn each(&self, line: impl Fn(VlanId, NetworkId) -> String) -> Vec<String> {
        self.networks.iter().map(|(vlan, network)| line(*vlan, *network)).collect()
    }

    fn creation(&self) -> Vec<String> {
        let bridge = "type bridge stp_state 0 mcast_snooping 0 forward_delay 0";
        let mut lines = self.each(|vlan, _| format!("link add pzb{vlan} group {MARK_GROUP} {bridge}"));
        lines.extend(self.each(|vlan, _| {
            format!("link add link trunk name pzv{vlan} group {MARK_GROUP} type vlan id {vlan}")
        }));
        lines
    }

    fn settings(&self) -> Vec<String> {
        let mut lines =
            self.each(|vlan, network| format!("link set pzb{vlan} alias \"{}\" up", alias(network, None)));
        lines.extend(self.each(|vlan, network| {
            format!("link set pzv{vlan} alias \"{}\" master pzb{vlan} up", alias(network, None))
        }));
        lines.extend(self.each(|vlan, _| format!("link set port{vlan} master pzb{vlan}")));
        lines
    }

    fn without_ipv6(&self) -> Result<()> {
        for link in self
            .each(|vlan, _| format!("pzb{vlan}"))
            .into_iter()
            .chain(self.each(|vlan, _| format!("pzv{vlan}")))
        {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1").context(link)?;
        }
        Ok(())
    }

    /// The settings as scripts make them, one at a time.
    fn single_settings(&self) -> Vec<String> {
        let mut lines =
            self.each(|vlan, network| format!("link set pzb{vlan} alias \"{}\"", alias(network, None)));
        lines.extend(self.each(|vlan, _| format!("link set pzb{vlan} up")));
        lines.extend(
            self.each(|vlan, network| format!("link set pzv{vlan} alias \"{}\"", alias(network, None))),
        );
        lines.extend(self.each(|vlan, _| format!("link set pzv{vlan} master pzb{vlan}")));
        lines.extend(self.each(|vlan, _| format!("link set pzv{vlan} up")));
        lines.extend(self.each(|vlan, _| format!("link set port{vlan} master pzb{vlan}")));
        lines
    }

    fn release(&self) -> Vec<String> {
        self.each(|vlan, _| format!("link set port{vlan} nomaster"))
    }

    fn removal(&self) -> Vec<String> {
        let mut lines = self.each(|vlan, _| format!("link del pzv{vlan}"));
        lines.extend(self.each(|vlan, _| format!("link del pzb{vlan}")));
        lines
    }
}

/// One way to do it.
pub(crate) enum Contestant {
    Hostnet(Hostnet),
    /// One `ip` for all of a phase.
    Batch,
    /// The same, and all links are removed as one group.
    BatchGroup,
    /// One `ip` per link, with all of its settings.
    ForkPerLink,
    /// One `ip` per step: one link made, set in one respect, or removed.
    ForkPerStep,
}

impl Contestant {
    pub(crate) async fn up(&self, plan: &Plan) -> Result<()> {
        if let Contestant::Hostnet(hostnet) = self {
            return hostnet.up(plan).await;
        }
        self.run(plan.creation())?;
        plan.without_ipv6()?;
        self.run(if let Contestant::ForkPerStep = self { plan.single_settings() } else { plan.settings() })
    }

    pub(crate) async fn release(&self, plan: &Plan) -> Result<()> {
        match self {
            Contestant::Hostnet(hostnet) => hostnet.release(plan).await,
            _ => self.run(plan.release()),
        }
    }

    pub(crate) async fn down(&self, plan: &Plan) -> Result<()> {
        match self {
            Contestant::Hostnet(hostnet) => hostnet.converge(BTreeSet::new()).await,
            Contestant::BatchGroup => self.run(vec![format!("link del group {MARK_GROUP}")]),
            Contestant::Batch | Contestant::ForkPerLink | Contestant::ForkPerStep => self.run(plan.removal()),
        }
    }

    fn run(&self, lines: Vec<String>) -> Result<()> {
        match self {
            Contestant::ForkPerLink | Contestant::ForkPerStep => fork(&lines),
            _ => batch(&lines),
        }
    }
}

/// The crate, with the ports put in over the same kind of netlink socket.
pub(crate) struct Hostnet {
    kernel: Kernel,
    ports: rtnetlink::Handle,
}

impl Hostnet {
    /// With the way to remove links that the agent has, or without hurrying the kernel.
    pub(crate) fn open(hurrying: bool) -> Result<Self> {
        let (connection, ports, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let kernel = Kernel::open()?;
        let note = std::env::temp_dir().join("bench-hostnet-hurrying");
        Ok(Self { kernel: if hurrying { kernel.hurrying(note)? } else { kernel }, ports })
    }

    async fn up(&self, plan: &Plan) -> Result<()> {
        let segments =
            plan.networks.iter().map(|(vlan, network)| Segment { tag: Tag::Vlan(*vlan), network: *network });
        self.converge(segments.collect()).await?;
        let links = self.kernel.observe().await?;
        let index =
            |name: String| links.iter().find(|link| link.name.as_str() == name).map(|link| link.index.0);
        let mut moves = Vec::new();
        for (vlan, _) in &plan.networks {
            let (port, bridge) =
                index(format!("port{vlan}")).zip(index(format!("pzb{vlan}"))).context("links")?;
            moves.push(LinkUnspec::new_with_index(port).controller(bridge).build());
        }
        self.change(moves).await
    }

    async fn release(&self, plan: &Plan) -> Result<()> {
        let ports =
            self.kernel.observe().await?.into_iter().filter(|link| link.name.as_str().starts_with("port"));
        let moves: Vec<_> =
            ports.map(|port| LinkUnspec::new_with_index(port.index.0).nocontroller().build()).collect();
        ensure!(moves.len() == plan.networks.len(), "ports are missing");
        self.change(moves).await
    }

    async fn converge(&self, segments: BTreeSet<Segment>) -> Result<()> {
        let trunk: InterfaceName = "trunk".parse()?;
        let (mtu, peers, ports) = (MtuRule::Trunk, BTreeMap::new(), BTreeMap::new());
        let desired = Desired { trunk, mtu, tunnel: None, peers, segments, traffic: BTreeMap::new(), ports };
        let pass = converge(&self.kernel, &desired).await?;
        if let Some(failure) = pass.failures.into_iter().next() {
            return Err(failure.into());
        }
        ensure!(pass.refused.is_empty() && pass.in_use.is_empty(), "a segment was refused or is in use");
        Ok(())
    }

    async fn change(&self, changes: Vec<rtnetlink::packet_route::link::LinkMessage>) -> Result<()> {
        for some in changes.chunks(64) {
            try_join_all(some.iter().map(|change| self.ports.link().change(change.clone()).execute()))
                .await?;
        }
        Ok(())
    }
}

fn batch(lines: &[String]) -> Result<()> {
    let mut ip =
        Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("ip -batch")?;
    let mut input = ip.stdin.take().context("the batch's input")?;
    input.write_all((lines.join("\n") + "\n").as_bytes())?;
    drop(input);
    ensure!(ip.wait()?.success(), "ip -batch failed");
    Ok(())
}

fn fork(lines: &[String]) -> Result<()> {
    for line in lines {
        // The alias is the only word with spaces.
        let words: Vec<_> = match line.split('"').collect::<Vec<_>>()[..] {
            [before, alias, after] => {
                before.split_whitespace().chain([alias]).chain(after.split_whitespace()).collect()
            }
            _ => line.split_whitespace().collect(),
        };
        if !Command::new("ip").args(words).status()?.success() {
            bail!("ip {line} failed");
        }
    }
    Ok(())
}
