//! Hosts whose agents are of a version that guards no IPv6 addresses.

use podzol_mgmt_db::{Db, DbError, server};
use podzol_sim::{PodPlan, SimPod};
use podzol_test_support::{Api, ControlPlane};
use serde_json::Value;

use super::PREFIX;
use crate::routers::{SOON, World, text, wait_for};

/// As if the agents of all hosts were of a version that knows no IPv6, in the database of a service that is stopped.
async fn make_agents_old(control_plane: &ControlPlane) -> Result<(), DbError> {
    let db = Db::open(&control_plane.data_dir().join("podzol.sqlite")).await?;
    let tx = db.begin().await?;
    for row in server::with_address(tx.reader()).await?.into_iter().filter(|row| row.is_host) {
        tx.server_update(server::Model { has_ipv6: false, ..row }).await?;
    }
    tx.commit().await
}

/// A world whose hosts report when they start, and its network with IPv6.
async fn with_quiet_hosts() -> (World, String) {
    // Whoever is quiet is not taken for dead.
    let control_plane = ControlPlane::with(|config| config.silent_secs = 600).await;
    let pod = SimPod::with(&control_plane, PodPlan { report_secs: 600, ..PodPlan::default() }).await;
    control_plane.admin.zone_networks(&pod.zone).await;
    control_plane.admin.zone_ipv6(&pod.zone, PREFIX).await;
    control_plane.admin.router_template_with("router-ipv6", &["ipv6"]).await;
    let acme = control_plane.admin.customer("acme").await;
    let world = World { control_plane, pod, acme };
    let body = world.network6("net", "10.1.1.0/24");
    let network = text(&world.acme.api.post("/v1/networks", &body).await.ok(), "id");
    (world, network)
}

/// What the doctor says of hosts whose agents guard no IPv6.
async fn old_hosts(admin: &Api) -> Vec<Value> {
    let mut found = admin.get("/v1/doctor").await.ok()["findings"].as_array().expect("findings").clone();
    found.retain(|finding| finding["code"] == "host_lacks_ipv6");
    found
}

#[tokio::test]
async fn the_doctor_names_a_host_whose_agent_guards_no_ipv6_while_vms_there_should_have_it() {
    let (mut world, network) = with_quiet_hosts().await;
    let vm = world.pod.vm(&world.acme.api, "web", &network).await;
    let host = text(&world.admin().show_vm(&vm).await, "host");
    // They would say at once that they are not.
    world.pod.hosts.iter_mut().for_each(podzol_sim::SimHost::kill_agent);
    world.control_plane.stop().await;
    make_agents_old(&world.control_plane).await.unwrap();
    world.control_plane.start_again().await;
    let found = old_hosts(world.admin()).await;
    assert_eq!((found.len(), text(&found[0], "subject")), (1, host));
    assert!(text(&found[0], "detail").contains("1 VMs in networks with IPv6 have none"), "{found:?}");
    world.pod.hosts.iter_mut().for_each(podzol_sim::SimHost::restart_agent);
    wait_for("the hosts to be new", SOON, async || {
        let found = old_hosts(world.admin()).await;
        if found.is_empty() { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_vm_with_ipv6_is_on_no_host_whose_agent_does_not_guard_it() {
    let (mut world, network) = with_quiet_hosts().await;
    world.control_plane.stop().await;
    make_agents_old(&world.control_plane).await.unwrap();
    world.control_plane.start_again().await;

    let api = &world.acme.api;
    let asked = api.vm("web", &world.pod.offering, &world.pod.template, &network).await;
    let problem = asked.refused(409, "no_host_fits");
    assert!(problem.to_string().contains("2 hosts: agent without IPv6"), "{problem}");
    assert_eq!(api.list("/v1/routers").await, Vec::<Value>::new());

    world.pod.hosts.iter_mut().for_each(podzol_sim::SimHost::restart_agent);
    let api = &world.acme.api;
    wait_for("a host to fit", SOON, async || {
        let asked = api.vm("web", &world.pod.offering, &world.pod.template, &network).await;
        if asked.status == 202 { Ok(()) } else { Err(format!("{}", asked.status)) }
    })
    .await;
}
