//! One-liners that make things through the API.

use serde_json::{Value, json};

use crate::{Answer, Api, SOON, image, text, wait_for};

/// An account with a user and its key.
#[derive(Debug, Clone)]
pub struct Customer {
    /// The account's id.
    pub account: String,
    /// The user's id.
    pub user: String,
    /// The key's id.
    pub key: String,
    /// The API with that key.
    pub api: Api,
}

impl Api {
    /// Creates something and gives its id.
    async fn make(&self, path: &str, body: Value) -> String {
        text(&self.post(path, &body).await.ok(), "id")
    }

    /// A zone.
    pub async fn zone(&self, name: &str, vlan_ranges: &[&str]) -> String {
        self.zone_with(name, vlan_ranges, &[]).await
    }

    /// A zone for networks on VLANs and on VXLANs.
    pub async fn zone_with(&self, name: &str, vlan_ranges: &[&str], vxlan_ranges: &[&str]) -> String {
        let body = json!({ "name": name, "vlan_ranges": vlan_ranges, "vxlan_ranges": vxlan_ranges });
        self.make("/v1/zones", body).await
    }

    /// A pod.
    pub async fn pod(&self, name: &str, zone: &str) -> String {
        self.make("/v1/pods", json!({ "name": name, "zone": zone })).await
    }

    /// A host, and its join token.
    pub async fn host(&self, name: &str, pod: &str) -> (String, String) {
        let made = self.post("/v1/hosts", &json!({ "name": name, "pod": pod })).await.ok();
        (text(&made, "host.id"), text(&made, "join_token"))
    }

    /// A storage server, and its join token.
    pub async fn storage_server(&self, name: &str, pod: &str) -> (String, String) {
        let made = self.post("/v1/storage-servers", &json!({ "name": name, "pod": pod })).await.ok();
        (text(&made, "storage_server.id"), text(&made, "join_token"))
    }

    /// A pool, once volumes can be made in it.
    pub async fn pool(&self, name: &str, storage_server: &str, path: &str) -> String {
        let body = json!({ "name": name, "storage_server": storage_server, "path": path });
        let id = text(&self.post("/v1/pools", &body).await.ok(), "object.id");
        self.in_state(&format!("/v1/pools/{id}"), "ready").await;
        id
    }

    /// An offering with one virtual CPU and a disk of 1 GiB.
    pub async fn offering(&self, name: &str, memory_mib: u64) -> String {
        let body = json!({ "name": name, "vcpus": 1, "memory_mib": memory_mib, "disk_gib": 1 });
        self.make("/v1/offerings", body).await
    }

    /// A template of a disk of 64 MiB, once VMs can be made of it.
    pub async fn template(&self, name: &str) -> String {
        let bytes = image::qcow2(64, name);
        let id = self.make("/v1/templates", json!({ "name": name, "sha256": image::sha256(&bytes) })).await;
        self.put(&format!("/v1/templates/{id}/data"), &bytes).await.ok();
        self.in_state(&format!("/v1/templates/{id}"), "ready").await;
        id
    }

    /// A template of routers, once there can be routers of it.
    pub async fn router_template(&self, name: &str) -> String {
        self.router_template_with(name, &[]).await
    }

    /// A template of routers with these extensions. A simulated router of it has those that its name has in it.
    pub async fn router_template_with(&self, name: &str, extensions: &[&str]) -> String {
        let bytes = image::qcow2(64, name);
        let body = json!({
            "name": name, "sha256": image::sha256(&bytes), "role": "router", "extensions": extensions,
        });
        let id = self.make("/v1/templates", body).await;
        self.put(&format!("/v1/templates/{id}/data"), &bytes).await.ok();
        self.in_state(&format!("/v1/templates/{id}"), "ready").await;
        id
    }

    /// A template of console proxies, once there can be some of it.
    pub async fn console_proxy_template(&self, name: &str) -> String {
        let bytes = image::qcow2(64, name);
        let body = json!({ "name": name, "sha256": image::sha256(&bytes), "role": "console_proxy" });
        let id = self.make("/v1/templates", body).await;
        self.put(&format!("/v1/templates/{id}/data"), &bytes).await.ok();
        self.in_state(&format!("/v1/templates/{id}"), "ready").await;
        id
    }

    /// Gives a zone its management and its public network: there can be routers in it then.
    pub async fn zone_networks(&self, zone: &str) {
        let body = json!({
            "management": { "cidr": "10.77.0.0/24", "ranges": ["10.77.0.100-10.77.0.199"] },
            "public": {
                "cidr": "203.0.113.0/24", "gateway": "203.0.113.1", "ranges": ["203.0.113.10-203.0.113.19"],
                "name_servers": ["203.0.113.53"],
            },
        });
        self.patch(&format!("/v1/zones/{zone}"), &body).await.ok();
    }

    /// Gives a zone that has those an IPv6 prefix: networks with IPv6 can be in it then.
    pub async fn zone_ipv6(&self, zone: &str, prefix: &str) {
        let path = format!("/v1/zones/{zone}");
        let mut public = self.get(&path).await.ok()["public"].take();
        public["ipv6"] = json!({ "prefix": prefix, "gateway": "fe80::ffff" });
        self.patch(&path, &json!({ "public": public })).await.ok();
    }

