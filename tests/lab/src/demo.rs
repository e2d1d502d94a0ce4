//! Bringing a lab up: servers, Podzol on them, and two customers with two VMs each.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cloud::{Cloud, wait_for};
use crate::kept;
use crate::machine::{Accelerator, Boot, TRAFFIC_BRIDGES};
use crate::network::MANAGEMENT;
use crate::outside::{GATEWAY, GATEWAY6, PREFIX6, PREFIX6_LEN};
use crate::proof;
use crate::ssh::Ssh;
use crate::state::{AccountJson, Host, HostJson, Lab, LabJson, Role, servers};

/// The customers of the lab. Both use the same addresses.
pub const ACCOUNTS: [&str; 2] = ["acme", "globex"];

/// The addresses of both customers' networks.
pub const CIDR: &str = "10.1.1.0/24";

/// The management network of the lab's zone, and the addresses of routers on it.
const MANAGEMENT_CIDR: &str = "10.77.0.0/24";
const MANAGEMENT_RANGE: &str = "10.77.0.100-10.77.0.199";

/// The public network of the lab's zone, and the addresses on it that customers can get.
const PUBLIC_CIDR: &str = "203.0.113.0/24";
const PUBLIC_RANGE: &str = "203.0.113.10-203.0.113.99";

/// The VLAN ids of the lab's zone.
pub const VLANS: &str = "100-107";

/// How long a server may take to boot.
const BOOT: Duration = Duration::from_secs(600);

/// How often a server may boot until its clock is right.
const BOOTS: u32 = 3;

/// How fast a server's clock may run. How long an answer takes is in it, and a wrong clock was 130 times too fast.
const RIGHT_CLOCK: Range<f64> = 0.5..2.0;

/// Shows what is being done, and how long it has taken so far.
struct Progress(Instant);

impl Progress {
    fn say(&self, what: &str) {
        eprintln!("lab: {:6.1} s  {what}", self.0.elapsed().as_secs_f64());
    }
}

/// Brings a lab up with that many computing hosts, from nothing.
///
/// # Errors
/// When a step fails; what was made by then stays, for a look at it.
pub fn up(lab: &Lab, computing: u8, accelerator: Accelerator, why: Option<&str>) -> anyhow::Result<()> {
    let progress = Progress(Instant::now());
    progress.say("removing what an earlier lab left");
    lab.down()?;
    std::fs::create_dir_all(&lab.folder)?;
    lab.make_network()?;
    lab.make_key()?;
    let hosts = servers(computing);
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    progress.say(&format!("booting {}; {}", names.join(", "), accelerator.told(why)));
    let boots = hosts.iter().map(|host| lab.boot(host, accelerator)).collect::<anyhow::Result<Vec<_>>>()?;
    progress.say("starting the management service");
    let cloud = lab.start_management()?;
    lab.start_outside()?;
    cloud.podzol(&format!("zone create z1 --vlans {VLANS}"))?;
    cloud.podzol(&format!("zone management z1 --cidr {MANAGEMENT_CIDR} --range {MANAGEMENT_RANGE}"))?;
    cloud.podzol(&format!(
        "zone public z1 --cidr {PUBLIC_CIDR} --gateway {GATEWAY} --range {PUBLIC_RANGE} --name-server {GATEWAY} \
         --cidr6 {PREFIX6}/{PREFIX6_LEN} --gateway6 {GATEWAY6}"
    ))?;
    cloud.podzol("pod create p1 --zone z1")?;
    let accounts = make_accounts(&cloud)?;
    write_json(lab, &hosts, accounts)?;
    cloud.podzol(
        "offering create tiny --vcpus 1 --memory-mib 96 --disk-gib 1 --network-mbps 100 --iops 1000",
    )?;
    // As small as the VMs, so that they are spread evenly, and as it works with.
    cloud.podzol("offering create router --vcpus 1 --memory-mib 96 --disk-gib 1 --cpu-share 200")?;
    // With some room for pictures.
    cloud.podzol("offering create console-proxy --vcpus 1 --memory-mib 192 --disk-gib 1 --cpu-share 200")?;
    let tokens = hosts.iter().map(|host| token(&cloud, host)).collect::<anyhow::Result<Vec<_>>>()?;
    progress.say("waiting for the servers, to install Podzol's packages on them and to have them join");
    thread::scope(|scope| {
        let ready: Vec<_> = hosts
            .iter()
            .zip(boots.iter().zip(&tokens))
            .map(|(host, (boot, token))| {
                (host, scope.spawn(|| make_ready(lab, &cloud, host, boot, token, &progress)))
            })
            .collect();
        for (host, ready) in ready {
            ready.join().map_err(|_| anyhow::anyhow!("preparing {} broke off", host.name))??;
        }
        anyhow::Ok(())
    })?;
    progress.say("making two networks with the same addresses, and two VMs in each");
    make_vms(lab, &cloud, &progress)?;
    progress.say("waiting until the VMs have booted");
    let vms = proof::demo_vms(lab)?;
    for vm in &vms {
        proof::wait_ready(lab, std::slice::from_ref(vm))?;
        progress.say(&format!("{} has booted on {}", vm.name, vm.host));
    }
    if hosts.iter().filter(|host| host.role == Role::Compute).count() > 1 {
        proof::are_spread(&vms)?;
    }
    progress.say("proving who reaches whom, and what routers give");
    let mut table = proof::reachability(lab, &vms)?;
    table.push('\n');
    table.push_str(&proof::from_routers(lab, &vms)?);
    progress.say("up");
    print_summary(lab, &table)
}

