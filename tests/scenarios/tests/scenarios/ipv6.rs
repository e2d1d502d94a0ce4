//! A network with IPv6 on real hosts: its VMs are seen outside by their own addresses, nothing comes in before a rule lets it,
//! and a connection goes on when the router is replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use podzol_lab::cloud::wait_for;
use podzol_lab::outside::INTERNET6;
use podzol_lab::{Cloud, Console, Lab, proof};
use podzol_scenarios::{account, console_of, lab, wait_until_well};
use serde_json::Value;

const ANSWER: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(400);

/// What a VM's shell prints.
fn shell(console: &mut Console, command: &str) -> anyhow::Result<String> {
    Ok(console.ask(&format!("sh {command}"), ANSWER)?.join("\n"))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// What somebody outside gets from a VM's server; nothing if nobody answers.
fn fetched(lab: &Lab, address: &str) -> Option<String> {
    lab.outside(&["curl", "-gs", "--connect-timeout", "10", "-m", "20", &format!("http://[{address}]/")]).ok()
}

/// A VM in the network, with the address that it should have.
struct Vm {
    name: &'static str,
    address: String,
}

impl Vm {
    fn create(acme: &Cloud, name: &'static str) -> anyhow::Result<Self> {
        acme.podzol(&format!("vm create {name} --offering tiny --template tiny --network six --wait"))?;
        let shown = acme.podzol(&format!("vm show {name}"))?;
        let address = text(&shown["nics"][0], "address6");
        ensure!(!address.is_empty(), "{name} has no IPv6 address: {shown}");
        Ok(Self { name, address })
    }

    /// Gives it its address by hand, as there is no client for DHCPv6 in it, once it knows its router from that itself.
    fn configure(&self, lab: &Lab, admin: &Cloud) -> anyhow::Result<Console> {
        wait_for(&format!("{} to hear of its router", self.name), Duration::from_secs(300), || {
            let mut console = console_of(lab, admin, self.name)?;
            let routes = shell(&mut console, "ip -6 route")?;
            ensure!(routes.contains("default via fe80::1 "), "{routes}");
            let add =
                format!("ip -6 addr add {}/128 dev $(ls /sys/class/net | grep -v lo); true", self.address);
            shell(&mut console, &add)?;
            Ok(Some(console))
        })
    }
}

#[test]
fn vms_are_seen_by_their_own_ipv6_addresses_and_reached_where_rules_say_so() {
    let lab = lab().unwrap();
    let (admin, acme) = (lab.cloud().unwrap(), account(&lab, "acme").unwrap());
    the_outside_has_the_routes_that_an_operator_is_told(&lab, &admin).unwrap();
    let network = acme.podzol("network create six --zone z1 --cidr 10.1.6.0/24 --ipv6").unwrap();
    let prefix = text(&network, "ipv6").trim_end_matches("::/64").to_owned();
    let vms = ["six-1", "six-2"].map(|name| Vm::create(&acme, name).unwrap());
    let mut consoles = vms.each_ref().map(|vm| vm.configure(&lab, &admin).unwrap());
    for (vm, console) in vms.iter().zip(&mut consoles) {
        assert!(vm.address.starts_with(&prefix), "{} is not in {network}", vm.address);
        wait_for(&format!("{} to be seen outside", vm.name), Duration::from_secs(60), || {
            // Its busybox's wget cannot take an IPv6 address in a URL.
            let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {INTERNET6} 80 | tail -n 1");
            let seen = shell(console, &ask)?;
            ensure!(seen.trim() == vm.address, "it is seen as {seen}");
            Ok(Some(()))
        })
        .unwrap();
    }
    let seen = proof::who(&mut consoles[0], &vms[1].address).unwrap();
    assert_eq!(seen.as_deref(), Some(vms[1].name));
    names_have_both_addresses(&mut consoles[0], &vms).unwrap();
    it_is_closed_and_opened(&lab, &acme, &vms).unwrap();
    egress_is_closed_and_opened(&acme, &mut consoles[0]).unwrap();
    a_connection_outlives_its_router(&admin, &mut consoles[0]).unwrap();

    for vm in &vms {
        acme.podzol(&format!("vm delete {} --expunge --wait", vm.name)).unwrap();
    }
    acme.podzol("network delete six").unwrap();
    wait_until_well(&lab, Duration::from_secs(300)).unwrap();
    assert_eq!(admin.podzol("doctor").unwrap()["findings"], serde_json::json!([]));
}

/// They were set before there was any router, and are all of those.
fn the_outside_has_the_routes_that_an_operator_is_told(lab: &Lab, admin: &Cloud) -> anyhow::Result<()> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let told: BTreeSet<Vec<String>> = admin.shown("zone routes6 z1")?.lines().map(words).collect();
    let there = lab.outside(&["ip", "-6", "route"])?;
    let there: BTreeSet<Vec<String>> = there.lines().map(|line| words(line)[..3].to_vec()).collect();
    ensure!(told.len() == 16 && told.is_subset(&there), "{told:?} are not {there:?}");
    Ok(())
}

