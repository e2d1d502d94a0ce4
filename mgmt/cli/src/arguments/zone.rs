//! The command line of zones.

use clap::{Args, Subcommand};

use super::{Delete, List, SetLimits, Which};

#[derive(Debug, Args)]
pub(crate) struct ZoneCreate {
    pub(crate) name: String,
    /// The VLAN ids of its networks, such as 100-199; may be given several times.
    #[arg(long = "vlans", required_unless_present = "vxlans")]
    pub(crate) vlans: Vec<String>,
    /// The VXLAN ids of its networks, such as 5000-5999, for when no VLAN id is left; may be given several times.
    #[arg(long = "vxlans")]
    pub(crate) vxlans: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ZoneVerb {
    /// Creates one.
    Create(ZoneCreate),
    /// Lists them.
    List(List),
    /// Shows one.
    Show(Which),
    /// Deletes one.
    Delete(Delete),
    /// Changes what each VM in one may do at most, where its offering and its account do not say.
    Limit(SetLimits),
    /// Changes the VLAN and VXLAN ids that networks of one may have. What is not named stays.
    Ids {
        /// Its name or id.
        which: String,
        /// The VLAN ids, such as 100-199; may be given several times.
        #[arg(long = "vlans", required_unless_present = "vxlans")]
        vlans: Option<Vec<String>>,
        /// The VXLAN ids, such as 5000-5999; may be given several times.
        #[arg(long = "vxlans")]
        vxlans: Option<Vec<String>>,
    },
    /// Gives one its management network, on which its routers have an address each.
    Management {
        /// Its name or id.
        which: String,
        /// The network's range, such as 10.77.0.0/24.
        #[arg(long)]
        cidr: String,
        /// The addresses for routers, such as 10.77.0.100-10.77.0.199; may be given several times.
        #[arg(long = "range", required = true)]
        ranges: Vec<String>,
        /// The largest packet in bytes.
        #[arg(long, default_value_t = 1500)]
        mtu: u16,
        /// Where the management service is, if that is beyond a gateway: `10.0.0.0/8=10.77.0.1`; may be given several
        /// times.
        #[arg(long = "route", value_name = "TO=VIA")]
        routes: Vec<String>,
    },
    /// Gives one its public network, where the outside is.
    Public {
        /// Its name or id.
        which: String,
        /// The network's range, such as 203.0.113.0/24.
        #[arg(long)]
        cidr: String,
        /// Where packets to the outside go.
        #[arg(long)]
        gateway: String,
        /// The addresses that customers can get, such as 203.0.113.10-203.0.113.99; may be given several times.
        #[arg(long = "range", required = true)]
        ranges: Vec<String>,
        /// A name server that routers ask; may be given several times.
        #[arg(long = "name-server")]
        name_servers: Vec<String>,
        /// The largest packet in bytes.
        #[arg(long, default_value_t = 1500)]
        mtu: u16,
        /// The IPv6 prefix that is routed to it, such as 2001:db8:64::/56: `zone routes6` prints how. What it has stays, if
        /// left out.
        #[arg(long, requires = "gateway6")]
        cidr6: Option<String>,
        /// Where IPv6 packets to the outside go: a link-local address, or one outside of the prefix.
        #[arg(long, requires = "cidr6")]
        gateway6: Option<String>,
    },
    /// Prints the routes that the gateway of the public network of one needs for IPv6. They are set once, and stay what they
    /// are whichever routers there are.
    Routes6 {
        /// Its name or id.
        which: String,
        /// The gateway's interface on the public network: then they are printed as commands for Linux.
        #[arg(long)]
        device: Option<String>,
    },
    /// Changes how many of the largest hosts of one may fail with room left for all VMs.
    SpareHosts {
        /// Its name or id.
        which: String,
        /// 0 to 16.
        hosts: u32,
    },
}
