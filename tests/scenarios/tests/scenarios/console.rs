//! Consoles of VMs through a real console proxy, as people outside see them in a browser: in this machine's Chromium.

mod need;
mod undone;

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use podzol_lab::cloud::{CONSOLE_DOMAIN, wait_for};
use podzol_lab::network::MANAGEMENT;
use podzol_lab::proof::{self, DemoVm};
use podzol_lab::{Cloud, Lab};
use podzol_scenarios::{account, lab, wait_until_well};
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::undone::Undone;
use crate::pages::{Pages, Picture};

/// How long a console proxy may take until there is a link to it.
const STARTS: u64 = 600;

/// How long a page may take until it shows what its VM does.
const SHOWS: Duration = Duration::from_secs(120);

/// How long the lab's management service waits until it gives up what hangs or nobody needs, and a VM may take to end.
const GIVEN_UP: Duration = Duration::from_secs(300);

/// How long until another console proxy is open, for which nobody waits.
const OPENS: Duration = Duration::from_secs(STARTS);

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// What a VM's display shows, as QEMU says.
fn screen(lab: &Lab, vm: &DemoVm) -> anyhow::Result<Picture> {
    let file = format!("/tmp/{}.png", vm.id);
    let said = lab.ssh(&lab.host(&vm.host)?).run(&format!(
        "virsh -q screenshot {} {file} > /dev/null && base64 -w0 {file} && rm {file}",
        vm.id
    ))?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(said.trim())?;
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().context("a picture of a size")?];
    let frame = reader.next_frame(&mut pixels)?;
    let bytes = match frame.color_type {
        png::ColorType::Rgb => 3,
        png::ColorType::Rgba => 4,
        other => bail!("a picture in {other:?}"),
    };
    let mut hash = Sha256::new();
    pixels[..frame.buffer_size()].chunks_exact(bytes).for_each(|pixel| hash.update(&pixel[..3]));
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Picture { size: (frame.width.into(), frame.height.into()), sha256 })
}

/// What the console domain's name server says of a name.
fn resolved(lab: &Lab, name: &str) -> anyhow::Result<Option<Ipv4Addr>> {
    let at = format!("@{MANAGEMENT}");
    let said = podzol_lab::program::run(
        "ip",
        &["netns", "exec", &lab.namespace(), "dig", "+short", "+time=3", "+tries=1", &at, name],
    )?;
    Ok(said.lines().next().and_then(|line| line.parse().ok()))
}

/// A link to the console of a VM.
fn link(customer: &Cloud, vm: &str) -> anyhow::Result<String> {
    let opened = customer.podzol(&format!("console {vm} --timeout {STARTS}"))?;
    let url = text(&opened, "url");
    ensure!(url.contains(CONSOLE_DOMAIN), "{opened}");
    Ok(url)
}

#[test]
fn consoles_go_on_in_a_browser_whatever_happens_to_their_vms_and_their_proxy() {
    let lab = lab().unwrap();
    let admin = lab.cloud().unwrap();
    // All three sessions are at one proxy.
    let undone = Undone::with(&lab, &[("sessions_per_server", 3), ("servers_per_proxy", 1)]).unwrap();
    let shown = shows(&lab, &admin);
    drop(undone);
    let gone = wait_for("console proxies to go", Duration::from_secs(300), || {
        let left = admin.podzol("console-proxy list")?;
        ensure!(left.as_array().is_none_or(Vec::is_empty), "{left}");
        Ok(Some(()))
    });
    shown.unwrap();
    gone.unwrap();
    wait_until_well(&lab, Duration::from_secs(300)).unwrap();
}

/// Three VMs of two customers, each on a page of its own.
struct Consoles<'a> {
    lab: &'a Lab,
    pages: Pages,
}

impl Consoles<'_> {
    const VMS: [&'static str; 3] = ["acme-1", "acme-2", "globex-1"];

    /// Waits until a page is connected and shows what its VM does, whose cursor blinks; gives the name of the proxy that it is at.
    fn shows(&mut self, name: &str, longest: Duration) -> anyhow::Result<String> {
        wait_for(&format!("the page of {name} to show what that does"), longest, || {
            let vms = proof::demo_vms(self.lab)?;
            let vm = vms.iter().find(|vm| vm.name == name).context("it does not run")?;
            self.look(vm).map(Some)
        })
    }

    /// The same for a VM of which it is known where it runs.
    fn shows_screen_of(&mut self, vm: &DemoVm, longest: Duration) -> anyhow::Result<()> {
        let what = format!("the page of {} to show what that does", vm.name);
        wait_for(&what, longest, || self.look(vm).map(|_| Some(())))
    }

    fn look(&mut self, vm: &DemoVm) -> anyhow::Result<String> {
        let right = screen(self.lab, vm)?;
        let seen = self.pages.look(&vm.name)?;
        ensure!(seen.phase == "on" && seen.picture == right, "{seen:?} instead of {right:?}");
        Ok(seen.host)
    }

    fn all_show(&mut self, longest: Duration) -> anyhow::Result<()> {
        Self::VMS.iter().try_for_each(|name| self.shows(name, longest).map(drop))
    }

    /// What is typed on a page's serial console arrives, and so does the answer.
    fn answers(&mut self, name: &str) -> anyhow::Result<()> {
        wait_for(&format!("{name} to answer on its page's serial console"), SHOWS, || {
            let shown = self.pages.serial(name, "hostname")?;
            ensure!(shown.lines().any(|line| line.trim() == name), "{shown}");
            Ok(Some(()))
        })
    }
}

