//! Routers on real hosts: what a customer's VMs and the outside see of them, and what is left when they are gone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use podzol_lab::cloud::wait_for;
use podzol_lab::outside::{GATEWAY, INTERNET};
use podzol_lab::proof::{self, DemoVm};
use podzol_lab::{Cloud, Console, Lab};
use podzol_scenarios::{account, console_of, lab, links_of_podzol, qemu_processes, wait_until_well};
use serde_json::Value;

const ANSWER: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(400);

/// More bytes than a VM has sent outside in the minute before, and fewer than it is made to send.
const LITTLE: u64 = 10_000;

/// The router of an account, as an admin sees it.
fn router_of(lab: &Lab, account: &str) -> anyhow::Result<Value> {
    let routers = lab.cloud()?.podzol(&format!("router list --filter account={account}"))?;
    routers.get(0).cloned().with_context(|| format!("{account} has no router"))
}

pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// The name of the host with that id.
fn host_name(lab: &Lab, id: &str) -> String {
    text(&lab.cloud().unwrap().podzol(&format!("host show {id}")).unwrap(), "name")
}

pub(crate) fn vms_of(lab: &Lab, account: &str) -> Vec<DemoVm> {
    let vms = proof::demo_vms(lab).unwrap();
    vms.into_iter().filter(|vm| vm.account == account).collect()
}

/// What a VM's shell prints.
fn shell(console: &mut Console, command: &str) -> anyhow::Result<String> {
    Ok(console.ask(&format!("sh {command}"), ANSWER)?.join("\n"))
}

/// What somebody outside gets for a URL; nothing if nobody answers.
pub(crate) fn fetched(lab: &Lab, url: &str) -> Option<String> {
    lab.outside(&["curl", "-s", "--connect-timeout", "10", "-m", "20", url]).ok()
}

#[test]
fn a_vm_has_its_address_its_names_and_its_own_data_from_its_router_and_reaches_nothing_behind_it() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    for name in ["acme", "globex"] {
        let router = router_of(&lab, name).unwrap();
        let vms = vms_of(&lab, name);
        for vm in &vms {
            let mut console = console_of(&lab, &admin, &vm.name).unwrap();
            let addresses = console.ask("ip", ANSWER).unwrap().join(" ");
            assert!(addresses.contains(&vm.address), "{}: {addresses}", vm.name);
            let servers = shell(&mut console, "cat /etc/resolv.conf").unwrap();
            assert!(servers.contains("nameserver 10.1.1.1"), "{servers}");
            for other in &vms {
                let asked = format!("nslookup {}.net.{name}.internal", other.name);
                let told = shell(&mut console, &asked).unwrap();
                assert!(told.contains(&format!("Address: {}", other.address)), "{told}");
            }
            let own = "wget -qO- http://169.254.169.254/latest/meta-data/local-hostname";
            assert_eq!(shell(&mut console, own).unwrap().trim(), vm.name);
            assert_eq!(proof::seen_outside_as(&mut console).unwrap(), text(&router, "source_nat"));
            // The other account's names are not there, and neither are the router's own side and what is behind it.
            let stranger = if name == "acme" { "globex" } else { "acme" };
            let told =
                shell(&mut console, &format!("nslookup {stranger}-1.net.{stranger}.internal; true")).unwrap();
            assert!(!told.contains("Address: 10.1.1."), "{told}");
            let behind = text(&router, "management_address");
            for (address, port) in [("10.77.0.1", 8443), (behind.as_str(), 8447), ("10.1.1.1", 8447)] {
                let knock = format!("nc -w 3 {address} {port} < /dev/null > /dev/null 2>&1; echo $?");
                assert_ne!(shell(&mut console, &knock).unwrap().trim(), "0", "{} reaches {address}", vm.name);
            }
        }
    }
}

