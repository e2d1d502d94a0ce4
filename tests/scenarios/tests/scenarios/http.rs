//! A balancer of HTTP on a real router, and the passwords that routers give VMs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use podzol_lab::cloud::wait_for;
use podzol_lab::proof::{self, DemoVm};
use podzol_lab::{Cloud, Lab};
use podzol_scenarios::{account, console_of, lab, wait_until_well};
use podzol_test_support::certificate;
use serde_json::Value;

const ANSWER: Duration = Duration::from_secs(60);

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

fn acmes(lab: &Lab) -> Vec<DemoVm> {
    proof::demo_vms(lab).unwrap().into_iter().filter(|vm| vm.account == "acme").collect()
}

/// Writes a new certificate and its key, and gives the command line that names them.
fn certificate(folder: &Path, name: &str) -> anyhow::Result<String> {
    let certificate = certificate::certificate("shop.example");
    let (pem, own) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    std::fs::write(&pem, text(&certificate, "certificates"))?;
    std::fs::write(&own, text(&certificate, "key"))?;
    Ok(format!("--certificate-file {} --private-key-file {}", pem.display(), own.display()))
}

/// Who answers outside to somebody who trusts one certificate alone, by the first line of the answer.
fn answer(lab: &Lab, ip: &str, trusted: &Path, more: &[&str]) -> anyhow::Result<String> {
    let resolve = format!("shop.example:443:{ip}");
    let ca = trusted.to_str().context("a path that is no text")?;
    let words = ["curl", "-s", "--connect-timeout", "10", "-m", "20", "--resolve", &resolve, "--cacert", ca];
    let said = lab.outside(&[&words[..], more, &["https://shop.example/"]].concat())?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn a_balancer_of_http_has_a_router_that_can_and_keeps_its_clients_while_all_about_it_changes() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    let acme = account(&lab, "acme").unwrap();
    let image = lab.images.join("router-l7/router-l7.qcow2");
    assert!(image.exists(), "no template of routers that balance HTTP: podzol-image build router-l7");
    if admin.podzol("template show router-l7").is_err() {
        admin.podzol(&format!("template import {} --wait", image.display())).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let balanced = balances(&lab, &acme, &acmes(&lab), folder.path());
    // Others have the smaller routers again.
    let router = admin.podzol("router list --filter account=acme").unwrap()[0].clone();
    for balancer in acme.podzol("load-balancer list").unwrap().as_array().into_iter().flatten() {
        acme.podzol(&format!("load-balancer delete {} --wait", text(balancer, "id"))).unwrap();
    }
    admin.podzol(&format!("router replace {} --wait --timeout 400", text(&router, "id"))).unwrap();
    wait_until_well(&lab, Duration::from_secs(400)).unwrap();
    admin.podzol("template delete router-l7").unwrap();
    balanced.unwrap();
}

fn balances(lab: &Lab, acme: &Cloud, vms: &[DemoVm], folder: &Path) -> anyhow::Result<()> {
    let ip = text(&acme.podzol("public-ip allocate --zone z1 --wait")?, "address");
    acme.podzol(&format!("firewall create --public-ip {ip} --protocol tcp --ports 443 --wait"))?;
    let first = certificate(folder, "first")?;
    acme.podzol(&format!(
        "load-balancer create shop --public-ip {ip} --port 443 --protocol https --member {}:80 --member {}:80 \
         --check http:/ --cookie SRV {first} --wait --timeout 900",
        vms[0].name, vms[1].name
    ))?;
    let trusted = folder.join("first.pem");
    let all =
        || -> BTreeSet<String> { (0..12).filter_map(|_| answer(lab, &ip, &trusted, &[]).ok()).collect() };
    wait_for("both members to be used", Duration::from_secs(60), || {
        let seen = all();
        ensure!(seen.len() == 2, "only {seen:?}");
        Ok(Some(()))
    })?;
    // Who has a cookie stays, even with one that drains; others come there no more.
    let jar = folder.join("jar").display().to_string();
    let own = answer(lab, &ip, &trusted, &["-c", &jar])?;
    acme.podzol(&format!("load-balancer update shop --drain {own} --wait"))?;
    for _ in 0..6 {
        ensure!(answer(lab, &ip, &trusted, &["-b", &jar])? == own, "a client was sent away from its member");
    }
    ensure!(!all().contains(&own), "a member that drains gets new clients");
    // Another certificate is shown from then on.
    let second = certificate(folder, "second")?;
    acme.podzol(&format!("load-balancer update shop --undrain {own} {second} --wait"))?;
    let renewed = folder.join("second.pem");
    wait_for("the new certificate to be shown", Duration::from_secs(30), || {
        answer(lab, &ip, &renewed, &["-b", &jar]).map(Some)
    })?;
    ensure!(answer(lab, &ip, &trusted, &[]).is_err(), "the one before is shown still");
    wait_for("the counters to be shown", Duration::from_secs(30), || {
        let shown = acme.podzol("load-balancer show shop")?;
        ensure!(shown["traffic"]["requests"].as_u64() > Some(20), "{shown}");
        ensure!(shown["members"][0]["works"] == true, "{shown}");
        Ok(Some(()))
    })
}

#[test]
fn a_new_password_is_given_to_its_vm_alone_until_that_has_set_it() {
    let lab = lab().unwrap();
    let (admin, acme) = (lab.cloud().unwrap(), account(&lab, "acme").unwrap());
    let vms = acmes(&lab);
    let made = acme.podzol(&format!("vm reset-password {} --wait", vms[0].name)).unwrap();
    let password = text(&made["object"], "password");
    let ask = |vm: &DemoVm, what: &str| {
        let mut console = console_of(&lab, &admin, &vm.name)?;
        let asks = format!("sh wget -qO- --header 'DomU_Request: {what}' http://10.1.1.1:8080/");
        Ok::<_, anyhow::Error>(console.ask(&asks, ANSWER)?.join("\n").trim().to_owned())
    };
    assert_eq!(ask(&vms[1], "send_my_password").unwrap(), "saved_password");
    assert_eq!(ask(&vms[0], "send_my_password").unwrap(), password);
    assert_eq!(ask(&vms[0], "saved_password").unwrap(), "saved_password");
    assert_eq!(ask(&vms[0], "send_my_password").unwrap(), "saved_password");
    admin.podzol("doctor").unwrap();
}
