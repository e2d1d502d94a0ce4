//! What the scenarios share: the lab that is up, and looking into its servers.
//!
//! The scenarios themselves are in `tests/scenarios`. They share one lab, which most of them have for themselves
//! meanwhile ([`lab`]); some share it with others ([`lab_beside_others`]).

pub mod capture;
pub mod pings;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use anyhow::Context;
use podzol_lab::cloud::wait_for;
use podzol_lab::demo::ACCOUNTS;
use podzol_lab::proof::{self, DemoVm};
use podzol_lab::{Cloud, Console, Lab};
use serde_json::Value;

static LAB: RwLock<()> = RwLock::new(());

/// The lab that is up, for as long as this is held.
#[derive(Debug)]
pub struct Held<Hold> {
    lab: Lab,
    _hold: Hold,
}

impl<Hold> Deref for Held<Hold> {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

/// The lab that is up, which no other scenario has, with the VMs that it was made with and no others: a scenario that failed
/// may have left some, and what it stopped.
///
/// # Errors
/// When no lab is up: says how to bring one up. When a VM cannot be removed or started.
pub fn lab() -> anyhow::Result<Held<RwLockWriteGuard<'static, ()>>> {
    // A scenario that failed is no reason for the others to fail.
    let hold = LAB.write().unwrap_or_else(PoisonError::into_inner);
    let lab = lab_of_tree()?;
    let admin = lab.cloud()?;
    remove_rules(&admin)?;
    let vms = admin.podzol("vm list")?;
    for vm in vms.as_array().into_iter().flatten() {
        let text = |field: &str| vm[field].as_str().unwrap_or_default();
        let id = text("id");
        match text("state") {
            _ if !proof::is_demo_vm(text("name")) => admin.podzol(&format!("vm delete {id} --wait"))?,
            "paused" => admin.podzol(&format!("vm resume {id} --wait"))?,
            "stopped" | "failed" => admin.podzol(&format!("vm start {id} --wait"))?,
            _ => continue,
        };
    }
    Ok(Held { lab, _hold: hold })
}

/// Removes all that routers do for customers but what they do for everybody, and the addresses for that.
fn remove_rules(admin: &Cloud) -> anyhow::Result<()> {
    let each = |noun: &str, verb: &str, goes: &dyn Fn(&Value) -> bool| {
        let things = admin.podzol(&format!("{noun} list"))?;
        for thing in things.as_array().into_iter().flatten().filter(|thing| goes(thing)) {
            let id = thing["id"].as_str().context("a thing without an id")?;
            admin.podzol(&format!("{noun} {verb} {id} --wait"))?;
        }
        anyhow::Ok(())
    };
    for noun in ["port-forward", "static-nat", "firewall", "egress", "load-balancer"] {
        each(noun, "delete", &|_| true)?;
    }
    // Console proxies have addresses too.
    let accounts = admin.podzol("account list")?;
    let is_customer =
        |account: &&Value| account["name"].as_str().is_some_and(|name| ACCOUNTS.contains(&name));
    let customers: Vec<&Value> =
        accounts.as_array().into_iter().flatten().filter(is_customer).map(|account| &account["id"]).collect();
    let is_given_back =
        |address: &Value| address["source_nat"] == false && customers.contains(&&address["account"]);
    each("public-ip", "release", &is_given_back)
}

/// The lab that is up, which other scenarios that ask for it like this may have too.
///
/// # Errors
/// When no lab is up: says how to bring one up.
pub fn lab_beside_others() -> anyhow::Result<Held<RwLockReadGuard<'static, ()>>> {
    let hold = LAB.read().unwrap_or_else(PoisonError::into_inner);
    Ok(Held { lab: lab_of_tree()?, _hold: hold })
}

fn lab_of_tree() -> anyhow::Result<Lab> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Lab::of(&tree, Path::new("target/debug"))
}

/// The cloud as a user of an account sees it.
///
/// # Errors
/// When the lab has no such account.
pub fn account(lab: &Lab, name: &str) -> anyhow::Result<Cloud> {
    let json = lab.read()?;
    let account = json.accounts.get(name).with_context(|| format!("the lab has no account {name}"))?;
    Ok(lab.cloud()?.with_key(&account.key))
}

/// The links of networks on a host, by name, as its kernel shows them; without the ports of VMs.
///
/// # Errors
/// When the host does not answer.
pub fn links_of_podzol(lab: &Lab, host: &str) -> anyhow::Result<BTreeSet<String>> {
    let text = lab.ssh(&lab.host(host)?).run("ip -o link show")?;
    let name =
        |line: &str| line.split(": ").nth(1).map(|name| name.split('@').next().unwrap_or(name).to_owned());
    Ok(text
        .lines()
        .filter_map(name)
        .filter(|name| ["pzb", "pzv", "pzx"].iter().any(|ours| name.starts_with(ours)))
        .collect())
}