fn make_accounts(cloud: &Cloud) -> anyhow::Result<BTreeMap<String, AccountJson>> {
    let mut accounts = BTreeMap::new();
    for account in ACCOUNTS {
        cloud.podzol(&format!("account create {account}"))?;
        let user = cloud.podzol(&format!("user create owner --account {account}"))?;
        let user = user["id"].as_str().context("a user without an id")?;
        let key = cloud.podzol(&format!("key create lab --user {user}"))?;
        let key = key["secret"].as_str().context("a key without its text")?.to_owned();
        accounts.insert(account.to_owned(), AccountJson { key });
    }
    Ok(accounts)
}

fn write_json(lab: &Lab, hosts: &[Host], accounts: BTreeMap<String, AccountJson>) -> anyhow::Result<()> {
    let ssh = |host: &Host| HostJson { role: host.role, ssh: lab.ssh(host).line() };
    lab.write(&LabJson {
        api_url: lab.api_url()?,
        ca_file: lab.path("mgmt/ca.pem"),
        admin_key: std::fs::read_to_string(lab.path("mgmt/admin.key"))?.trim().to_owned(),
        accounts,
        hosts: hosts.iter().map(|host| (host.name.clone(), ssh(host))).collect(),
    })
}

fn token(cloud: &Cloud, host: &Host) -> anyhow::Result<String> {
    let noun = if host.role == Role::Compute { "host" } else { "storage-server" };
    let created = cloud.podzol(&format!("{noun} create {} --pod p1", host.name))?;
    Ok(created["join_token"].as_str().context("a server without a token")?.to_owned())
}

/// Makes a server part of the cloud, and a storage server's pool with the template in it.
fn make_ready(
    lab: &Lab,
    cloud: &Cloud,
    host: &Host,
    boot: &Boot,
    token: &str,
    progress: &Progress,
) -> anyhow::Result<()> {
    let ssh = lab.ssh(host);
    ssh.wait(BOOT)?;
    progress.say(&format!("{} lets us in", host.name));
    let package = package(lab, host)?;
    if boot.goes_on {
        kept::bring_up_to_date(&ssh)?;
    } else if boot.emulated {
        wait_for_clock(&ssh, host, progress)?;
    }
    if !boot.goes_on || !lab.is_kept_with(host, &package)? {
        install(&ssh, &package)?;
    }
    if !boot.goes_on && boot.emulated {
        match lab.keep(host, boot, &package) {
            Ok(()) => progress.say(&format!("{} is kept, for the next lab", host.name)),
            Err(error) => progress.say(&format!("{} is not kept: {error:#}", host.name)),
        }
    }
    join(&ssh, host, token)?;
    progress.say(&format!("{} has joined", host.name));
    wait_up(cloud, host)?;
    progress.say(&format!("{} is up", host.name));
    if host.role == Role::Storage {
        cloud.podzol("pool create nfs1 --storage-server s1 --path /srv/podzol/nfs1 --wait")?;
        let image = lab.images.join("tiny/tiny.qcow2");
        cloud.podzol(&format!("template create tiny --file {} --os tiny --wait", image.display()))?;
        let image = lab.images.join("router/router.qcow2");
        cloud.podzol(&format!("template import {} --wait", image.display()))?;
        let image = lab.images.join("console-proxy/console-proxy.qcow2");
        cloud.podzol(&format!("template import {} --wait", image.display()))?;
        progress.say("there are a pool, and templates of VMs, of their routers and of console proxies");
    }
    Ok(())
}

/// Boots a server again whose clock runs wrong: it would be kept, and nothing there waits for as long as it should. A
/// kernel measures its processor's speed as it starts, and under emulation can be far off while this machine is busy.
fn wait_for_clock(ssh: &Ssh, host: &Host, progress: &Progress) -> anyhow::Result<()> {
    for boot in 1.. {
        let rate = ssh.clock_rate()?;
        if RIGHT_CLOCK.contains(&rate) {
            break;
        }
        let wrong = format!("{}'s clock runs {rate:.2} times as fast as it should", host.name);
        if boot == BOOTS {
            bail!("{wrong}, and did at each of {BOOTS} boots");
        }
        progress.say(&format!("{wrong}; booting it again"));
        ssh.reset(BOOT)?;
    }
    Ok(())
}

/// The name of Podzol's package, and program, for a server.
const fn program(host: &Host) -> &'static str {
    match host.role {
        Role::Compute => "podzol-agent",
        Role::Storage => "podzol-storage-agent",
    }
}

