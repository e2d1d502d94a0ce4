//! Rules of a router while the management service is killed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use podzol_lab::Lab;
use podzol_lab::cloud::wait_for;
use podzol_scenarios::{account, lab, wait_until_well};

use crate::router::{fetched, text, vms_of};

const LONG: Duration = Duration::from_secs(400);

/// The ports that forwards are made for.
const PORTS: std::ops::Range<u16> = 2001..2009;

/// How often the service is killed.
const KILLS: u32 = 3;

fn kill_management(lab: &Lab) {
    let pid = lab.management_pid().unwrap();
    podzol_lab::program::run("kill", &["-9", &pid.to_string()]).unwrap();
    lab.run_management().unwrap();
    lab.wait_for_management().unwrap();
}

#[test]
fn rules_that_change_while_the_service_is_killed_are_all_in_force_or_gone_as_it_was_asked() {
    let lab = lab().unwrap();
    let acme = account(&lab, "acme").unwrap();
    let vm = &vms_of(&lab, "acme")[0];
    let ip = text(&acme.podzol("public-ip allocate --zone z1 --wait").unwrap(), "address");
    let (first, last) = (PORTS.start, PORTS.end - 1);
    acme.podzol(&format!("firewall create --public-ip {ip} --protocol tcp --ports {first}-{last} --wait"))
        .unwrap();
    let forwards = || -> anyhow::Result<Vec<(u16, String)>> {
        let listed = acme.podzol("port-forward list")?;
        let forward = |one: &serde_json::Value| Some((text(one, "ports").parse().ok()?, text(one, "id")));
        Ok(listed.as_array().into_iter().flatten().filter_map(forward).collect())
    };
    let has = |port: u16| -> anyhow::Result<Option<String>> {
        Ok(forwards()?.into_iter().find(|(own, _)| *own == port).map(|(_, id)| id))
    };
    let changed = AtomicU32::new(0);
    // All are made, and every second one is removed again, each as often as it takes.
    let change = || {
        for port in PORTS {
            let create =
                format!("port-forward create --public-ip {ip} --ports {port} --to-port 80 --vm {}", vm.name);
            wait_for("a forward to be made", LONG, || {
                if has(port)?.is_none() {
                    acme.podzol(&create)?;
                }
                Ok(Some(()))
            })
            .unwrap();
            changed.fetch_add(1, Ordering::AcqRel);
            let Some(gone) = Some(port - 1).filter(|gone| gone % 2 == 1 && PORTS.contains(gone)) else {
                continue;
            };
            wait_for("a forward to be removed", LONG, || {
                if let Some(id) = has(gone)? {
                    acme.podzol(&format!("port-forward delete {id}"))?;
                }
                Ok(Some(()))
            })
            .unwrap();
            changed.fetch_add(1, Ordering::AcqRel);
        }
    };
    std::thread::scope(|scope| {
        let changes = scope.spawn(change);
        for kill in 0..KILLS {
            // In the middle of what comes next.
            wait_for("rules to have changed", LONG, || {
                Ok((changed.load(Ordering::Acquire) > 3 * kill).then_some(()))
            })
            .unwrap();
            kill_management(&lab);
        }
        changes.join().unwrap();
    });
    wait_until_well(&lab, LONG).unwrap();

    let left: BTreeSet<u16> = forwards().unwrap().into_iter().map(|(port, _)| port).collect();
    assert_eq!(left, PORTS.filter(|port| port % 2 == 0).collect());
    for port in PORTS {
        let seen = fetched(&lab, &format!("http://{ip}:{port}/"));
        let leads_to_it = seen.as_ref().is_some_and(|seen| seen.starts_with(&vm.name));
        assert_eq!(leads_to_it, port % 2 == 0, "port {port}: {seen:?}");
    }

    for (_, id) in forwards().unwrap() {
        acme.podzol(&format!("port-forward delete {id} --wait")).unwrap();
    }
    for rule in acme.podzol("firewall list").unwrap().as_array().into_iter().flatten() {
        acme.podzol(&format!("firewall delete {} --wait", text(rule, "id"))).unwrap();
    }
    acme.podzol(&format!("public-ip release {ip} --wait")).unwrap();
    wait_until_well(&lab, LONG).unwrap();
}
