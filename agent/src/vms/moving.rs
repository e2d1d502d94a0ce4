//! Moving a VM from this host to another while it runs, and taking one in.
//!
//! ```text
//!   here:    running -> leaving -> absent           running, with an error, if it did not get away;
//!                                                   sent, if only the other host knows
//!   there:   absent -> starting -> arriving -> running
//! ```
//! The host where it should arrive makes all ready and lets the one host in from which it comes. The host that it leaves
//! carries what the two hypervisors say and send through streams between the two agents. Whether it has gone is asked of
//! the hypervisor here, never concluded from an error: at the end only one of the two has it. An agent that ends takes its
//! streams with it; the hypervisors find that out, and the VM stays where it was.
//!
//! The answer to the very last step may be lost. Then the hypervisor leaves the VM standing still here, and it is said to
//! be sent ([`VmState::Sent`]): nothing is done with it until the management service has asked the other host. That one can
//! tell that a VM never came: it writes down that all is ready for it, and strikes that out before it is told to run there or
//! anything of it is removed.
//!
//! A line may also stand still without an end, as when the other host's agent hangs: nothing of the VM is sent then, and it
//! is called back. If the hypervisor waits for the other one and hears nothing of that, its streams are ended, which it
//! does hear.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use podzol_agent_api::vm::{
    MoveChannel, VmArriveRequest, VmLeaveRequest, VmPlan, VmState, VmStatus, VmStayRequest,
};
use podzol_hypervisor::{DomainState, Found, Hypervisor, Record, Route};
use podzol_rpc::Bytes;
use podzol_vocab::{ErrorCode, HostId, VmId, WireError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::Vms;
use super::act::{Reached, Steps};
use super::goal::{Destination, Goal, running};
use super::plan::check_plan;
use crate::files::MOVED_LOG;
use crate::platform::Platform;

/// How often to look how far a VM is on its way.
const LOOK: Duration = Duration::from_millis(500);

/// How long a hypervisor may take to call a VM back. If it waits for the other one, which does not answer, it hears
/// nothing until the streams between them end.
const COMES_BACK: Duration = Duration::from_secs(10);

/// How long nothing of a VM may be sent before it is called back: what takes it in stands still, and keeps the line.
const STALLED: Duration = Duration::from_secs(120);

/// How long sending a serial log may take.
const SENDS_LOG: Duration = Duration::from_secs(10);

/// Where a stream from another host leads to on this one.
#[derive(Debug)]
pub(crate) enum Way {
    Socket(UnixStream),
    Log(tokio::fs::File),
}

impl<P: Platform> Vms<P> {
    /// Makes ready for a VM to come from another host; answers when all is ready or the time is up.
    ///
    /// # Errors
    /// When the description is older than the one in force, differs from one with the same number, or breaks a rule.
    pub async fn arrive(&self, vm: VmId, request: VmArriveRequest) -> Result<VmStatus, WireError> {
        self.must_be_ready()?;
        check_plan(vm, &request.plan)?;
        let (record, generation) = (Record::of(&request.plan), request.plan.generation);
        let goal = Goal::Arrive { plan: Arc::new(request.plan), record, from: request.from };
        self.aim(vm, generation, goal)?;
        Ok(self.settled(vm, Duration::from_millis(request.wait_ms)).await)
    }

    /// Moves a VM to another host; answers when it is gone, stays after all, or the time is up.
    ///
    /// # Errors
    /// When a newer description is in force.
    pub async fn depart(&self, vm: VmId, request: VmLeaveRequest) -> Result<VmStatus, WireError> {
        self.must_be_ready()?;
        let to = Destination { host: request.to, address: request.address };
        self.aim(vm, request.generation, Goal::Leave(to))?;
        Ok(self.settled(vm, Duration::from_millis(request.wait_ms)).await)
    }

    /// Calls back a VM that is on its way to another host; answers when it is known where it is, or the time is up.
    ///
    /// # Errors
    /// When a newer description is in force.
    pub async fn keep(&self, vm: VmId, request: VmStayRequest) -> Result<VmStatus, WireError> {
        self.must_be_ready()?;
        self.aim(vm, request.generation, Goal::Stay)?;
        Ok(self.settled(vm, Duration::from_millis(request.wait_ms)).await)
    }

    /// Where a stream from another host for a VM that comes from there leads to on this host; nothing else may come in.
    ///
    /// # Errors
    /// When that VM does not come from that host.
    pub(crate) async fn let_in(
        &self,
        vm: VmId,
        from: HostId,
        channel: MoveChannel,
    ) -> Result<Way, WireError> {
        let is_expected = match channel {
            MoveChannel::Control | MoveChannel::Data => self.comes_from(vm, from),
            // The rest of it follows the VM.
            MoveChannel::Log => self.entries().get(&vm).is_some_and(|entry| entry.came_from(from)),
        };
        if !is_expected {
            return Err(WireError::new(ErrorCode::Refused, "this VM is not expected from there"));
        }
        let path = match channel {
            MoveChannel::Control => self.0.libvirt_socket.clone(),
            MoveChannel::Data => self.0.files.move_data(vm),
            MoveChannel::Log => {
                let opened = self.with_files(move |files| files.open_log(vm)).await;
                let cannot = |_| WireError::new(ErrorCode::Unavailable, "cannot write the log");
                return opened.map(|file| Way::Log(file.into())).map_err(cannot);
            }
        };
        UnixStream::connect(&path).await.map(Way::Socket).map_err(|error| {
            tracing::warn!(%vm, %error, path = %path.display(), "cannot connect what comes from another host");
            WireError::new(ErrorCode::Unavailable, "the hypervisor does not listen")
        })
    }

    /// Carries the bytes of such a stream, between hypervisors for as long as that VM is expected.
    pub(crate) async fn carry_in(&self, vm: VmId, from: HostId, mut stream: Box<dyn Bytes>, to: Way) {
        match to {
            Way::Socket(mut socket) => {
                let not_expected = async {
                    while self.comes_from(vm, from) {
                        tokio::time::sleep(LOOK).await;
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut stream, &mut socket) => {}
                    () = not_expected => {}
                }
            }
            Way::Log(mut file) => {
                let mut log = (&mut stream).take(MOVED_LOG);
                let _ = tokio::time::timeout(SENDS_LOG, tokio::io::copy(&mut log, &mut file)).await;
                // The other side waits until all is written.
                let _ = file.flush().await;
                let _ = stream.shutdown().await;
            }
        }
    }

    fn comes_from(&self, vm: VmId, host: HostId) -> bool {
        self.entries().get(&vm).is_some_and(|entry| entry.comes_from(host))
    }

    /// Makes all that a VM needs which is to come from another host.
    pub(super) async fn make_ready(&self, plan: Arc<VmPlan>, turn: u64) -> Reached {
        let (vm, generation) = (plan.vm, plan.generation);
        let Some(found) = self.look_for(vm, turn).await else { return (VmState::Starting, None, vec![]) };
        match found.as_ref().map(|found| found.state) {
            Some(DomainState::Passing | DomainState::Undecided) => return (VmState::Arriving, None, vec![]),
            Some(DomainState::Running) => return (VmState::Running, None, vec![]),
            Some(DomainState::Paused) => return (VmState::Paused, None, vec![]),
            // A definition comes with the last step only, before it is let go. So what was awaited may have run, and ended.
            Some(DomainState::Off(_))
                if self.with_files(move |files| files.awaited_as(vm)).await == Some(generation) =>
            {
                return (VmState::Stopped, None, vec![]);
            }
            Some(DomainState::Off(_)) | None => {}
        }
        let mut steps = Steps::default();
        let left_over = found.is_some();
        let made = async {
            // Told again, it may come at this very moment: then there is nothing left over from before.
            if left_over {
                self.0.platform.hypervisor().remove(vm).await?;
            }
            self.needs(&plan, &mut steps).await?;
            self.with_files(move |files| files.await_it(vm, generation)).await
        };
        match made.await {
            Ok(()) => (VmState::Arriving, None, vec![]),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(%vm, error, "cannot make ready for a VM from another host");
                self.remove(vm).await;
                (VmState::Failed, Some(error), vec![])
            }
        }
    }

    /// Moves a VM to another host.
    pub(super) async fn leave(&self, vm: VmId, to: Destination, turn: u64) -> Reached {
        let Some(found) = self.look_where(vm, turn).await else { return (VmState::Leaving, None, vec![]) };
        if !found.as_ref().is_some_and(Found::runs) {
            return self.what_became_of_it(vm, found, None).await;
        }
        tracing::info!(%vm, to = %to.host, "a VM leaves for another host");
        let gone = self.send(vm, to, turn).await.err().map(|error| format!("{error:#}"));
        let Some(found) = self.look_where(vm, turn).await else { return (VmState::Leaving, None, vec![]) };
        self.with_files(move |files| files.remove_move_folder(vm)).await;
        self.what_became_of_it(vm, found, gone).await
    }

    /// Finds out where a VM is that was called back.
    pub(super) async fn stay(&self, vm: VmId, turn: u64) -> VmState {
        while self.is_on_its_way(vm).await {
            if self.has_other_goal(vm, turn) {
                return VmState::Leaving;
            }
            tokio::time::sleep(LOOK).await;
        }
        let Some(found) = self.look_where(vm, turn).await else { return VmState::Leaving };
        // What comes is defined here before it is let go, and what is defined here is not awaited any more once it goes.
        if found.is_none() && self.with_files(move |files| files.awaited_as(vm)).await.is_some() {
            let entries = self.entries();
            entries.get(&vm).filter(|entry| entry.turn == turn).inspect(|entry| entry.never_came());
        }
        self.what_became_of_it(vm, found, None).await.0
    }

    /// Calls a VM back that is on its way, which an agent before this one may have begun; says whether it was. One of which
    /// that cannot be told may be.
    async fn is_on_its_way(&self, vm: VmId) -> bool {
        let hypervisor = self.0.platform.hypervisor();
        let moved = async {
            let moved = hypervisor.moved(vm).await?;
            if moved.is_some() {
                hypervisor.call_back(vm).await?;
            }
            Ok::<_, podzol_hypervisor::HypervisorError>(moved.is_some())
        };
        moved.await.unwrap_or_else(|error| {
            tracing::warn!(%vm, %error, "cannot call a VM back; trying again");
            true
        })
    }

    /// What a VM does that was to leave, with all of it removed that is left behind if it has gone.
    async fn what_became_of_it(&self, vm: VmId, found: Option<Found>, error: Option<String>) -> Reached {
        match found.map(|found| found.state) {
            None => {
                if let Some(error) = error {
                    tracing::warn!(%vm, error, "a VM has gone, and yet:");
                }
                self.remove(vm).await;
                (VmState::Absent, None, vec![])
            }
            Some(DomainState::Off(_)) => (VmState::Stopped, error, vec![]),
            Some(DomainState::Passing | DomainState::Undecided) => {
                tracing::warn!(%vm, error, "a VM was sent to another host, and it is not known whether it got there");
                (VmState::Sent, error, vec![])
            }
            Some(state) => {
                if let Some(error) = &error {
                    tracing::warn!(%vm, error, "a VM did not get to another host");
                }
                (running(state == DomainState::Paused), error, vec![])
            }
        }
    }

    /// Sends a VM through streams to another host, and calls it back when it gets another goal.
    async fn send(&self, vm: VmId, to: Destination, turn: u64) -> anyhow::Result<()> {
        let hypervisor = self.0.platform.hypervisor();
        let files = self.0.files.clone();
        self.with_files(move |files| files.make_move_folder(vm)).await?;
        let route = Route { control: files.move_control(vm), data: files.move_data(vm) };
        let mut streams = Some([
            self.lead_out(vm, &to, MoveChannel::Control, &route.control)?,
            self.lead_out(vm, &to, MoveChannel::Data, &route.data)?,
        ]);
        let sent = self.send_log(vm, &to, 0).await;
        let migrate = hypervisor.migrate(vm, route);
        tokio::pin!(migrate);
        let mut called_back = None;
        let mut last = (Instant::now(), None);
        loop {
            tokio::select! {
                ended = &mut migrate => {
                    let has_stalled = last.0.elapsed() > STALLED;
                    ended.map_err(anyhow::Error::from).map_err(|error| match has_stalled {
                        true => error.context("nothing of it was sent for two minutes"),
                        false => error,
                    })?;
                    self.send_log(vm, &to, sent).await;
                    return Ok(());
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            // While the hypervisor here does not answer, nobody can tell.
            match hypervisor.moved(vm).await {
                Ok(moved) if moved == last.1 => {}
                Ok(moved) => last = (Instant::now(), moved),
                Err(_) => last.0 = Instant::now(),
            }
            let is_wanted = !self.has_other_goal(vm, turn);
            if is_wanted && let Some(entry) = self.entries().get(&vm) {
                entry.has_moved(last.1);
            }
            if !is_wanted || last.0.elapsed() > STALLED {
                if let Err(error) = hypervisor.call_back(vm).await {
                    tracing::warn!(%vm, %error, "cannot call a VM back; trying again");
                }
                let since = *called_back.get_or_insert_with(Instant::now);
                if since.elapsed() > COMES_BACK && streams.take().is_some() {
                    tracing::warn!(%vm, "a VM does not come back; ending its streams to the other host");
                }
            }
        }
    }

    /// Sends what a VM wrote to its serial port behind a place, and says where that ends. Nothing hangs on it.
    async fn send_log(&self, vm: VmId, to: &Destination, place: u64) -> u64 {
        let read = self.with_files(move |files| files.log_from(vm, place)).await;
        let Ok((text, end)) = read else { return place };
        let send = async {
            let mut stream = self.0.peers.open(to.host, &to.address, vm, MoveChannel::Log).await?;
            stream.write_all(&text).await?;
            stream.shutdown().await?;
            stream.read_to_end(&mut Vec::new()).await?;
            anyhow::Ok(())
        };
        let sent = tokio::time::timeout(SENDS_LOG, send).await;
        if let Err(error) = sent.unwrap_or_else(|_| Err(anyhow::anyhow!("it takes too long"))) {
            tracing::warn!(%vm, error = %format!("{error:#}"), "cannot send a VM's serial log after it");
        }
        end
    }

    /// Listens on a socket here, and carries each connection to the other host, until what this gives is dropped.
    fn lead_out(
        &self,
        vm: VmId,
        to: &Destination,
        channel: MoveChannel,
        path: &Path,
    ) -> anyhow::Result<AbortOnDropHandle<()>> {
        let _ = std::fs::remove_file(path);
        let listener =
            UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
        let (peers, to) = (self.0.peers.clone(), to.clone());
        Ok(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut carried = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (peers, to) = (peers.clone(), to.clone());
                carried.spawn(async move {
                    match peers.open(to.host, &to.address, vm, channel).await {
                        Ok(mut other) => drop(tokio::io::copy_bidirectional(&mut stream, &mut other).await),
                        Err(error) => {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(%vm, error, ?channel, "cannot reach the other host");
                        }
                    }
                });
            }
        })))
    }
}
