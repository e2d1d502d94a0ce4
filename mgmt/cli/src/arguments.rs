//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

mod console;
mod network;
mod template;
mod vm;
mod zone;

pub(crate) use console::{Console, ConsoleCertificateVerb, ConsoleProxyVerb, ConsoleSessionVerb};
pub(crate) use network::{
    CaptureRouter, ChangeRouter, Check, DiagnoseRouter, EgressCreate, EgressUpdate, FirewallCreate,
    FirewallUpdate, Http, LoadBalancerCreate, LoadBalancerUpdate, NetworkVerb, Packets, PortForwardCreate,
    PortForwardUpdate, PublicIpVerb, RouterVerb, RuleVerb, StaticNatCreate, StaticNatUpdate,
};
pub(crate) use template::{TemplateCreate, TemplateVerb};
pub(crate) use vm::{IsoVerb, NicVerb, VmCreate, VmVerb, VolumeVerb};
pub(crate) use zone::ZoneVerb;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  refused by the API, or an operation failed
  2  wrong usage
  3  the API is not reached, or there is no key or certificate to reach it with
  4  an operation has not ended in time; it goes on";

/// Operates a Podzol cloud.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Where the API is.
    #[arg(long, env = "PODZOL_URL", default_value = "https://localhost:8443", global = true)]
    pub(crate) url: String,
    /// The certificate of the installation's authority (PEM); the machine's own list of authorities if left out.
    #[arg(long, env = "PODZOL_CA_FILE", global = true)]
    pub(crate) ca_file: Option<PathBuf>,
    /// A file with the API key. The key itself may be in the variable PODZOL_KEY instead.
    #[arg(long, env = "PODZOL_KEY_FILE", global = true)]
    pub(crate) key_file: Option<PathBuf>,
    /// Prints JSON, as the API answers.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Zones: pods in one place.
    #[command(subcommand)]
    Zone(ZoneVerb),
    /// Pods: hosts and storage servers on one switch.
    #[command(subcommand)]
    Pod(Verb<PodCreate>),
    /// Hosts: computing servers.
    #[command(subcommand)]
    Host(HostVerb),
    /// Storage servers.
    #[command(subcommand)]
    StorageServer(Verb<InPod>),
    /// Pools: places for volumes on storage servers.
    #[command(subcommand)]
    Pool(Verb<PoolCreate>),
    /// Offerings: named sizes with limits.
    #[command(subcommand)]
    Offering(OfferingVerb),
    /// Templates: bootable disk images, and ISOs.
    #[command(subcommand)]
    Template(TemplateVerb),
    /// Accounts: customers.
    #[command(subcommand)]
    Account(AccountVerb),
    /// Users of accounts.
    #[command(subcommand)]
    User(Verb<UserCreate>),
    /// API keys of users.
    #[command(subcommand)]
    Key(Verb<KeyCreate>),
    /// Networks: private layer-2 segments.
    #[command(subcommand)]
    Network(NetworkVerb),
    /// Routers: the VMs that connect networks with the outside.
    #[command(subcommand)]
    Router(RouterVerb),
    /// Public addresses.
    #[command(subcommand)]
    PublicIp(PublicIpVerb),
    /// Port forwards: ports of public addresses that lead to VMs.
    #[command(subcommand)]
    PortForward(RuleVerb<PortForwardCreate, PortForwardUpdate>),
    /// Static NAT: public addresses that are a VM's.
    #[command(subcommand)]
    StaticNat(RuleVerb<StaticNatCreate, StaticNatUpdate>),
    /// Firewall rules: what may come in from outside.
    #[command(subcommand)]
    Firewall(RuleVerb<FirewallCreate, FirewallUpdate>),
    /// Egress rules: exceptions to what networks may send outside.
    #[command(subcommand)]
    Egress(RuleVerb<EgressCreate, EgressUpdate>),
    /// Load balancers: ports of public addresses that lead to several VMs.
    #[command(subcommand)]
    LoadBalancer(RuleVerb<LoadBalancerCreate, LoadBalancerUpdate>),
    /// Affinity groups: VMs that keep together or apart.
    #[command(subcommand)]
    AffinityGroup(Verb<AffinityGroupCreate>),
    /// VMs.
    #[command(subcommand)]
    Vm(VmVerb),
    /// Opens the console of a VM in a browser: prints a link, which is good once and for a minute.
    Console(Console),
    /// Console sessions: who looks at which VM.
    #[command(subcommand)]
    ConsoleSession(ConsoleSessionVerb),
    /// Console proxies: the VMs that show consoles.
    #[command(subcommand)]
    ConsoleProxy(ConsoleProxyVerb),
    /// The wildcard certificate that console proxies show to browsers.
    #[command(subcommand)]
    ConsoleCertificate(ConsoleCertificateVerb),
    /// Volumes: virtual disks.
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Operations: the work that calls have started.
    #[command(subcommand)]
    Operation(OperationVerb),
    /// Events: who did what to what, when.
    #[command(subcommand)]
    Event(EventVerb),
    /// Shows all differences between what should exist and what does; ends with 1 if there are any.
    Doctor {
        /// Has what differs mended at once, as far as that goes by itself.
        #[arg(long)]
        repair: bool,
    },
    /// Shows how many more VMs of each offering fit into each pod, and what runs out first.
    Capacity,
    /// Prints a script that completes commands in a shell.
    Completion {
        /// Which shell.
        shell: Shell,
    },
}