fn shows(lab: &Lab, admin: &Cloud) -> anyhow::Result<()> {
    let (acme, globex) = (account(lab, "acme")?, account(lab, "globex")?);
    let mut consoles = Consoles { lab, pages: Pages::start(lab)? };
    for (customer, name) in [&acme, &acme, &globex].into_iter().zip(Consoles::VMS) {
        let url = link(customer, name)?;
        consoles.pages.open(name, &url)?;
        let host = consoles.shows(name, SHOWS)?;
        let expected = Some(host.as_str());
        let address = resolved(lab, &host)?.map(|address| address.to_string().replace('.', "-"));
        ensure!(
            address.as_deref() == expected.and_then(|host| host.split('.').next()),
            "{host}: {address:?}"
        );
        ensure!(is_refused(lab, &url)?, "a ticket was taken twice");
    }
    // Another's VM is none.
    ensure!(link(&globex, "acme-1").is_err(), "globex has a link to acme's VM");
    // Names of what is no proxy have no address.
    ensure!(resolved(lab, &format!("203-0-113-1.{CONSOLE_DOMAIN}"))?.is_none(), "the gateway has a name");
    consoles.answers("acme-1")?;

    // After this, there is room for three more: at another proxy.
    undone::set(lab, &[("reserve_sessions", 3)])?;
    goes_on_without_management(&mut consoles)?;
    acme.podzol("vm reboot acme-1 --wait")?;
    consoles.shows("acme-1", SHOWS)?;
    moves(&mut consoles, admin)?;
    goes_on_at_another_proxy(&mut consoles, admin)?;
    Consoles::VMS.iter().try_for_each(|name| consoles.pages.close(name))
}

/// Whether a proxy refuses the ticket of a link.
fn is_refused(lab: &Lab, url: &str) -> anyhow::Result<bool> {
    let (origin, ticket) = url.split_once("/#").context("a link without a ticket")?;
    let host = origin.strip_prefix("https://").context("a link that is not of HTTPS")?;
    let resolve = format!("{host}:443:{}", resolved(lab, host)?.context("a link to what has no address")?);
    let (ca, body) =
        (lab.path("mgmt/ca.pem").display().to_string(), serde_json::json!({ "ticket": ticket }).to_string());
    let json = "Content-Type: application/json";
    let (status, address) = ("%{http_code}", format!("{origin}/session"));
    let words = [
        "curl",
        "-sS",
        "-m",
        "40",
        "--cacert",
        &ca,
        "--resolve",
        &resolve,
        "-H",
        json,
        "-d",
        &body,
        "-o",
        "/dev/null",
        "-w",
        status,
        &address,
    ];
    Ok(lab.outside(&words)?.trim() == "401")
}

/// The management service is killed: what is open stays, and answers.
fn goes_on_without_management(consoles: &mut Consoles<'_>) -> anyhow::Result<()> {
    let lab = consoles.lab;
    let vms = proof::demo_vms(lab)?;
    let vm = vms.iter().find(|vm| vm.name == "acme-1").context("acme-1")?;
    let pid = lab.management_pid()?;
    podzol_lab::program::run("kill", &["-9", &pid.to_string()])?;
    let answered = consoles.answers("acme-1").and_then(|()| consoles.shows_screen_of(vm, SHOWS));
    lab.run_management()?;
    lab.wait_for_management()?;
    answered?;
    consoles.all_show(SHOWS)
}

/// A VM moves to the other host under its open page.
fn moves(consoles: &mut Consoles<'_>, admin: &Cloud) -> anyhow::Result<()> {
    let vms = proof::demo_vms(consoles.lab)?;
    let vm = vms.iter().find(|vm| vm.name == "acme-2").context("acme-2")?;
    let to = if vm.host == "h1" { "h2" } else { "h1" };
    for to in [to, &vm.host] {
        let moved = admin.podzol(&format!("vm migrate {} --to {to} --wait", vm.id))?;
        ensure!(moved["state"] == "running", "{moved}");
        consoles.shows("acme-2", SHOWS)?;
    }
    Ok(())
}

