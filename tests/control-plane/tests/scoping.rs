//! Who may see and do what, for every route: the OpenAPI document says which there are, so a new one is covered by
//! itself, or makes these tests fail until they know what its ids name.

use std::collections::BTreeMap;

use podzol_sim::SimPod;
use podzol_test_support::{Answer, Api, ControlPlane, Customer, text};
use reqwest::Method;
use serde_json::{Value, json};

/// An operation of the API.
#[derive(Debug)]
struct Route {
    method: Method,
    path: String,
    for_operators: bool,
    has_body: bool,
}

impl Route {
    /// What kind of thing the path is about: `vms` in `/v1/vms/{id}/start`.
    fn kind(&self) -> &str {
        self.path.split('/').nth(2).unwrap_or_default()
    }

    fn has_id(&self) -> bool {
        self.path.contains('{')
    }

    /// Asks for it, with a body that would be valid.
    async fn ask(&self, api: &Api, world: &World) -> Answer {
        let path = match self.has_id() {
            true => self.path.replace("{id}", world.id(self.kind())),
            false => self.path.clone(),
        };
        assert!(!path.contains('{'), "{path}: this test knows no other part of a path than {{id}}");
        let body = if self.has_body { world.body(self) } else { Value::Null };
        api.send_json(self.method.clone(), &path, &body).await
    }
}

async fn routes(api: &Api) -> Vec<Route> {
    let document = api.get("/v1/openapi.json").await.ok();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("a document has paths") {
        for (method, operation) in methods.as_object().expect("a path has methods") {
            routes.push(Route {
                method: method.to_uppercase().parse().expect("it is a method"),
                path: path.clone(),
                for_operators: operation["tags"][0] == "operators",
                has_body: operation["requestBody"].is_object(),
            });
        }
    }
    assert!(routes.len() > 40, "{routes:?}");
    routes
}

/// One thing of each kind. Those that an account can own belong to globex; acme has nothing but its key.
struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    acme: Customer,
    globex: Customer,
    ids: BTreeMap<&'static str, String>,
}

/// What belongs to an account: for others it is not there.
const OWNED: [&str; 17] = [
    "accounts",
    "users",
    "keys",
    "networks",
    "affinity-groups",
    "vms",
    "nics",
    "volumes",
    "operations",
    "routers",
    "public-ips",
    "port-forwards",
    "static-nats",
    "firewall-rules",
    "egress-rules",
    "load-balancers",
    "console-sessions",
];

/// What every customer may see, and no customer may change.
const FOR_ALL: [&str; 3] = ["zones", "offerings", "templates"];

impl World {
    async fn make() -> Self {
        let control_plane = ControlPlane::with(|config| config.console = Some(crate::consoles::console()));
        let control_plane = control_plane.await;
        let pod = SimPod::start(&control_plane).await;
        let admin = &control_plane.admin;
        let (acme, globex) = (admin.customer("acme").await, admin.customer("globex").await);
        admin.zone_networks(&pod.zone).await;
        admin.router_template("router").await;
        admin.console_proxy_template("console-proxy").await;
        let network = pod.network(&globex.api, "n1", "10.1.1.0/24").await;
        let made = globex.api.vm("web", &pod.offering, &pod.template, &network).await.ok();
        let (vm, operation) = (text(&made, "object.id"), text(&made, "operation.id"));
        globex.api.vm_in_state(&vm, "running").await;
        let shown = globex.api.show_vm(&vm).await;
        let body = json!({ "name": "data", "zone": pod.zone, "size_gib": 1 });
        let volume = text(&globex.api.post("/v1/volumes", &body).await.ok(), "object.id");
        let body = json!({ "name": "apart", "policy": "anti_affinity" });
        let group = text(&globex.api.post("/v1/affinity-groups", &body).await.ok(), "id");
        let rules = rules(&globex.api, &pod.zone, &vm, &network).await;
        let opened = globex.api.post(&format!("/v1/vms/{vm}/console"), &json!({})).await.ok();
        globex.api.succeeded(&text(&opened, "operation.id")).await;
        let proxy = text(&admin.list("/v1/console-proxies").await[0], "id");
        let ids = [
            ("affinity-groups", &group),
            ("nics", &text(&shown, "nics.0.id")),
            ("volumes", &volume),
            ("accounts", &globex.account),
            ("users", &globex.user),
            ("keys", &globex.key),
            ("networks", &network),
            ("vms", &vm),
            ("operations", &operation),
            ("console-sessions", &text(&opened, "session.id")),
            ("console-proxies", &proxy),
            ("zones", &pod.zone),
            ("pods", &pod.pod),
            ("hosts", &pod.hosts[0].id),
            ("storage-servers", &pod.storage.id),
            ("pools", &pod.pool),
            ("offerings", &pod.offering),
            ("templates", &pod.template),
        ];
        let ids = ids.into_iter().map(|(kind, id)| (kind, id.clone())).chain(rules).collect();
        Self { control_plane, pod, acme, globex, ids }
    }

