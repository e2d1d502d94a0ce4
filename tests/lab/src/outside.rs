//! What is outside of the cloud: a network of public addresses, and behind it a place on the internet.
//!
//! It is a namespace of its own, as the lab's is the management service's machine: what customers send out must end
//! somewhere else. A server in it ([`crate::internet`]) is somebody to talk with.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cloud::wait_for;
use crate::network::{MANAGEMENT, OUTSIDE_BRIDGE, ip};
use crate::program::{output, run};
use crate::state::Lab;

/// The address outside that routers have as their gateway. DNS, HTTP and echo are there.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// The length of its prefix: the network of public addresses.
pub const PREFIX_LEN: u8 = 24;

/// Where the console domain's name server is asked from outside: over TCP.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// Somewhere on the internet, through the gateway. The same is there.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// The IPv6 address that routers have as their gateway, on the link only.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xffff);

/// The prefix that is routed to the cloud, and the length of it.
pub const PREFIX6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x6464, 0, 0, 0, 0, 0);

/// The length of that prefix: room for 16 accounts.
pub const PREFIX6_LEN: u8 = 56;

/// Somewhere on the internet of IPv6, through the gateway. HTTP and echo are there.
pub const INTERNET6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7);

/// The one name that the DNS server outside knows: of [`INTERNET`].
pub const NAME: &str = "www.example.com";

/// The length of the prefix that an account has.
const SLOT_LEN: u8 = 60;

/// The address on the link of the first account's router; the others' follow.
const NEXT_HOP: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, 0);

/// Whether this machine has IPv6.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// How long the server outside may take to start.
const STARTS: Duration = Duration::from_secs(20);

impl Lab {
    /// The name of the network namespace that is outside.
    pub fn outside_namespace(&self) -> String {
        format!("{}-outside", self.namespace())
    }

    /// Runs a command outside and gives its standard output.
    ///
    /// # Errors
    /// When it cannot be started or fails: with the command, its status, and what it said.
    pub fn outside(&self, words: &[&str]) -> anyhow::Result<String> {
        output(self.outside_command().args(words))
    }

    /// What runs a command outside, to which its words can be added.
    pub fn outside_command(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.outside_namespace()]);
        command
    }

    /// Makes the namespace outside, and connects it with the bridge that leads there.
    pub(crate) fn make_outside(&self) -> anyhow::Result<()> {
        let (inside, outside) = (self.namespace(), self.outside_namespace());
        run("ip", &["netns", "add", &outside])?;
        ip(&outside, "link set lo up")?;
        ip(&outside, &format!("addr add {INTERNET}/32 dev lo"))?;
        ip(&inside, &format!("link add uplink type veth peer name eth0 netns {outside}"))?;
        ip(&inside, &format!("link set uplink master {OUTSIDE_BRIDGE} up"))?;
        for address in [GATEWAY, NAME_SERVER] {
            ip(&outside, &format!("addr add {address}/{PREFIX_LEN} dev eth0"))?;
        }
        ip(&outside, "link set eth0 up")?;
        if has_ipv6() { self.make_outside6() } else { Ok(()) }
    }

    /// Gives the outside IPv6. As an operator does, it routes each account's part of the prefix to the address that this
    /// account's router has on the link, once and before there is any router.
    fn make_outside6(&self) -> anyhow::Result<()> {
        let outside = self.outside_namespace();
        run("ip", &["netns", "exec", &outside, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])?;
        ip(&outside, &format!("addr add {INTERNET6}/128 dev lo"))?;
        ip(&outside, &format!("addr add {GATEWAY6}/64 dev eth0 nodad"))?;
        for slot in 0..1 << (SLOT_LEN - PREFIX6_LEN) {
            let part = Ipv6Addr::from_bits(PREFIX6.to_bits() | slot << (128 - SLOT_LEN));
            let router = Ipv6Addr::from_bits(NEXT_HOP.to_bits() | slot);
            ip(&outside, &format!("-6 route add {part}/{SLOT_LEN} via {router} dev eth0"))?;
        }
        Ok(())
    }

    /// Starts the server outside, and waits until it serves.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start_outside(&self) -> anyhow::Result<()> {
        let mut server = self.outside_command();
        server.arg(self.own_program()?).arg("internet");
        self.start(&mut server, "outside")?;
        wait_for("the server outside", STARTS, || {
            self.outside(&["curl", "-sSf", &format!("http://{GATEWAY}/")]).map(Some)
        })?;
        // Pages of consoles are found by its name server, and ask the management service where to go on.
        for (name, listen, port) in [("forward-outside", GATEWAY, 8443), ("forward-names", NAME_SERVER, 53)] {
            let (listen, target) = (format!("{listen}:{port}"), format!("{MANAGEMENT}:{port}"));
            let mut forward = self.outside_command();
            forward.arg(self.own_program()?).args(["forward", &listen, &self.namespace(), &target]);
            self.start(&mut forward, name)?;
        }
        Ok(())
    }
}