#[test]
fn rules_of_a_router_are_in_force_at_once_and_go_with_what_they_are_for() {
    let lab = lab().unwrap();
    let acme = account(&lab, "acme").unwrap();
    let vms = vms_of(&lab, "acme");
    let made = acme.podzol("public-ip allocate --zone z1 --wait").unwrap();
    let ip = text(&made, "address");
    let url = format!("http://{ip}:8080/");
    let forward =
        format!("port-forward create --public-ip {ip} --ports 8080 --to-port 80 --vm {} --wait", vms[0].name);
    let forward = text(&acme.podzol(&forward).unwrap(), "id");
    // Nothing comes in before a firewall rule lets it.
    assert_eq!(fetched(&lab, &url), None);
    let rule = format!("firewall create --public-ip {ip} --protocol tcp --ports 8080 --wait");
    let asked = Instant::now();
    let rule = text(&acme.podzol(&rule).unwrap(), "id");
    let seen = fetched(&lab, &url).unwrap();
    println!("a rule: {} ms from the command to an answer through it", asked.elapsed().as_millis());
    assert!(seen.starts_with(&vms[0].name) && seen.contains(&GATEWAY.to_string()), "{seen}");
    acme.podzol(&format!("port-forward update {forward} --vm {} --wait", vms[1].name)).unwrap();
    assert!(fetched(&lab, &url).unwrap().starts_with(&vms[1].name));
    acme.podzol(&format!("firewall delete {rule} --wait")).unwrap();
    assert_eq!(fetched(&lab, &url), None);
    acme.podzol(&format!("port-forward delete {forward} --wait")).unwrap();

    balanced(&lab, &acme, &ip, &vms).unwrap();
    nat_both_ways(&lab, &acme, &ip, &vms[0]).unwrap();
    egress_is_closed_and_opened(&lab, &acme, &vms[0]).unwrap();
    acme.podzol(&format!("public-ip release {ip} --wait")).unwrap();
    assert_eq!(lab.cloud().unwrap().podzol("doctor").unwrap()["findings"], serde_json::json!([]));
}

/// Connections go to all members, and to those that drain no more.
fn balanced(lab: &Lab, acme: &Cloud, ip: &str, vms: &[DemoVm]) -> anyhow::Result<()> {
    let members = format!("--member {}:80 --member {}:80", vms[0].name, vms[1].name);
    acme.podzol(&format!(
        "load-balancer create web --public-ip {ip} --port 81 {members} --check http:/ --wait"
    ))?;
    acme.podzol(&format!("firewall create --public-ip {ip} --protocol tcp --ports 81 --wait"))?;
    let url = format!("http://{ip}:81/");
    let seen = || -> BTreeSet<String> {
        let answers = (0..12).filter_map(|_| fetched(lab, &url));
        answers.filter_map(|answer| answer.lines().next().map(str::to_owned)).collect()
    };
    wait_for("both members to be used", Duration::from_secs(60), || {
        let seen = seen();
        ensure!(seen.len() == 2, "only {seen:?}");
        Ok(Some(()))
    })?;
    acme.podzol(&format!("load-balancer update web --drain {} --wait", vms[0].name))?;
    ensure!(seen() == BTreeSet::from([vms[1].name.clone()]), "a member that drains gets connections");
    acme.podzol("load-balancer delete web --wait")?;
    for rule in acme.podzol("firewall list")?.as_array().into_iter().flatten() {
        acme.podzol(&format!("firewall delete {} --wait", text(rule, "id")))?;
    }
    Ok(())
}

/// A VM with a public address of its own is reached by it and seen as it.
fn nat_both_ways(lab: &Lab, acme: &Cloud, ip: &str, vm: &DemoVm) -> anyhow::Result<()> {
    let nat = acme.podzol(&format!("static-nat create --public-ip {ip} --vm {} --wait", vm.name))?;
    let rule = acme.podzol(&format!("firewall create --public-ip {ip} --protocol tcp --ports 80 --wait"))?;
    let mut console = console_of(lab, &lab.cloud()?, &vm.name)?;
    ensure!(proof::seen_outside_as(&mut console)? == ip, "it is seen by another address than its own");
    let seen = fetched(lab, &format!("http://{ip}/")).context("nobody answers at its public address")?;
    ensure!(seen.starts_with(&vm.name), "{seen}");
    acme.podzol(&format!("firewall delete {} --wait", text(&rule, "id")))?;
    acme.podzol(&format!("static-nat delete {} --wait", text(&nat, "id")))?;
    Ok(())
}