/// A VM's name stands for its address of either family.
fn names_have_both_addresses(console: &mut Console, vms: &[Vm]) -> anyhow::Result<()> {
    for vm in vms {
        let told = shell(console, &format!("nslookup {}.six.acme.internal", vm.name))?;
        ensure!(told.contains(&vm.address) && told.contains("10.1.6."), "{told}");
    }
    Ok(())
}

/// Nothing comes in but what a rule lets in, to one VM or to all of the network.
fn it_is_closed_and_opened(lab: &Lab, acme: &Cloud, vms: &[Vm; 2]) -> anyhow::Result<()> {
    let [first, second] = vms;
    ensure!(fetched(lab, &first.address).is_none(), "somebody outside gets in without a rule");
    let rule = format!("firewall create --network six --vm {} --protocol tcp --ports 80 --wait", first.name);
    let rule = text(&acme.podzol(&rule)?, "id");
    let seen = fetched(lab, &first.address).context("nobody outside gets in with a rule")?;
    // It sees who asks, too.
    ensure!(seen.starts_with(first.name) && seen.contains(&INTERNET6.to_string()), "{seen}");
    ensure!(fetched(lab, &second.address).is_none(), "the rule of one VM is the other's too");
    acme.podzol(&format!("firewall delete {rule} --wait"))?;
    ensure!(fetched(lab, &first.address).is_none(), "somebody outside gets in by a rule that is gone");

    let rule = acme.podzol("firewall create --network six --protocol tcp --ports 80 --wait")?;
    for vm in vms {
        let seen = fetched(lab, &vm.address).with_context(|| format!("nobody gets in to {}", vm.name))?;
        ensure!(seen.starts_with(vm.name), "{seen}");
    }
    acme.podzol(&format!("firewall delete {} --wait", text(&rule, "id")))?;
    Ok(())
}

/// The network's policy is for both families, and so are exceptions.
fn egress_is_closed_and_opened(acme: &Cloud, console: &mut Console) -> anyhow::Result<()> {
    let ask = format!("nc -w 3 {INTERNET6} 80 < /dev/null > /dev/null 2>&1; echo $?");
    acme.podzol("network update six --egress deny --wait")?;
    ensure!(shell(console, &ask)?.trim() != "0", "it sends outside what it may not");
    let rule =
        format!("egress create --network six --destination {INTERNET6} --protocol tcp --ports 80 --wait");
    let rule = acme.podzol(&rule)?;
    ensure!(shell(console, &ask)?.trim() == "0", "it does not send outside what it may");
    acme.podzol(&format!("egress delete {} --wait", text(&rule, "id")))?;
    acme.podzol("network update six --egress allow --wait")?;
    Ok(())
}

/// No address of it is the router's, so the one in its place lets a connection go on that it has not seen begin.
fn a_connection_outlives_its_router(admin: &Cloud, console: &mut Console) -> anyhow::Result<()> {
    let begin = format!(
        "(while true; do echo line; sleep 1; done | nc {INTERNET6} 7 > /run/echoed; echo end >> /run/echoed) \
         > /dev/null 2>&1 &"
    );
    shell(console, &begin)?;
    let echoed = |console: &mut Console| {
        let told = shell(console, "grep -c line /run/echoed; grep -c end /run/echoed; true")?;
        let numbers: Vec<u32> = told.lines().filter_map(|line| line.trim().parse().ok()).collect();
        let [lines, ends] = numbers[..] else { anyhow::bail!("not two numbers: {told}") };
        ensure!(ends == 0, "the connection has ended after {lines} lines");
        Ok(lines)
    };
    let come = |console: &mut Console, before: u32| {
        wait_for("the connection to go on", LONG, || Ok((echoed(console)? > before + 3).then_some(())))
    };
    come(console, 0)?;
    let router = admin.podzol("router list --filter account=acme")?[0].clone();
    admin.podzol(&format!("router replace {} --wait --timeout 400", text(&router, "id")))?;
    let now = admin.podzol("router list --filter account=acme")?[0].clone();
    ensure!(now["vm"] != router["vm"], "it is still the router from before");
    let before = echoed(console)?;
    come(console, before)?;
    shell(console, "kill $(pidof nc); true").map(drop)
}