/// The package for a server that the build made.
fn package(lab: &Lab, host: &Host) -> anyhow::Result<PathBuf> {
    let folder = lab.images.join("debs");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let package = program(host);
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
    };
    paths.find(named).with_context(|| format!("there is no {package} package in {}", folder.display()))
}

/// Installs Podzol's package on a server, as an operator would.
fn install(ssh: &Ssh, package: &Path) -> anyhow::Result<()> {
    let package = std::fs::read(package).with_context(|| format!("cannot read {}", package.display()))?;
    ssh.feed("cat > /tmp/podzol.deb && dpkg -i /tmp/podzol.deb && rm /tmp/podzol.deb", &package)?;
    Ok(())
}

/// Has a server join the cloud, as an operator would.
fn join(ssh: &Ssh, host: &Host, token: &str) -> anyhow::Result<()> {
    let [management, public] = TRAFFIC_BRIDGES;
    let config = match host.role {
        Role::Compute => format!(
            "trunk = \"eth1\"\nmemory_reserved_mib = 400\n\
             [traffic]\nmanagement = \"{management}\"\npublic = \"{public}\"\n"
        ),
        Role::Storage => "pool_roots = [\"/srv/podzol\"]\n".into(),
    };
    if host.role == Role::Storage {
        ssh.run("mkdir -p /srv/podzol && mount /dev/vdb /srv/podzol")?;
    }
    let program = program(host);
    let short = program.trim_start_matches("podzol-");
    let config = format!("management = \"{MANAGEMENT}:8444\"\n{config}");
    ssh.feed(&format!("cat > /etc/podzol/{short}.toml"), config.as_bytes())?;
    ssh.feed(&format!("{program} join"), token.as_bytes())?;
    ssh.run(&format!("systemctl restart {program}"))?;
    Ok(())
}

fn wait_up(cloud: &Cloud, host: &Host) -> anyhow::Result<()> {
    let noun = if host.role == Role::Compute { "host" } else { "storage-server" };
    wait_for(&format!("{} to be up", host.name), Duration::from_secs(240), || {
        let shown = cloud.podzol(&format!("{noun} show {}", host.name))?;
        let usable = host.role == Role::Storage || shown["accelerator"].is_string();
        Ok((shown["state"] == "up" && usable).then_some(()))
    })
}

fn make_vms(lab: &Lab, admin: &Cloud, progress: &Progress) -> anyhow::Result<()> {
    let json = lab.read()?;
    let mut operations: Vec<(Cloud, String, Value)> = Vec::new();
    for account in ACCOUNTS {
        let cloud = admin.with_key(&json.accounts[account].key);
        cloud.podzol(&format!("network create net --zone z1 --cidr {CIDR}"))?;
        wait_for_all_hosts(&cloud)?;
        for number in 1..=proof::VMS_EACH {
            let name = proof::name_of(account, number);
            let create = format!("vm create {name} --offering tiny --template tiny --network net");
            let operation = cloud.podzol(&create)?["operation"].clone();
            operations.push((cloud.clone(), name, operation));
        }
    }
    for (cloud, name, operation) in operations {
        let id = operation["id"].as_str().context("an operation without an id")?;
        cloud.podzol(&format!("operation wait {id} --timeout 600"))?;
        progress.say(&format!("{name} runs"));
    }
    Ok(())
}

/// Until a VM could go to each of the hosts. One that has just joined takes none before the pool is exported to it too,
/// and an account's two VMs would meet on the other.
fn wait_for_all_hosts(cloud: &Cloud) -> anyhow::Result<()> {
    wait_for("each host to take VMs", Duration::from_secs(180), || {
        let asked = cloud.podzol("vm create any --offering tiny --template tiny --network net --dry-run")?;
        let passed_over = asked["reasons"].as_array().context("an answer without reasons")?;
        Ok((asked["fits"] == true && passed_over.is_empty()).then_some(()))
    })
}

fn print_summary(lab: &Lab, table: &str) -> anyhow::Result<()> {
    let json = lab.read()?;
    let cloud = lab.cloud()?;
    let nouns =
        ["zone", "pod", "storage-server", "host", "pool", "offering", "template", "account", "router"];
    for noun in nouns {
        println!("\n{noun}s\n{}", cloud.shown(&format!("{noun} list"))?.trim_end());
    }
    for account in ACCOUNTS {
        let networks = cloud.with_key(&json.accounts[account].key).shown("network list")?;
        println!("\nnetworks of {account}\n{}", networks.trim_end());
    }
    println!("\nVMs\n{}\n{table}", cloud.shown("vm list")?);
    println!("The API is at {}. To use it:\n", json.api_url);
    println!("  export PODZOL_URL={}", json.api_url);
    println!("  export PODZOL_CA_FILE={}", json.ca_file.display());
    println!("  export PODZOL_KEY_FILE={}", lab.path("mgmt/admin.key").display());
    println!("  export PATH={}:$PATH", lab.programs.display());
    println!("  podzol vm list\n");
    Ok(())
}