/// The VLAN id of an account's network.
///
/// # Errors
/// When there is none.
pub fn vlan(lab: &Lab, account: &str) -> anyhow::Result<u64> {
    let networks = lab.cloud()?.podzol(&format!("network list --filter account={account}"))?;
    networks[0]["vlan"].as_u64().with_context(|| format!("{account} has no network"))
}

/// Waits until a VM is in a state.
///
/// # Errors
/// When it is not in time: with the state that it was in last.
pub fn wait_state(cloud: &Cloud, vm: &str, state: &str) -> anyhow::Result<Value> {
    wait_for(&format!("VM {vm} to be {state}"), Duration::from_secs(300), || {
        let shown = cloud.podzol(&format!("vm show {vm}"))?;
        anyhow::ensure!(shown["state"] == state, "it is {}: {}", shown["state"], shown["error"]);
        Ok(Some(shown))
    })
}

/// The serial port of a VM, wherever it runs.
///
/// # Errors
/// When it does not run, or its host does not answer.
pub fn console_of(lab: &Lab, admin: &Cloud, vm: &str) -> anyhow::Result<Console> {
    let shown = admin.podzol(&format!("vm show {vm}"))?;
    let host = admin.podzol(&format!("host show {}", shown["host"].as_str().context("it has no host")?))?;
    let host = lab.host(host["name"].as_str().context("the host has no name")?)?;
    Console::open(&lab.ssh(&host), shown["id"].as_str().context("it has no id")?)
}

/// The hosts on which a VM has a QEMU process.
///
/// # Errors
/// When a host does not answer.
pub fn processes_of(lab: &Lab, vm: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for host in ["h1", "h2"] {
        let count = format!("pgrep -fc '^/usr/bin/qemu-system.*{vm}' || true");
        if lab.ssh(&lab.host(host)?).run(&count)?.trim() != "0" {
            found.push(host.to_owned());
        }
    }
    Ok(found)
}

/// How long a cloud must have been well before it counts as well: of a process that was killed just now, libvirt and the
/// agent may not know yet.
const STEADY: Duration = Duration::from_secs(4);

/// Waits until all hosts are up, no operation is under way, and the doctor finds nothing, for a few seconds.
///
/// # Errors
/// When it is not so in time: with what is not.
pub fn wait_until_well(lab: &Lab, longest: Duration) -> anyhow::Result<()> {
    let admin = lab.cloud()?;
    let mut since = None;
    wait_for("the cloud to be well", longest, || {
        let began = Instant::now();
        let well_since = since.take();
        let hosts = admin.podzol("host list")?;
        let up = hosts.as_array().into_iter().flatten().all(|host| host["state"] == "up");
        anyhow::ensure!(up, "not all hosts are up: {hosts}");
        // In one look: what is queued now may run in the next.
        let operations = admin.podzol("operation list")?;
        let open = operations.as_array().into_iter().flatten().find(|one| one["finished_at"].is_null());
        anyhow::ensure!(open.is_none(), "an operation goes on: {open:?}");
        admin.podzol("doctor")?;
        let well_since = *since.insert(well_since.unwrap_or(began));
        Ok((well_since.elapsed() >= STEADY).then_some(()))
    })
}

/// What the doctor finds. The status of the command says whether it has found something.
///
/// # Errors
/// When it does not say.
pub fn findings(admin: &Cloud) -> anyhow::Result<Vec<Value>> {
    let told = admin.command().args(["--json", "doctor"]).output()?;
    let diagnosis: Value = serde_json::from_slice(&told.stdout).context("the doctor says nothing")?;
    Ok(diagnosis["findings"].as_array().context("there are no findings")?.clone())
}

/// The process ids of the QEMU processes on a host, by the name of the domain.
///
/// # Errors
/// When the host does not answer.
pub fn qemu_processes(lab: &Lab, host: &str) -> anyhow::Result<BTreeSet<String>> {
    // Those without a name are libvirt's own, which asks QEMU what it can do.
    let text = lab.ssh(&lab.host(host)?).run("pgrep -f '^/usr/bin/qemu-system[^ ]* -name guest=' || true")?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Does something in the lab's network namespace, such as opening a socket, which then stays in it.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn in_network_of<T: Send>(lab: &Lab, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    let path = Path::new("/run/netns").join(lab.namespace());
    let namespace = std::fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    // A thread of its own, as entering is for good.
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        });
        entered.join().map_err(|_| anyhow::anyhow!("the work in the namespace broke off"))?
    })
}

/// The hosts on which these VMs run.
pub fn hosts_of(vms: &[DemoVm]) -> BTreeSet<String> {
    vms.iter().map(|vm| vm.host.clone()).collect()
}
