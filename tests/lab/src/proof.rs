//! Proving who reaches whom, by asking the VMs themselves.

use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::cloud::wait_with;
use crate::console::Console;
use crate::demo::ACCOUNTS;
use crate::state::Lab;

/// How long a VM may take to boot, and to answer.
const BOOT: Duration = Duration::from_secs(600);
const ANSWER: Duration = Duration::from_secs(90);

/// Where a VM's own data is.
const METADATA: &str = "http://169.254.169.254/latest/meta-data";

/// How often to read the console of a VM that boots.
const LOOK: Duration = Duration::from_secs(1);

/// A VM of the lab, as the proof needs it.
#[derive(Debug, Clone)]
pub struct DemoVm {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its account.
    pub account: String,
    /// Its address.
    pub address: String,
    /// The name of its host.
    pub host: String,
}

/// How many VMs each of the two customers has.
pub(crate) const VMS_EACH: usize = 2;

/// The name of a customer's VM, counted from 1.
pub(crate) fn name_of(account: &str, number: usize) -> String {
    format!("{account}-{number}")
}

/// Whether a VM of that name is one that the lab made.
pub fn is_demo_vm(name: &str) -> bool {
    ACCOUNTS.iter().any(|account| (1..=VMS_EACH).any(|number| name_of(account, number) == name))
}

/// The running VMs of the two customers.
///
/// # Errors
/// When the lab is not up.
pub fn demo_vms(lab: &Lab) -> anyhow::Result<Vec<DemoVm>> {
    let cloud = lab.cloud()?;
    let mut vms = Vec::new();
    for account in ACCOUNTS {
        let listed = cloud.podzol(&format!("vm list --filter account={account} --filter state=running"))?;
        for vm in listed.as_array().into_iter().flatten() {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let host = cloud.podzol(&format!("host show {}", text(&vm["host"])))?;
            vms.push(DemoVm {
                id: text(&vm["id"]),
                name: text(&vm["name"]),
                account: account.to_owned(),
                address: text(&vm["nics"][0]["address"]),
                host: text(&host["name"]),
            });
        }
    }
    Ok(vms)
}

/// Waits until VMs have said on their serial ports that they are ready.
///
/// # Errors
/// When one has not in time.
pub fn wait_ready(lab: &Lab, vms: &[DemoVm]) -> anyhow::Result<()> {
    let cloud = lab.cloud()?;
    for vm in vms {
        let ready = format!("tiny ready {}", vm.name);
        wait_with(&format!("VM {} to be ready", vm.name), BOOT, LOOK, || {
            let log = cloud.podzol(&format!("vm console-log {}", vm.id))?;
            let text = log["text"].as_str().unwrap_or_default();
            if text.lines().any(|line| line.trim_end() == ready) {
                return Ok(Some(()));
            }
            bail!(
                "its serial port says: {:?}",
                text.chars().rev().take(200).collect::<Vec<_>>().iter().rev().collect::<String>()
            )
        })?;
    }
    Ok(())
}

/// Checks that each account's VMs are on different hosts, so that what they say to each other goes between hosts.
///
/// # Errors
/// When two of an account are on the same.
pub(crate) fn are_spread(vms: &[DemoVm]) -> anyhow::Result<()> {
    for (number, one) in vms.iter().enumerate() {
        let beside = |other: &&DemoVm| other.account == one.account && other.host == one.host;
        if let Some(other) = vms[..number].iter().find(beside) {
            bail!(
                "{} and {} are both on {}, and should be on different hosts",
                other.name,
                one.name,
                one.host
            );
        }
    }
    Ok(())
}

