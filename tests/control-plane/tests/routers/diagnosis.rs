//! What operators see inside of routers.

use std::time::{Duration, Instant};

use podzol_sim::{Fault, Step};
use serde_json::{Value, json};

use super::{SOON, World, text, wait_for};

/// The path of a router that runs, whose network has a VM.
async fn served(world: &World) -> (String, String) {
    let network = world.pod.network(&world.acme.api, "net", "10.1.1.0/24").await;
    world.pod.vm(&world.acme.api, "web", &network).await;
    world.document().await;
    (format!("/v1/routers/{}", text(&world.router().await, "id")), network)
}

#[tokio::test]
async fn an_operator_sees_what_there_is_in_a_router_and_a_customer_does_not() {
    let world = World::make().await;
    let (path, network) = served(&world).await;
    let found = world.admin().get(&format!("{path}/diagnosis")).await.ok();
    assert!(found["links"].to_string().contains("10.1.1.1/24"), "{found:#}");
    assert_eq!(found["leases"][0]["network"], json!(network));
    assert_eq!(found["leases"][0]["last"], Value::Null);
    assert_eq!(found["connections"]["limit"], json!(65_536));
    world.acme.api.get(&format!("{path}/diagnosis")).await.refused(403, "forbidden");
    let asked = json!({ "link": "public", "seconds": 1 });
    world.acme.api.post(&format!("{path}/capture"), &asked).await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_capture_is_a_file_and_an_event_and_ends_when_its_caller_goes() {
    let world = World::make().await;
    let (path, network) = served(&world).await;
    let capture = format!("{path}/capture");
    let admin = world.admin();
    let asked = json!({ "link": "guest", "seconds": 1, "host": "10.1.1.2", "protocol": "tcp", "port": 80 });
    let (kind, bytes) = admin.post_bytes(&capture, &asked).await;
    assert_eq!(kind, "application/vnd.tcpdump.pcap");
    assert_eq!((&bytes[..4], bytes.len()), (&0xa1b2_3c4d_u32.to_le_bytes()[..], 24 + 16 + 60));
    let id = path.rsplit('/').next().unwrap();
    let said = format!(
        "network {network}, at most 1 s and 4194304 bytes, 65535 of a packet, host 10.1.1.2, protocol tcp, port 80"
    );
    admin.event_about("router.capture", id, &said).await;

    let (begun, long) = (Instant::now(), json!({ "link": "management", "seconds": 60 }));
    let going = admin.post_open(&capture, &long).await;
    admin.post(&capture, &asked).await.refused(409, "capture_goes_on");
    drop(going);
    wait_for("the router to capture for others", SOON, async || {
        match admin.post_unread(&capture, &json!({ "link": "public", "seconds": 1 })).await {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(60), "it has ended only as its time was over");
}

#[tokio::test]
async fn a_capture_that_breaks_a_rule_is_refused_by_field() {
    let world = World::make().await;
    let (path, network) = served(&world).await;
    let check = async |change: Value, field: &str, rule: &str| {
        let mut asked = json!({ "link": "public", "seconds": 1 });
        asked.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let problem =
            world.admin().post(&format!("{path}/capture"), &asked).await.refused(422, "invalid_field");
        assert_eq!(
            (text(&problem, "field"), text(&problem, "detail")),
            (field.into(), format!("{field}: {rule}"))
        );
    };
    check(json!({ "seconds": 0 }), "seconds", "must be 1 to 60").await;
    check(json!({ "seconds": 61 }), "seconds", "must be 1 to 60").await;
    check(json!({ "bytes": 4_194_305 }), "bytes", "must be 1024 to 4194304").await;
    check(json!({ "snap_bytes": 1 }), "snap_bytes", "must be 64 to 65535").await;
    check(json!({ "port": 0 }), "port", "must be 1 to 65535").await;
    check(json!({ "port": 1, "protocol": "arp" }), "port", "only TCP and UDP have ports").await;
    check(json!({ "network": network }), "network", "only the link `guest` is to one").await;
    let other = "01930000-0000-7000-8000-000000000000";
    let guest = json!({ "link": "guest", "network": other });
    check(guest, "network", "must be one of the router's networks").await;
}

#[tokio::test]
async fn a_router_that_does_not_run_is_not_looked_into() {
    let world = World::make().await;
    for host in &world.pod.hosts {
        host.hypervisor().fault(Step::Start, Fault::Hangs);
    }
    let network = world.pod.network(&world.acme.api, "net", "10.1.1.0/24").await;
    world.acme.api.vm("web", &world.pod.offering, &world.pod.template, &network).await.ok();
    let admin = world.admin();
    let path = format!("/v1/routers/{}", text(&world.router().await, "id"));
    admin.get(&format!("{path}/diagnosis")).await.refused(409, "router_not_running");
    let asked = json!({ "link": "public", "seconds": 1 });
    admin.post(&format!("{path}/capture"), &asked).await.refused(409, "router_not_running");
    // What was not done is no event.
    assert_eq!(admin.list("/v1/events?action=router.capture").await, Vec::<Value>::new());
}
