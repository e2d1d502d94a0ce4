//! The command line of networks, and of what routers do for them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Delete, List, Verb, Wait, Which};

#[derive(Debug, Args)]
pub(crate) struct NetworkCreate {
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) zone: String,
    /// Its addresses, such as 10.1.1.0/24.
    #[arg(long)]
    pub(crate) cidr: String,
    /// Its account; your own if left out.
    #[arg(long)]
    pub(crate) account: Option<String>,
    /// What isolates it, for admins: a VLAN as long as the zone has one left, then a VXLAN, if left out.
    #[arg(long, value_parser = ["vlan", "vxlan"])]
    pub(crate) isolation: Option<String>,
    /// Whether its VMs have a router: they have one where the zone has a public network, if left out.
    #[arg(long, value_parser = ["yes", "no"])]
    pub(crate) router: Option<String>,
    /// What its VMs may send outside, but for egress rules: everything, or nothing.
    #[arg(long, value_parser = ["allow", "deny"])]
    pub(crate) egress: Option<String>,
    /// Gives its VMs an IPv6 address each, from their router by DHCPv6, beside the IPv4 one. Nothing comes in from outside
    /// but what firewall rules let in.
    #[arg(long)]
    pub(crate) ipv6: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkVerb {
    /// Changes what the VMs of one may send outside, but for egress rules, or gives it IPv6.
    Update {
        /// Its name or id.
        which: String,
        /// What its VMs may send outside: everything, or nothing.
        #[arg(long, value_parser = ["allow", "deny"], required_unless_present = "ipv6")]
        egress: Option<String>,
        /// Gives its VMs an IPv6 address each. There is no way back.
        #[arg(long)]
        ipv6: bool,
        #[command(flatten)]
        wait: Wait,
    },
    #[command(flatten)]
    Common(Verb<NetworkCreate>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum RouterVerb {
    /// Lists them.
    List(List),
    /// Shows one.
    Show(Router),
    /// Ends the VM of one and starts it again. Connections through it are lost.
    Restart(ChangeRouter),
    /// Has a new VM, of the newest template, take the place of one. Connections through it are lost.
    Replace(ChangeRouter),
    /// Prints the last lines of the log of one.
    Logs(Router),
    /// Shows what there is in one: links, routes, leases, connections, and with `--rules` its packet filter's rules.
    Diagnose(DiagnoseRouter),
    /// Captures packets of one, into a file that Wireshark and tcpdump read. Each capture is recorded as an event.
    Capture(CaptureRouter),
}

#[derive(Debug, Args)]
pub(crate) struct DiagnoseRouter {
    /// Its id, or the name of its account if that has one router only.
    pub(crate) which: String,
    /// Shows the rules of its packet filter too.
    #[arg(long)]
    pub(crate) rules: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CaptureRouter {
    /// Its id, or the name of its account if that has one router only.
    pub(crate) which: String,
    /// Of which link.
    #[arg(long, value_parser = ["guest", "public", "management"])]
    pub(crate) link: String,
    /// Of which network, for the link `guest`, if the router has several.
    #[arg(long)]
    pub(crate) network: Option<String>,
    /// How long it takes at most: 1 to 60.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u32,
    /// How many bytes the file has at most: 1024 to 4194304, which is also what it is if left out.
    #[arg(long)]
    pub(crate) bytes: Option<u32>,
    /// How many bytes of each packet are kept: 64 to 65535; all if left out.
    #[arg(long)]
    pub(crate) snap_bytes: Option<u32>,
    /// Only packets from or to this address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Option<String>,
    /// Only packets of this protocol.
    #[arg(long, value_parser = ["tcp", "udp", "icmp", "icmp6", "arp"])]
    pub(crate) protocol: Option<String>,
    /// Only packets of TCP or UDP from or to this port.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// The file; `-` for standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Router {
    /// Its id, or the name of its account if that has one router only.
    pub(crate) which: String,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeRouter {
    /// Its id, or the name of its account if that has one router only.
    pub(crate) which: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PublicIpVerb {
    /// Allocates one.
    Allocate {
        /// Its zone.
        #[arg(long)]
        zone: String,
        /// Its account; your own if left out.
        #[arg(long)]
        account: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Lists them.
    List(List),
    /// Lists those that were given back and that nobody can get yet, as routers may still have them in force; for admins.
    Held,
    /// Shows one.
    Show(Which),
    /// Releases one; anybody can get it once the account's router has let go of it.
    Release(Delete),
}

/// What can be done with rules. `C` is what a create takes, `U` what an update does.
#[derive(Debug, Subcommand)]
pub(crate) enum RuleVerb<C: Args, U: Args> {
    /// Creates one.
    Create(C),
    /// Lists them.
    List(List),
    /// Shows one.
    Show(Which),
    /// Changes one. What is not named stays.
    Update(U),
    /// Deletes one.
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct PortForwardCreate {
    /// The public address.
    #[arg(long)]
    pub(crate) public_ip: String,
    #[arg(long, default_value = "tcp", value_parser = ["tcp", "udp"])]
    pub(crate) transport: String,
    /// The ports outside: `80`, or `8000-8010`.
    #[arg(long)]
    pub(crate) ports: String,
    /// The VM that they lead to.
    #[arg(long)]
    pub(crate) vm: String,
    /// In which of its networks, if it is in several with a router.
    #[arg(long)]
    pub(crate) network: Option<String>,
    /// The VM's port that the first one leads to; the same if left out.
    #[arg(long)]
    pub(crate) to_port: Option<u16>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct PortForwardUpdate {
    /// Its id.
    pub(crate) which: String,
    #[arg(long, value_parser = ["tcp", "udp"])]
    pub(crate) transport: Option<String>,
    /// The ports outside: `80`, or `8000-8010`.
    #[arg(long)]
    pub(crate) ports: Option<String>,
    /// The VM that they lead to.
    #[arg(long)]
    pub(crate) vm: Option<String>,
    /// In which of its networks, if it is in several with a router.
    #[arg(long, requires = "vm")]
    pub(crate) network: Option<String>,
    /// The VM's port that the first one leads to.
    #[arg(long)]
    pub(crate) to_port: Option<u16>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct StaticNatCreate {
    /// The public address.
    #[arg(long)]
    pub(crate) public_ip: String,
    /// The VM.
    #[arg(long)]
    pub(crate) vm: String,
    /// In which of its networks, if it is in several with a router.
    #[arg(long)]
    pub(crate) network: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct StaticNatUpdate {
    /// Its id.
    pub(crate) which: String,
    /// The VM.
    #[arg(long)]
    pub(crate) vm: String,
    /// In which of its networks, if it is in several with a router.
    #[arg(long)]
    pub(crate) network: Option<String>,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// Which packets a rule is about.
#[derive(Debug, Args)]
pub(crate) struct Packets {
    #[arg(long, value_parser = ["all", "tcp", "udp", "icmp", "icmpv6"])]
    pub(crate) protocol: Option<String>,
    /// Of TCP and UDP: to which ports, `80` or `8000-8010`; to all if left out.
    #[arg(long, requires = "protocol")]
    pub(crate) ports: Option<String>,
    /// Of ICMP and ICMPv6: of which type; of any if left out.
    #[arg(long, requires = "protocol")]
    pub(crate) icmp_type: Option<u8>,
    /// Of ICMP and ICMPv6: with which code; with any if left out.
    #[arg(long, requires = "icmp_type")]
    pub(crate) icmp_code: Option<u8>,
}

#[derive(Debug, Args)]
pub(crate) struct FirewallCreate {
    /// To which public address, over IPv4.
    #[arg(long, required_unless_present = "network")]
    pub(crate) public_ip: Option<String>,
    /// To which network, over IPv6.
    #[arg(long, conflicts_with = "public_ip")]
    pub(crate) network: Option<String>,
    /// To which VM in that network; to all if left out.
    #[arg(long, requires = "network")]
    pub(crate) vm: Option<String>,
    /// From where, such as 198.51.100.0/24 or 2001:db8::/32; may be given several times; from everywhere if left out.
    #[arg(long = "source")]
    pub(crate) sources: Vec<String>,
    #[command(flatten)]
    pub(crate) packets: Packets,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct FirewallUpdate {
    /// Its id.
    pub(crate) which: String,
    /// From where, such as 198.51.100.0/24; may be given several times.
    #[arg(long = "source")]
    pub(crate) sources: Vec<String>,
    #[command(flatten)]
    pub(crate) packets: Packets,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct EgressCreate {
    /// Which network.
    #[arg(long)]
    pub(crate) network: String,
    /// From which of its addresses; may be given several times; from all if left out.
    #[arg(long = "source")]
    pub(crate) sources: Vec<String>,
    /// To where, all over IPv4 or all over IPv6; may be given several times; to everywhere over IPv4 if left out.
    #[arg(long = "destination")]
    pub(crate) destinations: Vec<String>,
    #[command(flatten)]
    pub(crate) packets: Packets,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct EgressUpdate {
    /// Its id.
    pub(crate) which: String,
    /// From which of its network's addresses; may be given several times.
    #[arg(long = "source")]
    pub(crate) sources: Vec<String>,
    /// To where; may be given several times.
    #[arg(long = "destination")]
    pub(crate) destinations: Vec<String>,
    #[command(flatten)]
    pub(crate) packets: Packets,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

/// How members of a balancer are looked after.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// How it is found out whether a member works: `tcp`, or `http:/path`.
    #[arg(long)]
    pub(crate) check: Option<String>,
    /// How often, in milliseconds.
    #[arg(long, requires = "check")]
    pub(crate) check_interval: Option<u32>,
    /// How long it may take, in milliseconds.
    #[arg(long, requires = "check")]
    pub(crate) check_timeout: Option<u32>,
}

/// What a balancer of HTTP does with requests.
#[derive(Debug, Args)]
pub(crate) struct Http {
    /// Of HTTP: the name of a cookie that keeps a client on its member.
    #[arg(long)]
    pub(crate) cookie: Option<String>,
    /// Of HTTP by TLS: a file with the certificate and those between it and its authority, in this order, as PEM.
    #[arg(long, requires = "private_key_file")]
    pub(crate) certificate_file: Option<PathBuf>,
    /// Of HTTP by TLS: a file with the certificate's private key as PEM. It is never shown again.
    #[arg(long, requires = "certificate_file")]
    pub(crate) private_key_file: Option<PathBuf>,
    /// Of HTTP: how many clients' connections there are at a time.
    #[arg(long)]
    pub(crate) max_connections: Option<u32>,
    /// Of HTTP: how long somebody may say nothing in the middle of a request or an answer, in seconds.
    #[arg(long)]
    pub(crate) idle_secs: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct LoadBalancerCreate {
    pub(crate) name: String,
    /// The public address.
    #[arg(long)]
    pub(crate) public_ip: String,
    /// What it looks at: connections of TCP or UDP, or requests of HTTP, in the clear or by TLS that ends at the router.
    #[arg(long, visible_alias = "transport", default_value = "tcp", value_parser = ["tcp", "udp", "http", "https"])]
    pub(crate) protocol: String,
    #[arg(long)]
    pub(crate) port: u16,
    /// Which member a new connection goes to; of HTTP, a new request. With least_load that is one by chance, in the proportions
    /// of their weights; of HTTP, the one with the fewest connections for its weight.
    #[arg(long, default_value = "round_robin", value_parser = ["round_robin", "source_hash", "least_load"])]
    pub(crate) method: String,
    /// A VM that it leads to, with its port and its weight; may be given several times.
    #[arg(long = "member", value_name = "VM[:PORT[:WEIGHT]]")]
    pub(crate) members: Vec<String>,
    #[command(flatten)]
    pub(crate) check: Check,
    #[command(flatten)]
    pub(crate) http: Http,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct LoadBalancerUpdate {
    /// Its name or id.
    pub(crate) which: String,
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Which member a new connection goes to.
    #[arg(long, value_parser = ["round_robin", "source_hash", "least_load"])]
    pub(crate) method: Option<String>,
    /// All VMs that it leads to, with their ports and weights; may be given several times.
    #[arg(long = "member", value_name = "VM[:PORT[:WEIGHT]]", conflicts_with_all = ["drain", "undrain"])]
    pub(crate) members: Vec<String>,
    /// A VM that is to get no new connections; may be given several times.
    #[arg(long, value_name = "VM")]
    pub(crate) drain: Vec<String>,
    /// A VM that is to get new connections again; may be given several times.
    #[arg(long, value_name = "VM")]
    pub(crate) undrain: Vec<String>,
    /// Looks after members no more.
    #[arg(long, conflicts_with = "check")]
    pub(crate) no_check: bool,
    #[command(flatten)]
    pub(crate) check: Check,
    #[command(flatten)]
    pub(crate) http: Http,
    /// Keeps clients of HTTP on their members no more.
    #[arg(long, conflicts_with = "cookie")]
    pub(crate) no_cookie: bool,
    /// Takes certificate and key away: requests come in the clear.
    #[arg(long, conflicts_with = "certificate_file")]
    pub(crate) no_tls: bool,
    #[command(flatten)]
    pub(crate) wait: Wait,
}
