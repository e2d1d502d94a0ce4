//! Consoles: sessions find their places, links open them, and console proxies come and go with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use podzol_console_proxy_api::{Rights, Session, Upstream};
use podzol_mgmt::config::Console;
use podzol_sim::{PodPlan, SimPod, SimulatedConsoleProxy};
use podzol_test_support::{Answer, Api, ControlPlane, Customer, SOON, text, wait_for};
use podzol_vocab::{ConsoleSessionId, VmId};
use serde_json::{Value, json};

mod capacity;
mod certificate;
mod identity;
mod names;
mod places;
mod restarts;
mod resume;
mod rights;
mod zones;

/// What consoles are like in these tests: servers of two sessions, two servers a VM.
pub(crate) fn console() -> Console {
    Console {
        domain: "console.example.org".parse().expect("it is a domain"),
        names: podzol_mgmt_dns::NameForm::Address,
        dns: None,
        api_origin: Some("https://cloud.example.org".parse().expect("it is an origin")),
        port: 443,
        sessions_per_server: 2,
        servers_per_proxy: 2,
        most_proxies: 4,
        reserve_sessions: 0,
        margin_sessions: 0,
        surplus_secs: 0,
        start_secs: 60,
        drain_secs: 600,
        session_idle_secs: 1800,
        session_secs: 3600,
        nudge: false,
    }
}

/// A pod whose zone can have console proxies, and a customer with a VM.
struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    acme: Customer,
    vm: String,
}

impl World {
    async fn make() -> Self {
        Self::with(|_| ()).await
    }

    /// One with other rules.
    async fn with(change: impl FnOnce(&mut Console)) -> Self {
        let mut own = console();
        change(&mut own);
        let control_plane = ControlPlane::with(|config| {
            config.console = Some(own);
            config.silent_secs = 5;
        });
        Self::on(control_plane.await).await
    }

    async fn on(control_plane: ControlPlane) -> Self {
        let hosts = vec![("h1", 8192), ("h2", 8192)];
        let pod = SimPod::with(&control_plane, PodPlan { hosts, ..PodPlan::default() }).await;
        let admin = &control_plane.admin;
        let acme = admin.customer("acme").await;
        // Made before the zone has a public network: it has no router, which these tests need not wait for.
        let network = pod.network(&acme.api, "net", "10.1.1.0/24").await;
        admin.zone_networks(&pod.zone).await;
        admin.console_proxy_template("console-proxy").await;
        let vm = pod.vm(&acme.api, "web", &network).await;
        Self { control_plane, pod, acme, vm }
    }

    fn admin(&self) -> &Api {
        &self.control_plane.admin
    }

    async fn proxies(&self) -> Vec<Value> {
        self.admin().list("/v1/console-proxies").await
    }

    /// The console proxies, once they are like this.
    async fn proxies_are(&self, what: &str, are: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        wait_for(what, SOON, async || {
            let proxies = self.proxies().await;
            if are(&proxies) { Ok(proxies) } else { Err(format!("{proxies:#?}")) }
        })
        .await
    }

    /// The program that a console proxy is.
    fn machine(&self, proxy: &Value) -> Arc<SimulatedConsoleProxy> {
        let vm: VmId = text(proxy, "vm").parse().expect("a VM's id is one");
        let router = self.pod.hosts.iter().find_map(|host| host.router(vm));
        router.and_then(|router| router.console_proxy()).unwrap_or_else(|| panic!("no host has {proxy:#}"))
    }

    async fn ask(&self, api: &Api, body: Value) -> Answer {
        api.post(&format!("/v1/vms/{}/console", self.vm), &body).await
    }

    /// A console, once it has a link.
    async fn open(&self) -> Value {
        self.open_by(&self.acme.api, json!({})).await
    }

    async fn open_by(&self, api: &Api, body: Value) -> Value {
        let opened = self.ask(api, body).await.ok();
        if !opened["url"].is_null() {
            return opened;
        }
        api.succeeded(&text(&opened, "operation.id")).await;
        let again = self.ask(api, json!({ "session": text(&opened, "session.id") })).await.ok();
        assert!(again["url"].is_string(), "{again:#}");
        again
    }

