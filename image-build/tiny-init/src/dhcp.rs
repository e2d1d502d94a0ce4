//! DHCP through busybox: PID 1 starts `udhcpc` once per link, and the same program is its lease script.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::Route;
use crate::net;
use crate::netlink::Netlink;

/// How long to wait for the first lease before the machine is called ready.
const PATIENCE: Duration = Duration::from_secs(8);

/// Starts a client for each link and waits for their leases. Gives notes about those that have none yet.
pub(crate) fn obtain(links: &[&str], hostname: &str) -> Vec<String> {
    let mut notes = Vec::new();
    for link in links {
        let option = format!("hostname:{hostname}");
        let started = Command::new("/bin/busybox")
            .args(["udhcpc", "-f", "-i", link, "-s", "/init", "-t", "5", "-T", "1", "-A", "2", "-x", &option])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if let Err(error) = started {
            notes.push(format!("{link}: udhcpc: {error}"));
        }
    }
    let start = Instant::now();
    let missing = || links.iter().filter(|link| !lease_file(link).exists());
    while missing().next().is_some() && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(20));
    }
    notes.extend(missing().map(|link| format!("{link}: no lease yet")));
    notes
}

fn lease_file(link: &str) -> PathBuf {
    PathBuf::from(format!("/run/lease.{link}"))
}

/// What `udhcpc` calls: the event is the first argument, the lease is in the environment.
pub(crate) fn script_main() -> ExitCode {
    let event = env::args().nth(1).unwrap_or_default();
    if !matches!(event.as_str(), "bound" | "renew") {
        return ExitCode::SUCCESS;
    }
    match take_lease() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lease: {error}");
            ExitCode::FAILURE
        }
    }
}

fn take_lease() -> Result<(), String> {
    let value = |name: &str| env::var(name).map_err(|_| format!("no `{name}` in the lease"));
    let failed = |error: std::io::Error| error.to_string();
    let link = value("interface")?;
    let ip: Ipv4Addr = value("ip")?.parse().map_err(|_| "bad address")?;
    let length: u8 = value("mask").map_or(Ok(24), |text| text.parse()).map_err(|_| "bad mask")?;
    let index = net::index_of(&link).map_err(failed)?;
    let mut netlink = Netlink::open().map_err(failed)?;
    let mtu = value("mtu").ok().and_then(|text| text.parse().ok());
    netlink.link_up(index, mtu).map_err(failed)?;
    netlink.add_address(index, (IpAddr::V4(ip), length)).map_err(failed)?;
    let router = value("router").unwrap_or_default();
    if let Some(Ok(via)) = router.split(' ').next().map(str::parse) {
        let to = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        netlink.add_route(index, Route { to, via, on_link: false }).map_err(failed)?;
    }
    let servers = value("dns").unwrap_or_default();
    let lines: String = servers.split_whitespace().map(|server| format!("nameserver {server}\n")).collect();
    fs::write("/etc/resolv.conf", lines).map_err(failed)?;
    fs::write(lease_file(&link), format!("{ip}/{length}\n")).map_err(failed)
}
