//! The routing appliance, against what else could do its work and against how fast it should be.
//!
//! Usage: `bench-router [PART…]`, all parts if none is named, as root. Each part prints a table and says whether its aims
//! hold; figures and method are in `README.md`.
//!
//! | part | what | needs |
//! | --- | --- | --- |
//! | `boot` | the template's boot, beside the same kernel with busybox alone | QEMU, the template, busybox-static |
//! | `memory` | the least memory with which the template works, and the size of its file | QEMU, the template |
//! | `services` | DHCP and DNS beside dnsmasq: CPU time for each request | dnsmasq |
//! | `traffic` | NAT and balancing beside plain forwarding and haproxy | haproxy |
//! | `rules` | one rule more, with few and with many in force | |
//!
//! The template is `target/images/router/router.qcow2`, or what `PODZOL_ROUTER` names. In the last three parts the router is
//! the program `podzol-appliance` beside this one, in a network namespace. All that competes does so in turn, round by
//! round, as the machine may be busy with other things.

mod boot;
mod debian;
mod dhcp;
mod dns;
mod figures;
mod load;
mod machine;
mod memory;
mod rules;
mod services;
mod traffic;
mod yardstick;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use figures::Aims;

type Part = (&'static str, fn(&mut Aims) -> Result<()>);

const PARTS: [Part; 5] = [
    ("boot", boot::run),
    ("memory", memory::run),
    ("services", services::run),
    ("traffic", traffic::run),
    ("rules", rules::run),
];

fn main() -> Result<()> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    if let Some(other) = named.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        bail!("{other} is no part: they are {}", PARTS.map(|(part, _)| part).join(", "));
    }
    ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root");
    let mut aims = Aims::default();
    for (part, run) in PARTS {
        if named.is_empty() || named.iter().any(|name| name == part) {
            println!("\n{part}");
            run(&mut aims)?;
        }
    }
    aims.print();
    Ok(())
}

/// The router's template.
fn template() -> Result<PathBuf> {
    let chosen = std::env::var_os("PODZOL_ROUTER").map(PathBuf::from);
    let path = chosen.unwrap_or_else(|| "target/images/router/router.qcow2".into());
    ensure!(path.exists(), "{} is not there; make it with: make router", path.display());
    Ok(std::fs::canonicalize(path)?)
}

/// That a program is installed.
fn need(program: &str, package: &str) -> Result<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    let found = folders.iter().map(|folder| folder.join(program)).find(|path| path.exists());
    found.ok_or_else(|| anyhow::anyhow!("{program} is missing. Install it with: apt install {package}"))
}
