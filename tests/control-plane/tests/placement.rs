//! Where VMs go, where they do not, and how many more fit.

use podzol_sim::{PodPlan, SimPod};
use podzol_test_support::{Api, ControlPlane, SOON, text, wait_for};
use serde_json::{Value, json};

struct World {
    control_plane: ControlPlane,
    pod: SimPod,
    network: String,
}

impl World {
    async fn make(hosts: Vec<(&'static str, u64)>) -> Self {
        Self::on(ControlPlane::start().await, hosts).await
    }

    async fn on(control_plane: ControlPlane, hosts: Vec<(&'static str, u64)>) -> Self {
        let pod = SimPod::with(&control_plane, PodPlan { hosts, ..PodPlan::default() }).await;
        let network = pod.network(&control_plane.admin, "n1", "10.1.1.0/24").await;
        Self { control_plane, pod, network }
    }

    fn admin(&self) -> &Api {
        &self.control_plane.admin
    }

    async fn group(&self, policy: &str) -> String {
        let body = json!({ "name": policy.replace('_', "-"), "policy": policy });
        text(&self.admin().post("/v1/affinity-groups", &body).await.ok(), "id")
    }

    fn body(&self, name: &str, more: Value) -> Value {
        let mut body = json!({
            "name": name, "offering": self.pod.offering, "template": self.pod.template, "networks": [self.network],
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            body[field] = value.clone();
        }
        body
    }

    /// A VM with further fields, once it runs; the name of its host.
    async fn vm(&self, name: &str, more: Value) -> (String, String) {
        let asked = self.admin().post("/v1/vms", &self.body(name, more)).await.ok();
        let id = text(&asked, "object.id");
        self.admin().vm_in_state(&id, "running").await;
        let on = self.pod.running(&id).remove(0).0;
        (id, on)
    }

    async fn patch_host(&self, number: usize, body: Value) {
        self.admin().patch(&format!("/v1/hosts/{}", self.pod.hosts[number].id), &body).await.ok();
    }

    async fn explain(&self, name: &str, more: Value) -> Value {
        self.admin().post("/v1/placements", &self.body(name, more)).await.ok()
    }

    /// What the capacity of the pod is for the offering `small`.
    async fn capacity(&self) -> (u64, String) {
        let rows = self.admin().list("/v1/capacity").await;
        let row = rows.into_iter().find(|row| row["offering_name"] == "small").expect("it is listed");
        (row["fits"].as_u64().expect("a number"), text(&row, "runs_out"))
    }
}

#[tokio::test]
async fn members_of_a_group_keep_apart_or_together_when_they_start_and_when_they_move() {
    let world = World::make(vec![("h1", 2048), ("h2", 2048)]).await;
    let (admin, apart) = (world.admin(), world.group("anti_affinity").await);
    let in_it = json!({ "affinity_group": apart });
    let (one, first) = world.vm("a1", in_it.clone()).await;
    let (two, second) = world.vm("a2", in_it.clone()).await;
    assert_ne!(first, second);
    let refused = admin.post("/v1/vms", &world.body("a3", in_it.clone())).await.refused(409, "no_host_fits");
    assert_eq!(refused["reasons"], json!(["2 hosts: kept apart from a VM on it (h1, h2)"]));
    let moved = admin.post(&format!("/v1/vms/{one}/migrate"), &json!({})).await.refused(409, "no_host_fits");
    let reasons = json!([
        format!("1 host: it is there already ({first})"),
        format!("1 host: kept apart from a VM on it ({second})"),
    ]);
    assert_eq!(moved["reasons"], reasons);
    let shown = admin.get(&format!("/v1/affinity-groups/{apart}")).await.ok();
    assert_eq!(shown["vms"], json!([one, two]));
    admin.delete(&format!("/v1/affinity-groups/{apart}")).await.refused(409, "in_use");
    // One that is stopped keeps nobody away, and does not keep apart from itself.
    admin.stop_vm(&two).await;
    admin.start_vm(&two).await;

    let together = json!({ "affinity_group": world.group("affinity").await });
    let (_, first) = world.vm("t1", together.clone()).await;
    for name in ["t2", "t3", "t4"] {
        assert_eq!(world.vm(name, together.clone()).await.1, first);
    }
    admin.delete_vm(&one).await;
    admin.delete_vm(&two).await;
    admin.delete(&format!("/v1/affinity-groups/{apart}")).await.ok();
    let gone = json!({ "affinity_group": apart });
    let refused = admin.post("/v1/vms", &world.body("x", gone)).await.refused(422, "invalid_field");
    assert_eq!(refused["field"], "affinity_group");
}

#[tokio::test]
async fn many_members_that_come_at_once_keep_apart_all_the_same() {
    let hosts = vec![("h1", 2048), ("h2", 2048), ("h3", 2048), ("h4", 2048)];
    let world = World::make(hosts).await;
    let group = world.group("anti_affinity").await;
    let asked = (0..8).map(|number| {
        let body = world.body(&format!("vm{number}"), json!({ "affinity_group": group }));
        let api = world.admin().clone();
        async move { api.post("/v1/vms", &body).await }
    });
    let answers = futures_util::future::join_all(asked).await;
    let made: Vec<String> = answers
        .iter()
        .filter(|answer| answer.status == 202)
        .map(|answer| text(&answer.body, "object.id"))
        .collect();
    assert_eq!(made.len(), 4);
    let mut on = Vec::new();
    for vm in &made {
        world.admin().vm_in_state(vm, "running").await;
        on.push(world.pod.running(vm).remove(0).0);
    }
    on.sort();
    assert_eq!(on, ["h1", "h2", "h3", "h4"]);
}

#[tokio::test]
async fn a_vm_goes_to_a_host_with_the_tags_that_its_offering_asks_for() {
    let world = World::make(vec![("h1", 2048), ("h2", 1024)]).await;
    let admin = world.admin();
    let body = json!({ "name": "fast", "vcpus": 1, "memory_mib": 64, "disk_gib": 1, "tags": ["ssd"] });
    let fast = text(&admin.post("/v1/offerings", &body).await.ok(), "id");
    let asks = json!({ "offering": fast });
    let explained = world.explain("x", asks.clone()).await;
    assert_eq!(explained["fits"], false);
    assert_eq!(explained["reasons"], json!(["2 hosts: without the tags that are asked for (h1, h2)"]));
    world.patch_host(1, json!({ "tags": ["ssd", "gpu"] })).await;
    assert_eq!(world.vm("web", asks).await.1, "h2");
    let shown = admin.get(&format!("/v1/hosts/{}", world.pod.hosts[1].id)).await.ok();
    assert_eq!((&shown["tags"], &shown["state"]), (&json!(["gpu", "ssd"]), &json!("up")));
    // A report does not take them away.
    world.patch_host(1, json!({ "tags": ["ssd"] })).await;
    wait_for("another report", SOON, async || {
        let shown = admin.get(&format!("/v1/hosts/{}", world.pod.hosts[1].id)).await.ok();
        if shown["memory_allocated_mib"] == 64 { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    let too_many: Vec<String> = (0..33).map(|number| format!("t{number}")).collect();
    let path = format!("/v1/hosts/{}", world.pod.hosts[1].id);
    let refused = admin.patch(&path, &json!({ "tags": too_many })).await.refused(422, "invalid_field");
    assert_eq!(refused["field"], "tags");
    assert_eq!(admin.get(&path).await.ok()["tags"], json!(["ssd"]));
}

#[tokio::test]
async fn what_is_kept_for_a_host_that_fails_is_told_and_there_when_one_does() {
    let world = World::make(vec![("h1", 256), ("h2", 256), ("h3", 256)]).await;
    let admin = world.admin();
    assert_eq!(world.capacity().await, (12, "memory".into()));
    let zone = format!("/v1/zones/{}", world.pod.zone);
    admin.patch(&zone, &json!({ "spare_hosts": 17 })).await.refused(422, "invalid_field");
    admin.patch(&zone, &json!({ "spare_hosts": 1 })).await.ok();
    assert_eq!(world.capacity().await, (8, "reserve".into()));
    let mut vms = Vec::new();
    for number in 0..8 {
        vms.push(world.vm(&format!("vm{number}"), json!({})).await.0);
    }
    assert_eq!(world.capacity().await, (0, "reserve".into()));
    let explained = world.explain("one-more", json!({})).await;
    let why = "the room that is left is kept for the VMs of 1 host that may fail";
    assert_eq!((&explained["fits"], &explained["reasons"][0]), (&json!(false), &json!(why)));
    let body = world.body("one-more", json!({}));
    admin.post("/v1/vms", &body).await.refused(409, "no_host_fits");

    // All VMs of a host fit on the others.
    let path = format!("/v1/hosts/{}", world.pod.hosts[0].id);
    let drained = admin.patch(&path, &json!({ "maintenance": true })).await.ok();
    admin.succeeded(&text(&drained, "operation.id")).await;
    assert!(vms.iter().all(|vm| world.pod.running(vm).len() == 1));
}

#[tokio::test]
async fn as_much_memory_is_promised_as_the_operator_allows_and_not_more() {
    for (percent, fits) in [(100, 4), (150, 6)] {
        let control_plane = ControlPlane::with(|config| config.memory_overcommit_percent = percent).await;
        let world = World::on(control_plane, vec![("h1", 256)]).await;
        assert_eq!(world.capacity().await, (fits, "memory".into()), "{percent} %");
        for number in 0..fits {
            world.vm(&format!("vm{number}"), json!({})).await;
        }
        let body = world.body("one-more", json!({}));
        let refused = world.admin().post("/v1/vms", &body).await.refused(409, "no_host_fits");
        assert_eq!(refused["reasons"], json!(["1 host: not enough memory (h1)"]), "{percent} %");
    }
}

#[tokio::test]
async fn a_dry_run_says_where_and_why_and_changes_nothing() {
    let world = World::make(vec![("h1", 2048), ("h2", 1024), ("h3", 512)]).await;
    let admin = world.admin();
    world.patch_host(2, json!({ "maintenance": true })).await;
    let explained = world.explain("web", json!({})).await;
    assert_eq!((&explained["fits"], &explained["host"]), (&json!(true), &json!(world.pod.hosts[0].id)));
    assert_eq!(explained["reasons"], json!(["1 host: in maintenance (h3)"]));
    let candidates: Vec<(String, Value)> = explained["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|candidate| (text(candidate, "name"), candidate["reason"].clone()))
        .collect();
    let expected = [("h1", Value::Null), ("h2", Value::Null), ("h3", json!("in maintenance"))];
    assert_eq!(candidates, expected.map(|(name, reason)| (name.to_owned(), reason)));
    assert_eq!(admin.list("/v1/vms").await.len(), 0);
    assert!(world.pod.leftovers().is_empty());
    // What a create would refuse, this refuses.
    let bad = json!({ "networks": [] });
    admin.post("/v1/placements", &world.body("web", bad)).await.refused(422, "invalid_field");

    let (vm, on) = world.vm("web", json!({})).await;
    assert_eq!(on, "h1");
    let explained = admin.get(&format!("/v1/vms/{vm}/placement")).await.ok();
    assert_eq!(explained["host"], json!(world.pod.hosts[1].id));
    assert_eq!(
        explained["reasons"],
        json!(["1 host: in maintenance (h3)", "1 host: it is there already (h1)"])
    );
    // A customer learns whether it fits, and no host of the installation.
    let acme = admin.customer("acme").await;
    let network = world.pod.network(&acme.api, "own", "10.1.1.0/24").await;
    let mut body = world.body("web", json!({}));
    body["networks"] = json!([network]);
    let explained = acme.api.post("/v1/placements", &body).await.ok();
    assert_eq!((&explained["fits"], &explained["host"]), (&json!(true), &Value::Null));
    assert!(explained["candidates"].is_null(), "{explained}");
}