    /// All sessions that console proxies have.
    async fn shown(&self) -> BTreeMap<ConsoleSessionId, Session> {
        let proxies = self.proxies().await;
        proxies.iter().filter(|proxy| runs(proxy)).flat_map(|proxy| self.machine(proxy).sessions()).collect()
    }

    /// What the proxy of a session knows of it, once that is like this.
    async fn session_is(&self, opened: &Value, is: impl Fn(Option<&Session>) -> bool) -> Option<Session> {
        let id = session_id(opened);
        wait_for("a console proxy to know a session otherwise", SOON, async || {
            let found = self.shown().await.remove(&id);
            if is(found.as_ref()) { Ok(found) } else { Err(format!("{found:#?}")) }
        })
        .await
    }

    /// The session that a link opens, and the proxy that does.
    async fn exchange(&self, opened: &Value) -> (Session, Value) {
        let (url, proxies) = (text(opened, "url"), self.proxies().await);
        let host = url.trim_start_matches("https://").split(['.', ':', '/']).next().unwrap_or_default();
        let at = |proxy: &&Value| text(proxy, "address").replace('.', "-") == host;
        let proxy = proxies.iter().find(at).unwrap_or_else(|| panic!("{url} is none of {proxies:#?}"));
        let session = self.machine(proxy).exchange(&url).unwrap_or_else(|error| panic!("{url}: {error}"));
        (session, proxy.clone())
    }
}

fn runs(proxy: &Value) -> bool {
    ["running", "draining"].contains(&proxy["state"].as_str().unwrap_or_default())
}

fn session_id(opened: &Value) -> ConsoleSessionId {
    text(opened, "session.id").parse().expect("a session's id is one")
}