    fn id(&self, kind: &str) -> &str {
        self.ids.get(kind).unwrap_or_else(|| panic!("this test knows no {kind}: make one in World::make"))
    }

    /// A body that is valid but for what it refers to.
    fn body(&self, route: &Route) -> Value {
        let (pod, id) = (&self.pod, |kind: &str| self.id(kind));
        match (route.method.as_str(), route.path.as_str()) {
            ("POST", "/v1/accounts") => json!({ "name": "x" }),
            ("POST", "/v1/users") => json!({ "name": "x", "account": id("accounts") }),
            ("POST", "/v1/keys") => json!({ "name": "x", "user": id("users") }),
            ("POST", "/v1/zones") => json!({ "name": "x", "vlan_ranges": ["7"] }),
            ("POST", "/v1/pods") => json!({ "name": "x", "zone": pod.zone }),
            ("POST", "/v1/hosts" | "/v1/storage-servers") => json!({ "name": "x", "pod": pod.pod }),
            ("PATCH", "/v1/static-nats/{id}") => json!({ "vm": id("vms") }),
            (
                "PATCH",
                "/v1/zones/{id}"
                | "/v1/accounts/{id}"
                | "/v1/nics/{id}"
                | "/v1/networks/{id}"
                | "/v1/port-forwards/{id}"
                | "/v1/firewall-rules/{id}"
                | "/v1/egress-rules/{id}"
                | "/v1/load-balancers/{id}",
            ) => json!({}),
            ("POST", "/v1/public-ips") => json!({ "zone": pod.zone, "account": id("accounts") }),
            ("POST", "/v1/port-forwards") => {
                json!({ "public_ip": id("public-ips"), "transport": "tcp", "ports": "9", "vm": id("vms") })
            }
            ("POST", "/v1/static-nats") => json!({ "public_ip": id("public-ips"), "vm": id("vms") }),
            ("POST", "/v1/firewall-rules") => json!({ "public_ip": id("public-ips"), "protocol": "tcp" }),
            ("POST", "/v1/egress-rules") => json!({ "network": id("networks"), "protocol": "tcp" }),
            ("POST", "/v1/load-balancers") => {
                json!({ "name": "x", "public_ip": id("public-ips"), "port": 9 })
            }
            ("POST", "/v1/vms/{id}/resize") => json!({ "offering": pod.offering }),
            ("POST", "/v1/volumes/{id}/resize") => json!({ "size_gib": 9 }),
            ("PATCH", "/v1/hosts/{id}") => json!({ "maintenance": true }),
            ("PATCH", "/v1/offerings/{id}") => json!({ "limits": {} }),
            ("POST", "/v1/pools") => json!({ "name": "x", "storage_server": pod.storage.id, "path": "/x" }),
            ("POST", "/v1/offerings") => json!({ "name": "x", "vcpus": 1, "memory_mib": 64, "disk_gib": 1 }),
            ("POST", "/v1/templates") => json!({ "name": "x", "sha256": "0".repeat(64) }),
            ("PUT", "/v1/templates/{id}/data") => json!("bytes"),
            ("POST", "/v1/networks") => {
                json!({ "name": "x", "zone": pod.zone, "cidr": "10.0.0.0/24", "account": id("accounts") })
            }
            ("POST", "/v1/affinity-groups") => {
                json!({ "name": "x", "policy": "affinity", "account": id("accounts") })
            }
            ("POST", "/v1/vms" | "/v1/placements") => json!({
                "name": "x", "offering": pod.offering, "template": pod.template, "networks": [id("networks")],
                "account": id("accounts"),
            }),
            ("POST", "/v1/vms/{id}/stop" | "/v1/vms/{id}/migrate") => json!({}),
            ("POST", "/v1/vms/{id}/console") => json!({}),
            ("POST", "/v1/routers/{id}/capture") => json!({ "link": "public", "seconds": 1 }),
            ("POST", "/v1/console-sessions/resume") => json!({ "token": "x" }),
            ("PUT", "/v1/console-certificate") => json!({ "certificates": "x", "key": "x" }),
            ("POST", "/v1/vms/{id}/iso") => json!({ "template": pod.template }),
            ("POST", "/v1/vms/{id}/nics") => json!({ "network": id("networks") }),
            ("POST", "/v1/volumes") => {
                json!({ "name": "x", "zone": pod.zone, "size_gib": 1, "account": id("accounts") })
            }
            ("POST", "/v1/volumes/{id}/attach") => json!({ "vm": id("vms") }),
            _ => panic!("this test knows no body for {} {}: add one", route.method, route.path),
        }
    }
}

