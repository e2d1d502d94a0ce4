//! A cloud on a simulated pod, what happens to it, and what must hold of it.

mod holds;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use podzol_rpc::PeerId;
use podzol_sim::{Fault, PodPlan, SimPod, SimWeb, Step};
use podzol_test_support::{Answer, Api, ControlPlane, Customer, image, text};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

use crate::routers;

/// How long all may take to be as it should, once nothing goes wrong any more. The longest wait that there is is of a
/// call that is never answered.
const CONVERGES: Duration = Duration::from_secs(900);

/// For how long it must be as it should.
const STEADY: Duration = Duration::from_secs(7);

/// How long a deleted VM can be recovered.
const KEPT_SECS: u64 = 20;

/// How often to look.
const LOOK: Duration = Duration::from_secs(2);

/// Who can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Management,
    /// The agent of a host, by its place in the pod.
    Agent(usize),
    Storage,
}

/// The cloud.
pub(crate) struct World {
    pub(crate) control_plane: ControlPlane,
    pub(crate) pod: SimPod,
    pub(crate) acme: Customer,
    /// Has the image of which [`World::image_afar`] is the digest.
    pub(crate) web: SimWeb,
    pub(crate) image_afar: String,
    /// The latest generation of each VM that was seen.
    generations: HashMap<String, u64>,
    /// Whether agents are of the version before, which know neither VXLANs nor ISOs.
    pub(crate) has_older_agents: bool,
    /// Whether networks have routers.
    pub(crate) has_routers: bool,
    /// Whoever decides about calls asks here for parts to be killed.
    pub(crate) killer: UnboundedSender<Part>,
    kills: UnboundedReceiver<Part>,
}

impl World {
    /// A cloud without VMs, on a pod with three hosts, whose networks have routers.
    pub(crate) async fn with_routers() -> Self {
        let world = Self { has_routers: true, ..Self::make().await };
        routers::prepare(&world).await;
        world
    }

    /// A cloud without VMs, on a pod with three hosts.
    pub(crate) async fn make() -> Self {
        let control_plane = ControlPlane::with(|config| {
            config.log = "off".into();
            config.vm_expunge_secs = KEPT_SECS;
            config.router_idle_secs = routers::IDLE_SECS;
        })
        .await;
        let hosts = vec![("h1", 1024), ("h2", 1024), ("h3", 1024)];
        let pod = SimPod::with(&control_plane, PodPlan { hosts, report_secs: 5, ..PodPlan::default() }).await;
        let acme = control_plane.admin.customer("acme").await;
        let (killer, kills) = unbounded_channel();
        let bytes = image::qcow2(64, "afar");
        Self {
            control_plane,
            pod,
            acme,
            image_afar: image::sha256(&bytes),
            web: SimWeb::start(bytes),
            generations: HashMap::new(),
            has_older_agents: false,
            has_routers: false,
            killer,
            kills,
        }
    }

    pub(crate) fn admin(&self) -> &Api {
        &self.control_plane.admin
    }

    /// A network beside a first one: on a VXLAN, if agents know such.
    pub(crate) async fn second_network(&self, name: &str, cidr: &str) -> String {
        match self.has_older_agents {
            true => self.pod.network(&self.acme.api, name, cidr).await,
            false => self.pod.vxlan(self.admin(), &self.acme.account, name, cidr).await,
        }
    }

    /// An ISO, which is there from when it is first needed.
    pub(crate) async fn iso(&self) -> String {
        match self.admin().list("/v1/templates?name=cd").await.first() {
            Some(iso) => text(iso, "id"),
            None => self.admin().iso("cd").await,
        }
    }

    /// The place in the pod of the host with that identity.
    pub(crate) fn part_of(&self, peer: PeerId) -> Part {
        let host = self.pod.hosts.iter().position(|host| host.peer() == peer);
        match (host, peer) {
            (Some(place), _) => Part::Agent(place),
            (None, PeerId::Management) => Part::Management,
            (None, _) => Part::Storage,
        }
    }