/// A console proxy at which pages are, the name of its host, those pages, and another one that is open.
fn proxies(
    consoles: &mut Consoles<'_>,
    admin: &Cloud,
) -> anyhow::Result<(Value, String, Vec<&'static str>, Value)> {
    let at = |name: &&'static str| Ok((*name, consoles.shows(name, SHOWS)?));
    let at = Consoles::VMS.iter().map(at).collect::<anyhow::Result<Vec<_>>>()?;
    let (own, other) = wait_for("another console proxy to be open", OPENS, || {
        let proxies = admin.podzol("console-proxy list")?;
        let is_open = |proxy: &&Value| proxy["state"] == "running" && proxy["servers"][0]["open"] == true;
        let open: Vec<&Value> = proxies.as_array().into_iter().flatten().filter(is_open).collect();
        let pages = |proxy: &Value| at.iter().filter(|(_, host)| *host == name_of(proxy)).count();
        let own = open.iter().filter(|proxy| pages(proxy) > 0).max_by_key(|proxy| pages(proxy));
        let own = own.with_context(|| format!("{at:?} are at none of {open:?}"))?;
        let other = open.iter().find(|proxy| proxy["id"] != own["id"]).context("there is one alone")?;
        Ok(Some(((*own).clone(), (*other).clone())))
    })?;
    let pages = at.iter().filter(|(_, host)| *host == name_of(&own)).map(|(name, _)| *name).collect();
    let host = text(&admin.podzol(&format!("host show {}", text(&own, "host")))?, "name");
    Ok((own, host, pages, other))
}

fn name_of(proxy: &Value) -> String {
    format!("{}.{CONSOLE_DOMAIN}", text(proxy, "address").replace('.', "-"))
}

/// All pages at one proxy, and another one open. Where a lab is too busy to answer in time, a page moves by itself: then the
/// proxy that it has moved to is drained.
fn gathered(consoles: &mut Consoles<'_>, admin: &Cloud) -> anyhow::Result<(Value, String)> {
    for _ in 0..3 {
        let (own, host, pages, other) = proxies(consoles, admin)?;
        if pages.len() == Consoles::VMS.len() {
            return Ok((own, host));
        }
        admin.podzol(&format!("console-proxy drain {}", text(&other, "id")))?;
        wait_for("the drained proxy to be gone", OPENS, || {
            let proxies = admin.podzol("console-proxy list")?;
            let there = proxies.as_array().into_iter().flatten().any(|proxy| proxy["id"] == other["id"]);
            Ok((!there).then_some(()))
        })?;
    }
    bail!("the pages do not stay at one proxy")
}

/// The VM of a proxy with all three pages is killed: they go on by themselves at another one that is open, and it is removed. Of one
/// that hangs, tests of the page and of the control plane know more.
fn goes_on_at_another_proxy(consoles: &mut Consoles<'_>, admin: &Cloud) -> anyhow::Result<()> {
    let lab = consoles.lab;
    let (own, host) = gathered(consoles, admin)?;
    let process = format!("/run/libvirt/qemu/$(virsh -q domname {}).pid", text(&own, "vm"));
    lab.ssh(&lab.host(&host)?).run(&format!("kill -9 $(cat {process})"))?;
    for name in Consoles::VMS {
        // A page that has not noticed yet shows what it did.
        wait_for(&format!("{name} to be shown by another proxy"), SHOWS, || {
            let at = consoles.shows(name, SHOWS)?;
            ensure!(at != name_of(&own), "{name} is still at {at}");
            Ok(Some(()))
        })?;
    }
    let id = text(&own, "id");
    wait_for("what was given up to be gone", GIVEN_UP, || {
        let proxies = admin.podzol("console-proxy list")?;
        let there = proxies.as_array().into_iter().flatten().any(|proxy| text(proxy, "id") == id);
        ensure!(!there, "{proxies}");
        Ok(Some(()))
    })?;
    is_cleaned_up(lab, admin)
}

/// Each VM runs once, whatever it is, and nothing else does.
fn is_cleaned_up(lab: &Lab, admin: &Cloud) -> anyhow::Result<()> {
    wait_for("what was killed to be cleaned up", SHOWS, || {
        let proxies = admin.podzol("console-proxy list")?;
        let mut known: Vec<String> =
            proxies.as_array().into_iter().flatten().map(|proxy| text(proxy, "vm")).collect();
        let mut runs = Vec::new();
        for host in ["h1", "h2"] {
            let domains = lab.ssh(&lab.host(host)?).run("virsh -q list --all --uuid")?;
            runs.extend(domains.split_whitespace().map(str::to_owned));
        }
        let others = [admin.podzol("vm list")?, admin.podzol("router list")?];
        for (list, field) in others.iter().zip(["id", "vm"]) {
            known.extend(list.as_array().into_iter().flatten().map(|row| text(row, field)));
        }
        known.sort();
        runs.sort();
        ensure!(runs == known, "{runs:?} run, and {known:?} should");
        Ok(Some(()))
    })
}