/// Has every VM ask for the name of who is at each address of all VMs, and checks that it is a neighbour of its own
/// account, whoever else has the same address. Gives the answers as a table.
///
/// # Errors
/// When a VM does not reach one of its own account, or reaches another's.
pub fn reachability(lab: &Lab, vms: &[DemoVm]) -> anyhow::Result<String> {
    let mut addresses: Vec<&str> = vms.iter().map(|vm| vm.address.as_str()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut table = format!("{:<12} {:<6}", "FROM", "HOST");
    addresses.iter().for_each(|address| table.push_str(&format!(" {address:<12}")));
    table.push('\n');
    for from in vms {
        let mut console = Console::open(&lab.ssh(&lab.host(&from.host)?), &from.id)?;
        table.push_str(&format!("{:<12} {:<6}", from.name, from.host));
        for address in &addresses {
            let own = vms.iter().find(|vm| vm.account == from.account && vm.address == *address);
            let answer = who(&mut console, address)?;
            let expected = own.map(|vm| vm.name.clone());
            if answer != expected {
                bail!("{} at {address} reaches {answer:?}, and should reach {expected:?}", from.name);
            }
            table.push_str(&format!(" {:<12}", answer.as_deref().unwrap_or("nobody")));
        }
        table.push('\n');
    }
    Ok(table)
}

/// Has every VM say what it has from its router: the address of its lease, which is what its own name is known by in the network,
/// what the metadata service calls it, and as whom it is seen by somebody outside, which must be its account's router. Gives the
/// answers as a table.
///
/// # Errors
/// When a VM lacks something of that, or has another's.
pub fn from_routers(lab: &Lab, vms: &[DemoVm]) -> anyhow::Result<String> {
    let cloud = lab.cloud()?;
    let columns = ("FROM", "LEASE", "NAME THERE", "METADATA SAYS", "SEEN OUTSIDE AS");
    let row = |(vm, lease, name, says, seen): (&str, &str, &str, &str, &str)| {
        format!("{vm:<12} {lease:<12} {name:<28} {says:<14} {seen}\n")
    };
    let mut table = row(columns);
    for account in ACCOUNTS {
        let routers = cloud.podzol(&format!("router list --filter account={account}"))?;
        let source = routers[0]["source_nat"].as_str().with_context(|| format!("{account} has no router"))?;
        for from in vms.iter().filter(|vm| vm.account == account) {
            let mut console = Console::open(&lab.ssh(&lab.host(&from.host)?), &from.id)?;
            let lease = console.ask("ip", ANSWER)?.join(" ");
            ensure!(lease.contains(&from.address), "{} has {lease}, and not {}", from.name, from.address);
            let name = format!("{}.net.{account}.internal", from.name);
            let found = console.ask(&format!("sh nslookup {name}"), ANSWER)?.join(" ");
            ensure!(found.contains(&format!("Address: {}", from.address)), "{name} is not found: {found}");
            let says = console.ask(&format!("sh wget -qO- {METADATA}/local-hostname"), ANSWER)?.concat();
            ensure!(says.trim() == from.name, "{} is called {says} by its metadata", from.name);
            let seen = seen_outside_as(&mut console)?;
            ensure!(seen == source, "{} is seen outside as {seen}, and should be as {source}", from.name);
            table.push_str(&row((&from.name, &from.address, &name, says.trim(), &seen)));
        }
    }
    Ok(table)
}

/// As whom somebody outside sees a VM that asks by a name.
///
/// # Errors
/// When nobody there answers.
pub fn seen_outside_as(console: &mut Console) -> anyhow::Result<String> {
    let lines = console.ask("sh wget -qO- http://www.example.com/", ANSWER)?;
    Ok(lines.concat().trim().to_owned())
}

/// Who answers at an address, as a VM sees it; nobody if nobody does.
///
/// # Errors
/// When the VM does not answer itself.
pub fn who(console: &mut Console, address: &str) -> anyhow::Result<Option<String>> {
    match console.ask(&format!("who {address}"), ANSWER) {
        Ok(lines) => Ok(Some(
            lines.last().context("an empty answer")?.rsplit(' ').next().unwrap_or_default().to_owned(),
        )),
        Err(error) if error.to_string().contains("fails at") => Ok(None),
        Err(error) => Err(error),
    }
}