    /// An ISO, once VMs can have it.
    pub async fn iso(&self, name: &str) -> String {
        let bytes = image::iso(name);
        let body = json!({ "name": name, "sha256": image::sha256(&bytes), "format": "iso" });
        let id = self.make("/v1/templates", body).await;
        self.put(&format!("/v1/templates/{id}/data"), &bytes).await.ok();
        self.in_state(&format!("/v1/templates/{id}"), "ready").await;
        id
    }

    /// An account.
    pub async fn account(&self, name: &str) -> String {
        self.make("/v1/accounts", json!({ "name": name })).await
    }

    /// A user of an account.
    pub async fn user(&self, name: &str, account: &str) -> String {
        self.make("/v1/users", json!({ "name": name, "account": account })).await
    }

    /// A key of a user: its id and its text.
    pub async fn key(&self, name: &str, user: &str) -> (String, String) {
        let made = self.post("/v1/keys", &json!({ "name": name, "user": user })).await.ok();
        (text(&made, "key.id"), text(&made, "secret"))
    }

    /// An account with a user and its key.
    pub async fn customer(&self, name: &str) -> Customer {
        let account = self.account(name).await;
        let user = self.user("owner", &account).await;
        let (key, secret) = self.key("first", &user).await;
        Customer { account, user, key, api: self.with_key(secret) }
    }

    /// A network.
    pub async fn network(&self, name: &str, zone: &str, cidr: &str) -> String {
        self.make("/v1/networks", json!({ "name": name, "zone": zone, "cidr": cidr })).await
    }

    /// Asks for a VM, which is then being started.
    pub async fn vm(&self, name: &str, offering: &str, template: &str, network: &str) -> Answer {
        let body = json!({ "name": name, "offering": offering, "template": template, "networks": [network] });
        self.post("/v1/vms", &body).await
    }

    /// A VM as it is now.
    pub async fn show_vm(&self, id: &str) -> Value {
        self.get(&format!("/v1/vms/{id}")).await.ok()
    }

    /// Asks for a change of a VM (`start`, `stop`, `reboot`), and gives the operation's id.
    pub async fn change_vm(&self, id: &str, what: &str, body: Value) -> String {
        text(&self.post(&format!("/v1/vms/{id}/{what}"), &body).await.ok(), "operation.id")
    }

    /// The object at a path, once it is in a state.
    pub async fn in_state(&self, path: &str, state: &str) -> Value {
        wait_for(&format!("{path} to be {state}"), SOON, async || {
            let object = self.get(path).await.ok();
            if object["state"] == state { Ok(object) } else { Err(object.to_string()) }
        })
        .await
    }

    /// A VM, once it is in a state.
    pub async fn vm_in_state(&self, id: &str, state: &str) -> Value {
        self.in_state(&format!("/v1/vms/{id}"), state).await
    }

    /// An operation, once it has ended.
    pub async fn ended(&self, operation: &str) -> Value {
        wait_for("the end of an operation", SOON, async || {
            let object = self.get(&format!("/v1/operations/{operation}")).await.ok();
            if object["finished_at"].is_null() { Err(object.to_string()) } else { Ok(object) }
        })
        .await
    }

    /// An operation, once it has succeeded.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub async fn succeeded(&self, operation: &str) -> Value {
        let ended = self.ended(operation).await;
        assert_eq!(ended["state"], "succeeded", "{ended:#}");
        ended
    }

    /// Stops a VM by force, and waits until it has stopped.
    pub async fn stop_vm(&self, id: &str) {
        let operation = self.change_vm(id, "stop", json!({ "grace_secs": 0 })).await;
        self.succeeded(&operation).await;
    }

    /// Starts a VM, and waits until it runs.
    pub async fn start_vm(&self, id: &str) {
        let operation = self.change_vm(id, "start", Value::Null).await;
        self.succeeded(&operation).await;
    }

    /// Deletes a VM, and waits until it is gone.
    pub async fn delete_vm(&self, id: &str) {
        let answer = self.delete(&format!("/v1/vms/{id}")).await.ok();
        self.succeeded(&text(&answer, "operation.id")).await;
        self.get(&format!("/v1/vms/{id}")).await.refused(404, "not_found");
    }

    /// The things on the first page of a list.
    ///
    /// # Panics
    /// When it is no list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        self.get(path).await.ok()["items"].as_array().expect("a page has items").clone()
    }

    /// An event with this action and a detail that holds this text, once it is there.
    pub async fn event(&self, action: &str, detail: &str) -> Value {
        self.find_event(&format!("/v1/events?action={action}&limit=500"), detail).await
    }

    /// An event with this action about this thing, with a detail that holds this text, once it is there.
    pub async fn event_about(&self, action: &str, subject: &str, detail: &str) -> Value {
        self.find_event(&format!("/v1/events?action={action}&subject={subject}&limit=500"), detail).await
    }

    async fn find_event(&self, path: &str, detail: &str) -> Value {
        wait_for(&format!("an event in {path} with {detail:?}"), SOON, async || {
            let events = self.list(path).await;
            let fits = |event: &&Value| event["detail"].as_str().is_some_and(|text| text.contains(detail));
            let found = events.iter().find(fits).cloned();
            found.ok_or_else(|| Value::Array(events).to_string())
        })
        .await
    }
}