/// What can be done with most things. `C` is what a create takes.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb<C: Args> {
    /// Creates one.
    Create(C),
    /// Lists them.
    List(List),
    /// Shows one.
    Show(Which),
    /// Deletes one.
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Its name or id.
    pub(crate) which: String,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those that match, such as `state=running`; a name or an id after `account=`, `network=` and `host=`.
    #[arg(long = "filter", value_name = "FIELD=VALUE")]
    pub(crate) filters: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Its name or id.
    pub(crate) which: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Wait {
    /// Waits until the operation has ended, showing how far it is.
    #[arg(long)]
    pub(crate) wait: bool,
    /// The longest to wait, in seconds.
    #[arg(long, default_value_t = 600, requires = "wait")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OfferingVerb {
    /// Changes what each VM of one may do at most.
    Limit(SetLimits),
    #[command(flatten)]
    Common(Verb<OfferingCreate>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountVerb {
    /// Creates one.
    Create(AccountCreate),
    /// Lists them.
    List(List),
    /// Shows one, with what it has.
    Show(Which),
    /// Deletes one.
    Delete(Delete),
    /// Changes what each VM of one may do at most, where its offering does not say.
    Limit(SetLimits),
    /// Prints what went through the routers of one in a time, by public addresses and VMs.
    Traffic {
        /// Its name or id.
        which: String,
        /// From when on, such as 2026-11-01T00:00:00Z; 30 days before the end if left out. Hours count that begin after it.
        #[arg(long)]
        from: Option<String>,
        /// Until when; until now if left out.
        #[arg(long)]
        to: Option<String>,
    },
    /// Changes how much one may have.
    Quota {
        /// Its name or id.
        which: String,
        /// What, and how much of it, or `none` for no limit: `vms`, `vcpus`, `memory_mib`, `volumes`, `storage_gib`,
        /// `networks`, `addresses`, `api_requests_per_second`. What is not named stays.
        #[arg(value_name = "WHAT=MOST", required = true)]
        quotas: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SetLimits {
    /// Its name or id.
    pub(crate) which: String,
    /// What, and how much of it, or `none` for no limit: `network_mbps`, `iops`. What is not named stays.
    #[arg(value_name = "WHAT=MOST", required = true)]
    pub(crate) limits: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PodCreate {
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) zone: String,
}

#[derive(Debug, Args)]
pub(crate) struct InPod {
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) pod: String,
}

#[derive(Debug, Args)]
pub(crate) struct PoolCreate {
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) storage_server: String,
    /// Its folder on the storage server.
    #[arg(long)]
    pub(crate) path: String,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Debug, Args)]
pub(crate) struct OfferingCreate {
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) vcpus: u32,
    #[arg(long)]
    pub(crate) memory_mib: u64,
    #[arg(long)]
    pub(crate) disk_gib: u64,
    /// Weight when CPU time is scarce; 100 is ordinary.
    #[arg(long)]
    pub(crate) cpu_share: Option<u32>,
    /// The most network traffic each way in Mbit/s.
    #[arg(long)]
    pub(crate) network_mbps: Option<u64>,
    /// The most disk operations a second.
    #[arg(long)]
    pub(crate) iops: Option<u64>,
    /// A tag that a host must have for a VM of it; may be given several times.
    #[arg(long = "tag")]
    pub(crate) tags: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AccountCreate {
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct UserCreate {
    pub(crate) name: String,
    /// Its account; your own if left out.
    #[arg(long)]
    pub(crate) account: Option<String>,
    /// `customer` or `admin`.
    #[arg(long, default_value = "customer")]
    pub(crate) role: String,
}

#[derive(Debug, Args)]
pub(crate) struct KeyCreate {
    pub(crate) name: String,
    /// Its user; you if left out.
    #[arg(long)]
    pub(crate) user: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostVerb {
    /// Creates one, and prints the token with which it joins.
    Create(InPod),
    /// Lists them.
    List(List),
    /// Shows one.
    Show(Which),
    /// Removes one without VMs.
    Delete(Delete),
    /// Replaces all tags of one.
    Tag {
        /// Its name or id.
        which: String,
        /// The tags; none if left out.
        tags: Vec<String>,
    },
    /// Keeps new VMs away from one and moves those on it to others, or lets VMs come again.
    Maintenance {
        /// Its name or id.
        which: String,
        /// `on` or `off`.
        #[arg(value_parser = ["on", "off"])]
        switch: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AffinityGroupCreate {
    pub(crate) name: String,
    /// `affinity`: its VMs keep together on one host; `anti_affinity`: no two of them share one.
    #[arg(long)]
    pub(crate) policy: String,
    /// Its account; your own if left out.
    #[arg(long)]
    pub(crate) account: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperationVerb {
    /// Lists them.
    List(List),
    /// Shows one.
    Show(Which),
    /// Waits until one has ended.
    Wait {
        /// Its id.
        which: String,
        /// The longest to wait, in seconds.
        #[arg(long, default_value_t = 600)]
        timeout: u64,
    },
    /// Asks to cancel one.
    Cancel(Which),
    /// Tries a failed one again.
    Retry(Delete),
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventVerb {
    /// Lists them, oldest first.
    List(List),
}
