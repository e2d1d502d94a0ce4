//! Public addresses that were given back are nobody's as long as a router may have them.

use std::net::Ipv4Addr;

use podzol_test_support::{Api, ControlPlane};
use serde_json::{Value, json};

use super::rules::Served;
use super::{SOON, World, text, wait_for};

const HELD: &str = "/v1/public-ips/held";

/// Leaves a zone these public addresses, as well as those of acme's router.
async fn leave(served: &Served, last: &str) {
    let public = json!({
        "cidr": "203.0.113.0/24", "gateway": "203.0.113.1", "ranges": [format!("203.0.113.10-203.0.113.{last}")],
        "name_servers": ["203.0.113.2"],
    });
    let path = format!("/v1/zones/{}", served.world.pod.zone);
    served.world.admin().patch(&path, &json!({ "public": public })).await.ok();
}

/// Asks for an address as an account for as long as others have not let go of the last one.
async fn gets(api: &Api, zone: &str) -> String {
    wait_for("an address to be let go of", SOON, async || {
        let answer = api.post("/v1/public-ips", &json!({ "zone": zone })).await;
        match answer.status {
            202 => Ok(text(&answer.ok(), "object.address")),
            _ => Err(answer.refused(409, "public_addresses_held").to_string()),
        }
    })
    .await
}

#[tokio::test]
async fn an_address_that_was_given_back_is_nobodys_until_its_router_has_said_that_it_let_go() {
    let mut served = Served::make().await;
    let zone = served.world.pod.zone.clone();
    let ip = served.make_one("/v1/public-ips", json!({ "zone": zone })).await;
    leave(&served, "11").await;
    let globex = served.world.admin().customer("globex").await.api;
    let asked = json!({ "zone": zone });
    globex.post("/v1/public-ips", &asked).await.refused(409, "public_addresses_exhausted");
    let machine = served.world.machine(&served.world.router().await).await;
    machine.hang();

    served.world.acme.api.delete(&format!("/v1/public-ips/{ip}")).await.ok();

    let problem = globex.post("/v1/public-ips", &asked).await.refused(409, "public_addresses_held");
    assert_eq!(
        text(&problem, "detail"),
        "no public address left in zone z1 (203.0.113.10-203.0.113.11): 1 that was given back is still being let go of by \
         the routers that had them; try again later"
    );
    let held = served.world.admin().list(HELD).await.remove(0);
    assert_eq!(
        (text(&held, "address"), &held["account"]),
        ("203.0.113.11".into(), &json!(served.world.acme.account))
    );
    assert!(held["generation"].as_u64() > held["generation_in_force"].as_u64(), "{held:#}");
    globex.get(HELD).await.refused(403, "forbidden");
    // It is in no memory of the service.
    served.world.control_plane.kill();
    served.world.control_plane.start_again().await;
    globex.post("/v1/public-ips", &asked).await.refused(409, "public_addresses_held");
    let has: Ipv4Addr = "203.0.113.11".parse().unwrap();
    assert!(machine.document().unwrap().public.unwrap().addresses.contains_key(&has));

    machine.heal();

    assert_eq!(gets(&globex, &zone).await, "203.0.113.11");
    assert!(!machine.document().unwrap().public.unwrap().addresses.contains_key(&has));
    assert_eq!(served.world.admin().list(HELD).await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_account_that_had_an_address_gets_it_again_at_once() {
    let served = Served::make().await;
    let zone = served.world.pod.zone.clone();
    let ip = served.make_one("/v1/public-ips", json!({ "zone": zone })).await;
    let machine = served.world.machine(&served.world.router().await).await;
    machine.hang();
    served.world.acme.api.delete(&format!("/v1/public-ips/{ip}")).await.ok();
    assert_eq!(served.world.admin().list(HELD).await.len(), 1);

    let again = served.world.acme.api.post("/v1/public-ips", &json!({ "zone": zone })).await.ok();

    assert_eq!(text(&again, "object.address"), "203.0.113.11");
    assert_eq!(served.world.admin().list(HELD).await, Vec::<Value>::new());
    machine.heal();
    served.world.acme.api.succeeded(&text(&again, "operation.id")).await;
}

#[tokio::test]
async fn an_address_is_nobodys_as_long_as_a_vm_that_was_its_router_may_run_on_a_host_that_is_silent() {
    let mut served =
        Served::of(World::with(ControlPlane::with(|config| config.silent_secs = 2).await).await).await;
    let zone = served.world.pod.zone.clone();
    let ip = served.make_one("/v1/public-ips", json!({ "zone": zone })).await;
    leave(&served, "11").await;
    let globex = served.world.admin().customer("globex").await.api;
    let before = served.world.router().await;
    let old = text(&before, "host");
    let number = served.world.pod.hosts.iter().position(|host| host.id == old).unwrap();
    // Its agent is gone, and it runs on, though nobody reaches it.
    served.world.machine(&before).await.hang();
    served.world.pod.hosts[number].kill_agent();
    wait_for("another VM to be the router", SOON, async || {
        let router = served.world.router().await;
        let is_other = text(&router, "host") != old && router["state"] == "running";
        if is_other { Ok(()) } else { Err(format!("{router:#}")) }
    })
    .await;

    let freed = served.world.acme.api.delete(&format!("/v1/public-ips/{ip}")).await.ok();
    served.world.acme.api.succeeded(&text(&freed, "operation.id")).await;

    // The new one has let go, and the old one has not.
    let body = json!({ "zone": zone });
    globex.post("/v1/public-ips", &body).await.refused(409, "public_addresses_held");
    wait_for("the doctor to say so", SOON, async || {
        let diagnosis = served.world.admin().get("/v1/doctor").await.ok();
        let found = diagnosis["findings"].as_array().expect("a diagnosis has findings");
        let says = |finding: &Value| {
            finding["code"] == "address_held" && text(finding, "detail").contains("203.0.113.11")
        };
        if found.iter().any(says) { Ok(()) } else { Err(format!("{diagnosis:#}")) }
    })
    .await;
    served.world.pod.hosts[number].start_agent();
    assert_eq!(gets(&globex, &zone).await, "203.0.113.11");
    wait_for("nothing to be held any more", SOON, async || {
        let held = served.world.admin().list(HELD).await;
        if held.is_empty() { Ok(()) } else { Err(format!("{held:#?}")) }
    })
    .await;
}