/// A router and one of each that it does for a customer, by their kinds.
async fn rules(api: &Api, zone: &str, vm: &str, network: &str) -> Vec<(&'static str, String)> {
    let make = async |kind: &'static str, body: Value| {
        let made = api.post(&format!("/v1/{kind}"), &body).await.ok();
        (kind, text(&made, "object.id"))
    };
    let first = make("public-ips", json!({ "zone": zone })).await;
    let (ip, second) = (first.1.clone(), make("public-ips", json!({ "zone": zone })).await.1);
    let router = text(&api.list("/v1/routers").await[0], "id");
    vec![
        first,
        ("routers", router),
        make("port-forwards", json!({ "public_ip": ip, "transport": "tcp", "ports": "80", "vm": vm })).await,
        make("static-nats", json!({ "public_ip": second, "vm": vm })).await,
        make("firewall-rules", json!({ "public_ip": ip, "protocol": "tcp", "ports": "80" })).await,
        make("egress-rules", json!({ "network": network, "protocol": "udp" })).await,
        make("load-balancers", json!({ "name": "lb", "public_ip": ip, "port": 81 })).await,
    ]
}

#[tokio::test]
async fn what_belongs_to_another_account_is_not_there_on_any_route() {
    let world = World::make().await;
    let mut wrong = Vec::new();
    for route in routes(&world.acme.api).await.iter().filter(|route| route.has_id() && !route.for_operators) {
        let owned = OWNED.contains(&route.kind());
        assert!(
            owned || FOR_ALL.contains(&route.kind()),
            "{route:?}: does an account own it, or is it for all?"
        );
        let answer = route.ask(&world.acme.api, &world).await;
        let expected = if owned { (404, "not_found") } else { (200, "") };
        let found = (answer.status, answer.body["code"].as_str().unwrap_or_default());
        if found != expected {
            wrong.push(format!("{}: {found:?}, not {expected:?}", answer.request));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(world.pod.running(world.id("vms")).len(), 1);
}

#[tokio::test]
async fn what_is_for_operators_is_forbidden_for_customers() {
    let world = World::make().await;
    let mut wrong = Vec::new();
    for route in routes(&world.acme.api).await.iter().filter(|route| route.for_operators) {
        // globex is asked too: an own account or template is no exception.
        for customer in [&world.acme, &world.globex] {
            let answer = route.ask(&customer.api, &world).await;
            let found = (answer.status, answer.body["code"].as_str().unwrap_or_default());
            if found != (403, "forbidden") {
                wrong.push(format!("{}: {found:?}", answer.request));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn without_a_valid_key_nothing_is_answered() {
    let world = World::make().await;
    let id = world.globex.key.clone();
    let forged = format!("podzol.{id}.{}", "A".repeat(43));
    let strangers = [
        world.acme.api.without_key(),
        world.acme.api.with_key("nonsense"),
        world.acme.api.with_key(forged),
        world.acme.api.with_key(format!("podzol.{id}.")),
    ];
    let mut wrong = Vec::new();
    for route in routes(&world.acme.api).await {
        for stranger in &strangers {
            let answer = route.ask(stranger, &world).await;
            let found = (answer.status, answer.body["code"].as_str().unwrap_or_default());
            if found != (401, "unauthenticated") {
                wrong.push(format!("{}: {found:?}", answer.request));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(world.acme.api.without_key().get("/metrics").await.status, 401);
    world.acme.api.get("/metrics").await.refused(403, "forbidden");
    assert_eq!(world.control_plane.admin.get("/metrics").await.status, 200);
    assert_eq!(world.acme.api.without_key().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn lists_show_nothing_of_another_account() {
    let world = World::make().await;
    let theirs: Vec<&str> = OWNED.iter().map(|kind| world.id(kind)).collect();
    for route in routes(&world.acme.api).await {
        let is_list = route.method == Method::GET && !route.has_id() && !route.for_operators;
        if !is_list || route.path == "/v1/changes" {
            continue;
        }
        let account = &world.globex.account;
        for query in ["", &format!("?account={account}"), &format!("?subject={}", world.id("vms"))] {
            let answer = world.acme.api.get(&format!("{}{query}", route.path)).await;
            let is_unknown = answer.body["code"] == "unknown_parameter" && !query.is_empty();
            assert!(answer.status == 200 || is_unknown, "{}{query}: {answer:?}", route.path);
            let shown = answer.body.to_string();
            let leaked: Vec<_> = theirs.iter().filter(|id| shown.contains(**id)).collect();
            assert!(leaked.is_empty(), "{}{query} shows {leaked:?}: {shown}", route.path);
        }
    }
    assert_eq!(world.acme.api.list("/v1/zones").await.len(), 1);
    assert_eq!(world.globex.api.list("/v1/vms").await.len(), 1);
}

#[tokio::test]
async fn the_stream_of_changes_shows_nothing_of_another_account() {
    let world = World::make().await;
    let mut changes = world.acme.api.changes(None).await;

    world.globex.api.stop_vm(world.id("vms")).await;
    let own = world.acme.api.network("own", &world.pod.zone, "10.9.0.0/24").await;

    let seen = changes.until(|change| change["id"] == own.as_str()).await;
    let shared = world.control_plane.admin.offering("new", 64).await;
    let told = changes.until(|change| change["id"] == shared.as_str()).await;
    assert!(!told.is_empty(), "a customer may list offerings, and is told of new ones");
    let kinds: Vec<String> = seen.iter().map(|message| text(&message.change, "kind")).collect();
    assert!(kinds.iter().all(|kind| kind == "network" || kind == "event"), "{seen:?}");
}

#[tokio::test]
async fn the_stream_of_changes_ends_when_its_key_is_deleted() {
    let control_plane = ControlPlane::start().await;
    let customer = control_plane.admin.customer("acme").await;
    let (second, secret) = customer.api.key("second", &customer.user).await;
    let mut changes = customer.api.with_key(secret).changes(None).await;

    customer.api.delete(&format!("/v1/keys/{second}")).await.ok();

    assert!(changes.ends().await, "it goes on");
}

#[tokio::test]
async fn a_customer_uses_nothing_of_another_account() {
    let world = World::make().await;
    let api = &world.acme.api;
    let vm = json!({
        "name": "x", "offering": world.pod.offering, "template": world.pod.template, "networks": [world.id("networks")],
    });
    let problem = api.post("/v1/vms", &vm).await.refused(422, "invalid_field");
    assert_eq!(problem["field"], "networks");
    for (path, body) in [
        ("/v1/users", json!({ "name": "x", "account": world.globex.account })),
        ("/v1/keys", json!({ "name": "x", "user": world.globex.user })),
        (
            "/v1/networks",
            json!({ "name": "x", "zone": world.pod.zone, "cidr": "10.0.0.0/24", "account": world.globex.account }),
        ),
    ] {
        api.post(path, &body).await.refused(404, "not_found");
    }
    for (path, body, field) in [
        ("port-forwards", json!({ "transport": "tcp", "ports": "9", "vm": world.id("vms") }), "public_ip"),
        ("firewall-rules", json!({ "protocol": "tcp" }), "public_ip"),
        ("egress-rules", json!({ "protocol": "tcp", "network": world.id("networks") }), "network"),
    ] {
        let mut body = body;
        if field == "public_ip" {
            body["public_ip"] = world.id("public-ips").into();
        }
        let problem = api.post(&format!("/v1/{path}"), &body).await.refused(422, "invalid_field");
        assert_eq!(problem["field"], field);
    }
    api.post("/v1/users", &json!({ "name": "x", "role": "admin" })).await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_key_that_was_deleted_or_whose_user_was_deleted_is_not_valid_any_more() {
    let control_plane = ControlPlane::start().await;
    let customer = control_plane.admin.customer("acme").await;
    let (second, secret) = customer.api.key("second", &customer.user).await;
    let second_api = customer.api.with_key(secret);
    second_api.get("/v1/zones").await.ok();

    customer.api.delete(&format!("/v1/keys/{second}")).await.ok();
    second_api.get("/v1/zones").await.refused(401, "unauthenticated");
    control_plane.admin.delete(&format!("/v1/users/{}", customer.user)).await.ok();
    customer.api.get("/v1/zones").await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_customer_in_an_admins_account_does_not_delete_the_admins_key() {
    let control_plane = ControlPlane::start().await;
    let admin = &control_plane.admin;
    let first = admin.list("/v1/keys").await.remove(0);
    let body = json!({ "name": "guest" });
    let guest = text(&admin.post("/v1/users", &body).await.ok(), "id");
    let (_, secret) = admin.key("own", &guest).await;

    let refused = admin.with_key(secret).delete(&format!("/v1/keys/{}", text(&first, "id"))).await;

    refused.refused(403, "forbidden");
    admin.get("/v1/zones").await.ok();
}
