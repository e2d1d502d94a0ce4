//! Passwords of VMs: shown once, given to the router until the VM has set it, and kept no longer.

use podzol_vocab::VmId;
use serde_json::{Value, json};

use super::rules::Served;
use super::{SOON, text, wait_for};

impl Served {
    /// Gives the VM a new password, once its router has it.
    async fn reset_password(&self) -> String {
        let path = format!("/v1/vms/{}/reset-password", self.vm);
        let made = self.world.acme.api.post(&path, &Value::Null).await.ok();
        self.world.acme.api.succeeded(&text(&made, "operation.id")).await;
        assert_eq!(made["object"]["vm"], json!(self.vm));
        text(&made, "object.password")
    }

    /// The password that the router gives to the VM.
    async fn given(&self) -> Option<String> {
        let vm: VmId = self.vm.parse().expect("a VM's id is one");
        let document = self.world.document().await;
        document.vms[&vm].password.as_ref().map(|password| password.expose().clone())
    }

    async fn is_forgotten(&self) {
        wait_for("the password to be forgotten", SOON, async || match self.given().await {
            None => Ok(()),
            Some(_) => Err("the router still has it".to_owned()),
        })
        .await;
    }
}

#[tokio::test]
async fn a_vm_gets_its_new_password_from_its_router_until_it_has_set_it() {
    let served = Served::make().await;
    let world = &served.world;
    assert_eq!(served.given().await, None);
    let first = served.reset_password().await;
    assert_eq!((served.given().await, first.len()), (Some(first.clone()), 20));
    // Another one takes its place.
    let second = served.reset_password().await;
    assert_ne!(first, second);
    assert_eq!(served.given().await, Some(second.clone()));

    world.machine(&world.router().await).await.vm_sets_password(served.vm.parse().unwrap());
    served.is_forgotten().await;
    world.admin().event_about("vm.set-password", &served.vm, "").await;
    // And a third, as nothing is left of those before.
    let third = served.reset_password().await;
    assert_eq!(served.given().await, Some(third.clone()));

    let api = &world.acme.api;
    let said = json!([
        api.show_vm(&served.vm).await,
        api.list("/v1/vms").await,
        api.list("/v1/operations").await,
        world.admin().list("/v1/events").await,
    ])
    .to_string();
    assert!([first, second, third].iter().all(|password| !said.contains(password.as_str())), "{said}");
    world.admin().event_about("vm.reset-password", &served.vm, "web").await;
}

#[tokio::test]
async fn a_password_survives_its_router_and_a_kill_of_the_service() {
    let mut served = Served::make().await;
    let password = served.reset_password().await;
    served.world.control_plane.kill();
    served.world.control_plane.start_again().await;
    let path = format!("/v1/routers/{}/replace", text(&served.world.router().await, "id"));
    let asked = served.world.admin().post(&path, &json!({})).await.ok();
    served.world.admin().succeeded(&text(&asked, "operation.id")).await;
    assert_eq!(served.given().await, Some(password));

    let machine = served.world.machine(&served.world.router().await).await;
    machine.vm_sets_password(served.vm.parse().unwrap());
    served.is_forgotten().await;
}

#[tokio::test]
async fn a_vm_that_no_router_serves_or_that_is_deleted_gets_none() {
    let served = Served::make().await;
    let (world, api) = (&served.world, &served.world.acme.api);
    let body = json!({ "name": "plain", "zone": world.pod.zone, "cidr": "10.9.1.0/24", "router": false });
    let plain = text(&api.post("/v1/networks", &body).await.ok(), "id");
    let lone = world.pod.vm(api, "lone", &plain).await;
    let problem =
        api.post(&format!("/v1/vms/{lone}/reset-password"), &Value::Null).await.refused(409, "no_router");
    assert!(text(&problem, "detail").contains("in no network with a router"), "{problem}");
    api.post("/v1/vms/01890000-0000-7000-8000-000000000000/reset-password", &Value::Null)
        .await
        .refused(404, "not_found");
    // One that is stopped gets it when it starts.
    api.stop_vm(&served.vm).await;
    served.reset_password().await;
    api.delete_vm(&served.vm).await;
    api.post(&format!("/v1/vms/{}/reset-password", served.vm), &Value::Null).await.refused(404, "not_found");
}