    /// Sends a request that may be refused, but not fail.
    ///
    /// # Panics
    /// When the service fails at it.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let answer = self.admin().send_json(method, path, body).await;
        assert!(answer.status < 500, "{} answers {}: {}", answer.request, answer.status, answer.body);
        answer
    }

    /// Kills a part, and starts it again after a while.
    pub(crate) async fn kill(&mut self, part: Part, away: Duration) {
        self.end(part);
        sleep(away).await;
        match part {
            Part::Management => self.control_plane.start_again().await,
            part => self.start_agent(part),
        }
    }

    /// Kills a part.
    pub(crate) fn end(&mut self, part: Part) {
        match part {
            Part::Management => self.control_plane.kill(),
            Part::Agent(host) => self.pod.hosts[host].kill_agent(),
            Part::Storage => self.pod.storage.kill_agent(),
        }
    }

    /// Starts an agent.
    pub(crate) fn start_agent(&mut self, part: Part) {
        match part {
            Part::Management => {}
            Part::Agent(host) => self.pod.hosts[host].start_agent(),
            Part::Storage => self.pod.storage.start_agent(),
        }
    }

    /// Makes a step go wrong from now on, on whichever server takes it.
    pub(crate) fn fault(&self, step: Step, fault: Fault) {
        if Step::OF_STORAGE.contains(&step) {
            self.pod.storage.faults().fault(step, fault);
        } else if Step::OF_WEB.contains(&step) {
            self.web.faults().fault(step, fault);
        } else {
            self.pod.hosts.iter().for_each(|host| host.hypervisor().fault(step, fault));
        }
    }

    /// Makes a step go well from now on.
    pub(crate) fn heal(&self, step: Step) {
        self.pod.storage.faults().heal(step);
        self.web.faults().heal(step);
        self.pod.hosts.iter().for_each(|host| host.hypervisor().heal(step));
    }

    /// Lets time pass, in which parts are killed as they were asked to.
    ///
    /// # Errors
    /// When something is as it must never be.
    pub(crate) async fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        loop {
            tokio::select! {
                biased;
                part = self.kills.recv() => {
                    let part = part.expect("the sender is kept here too");
                    self.kill(part, Duration::from_millis(500)).await;
                }
                () = tokio::time::sleep_until(end.min(Instant::now() + LOOK)) => {
                    self.never()?;
                    if Instant::now() >= end {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits until every operation has ended and nothing differs from what should be, for a while.
    ///
    /// # Errors
    /// When it does not come to that: with what is left.
    pub(crate) async fn converge(&mut self) -> Result<(), String> {
        self.converge_for(STEADY).await
    }

    /// As [`World::converge`], for so long.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn converge_for(&mut self, steady: Duration) -> Result<(), String> {
        let deadline = Instant::now() + CONVERGES;
        loop {
            let mut wrong = self.wrong().await?;
            if wrong.is_none() && !steady.is_zero() {
                self.pass(steady).await?;
                wrong = self.wrong().await?;
            }
            match wrong {
                None => return Ok(()),
                Some(wrong) if Instant::now() > deadline => {
                    let operations = self.admin().list("/v1/operations?limit=500").await;
                    let last: Vec<String> = operations.iter().rev().take(8).map(Value::to_string).collect();
                    return Err(format!("it does not converge: {wrong}\n{}", last.join("\n")));
                }
                Some(_) => self.pass(LOOK).await?,
            }
        }
    }

    /// What is not yet as it should be.
    ///
    /// # Errors
    /// When something is as it must never be.
    async fn wrong(&mut self) -> Result<Option<String>, String> {
        for state in ["queued", "running"] {
            let operations = self.admin().list(&format!("/v1/operations?state={state}")).await;
            if let Some(operation) = operations.first() {
                return Ok(Some(operation.to_string()));
            }
        }
        // An operation that was queued again just then is in neither list.
        let is_on_its_way = |vm: &&Value| {
            // One that was deleted goes for good after a while.
            ["starting", "stopping", "migrating", "deleting", "deleted"]
                .iter()
                .any(|state| vm["state"] == *state)
                || !vm["moving_to"].is_null()
        };
        let vms = self.admin().list("/v1/vms?limit=500").await;
        self.generations_are(&vms)?;
        if let Some(vm) = vms.iter().find(is_on_its_way) {
            return Ok(Some(vm.to_string()));
        }
        if let Some(wrong) = routers::wrong(self).await {
            return Ok(Some(wrong));
        }
        let diagnosis = self.admin().get("/v1/doctor").await.ok();
        let findings = diagnosis["findings"].as_array().map_or(0, Vec::len);
        Ok((findings > 0).then(|| format!("{:#}", diagnosis["findings"])))
    }

    /// What must hold at any moment.
    fn never(&mut self) -> Result<(), String> {
        let mut on: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for host in &self.pod.hosts {
            for domain in host.hypervisor().domains() {
                if domain.runs() {
                    on.entry(domain.record.plan.vm.to_string()).or_default().push(&host.name);
                }
            }
        }
        if let Some((vm, hosts)) = on.iter().find(|(_, hosts)| hosts.len() > 1) {
            return Err(format!("VM {vm} runs on {hosts:?}"));
        }
        let refused = self.pod.storage.exports.locks().refused();
        let back = self.pod.hosts.iter().flat_map(|host| host.hypervisor().went_back()).collect::<Vec<_>>();
        match (refused.first(), back.first()) {
            (Some(twice), _) => Err(twice.clone()),
            (None, Some(back)) => Err(format!("it went back: {back}")),
            (None, None) => Ok(()),
        }
    }

    /// The steps that servers have taken since this was last asked, but for looks, which they take at any time.
    pub(crate) fn steps_taken(&self) -> BTreeSet<Step> {
        let of_hosts = self.pod.hosts.iter().flat_map(|host| host.hypervisor().taken());
        let all = of_hosts.chain(self.pod.storage.faults().taken()).chain(self.web.faults().taken());
        all.filter(|step| *step != Step::List).collect()
    }

    /// How often hosts have started VMs until now.
    pub(crate) fn starts(&self) -> u64 {
        self.pod.hosts.iter().map(|host| host.hypervisor().starts()).sum()
    }

    /// Has all hosts take VMs.
    pub(crate) async fn end_maintenance(&self) {
        for host in &self.pod.hosts {
            let path = format!("/v1/hosts/{}", host.id);
            self.ask(Method::PATCH, &path, &json!({ "maintenance": false })).await;
        }
    }

    /// Whether no VM's description has a lower number than before.
    fn generations_are(&mut self, vms: &[Value]) -> Result<(), String> {
        for vm in vms {
            let (id, generation) = (text(vm, "id"), vm["generation"].as_u64().unwrap_or(0));
            let before = self.generations.insert(id, generation).unwrap_or(0);
            if generation < before {
                return Err(format!(
                    "the description of {} went back from {before} to {generation}",
                    vm["id"]
                ));
            }
        }
        Ok(())
    }

    /// Deletes all that the account has, and sees that nothing is left of it.
    ///
    /// # Errors
    /// When something is.
    pub(crate) async fn clean(&mut self) -> Result<(), String> {
        self.end_maintenance().await;
        routers::clean(self).await;
        for vm in self.admin().list("/v1/vms?limit=500").await {
            let path = format!("/v1/vms/{}?expunge=true", text(&vm, "id"));
            self.ask(Method::DELETE, &path, &Value::Null).await;
        }
        self.converge_for(Duration::ZERO).await?;
        let volumes = self.admin().list("/v1/volumes?limit=500").await;
        for volume in &volumes {
            self.ask(Method::DELETE, &format!("/v1/volumes/{}", text(volume, "id")), &Value::Null).await;
        }
        if !volumes.is_empty() {
            self.converge_for(Duration::ZERO).await?;
        }
        let deadline = Instant::now() + CONVERGES;
        while let Some(router) = self.admin().list("/v1/routers").await.first() {
            if Instant::now() > deadline {
                return Err(format!("nobody needs this router: {router}"));
            }
            self.pass(LOOK).await?;
        }
        for network in self.admin().list("/v1/networks?limit=500").await {
            self.admin().delete(&format!("/v1/networks/{}", text(&network, "id"))).await.ok();
        }
        let left = self.pod.leftovers();
        if left.is_empty() { Ok(()) } else { Err(format!("left over: {left:?}")) }
    }
}
