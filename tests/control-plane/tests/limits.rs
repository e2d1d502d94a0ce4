//! What a VM may do, what an account may have, and how often it may ask.

use std::time::Duration;

use podzol_hypervisor::DomainState;
use podzol_sim::{Fault, SimPod, Step};
use podzol_test_support::{Api, ControlPlane, Customer, SOON, text, wait_for};
use serde_json::{Value, json};

struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    acme: Customer,
    network: String,
}

impl World {
    async fn make() -> Self {
        let control_plane = ControlPlane::start().await;
        let pod = SimPod::start(&control_plane).await;
        let acme = control_plane.admin.customer("acme").await;
        let network = pod.network(&acme.api, "n1", "10.1.1.0/24").await;
        Self { control_plane, pod, acme, network }
    }

    fn admin(&self) -> &Api {
        &self.control_plane.admin
    }

    async fn limit_zone(&self, limits: Value) {
        self.admin().patch(&format!("/v1/zones/{}", self.pod.zone), &json!({ "limits": limits })).await.ok();
    }

    async fn limit_account(&self, limits: Value) {
        let path = format!("/v1/accounts/{}", self.acme.account);
        self.admin().patch(&path, &json!({ "limits": limits })).await.ok();
    }

    async fn quotas(&self, quotas: Value) {
        let path = format!("/v1/accounts/{}", self.acme.account);
        self.admin().patch(&path, &json!({ "quotas": quotas })).await.ok();
    }

    async fn in_use(&self) -> Value {
        self.acme.api.get(&format!("/v1/accounts/{}", self.acme.account)).await.ok()["in_use"].clone()
    }

    /// The limits that a running VM has on its host: disk operations, and KiB/s of network traffic.
    fn on_host(&self, vm: &str) -> (Option<u64>, Option<u64>) {
        let (_, domain) = self.pod.running(vm).pop().expect("the VM runs");
        (domain.devices.disks[0].iops, domain.devices.nics[0].average)
    }