/// A network that may send nothing outside does not, but for what a rule allows.
fn egress_is_closed_and_opened(lab: &Lab, acme: &Cloud, vm: &DemoVm) -> anyhow::Result<()> {
    let mut console = console_of(lab, &lab.cloud()?, &vm.name)?;
    let ask = format!("nc -w 3 {INTERNET} 80 < /dev/null > /dev/null 2>&1; echo $?");
    acme.podzol("network update net --egress deny --wait")?;
    ensure!(shell(&mut console, &ask)?.trim() != "0", "it sends outside what it may not");
    let rule =
        format!("egress create --network net --destination {INTERNET} --protocol tcp --ports 80 --wait");
    let rule = acme.podzol(&rule)?;
    ensure!(shell(&mut console, &ask)?.trim() == "0", "it does not send outside what it may");
    acme.podzol(&format!("egress delete {} --wait", text(&rule, "id")))?;
    acme.podzol("network update net --egress allow --wait")?;
    Ok(())
}

#[test]
fn a_router_that_is_killed_replaced_or_whose_host_dies_goes_on_with_the_same_addresses() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let acme = account(&lab, "acme").unwrap();
    let vms = vms_of(&lab, "acme");
    let vm = &vms[0];
    let before = router_of(&lab, "acme").unwrap();
    let rules = Rules::make(&lab, &acme, &vms).unwrap();
    let is_back = |what: &str| {
        wait_for(what, LONG, || {
            let router = router_of(&lab, "acme")?;
            ensure!(router["state"] == "running", "{router}");
            ensure!(router["source_nat"] == before["source_nat"], "{router}");
            Ok(Some(router))
        })
        .unwrap()
    };
    let works = |what: &str| {
        let seen = wait_for(what, Duration::from_secs(120), || {
            proof::seen_outside_as(&mut console_of(&lab, &admin, &vm.name)?).map(Some)
        });
        assert_eq!(seen.unwrap(), text(&before, "source_nat"), "{what}");
        rules.hold(&lab, &vms).unwrap_or_else(|error| panic!("{what}: {error:#}"));
        let mut console = console_of(&lab, &admin, &vm.name).unwrap();
        let asked = shell(&mut console, "udhcpc -n -q -i eth0 -s /bin/true 2>&1").unwrap();
        assert!(asked.contains(&format!("lease of {} obtained", vm.address)), "{what}: {asked}");
    };
    works("at first");
    let id = text(&before, "id");

    let host = host_name(&lab, &text(&before, "host"));
    let kill = format!("kill -9 $(pgrep -f '^/usr/bin/qemu-system.*{}')", text(&before, "vm"));
    lab.ssh(&lab.host(&host).unwrap()).run(&kill).unwrap();
    wait_for("the kill to be noticed", Duration::from_secs(60), || {
        Ok((router_of(&lab, "acme")?["state"] != "running").then_some(()))
    })
    .unwrap();
    is_back("the router that was killed to run");
    works("after it was killed");

    admin.podzol(&format!("router replace {id} --wait --timeout 400")).unwrap();
    let replaced = is_back("the router that was replaced to run");
    assert_ne!(replaced["vm"], before["vm"]);
    works("after it was replaced");

    let host = host_name(&lab, &text(&replaced, "host"));
    let other = if host == "h1" { "h2" } else { "h1" };
    lab.freeze(&lab.host(&host).unwrap()).unwrap();
    let moved = wait_for("another host to have the router", LONG, || {
        let router = router_of(&lab, "acme")?;
        let elsewhere = router["vm"] != replaced["vm"] && router["state"] == "running";
        Ok(elsewhere.then_some(router))
    });
    lab.thaw(&lab.host(&host).unwrap()).unwrap();
    let moved = moved.unwrap();
    assert_eq!(host_name(&lab, &text(&moved, "host")), other);
    wait_until_well(&lab, LONG).unwrap();
    works("after its host was dead for a while");
    let gone = qemu_processes(&lab, &host).unwrap();
    assert!(!gone.iter().any(|pid| pid.contains(&text(&replaced, "vm"))));
    rules.remove(&acme).unwrap();
}

