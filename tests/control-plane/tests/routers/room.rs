//! What does not fit into a router's memory is refused to whoever brings it, and not by the router.

use serde_json::{Value, json};

use super::{World, text};

#[tokio::test]
async fn user_data_and_keys_of_an_accounts_vms_fit_into_its_router() {
    let world = World::make().await;
    let (pod, api) = (&world.pod, &world.acme.api);
    let network = pod.network(api, "net", "10.1.1.0/24").await;
    let body = json!({ "name": "plain", "zone": pod.zone, "cidr": "10.9.1.0/24", "router": false });
    let plain = text(&api.post("/v1/networks", &body).await.ok(), "id");
    // 320 KiB, of which a router takes 25 and a half.
    let key = format!("ssh-ed25519 {}", "A".repeat(8180));
    let vm = |name: String, network: &str, keys: usize| {
        json!({
            "name": name, "offering": pod.offering, "template": pod.template, "networks": [network],
            "ssh_keys": vec![&key; keys], "user_data": "x".repeat(65_536),
        })
    };
    for number in 0..25 {
        api.post("/v1/vms", &vm(format!("vm{number}"), &network, 32)).await.ok();
    }
    let problem = api.post("/v1/vms", &vm("one-more".into(), &network, 32)).await.refused(409, "router_full");
    assert!(text(&problem, "detail").contains("at most 8.0 MiB of user data and SSH keys"), "{problem}");
    api.post("/v1/placements", &vm("one-more".into(), &network, 32)).await.refused(409, "router_full");
    assert_eq!(api.list("/v1/vms").await.len(), 25);
    // Where there is no router, nobody keeps it; but it does not come to one afterwards.
    let lone = text(&api.post("/v1/vms", &vm("lone".into(), &plain, 32)).await.ok(), "object.id");
    let nics = format!("/v1/vms/{lone}/nics");
    api.post(&nics, &json!({ "network": network })).await.refused(409, "router_full");

    api.vm_in_state(&lone, "running").await;
    api.delete_vm(&lone).await;
    let last = text(&api.post("/v1/vms", &vm("last".into(), &network, 8)).await.ok(), "object.id");
    for vm in api.list("/v1/vms").await {
        api.vm_in_state(&text(&vm, "id"), "running").await;
    }
    let document = world.document().await;
    assert_eq!((document.vms.len(), document.problems()), (26, vec![]));
    assert_ne!(api.show_vm(&last).await, Value::Null);
    assert_eq!(world.admin().get("/v1/doctor").await.ok()["findings"], json!([]));
}