    async fn has_on_host(&self, vm: &str, limits: (Option<u64>, Option<u64>)) {
        wait_for("the VM to have its limits", SOON, async || {
            let found = self.on_host(vm);
            if found == limits { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_running_vm_gets_the_limits_of_its_account_and_zone_as_they_change() {
    let world = World::make().await;
    let api = &world.acme.api;
    world.limit_zone(json!({ "network_mbps": 8, "iops": 300 })).await;
    let vm = world.pod.vm(api, "web", &world.network).await;
    let run = world.pod.running(&vm)[0].1.run;
    assert_eq!(world.on_host(&vm), (Some(300), Some(976)));
    let shown = api.show_vm(&vm).await;
    let expected = json!({
        "network_mbps": { "value": 8, "from": "zone" }, "iops": { "value": 300, "from": "zone" },
    });
    assert_eq!(shown["limits"], expected);

    world.limit_account(json!({ "iops": 50 })).await;
    world.has_on_host(&vm, (Some(50), Some(976))).await;
    assert_eq!(api.show_vm(&vm).await["limits"]["iops"], json!({ "value": 50, "from": "account" }));
    world.limit_account(json!({})).await;
    world.has_on_host(&vm, (Some(300), Some(976))).await;
    world.limit_zone(json!({})).await;
    world.has_on_host(&vm, (None, None)).await;
    assert_eq!(world.pod.running(&vm)[0].1.run, run);

    // One that is stopped gets them when it starts.
    api.stop_vm(&vm).await;
    world.limit_zone(json!({ "iops": 70 })).await;
    api.start_vm(&vm).await;
    assert_eq!(world.on_host(&vm), (Some(70), None));
}

#[tokio::test]
async fn an_offerings_own_limits_come_first() {
    let world = World::make().await;
    world.limit_zone(json!({ "network_mbps": 8, "iops": 300 })).await;
    let body = json!({ "name": "limited", "vcpus": 1, "memory_mib": 64, "disk_gib": 1, "iops": 9 });
    let offering = text(&world.admin().post("/v1/offerings", &body).await.ok(), "id");
    let api = &world.acme.api;
    let asked = api.vm("web", &offering, &world.pod.template, &world.network).await.ok();
    let vm = text(&asked, "object.id");
    api.vm_in_state(&vm, "running").await;
    assert_eq!(world.on_host(&vm), (Some(9), Some(976)));
    assert_eq!(api.show_vm(&vm).await["limits"]["iops"]["from"], "offering");
}

#[tokio::test]
async fn an_offerings_limits_change_for_vms_that_run_and_for_those_that_start_later() {
    let world = World::make().await;
    let api = &world.acme.api;
    world.limit_zone(json!({ "network_mbps": 8 })).await;
    let path = format!("/v1/offerings/{}", world.pod.offering);
    let runs = world.pod.vm(api, "runs", &world.network).await;
    let stands = world.pod.vm(api, "stands", &world.network).await;
    api.stop_vm(&stands).await;
    let run = world.pod.running(&runs)[0].1.run;

    let limits = json!({ "iops": 40, "network_mbps": 16 });
    let changed = world.admin().patch(&path, &json!({ "limits": limits })).await.ok();
    assert_eq!((&changed["iops"], &changed["network_mbps"]), (&json!(40), &json!(16)));
    world.has_on_host(&runs, (Some(40), Some(1953))).await;
    assert_eq!(api.show_vm(&runs).await["limits"]["iops"], json!({ "value": 40, "from": "offering" }));
    api.start_vm(&stands).await;
    assert_eq!(world.on_host(&stands), (Some(40), Some(1953)));

    // Without limits of its own, those of the zone hold; the VM has run on all the time.
    world.admin().patch(&path, &json!({ "limits": {} })).await.ok();
    world.has_on_host(&runs, (None, Some(976))).await;
    assert_eq!(world.pod.running(&runs)[0].1.run, run);
    api.patch(&path, &json!({ "limits": {} })).await.refused(403, "forbidden");
}

#[tokio::test]
async fn limits_reach_a_vm_after_a_crash_of_the_service_and_a_host_that_did_not_answer() {
    let mut world = World::make().await;
    let vm = world.pod.vm(&world.acme.api, "web", &world.network).await;
    world.pod.hosts.iter().for_each(|host| host.hypervisor().fault(Step::Change, Fault::Fails(2)));
    world.limit_zone(json!({ "iops": 20 })).await;
    world.control_plane.kill();
    world.control_plane.start_again().await;
    world.has_on_host(&vm, (Some(20), None)).await;
}

#[tokio::test]
async fn limits_out_of_their_range_are_refused_and_nothing_changes() {
    let world = World::make().await;
    let zone = format!("/v1/zones/{}", world.pod.zone);
    let account = format!("/v1/accounts/{}", world.acme.account);
    let offering = format!("/v1/offerings/{}", world.pod.offering);
    for (path, body, field) in [
        (&zone, json!({ "limits": { "iops": 0 } }), "limits.iops"),
        (&zone, json!({ "limits": { "network_mbps": 1_000_001 } }), "limits.network_mbps"),
        (&account, json!({ "limits": { "iops": 10_000_001 } }), "limits.iops"),
        (&account, json!({ "limits": { "bandwidth": 1 } }), "limits.bandwidth"),
        (&account, json!({ "quotas": { "api_requests_per_second": 0 } }), "quotas.api_requests_per_second"),
        (&account, json!({ "quotas": { "vms": -1 } }), "quotas.vms"),
        (&account, json!({ "quota": {} }), "quota"),
        (&zone, json!({ "name": "x" }), "name"),
        (&offering, json!({ "limits": { "iops": 0 } }), "limits.iops"),
        (&offering, json!({ "limits": { "network_mbps": 1_000_001 } }), "limits.network_mbps"),
        (&offering, json!({ "limits": {}, "vcpus": 2 }), "vcpus"),
        (&offering, json!({}), "limits"),
    ] {
        let refused = world.admin().patch(path, &body).await;
        assert!(matches!(refused.status, 400 | 422), "{body}: {refused:?}");
        assert_eq!(refused.body["field"], field, "{refused:?}");
    }
    assert_eq!(world.admin().get(&zone).await.ok()["limits"], json!({ "network_mbps": null, "iops": null }));
    let unknown = format!("/v1/accounts/{}", world.pod.zone);
    world.admin().patch(&unknown, &json!({})).await.refused(404, "not_found");
}

#[tokio::test]
async fn an_account_has_no_more_than_it_may_and_is_told_what_is_too_much() {
    let world = World::make().await;
    let api = &world.acme.api;
    world
        .quotas(json!({ "vms": 1, "memory_mib": 100, "storage_gib": 2, "networks": 1, "addresses": 2, "public_ips": 0 }))
        .await;
    let vm = world.pod.vm(api, "one", &world.network).await;

    let refused = api.vm("two", &world.pod.offering, &world.pod.template, &world.network).await;
    let refused = refused.refused(409, "quota_exceeded");
    let reasons =
        json!(
            ["VMs: 1 of 1 in use, 1 more asked for", "MiB of memory: 64 of 100 in use, 64 more asked for",]
        );
    assert_eq!(
        (&refused["reasons"], &refused["detail"]),
        (&reasons, &json!("account acme may not have that much"))
    );
    let network = json!({ "name": "n2", "zone": world.pod.zone, "cidr": "10.2.0.0/24" });
    api.post("/v1/networks", &network).await.refused(409, "quota_exceeded");
    let volume = json!({ "name": "data", "zone": world.pod.zone, "size_gib": 2 });
    api.post("/v1/volumes", &volume).await.refused(409, "quota_exceeded");
    world.admin().zone_networks(&world.pod.zone).await;
    let refused = api.post("/v1/public-ips", &json!({ "zone": world.pod.zone })).await;
    refused.refused(409, "quota_exceeded");
    let expected = json!({
        "vms": 1, "vcpus": 1, "memory_mib": 64, "volumes": 1, "storage_bytes": 1u64 << 30, "networks": 1, "addresses": 1,
        "public_ips": 0, "console_sessions": 0,
    });
    assert_eq!(world.in_use().await, expected);

    // Another account is not kept from anything, and more may be had when more is allowed or less is in use.
    let body = json!({ "name": "n1", "zone": world.pod.zone, "cidr": "10.1.1.0/24", "router": false });
    let admins = text(&world.admin().post("/v1/networks", &body).await.ok(), "id");
    world.pod.vm(world.admin(), "two", &admins).await;
    api.delete_vm(&vm).await;
    let expected = json!({
        "vms": 0, "vcpus": 0, "memory_mib": 0, "volumes": 0, "storage_bytes": 0, "networks": 1, "addresses": 0,
        "public_ips": 0, "console_sessions": 0,
    });
    assert_eq!(world.in_use().await, expected);
    world.pod.vm(api, "two", &world.network).await;
    world.quotas(json!({ "vms": 2 })).await;
    world.pod.vm(api, "three", &world.network).await;
}

#[tokio::test]
async fn many_that_ask_at_once_get_no_more_than_the_quota() {
    let world = World::make().await;
    world.quotas(json!({ "vms": 3 })).await;
    let asked = (0..12).map(|number| {
        let (api, pod, network) = (world.acme.api.clone(), &world.pod, &world.network);
        async move { api.vm(&format!("vm{number}"), &pod.offering, &pod.template, network).await.status }
    });
    let statuses = futures_util::future::join_all(asked).await;
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 3, "{statuses:?}");
    assert_eq!(world.in_use().await["vms"], 3);
}

#[tokio::test]
async fn a_customer_that_asks_too_often_waits_and_nobody_else_does() {
    let world = World::make().await;
    world.quotas(json!({ "api_requests_per_second": 2 })).await;
    let mut refused = None;
    for _ in 0..40 {
        let answer = world.acme.api.get("/v1/zones").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("it was let ask on");
    assert_eq!(refused.retry_after, Some(1), "two a second: the next may come after half of one");
    let refused = refused.refused(429, "rate_limited");
    assert!(refused["detail"].as_str().unwrap().contains("wait"), "{refused}");
    for _ in 0..40 {
        world.admin().get("/v1/zones").await.ok();
    }
    let globex = world.admin().customer("globex").await;
    globex.api.get("/v1/zones").await.ok();
    world.quotas(json!({})).await;
    world.acme.api.get("/v1/zones").await.ok();
}

#[tokio::test]
async fn of_five_times_as_much_as_can_be_done_the_rest_is_told_to_come_again_and_what_was_taken_gets_done() {
    const AT_ONCE: usize = 8;
    let control_plane =
        ControlPlane::with(|config| config.api_requests_at_once = AT_ONCE.try_into().unwrap()).await;
    let pod = SimPod::start(&control_plane).await;
    let admin = &control_plane.admin;
    let acme = admin.customer("acme").await;
    let network = pod.network(&acme.api, "n1", "10.1.1.0/24").await;
    let (pod, network) = (&pod, &network);
    let clients = (0..5 * AT_ONCE).map(|number| {
        let api = acme.api.clone();
        async move {
            let created = api.vm(&format!("vm{number}"), &pod.offering, &pod.template, network).await;
            let mut statuses = vec![created.status];
            for _ in 0..10 {
                let list = api.get("/v1/vms").await;
                statuses.push(list.status);
                if list.status == 503 {
                    assert_eq!(list.retry_after, Some(1));
                    list.refused(503, "overloaded");
                }
            }
            (created, statuses)
        }
    });
    let flood = futures_util::future::join_all(clients);
    // Who must stop a flood gets through.
    let stop_it = async { admin.get("/v1/accounts").await.ok() };
    let (answers, _) = tokio::join!(flood, stop_it);

    let statuses: Vec<u16> = answers.iter().flat_map(|(_, statuses)| statuses).copied().collect();
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    assert!(count(503) > 0, "all of it was taken: {statuses:?}");
    assert!(count(200) > 0 && count(202) > 0, "nothing was taken: {statuses:?}");
    assert_eq!(count(200) + count(202) + count(503), statuses.len(), "{statuses:?}");
    let taken: Vec<_> = answers.into_iter().filter(|(created, _)| created.status == 202).collect();
    for (created, _) in &taken {
        acme.api.succeeded(&text(&created.body, "operation.id")).await;
    }
    assert_eq!(acme.api.list("/v1/vms?limit=500").await.len(), taken.len());
}

#[tokio::test]
async fn a_body_that_does_not_come_keeps_no_place() {
    let control_plane =
        ControlPlane::with(|config| config.api_requests_at_once = 2.try_into().unwrap()).await;
    let acme = control_plane.admin.customer("acme").await;
    // It takes the only place that an account may have, as soon as that is free.
    let waits = async {
        loop {
            match acme.api.post_for_ever("/v1/networks").await {
                answer if answer.status == 503 => tokio::time::sleep(Duration::from_millis(50)).await,
                answer => break answer,
            }
        }
    };
    let others = async {
        let taken = async {
            while acme.api.get("/v1/vms").await.status != 503 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), taken).await.expect("it has a place");
    };
    let (refused, ()) = tokio::join!(waits, others);
    let refused = refused.refused(408, "body_too_slow");
    assert!(refused["detail"].as_str().unwrap().contains("30 s"), "{refused}");
    acme.api.get("/v1/vms").await.ok();
}

#[tokio::test]
async fn a_stopped_vm_gets_another_size_and_its_disk_grows_with_it() {
    let world = World::make().await;
    let api = &world.acme.api;
    let body = json!({ "name": "large", "vcpus": 2, "memory_mib": 128, "disk_gib": 3 });
    let large = text(&world.admin().post("/v1/offerings", &body).await.ok(), "id");
    let vm = world.pod.vm(api, "web", &world.network).await;
    let path = format!("/v1/vms/{vm}/resize");
    api.post(&path, &json!({ "offering": large })).await.refused(409, "vm_not_stopped");
    api.stop_vm(&vm).await;
    world.quotas(json!({ "storage_gib": 2 })).await;
    api.post(&path, &json!({ "offering": large })).await.refused(409, "quota_exceeded");
    assert_eq!(api.show_vm(&vm).await["size"]["vcpus"], 1);
    world.quotas(json!({ "storage_gib": 3 })).await;
    let unknown = json!({ "offering": world.pod.zone });
    assert_eq!(api.post(&path, &unknown).await.refused(422, "invalid_field")["field"], "offering");

    let asked = api.post(&path, &json!({ "offering": large })).await.ok();
    api.succeeded(&text(&asked, "operation.id")).await;
    let shown = api.show_vm(&vm).await;
    assert_eq!((&shown["offering"], &shown["size"]["vcpus"]), (&json!(large), &json!(2)));
    assert_eq!(shown["volumes"][0]["size_bytes"], 3u64 << 30);
    let in_use = world.in_use().await;
    assert_eq!((&in_use["vcpus"], &in_use["memory_mib"]), (&json!(2), &json!(128)));

    api.start_vm(&vm).await;
    let (_, domain) = world.pod.running(&vm).pop().unwrap();
    assert_eq!((domain.record.plan.vcpus, domain.record.plan.memory_mib), (2, 128));
    assert_eq!(domain.state, DomainState::Running);
    assert_eq!(api.show_vm(&vm).await["volumes"][0]["state"], "ready");
    // Back to the small one: the disk stays.
    api.stop_vm(&vm).await;
    let asked = api.post(&path, &json!({ "offering": world.pod.offering })).await.ok();
    api.succeeded(&text(&asked, "operation.id")).await;
    assert_eq!(api.show_vm(&vm).await["volumes"][0]["size_bytes"], 3u64 << 30);
    api.start_vm(&vm).await;
}