/// Whether somebody outside answers a VM's echo.
fn pings(lab: &Lab, vm: &DemoVm) -> anyhow::Result<bool> {
    let mut console = console_of(lab, &lab.cloud()?, &vm.name)?;
    let said = shell(&mut console, &format!("ping -c 3 -W 5 {INTERNET} > /dev/null 2>&1; echo $?"))?;
    Ok(said.trim() == "0")
}

/// Rules of each kind, for two VMs.
struct Rules {
    ip: String,
    made: Vec<(&'static str, String)>,
}

impl Rules {
    fn make(lab: &Lab, acme: &Cloud, vms: &[DemoVm]) -> anyhow::Result<Self> {
        let ip = text(&acme.podzol("public-ip allocate --zone z1 --wait")?, "address");
        let (one, other) = (&vms[0].name, &vms[1].name);
        let all = [
            ("port-forward", format!("--public-ip {ip} --ports 8080 --to-port 80 --vm {other}")),
            ("port-forward", format!("--public-ip {ip} --ports 8081 --to-port 80 --vm {other}")),
            ("firewall", format!("--public-ip {ip} --protocol tcp --ports 8080")),
            (
                "load-balancer",
                format!("both --public-ip {ip} --port 81 --member {one}:80 --member {other}:80"),
            ),
            ("firewall", format!("--public-ip {ip} --protocol tcp --ports 81 --source {GATEWAY}/32")),
            ("egress", format!("--network net --destination {INTERNET} --protocol icmp")),
        ];
        ensure!(pings(lab, &vms[0])?, "a VM's echo is not answered from outside");
        let mut made = Vec::new();
        for (noun, what) in all {
            made.push((noun, text(&acme.podzol(&format!("{noun} create {what} --wait"))?, "id")));
        }
        Ok(Self { ip, made })
    }

    /// All of them are in force, and nothing else.
    fn hold(&self, lab: &Lab, vms: &[DemoVm]) -> anyhow::Result<()> {
        let ask = |port: u16| fetched(lab, &format!("http://{}:{port}/", self.ip));
        let forwarded = ask(8080).context("nobody answers at the port that is forwarded")?;
        ensure!(forwarded.starts_with(&vms[1].name), "{forwarded}");
        ensure!(ask(8081).is_none(), "a port is open that no rule opens");
        let balanced: BTreeSet<String> =
            (0..12).filter_map(|_| ask(81)?.lines().next().map(str::to_owned)).collect();
        ensure!(balanced.len() == 2, "the balancer gives connections to {balanced:?}");
        ensure!(!pings(lab, &vms[0])?, "a VM sends outside what its network may not");
        Ok(())
    }

