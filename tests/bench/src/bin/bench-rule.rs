//! One rule more through the API: from the request until it is in force, beside few rules and beside many.
//!
//! Usage: `bench-rule [CHANGES]`, 100 if not given. The service runs in this process, with its database on the disk of the folder
//! for temporary files; agents and the router are simulated, and talked to over mutual TLS. What a real router takes for the same change is
//! `bench-router rules`' to measure, and comes on top. All of it shares the machine's processors.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::stream::{self, StreamExt};
use podzol_sim::{PodPlan, SimPod};
use podzol_test_support::{Api, ControlPlane, text};
use serde_json::{Value, json};

/// Clients that make what has to be there.
const CLIENTS: usize = 32;

/// How many forwards there are in turn; a router has 10,000 at most, of which some are made and removed again.
const FORWARDS: [usize; 3] = [10, 1_000, 9_900];

/// How many of each there are in the last turn, and how many balancers.
const MIXED: (usize, usize) = (5_000, 500);

#[tokio::main]
async fn main() -> Result<()> {
    let changes = std::env::args().nth(1).map_or(Ok(100), |number| number.parse()).context("the changes")?;
    println!("{:<52} {:>12} {:>22} {:>10}", "", "answer, p50", "in force, p50 and p99", "slowest");
    for forwards in FORWARDS {
        let cloud = Cloud::make().await?;
        cloud.forwards(forwards).await?;
        cloud.measure(&format!("{forwards} forwards"), changes, FORWARD).await?;
    }
    let cloud = Cloud::make().await?;
    let (each, balancers) = MIXED;
    cloud.forwards(each).await?;
    let rules = (0..each).map(|number| (String::from("/v1/firewall-rules"), cloud.firewall_rule(0, number)));
    cloud.make_all(rules.collect()).await?;
    let many = (0..balancers).map(|number| (String::from("/v1/load-balancers"), cloud.balancer(number)));
    cloud.make_all(many.collect()).await?;
    cloud
        .measure(&format!("{each} forwards, {each} firewall rules, {balancers} balancers"), changes, FORWARD)
        .await?;
    cloud.measure("the same, a firewall rule more", changes, RULE).await
}

/// A kind of rule, and one of a number that leads to the last address.
type Kind = (&'static str, fn(&Cloud, usize) -> Value);

const FORWARD: Kind = ("/v1/port-forwards", |cloud, number| cloud.forward(2, number + 1));
const RULE: Kind = ("/v1/firewall-rules", |cloud, number| cloud.firewall_rule(2, 10 * number));

/// A cloud with a customer, whose router serves one VM and three public addresses.
struct Cloud {
    api: Api,
    vm: String,
    /// Of forwards, of balancers, and of what is measured.
    addresses: [String; 3],
    _pod: SimPod,
    _control_plane: ControlPlane,
}

impl Cloud {
    async fn make() -> Result<Self> {
        let control_plane = ControlPlane::with(|config| config.log = "warn".into()).await;
        let pod =
            SimPod::with(&control_plane, PodPlan { hosts: vec![("h1", 8192)], ..PodPlan::default() }).await;
        let admin = &control_plane.admin;
        admin.zone_networks(&pod.zone).await;
        admin.router_template("router").await;
        let api = admin.customer("acme").await.api;
        let network = pod.network(&api, "net", "10.1.1.0/24").await;
        let vm = pod.vm(&api, "web", &network).await;
        let mut addresses = [const { String::new() }; 3];
        for address in &mut addresses {
            *address = make_one(&api, "/v1/public-ips", &json!({ "zone": pod.zone })).await?;
        }
        Ok(Self { api, vm, addresses, _pod: pod, _control_plane: control_plane })
    }

    fn forward(&self, address: usize, port: usize) -> Value {
        json!({
            "public_ip": self.addresses[address], "transport": "tcp", "ports": port.to_string(), "vm": self.vm, "to_port": 80,
        })
    }

    /// Every tenth is for a range of sources.
    fn firewall_rule(&self, address: usize, number: usize) -> Value {
        let sources: &[&str] = if number.is_multiple_of(10) { &["198.51.100.0/24"] } else { &["0.0.0.0/0"] };
        json!({
            "public_ip": self.addresses[address], "protocol": "tcp", "ports": (number + 1).to_string(), "sources": sources,
        })
    }

    fn balancer(&self, number: usize) -> Value {
        json!({
            "name": format!("lb-{number}"), "public_ip": self.addresses[1], "port": number + 1,
            "members": [{ "vm": self.vm, "port": 8443 }],
        })
    }

    async fn forwards(&self, count: usize) -> Result<()> {
        let all = (1..=count).map(|port| (String::from("/v1/port-forwards"), self.forward(0, port)));
        self.make_all(all.collect()).await
    }

    async fn make_all(&self, bodies: Vec<(String, Value)>) -> Result<()> {
        let made = stream::iter(bodies).map(|(path, body)| {
            let api = self.api.clone();
            async move { make_one(&api, &path, &body).await }
        });
        let made: Vec<Result<String>> = made.buffer_unordered(CLIENTS).collect().await;
        made.into_iter().try_for_each(|one| one.map(drop))
    }

    /// Makes one rule and removes it, again and again; both are changes. The first two are not counted: connections are made for them.
    async fn measure(&self, what: &str, changes: usize, (path, one): Kind) -> Result<()> {
        let (mut answered, mut in_force) = (Vec::new(), Vec::new());
        for number in 0..=changes.div_ceil(2) {
            let asked = Instant::now();
            let made = self.api.post(path, &one(self, number)).await.ok();
            answered.push(asked.elapsed());
            ended(&self.api, &made).await?;
            in_force.push(asked.elapsed());

            let asked = Instant::now();
            let removed = self.api.delete(&format!("{path}/{}", text(&made, "object.id"))).await.ok();
            answered.push(asked.elapsed());
            ended(&self.api, &removed).await?;
            in_force.push(asked.elapsed());
        }
        let (mut answered, mut in_force) = (answered.split_off(2), in_force.split_off(2));
        answered.sort_unstable();
        in_force.sort_unstable();
        let ms = |times: &[Duration], percent: usize| {
            times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1000.0
        };
        println!(
            "{what:<52} {:>9.2} ms {:>9.2} {:>9.2} ms {:>7.2} ms",
            ms(&answered, 50),
            ms(&in_force, 50),
            ms(&in_force, 99),
            ms(&in_force, 100),
        );
        Ok(())
    }
}

async fn make_one(api: &Api, path: &str, body: &Value) -> Result<String> {
    let made = api.post(path, body).await.ok();
    ended(api, &made).await?;
    Ok(text(&made, "object.id"))
}

/// Waits until what was answered is in force: its operation ends once the router has acknowledged it.
async fn ended(api: &Api, answer: &Value) -> Result<()> {
    let path = format!("/v1/operations/{}", text(answer, "operation.id"));
    loop {
        let operation = api.get(&path).await.ok();
        if !operation["finished_at"].is_null() {
            ensure!(operation["state"] == "succeeded", "{operation:#}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