#[tokio::test]
async fn the_first_console_starts_a_proxy_and_the_next_one_is_a_link_at_once() {
    let world = World::make().await;
    assert_eq!(world.proxies().await, Vec::<Value>::new());

    let asked = world.ask(&world.acme.api, json!({})).await;
    assert_eq!(asked.status, 202);
    let opened = asked.ok();
    assert!(opened["url"].is_null() && opened["operation"]["kind"] == "console.open", "{opened:#}");
    world.acme.api.succeeded(&text(&opened, "operation.id")).await;
    let link = world.ask(&world.acme.api, json!({ "session": text(&opened, "session.id") })).await;
    assert_eq!(link.status, 200);
    let link = link.ok();
    assert!(text(&link, "url").starts_with("https://203-0-113-10.console.example.org/#"), "{link:#}");
    let (session, proxy) = world.exchange(&link).await;
    assert_eq!((session.vm.to_string(), session.vm_name.as_str()), (world.vm.clone(), "web"));
    assert_eq!((session.viewer.as_str(), session.rights), ("owner", Rights::Control));
    assert_eq!(session.resume.url, "https://cloud.example.org/v1/console-sessions/resume");
    let host = text(&world.admin().show_vm(&world.vm).await, "host");
    assert!(
        matches!(&session.upstream, Upstream::Agent { host: at, .. } if at.to_string() == host),
        "{session:?}"
    );
    assert_eq!((text(&proxy, "state").as_str(), &proxy["sessions"]), ("running", &json!(1)));
    assert_eq!((&proxy["servers"][0]["port"], &proxy["servers"][0]["open"]), (&json!(443), &json!(true)));
    // It is a VM of the system's own, with a public side on which its port is open.
    let vm: VmId = text(&proxy, "vm").parse().unwrap();
    world.admin().get(&format!("/v1/vms/{vm}")).await.refused(404, "not_found");
    let appliance = world.pod.hosts.iter().find_map(|host| host.router(vm)).unwrap().document().unwrap();
    assert_eq!(appliance.problems(), vec![]);
    let local: Vec<_> =
        appliance.local_ports.values().map(|local| (local.public.to_string(), local.port)).collect();
    assert_eq!((local, appliance.ingress.len()), (vec![("203.0.113.10".into(), 443)], 1));

    let second = world.ask(&world.acme.api, json!({ "view_only": true })).await;
    assert_eq!(second.status, 200);
    let (session, same) = world.exchange(&second.ok()).await;
    assert_eq!((session.rights, &same["id"]), (Rights::View, &proxy["id"]));
    // A ticket is another one each time that it is asked for.
    let again = world.ask(&world.acme.api, json!({ "session": text(&link, "session.id") })).await.ok();
    assert_ne!(text(&again, "url"), text(&link, "url"));
    world.admin().event_about("console.open", &world.vm, "web, to be looked at only").await;
    let diagnosis = world.admin().get("/v1/doctor").await.ok();
    assert_eq!(diagnosis["findings"], json!([]));
    let metrics = world.admin().get("/metrics").await.ok().as_str().unwrap_or_default().to_owned();
    let of_proxy = |what: &str| format!("podzol_console_proxy_{what}{{proxy={},zone=\"z1\"}}", proxy["id"]);
    for line in [
        "podzol_console_proxies{state=\"running\"} 1".to_owned(),
        "podzol_console_sessions{state=\"placed\"} 2".to_owned(),
        "podzol_console_room{zone=\"z1\"}".to_owned(),
        "podzol_console_pages{zone=\"z1\"}".to_owned(),
        of_proxy("servers"),
        of_proxy("cpu_milliseconds"),
        of_proxy("memory_bytes"),
        of_proxy("sent_bytes"),
        of_proxy("refused"),
    ] {
        assert!(metrics.lines().any(|found| found.starts_with(&line)), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_console_is_opened_once_however_often_it_is_asked_for_with_a_key() {
    let world = World::make().await;
    let path = format!("/v1/vms/{}/console", world.vm);
    let first = world.acme.api.post_once(&path, "one", &json!({})).await.ok();
    world.acme.api.succeeded(&text(&first, "operation.id")).await;
    let again = world.acme.api.post_once(&path, "one", &json!({})).await.ok();
    assert_eq!(text(&again, "session.id"), text(&first, "session.id"));
    world.exchange(&again).await;
    let refused = world.acme.api.post_once(&path, "one", &json!({ "view_only": true })).await;
    refused.refused(409, "idempotency_key_reused");
    assert_eq!(world.acme.api.list("/v1/console-sessions").await.len(), 1);
}

#[tokio::test]
async fn all_who_look_at_a_vm_are_at_the_same_server_and_others_where_the_least_load_is() {
    let world = World::with(|console| console.sessions_per_server = 4).await;
    let first = world.open().await;
    // A second server, by four other VMs' worth of sessions of this one.
    for _ in 0..3 {
        world.open().await;
    }
    world.open().await;
    let network = text(&world.admin().show_vm(&world.vm).await, "nics.0.network");
    let other = world.pod.vm(&world.acme.api, "db", &network).await;
    let servers: Vec<_> = world.shown().await.into_values().map(|session| session.server).collect();
    let of_first = world.exchange(&first).await.0.server;
    assert_eq!(servers.iter().filter(|server| **server == of_first).count(), 4);
    let opened = world.acme.api.post(&format!("/v1/vms/{other}/console"), &json!({})).await.ok();
    let (session, _) = world.exchange(&opened).await;
    assert_ne!(session.server, of_first);
}

#[tokio::test]
async fn a_console_that_cannot_be_had_is_refused_with_the_reason() {
    let world = World::make().await;
    let api = &world.acme.api;
    api.stop_vm(&world.vm).await;
    world.ask(api, json!({})).await.refused(409, "vm_not_running");
    api.start_vm(&world.vm).await;
    let nobody = ConsoleSessionId::new();
    world.ask(api, json!({ "session": nobody })).await.refused(404, "not_found");
    world.ask(api, json!({ "colour": "red" })).await.refused(422, "invalid_field");
    let template = world.admin().list("/v1/templates").await;
    let template = template.iter().find(|template| template["role"] == "console_proxy").unwrap();
    world.admin().delete(&format!("/v1/templates/{}", text(template, "id"))).await.ok();
    world.ask(api, json!({})).await.refused(409, "no_console_proxy_template");
    assert_eq!(api.list("/v1/console-sessions").await, Vec::<Value>::new());

    let plain = ControlPlane::start().await;
    let refused = plain.admin.post(&format!("/v1/vms/{}/console", world.vm), &json!({})).await;
    refused.refused(409, "no_console_domain");
}