    fn remove(&self, acme: &Cloud) -> anyhow::Result<()> {
        for (noun, id) in self.made.iter().rev() {
            acme.podzol(&format!("{noun} delete {id} --wait"))?;
        }
        acme.podzol(&format!("public-ip release {} --wait", self.ip)).map(drop)
    }
}

#[test]
fn a_router_is_collected_when_its_last_vm_has_been_stopped_for_a_while_and_leaves_nothing() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let globex = account(&lab, "globex").unwrap();
    let vms = vms_of(&lab, "globex");
    let router = router_of(&lab, "globex").unwrap();
    let (before, sent) = (sent_by(&globex, &vms[0]).unwrap(), pings_outside(&lab, &vms[0]).unwrap());
    for vm in &vms {
        globex.podzol(&format!("vm stop {} --grace 5 --wait", vm.name)).unwrap();
    }
    wait_for("the router to be collected", LONG, || {
        let left = admin.podzol("router list --filter account=globex")?;
        Ok(left.as_array().is_some_and(Vec::is_empty).then_some(()))
    })
    .unwrap();
    // A router that ends in order is asked a last time.
    let counted = sent_by(&globex, &vms[0]).unwrap() - before;
    assert!((sent..sent + LITTLE).contains(&counted), "{counted} bytes were counted of {sent}");
    wait_until_well(&lab, LONG).unwrap();
    let addresses = admin.podzol("public-ip list --filter account=globex").unwrap();
    assert_eq!(addresses, serde_json::json!([]));
    let vlan = podzol_scenarios::vlan(&lab, "globex").unwrap();
    for host in ["h1", "h2"] {
        let links = links_of_podzol(&lab, host).unwrap();
        assert!(!links.contains(&format!("pzb{vlan}")), "{host}: {links:?}");
        let process = format!("pgrep -fc '^/usr/bin/qemu-system.*{}' || true", text(&router, "vm"));
        let left = lab.ssh(&lab.host(host).unwrap()).run(&process).unwrap();
        assert_eq!(left.trim(), "0", "{host}");
    }
    begin_together(&lab, &globex);
    for vm in &vms {
        globex.podzol(&format!("vm start {} --wait --timeout 400", vm.name)).unwrap();
    }
    let again = router_of(&lab, "globex").unwrap();
    assert_ne!(again["id"], router["id"]);
    proof::wait_ready(&lab, &vms_of(&lab, "globex")).unwrap();
    println!("{}", proof::from_routers(&lab, &vms_of(&lab, "globex")).unwrap());
}

/// How many bytes an account's routers say that a VM has sent outside.
fn sent_by(customer: &Cloud, vm: &DemoVm) -> anyhow::Result<u64> {
    let counted = customer.podzol("account traffic globex")?;
    let of_vm = counted.as_array().into_iter().flatten().filter(|row| row["vm"] == *vm.id);
    Ok(of_vm.filter_map(|row| row["sent_bytes"].as_u64()).sum())
}

/// Has a VM send echo requests outside, and gives how many bytes of IP they have.
fn pings_outside(lab: &Lab, vm: &DemoVm) -> anyhow::Result<u64> {
    let (count, data) = (10, 1400);
    let mut console = console_of(lab, &lab.cloud()?, &vm.name)?;
    let told = shell(&mut console, &format!("ping -c {count} -s {data} {INTERNET} | grep transmitted"))?;
    ensure!(told.contains(&format!("{count} packets transmitted")), "{told}");
    Ok(count * (20 + 8 + data))
}

/// Four VMs are created at once in a new network of an account without a router: one router starts, and gives each its address.
fn begin_together(lab: &Lab, customer: &Cloud) {
    customer.podzol("network create many --zone z1 --cidr 10.6.6.0/24").unwrap();
    let names: Vec<String> = (1..=4).map(|number| format!("many-{number}")).collect();
    let each = |verb: &str, rest: &str| {
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(move || {
                    customer.podzol(&format!("vm {verb} {name} {rest} --wait --timeout 400")).unwrap()
                });
            }
        });
    };
    each("create", "--offering tiny --template tiny --network many");
    let admin = lab.cloud().unwrap();
    let routers = admin.podzol("router list --filter account=globex").unwrap();
    assert_eq!(routers.as_array().map(Vec::len), Some(1), "{routers:#}");
    let begun = vms_of(lab, "globex");
    assert_eq!(begun.len(), names.len());
    for value in [|vm: &DemoVm| vm.address.clone(), |vm: &DemoVm| vm.id.clone()] {
        let values: BTreeSet<String> = begun.iter().map(value).collect();
        assert_eq!(values.len(), names.len(), "given twice: {values:?}");
    }
    proof::wait_ready(lab, &begun).unwrap();
    for vm in &begun {
        // It is ready when it has a lease; of which address, it says itself.
        let leased = console_of(lab, &admin, &vm.id).unwrap().ask("ip", ANSWER).unwrap().join(" ");
        assert!(leased.split(' ').any(|word| word.split('/').next() == Some(&vm.address)), "{leased}");
    }
    each("delete", "");
    customer.podzol("network delete many").unwrap();
}
