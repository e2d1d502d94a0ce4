//! What goes wrong on a simulated server, because a test says so.

use std::collections::{HashMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use podzol_hypervisor::HypervisorError;
use podzol_rpc::exec::ExecError;
use tokio::sync::watch;

/// Something that an agent asks of its server, the hypervisor, the kernel or a program, or of a web server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// List its domains, or find one.
    List,
    /// Start a domain.
    Start,
    /// Write down what a domain should be.
    Note,
    /// Hear that what a domain should be has been written down.
    Noted,
    /// Ask a guest to shut down.
    ShutDown,
    /// Reboot a domain.
    Reboot,
    /// Have a domain stand still.
    Pause,
    /// Have a domain that stands still go on.
    Resume,
    /// Begin to move a domain to another host.
    Move,
    /// Have a domain, of which all is on the other host by now, let go there: nobody knows whether that was heard.
    LetGo,
    /// Hear that a domain was let go on the other host, as the last that the two hypervisors say to each other.
    Answered,
    /// Hear that a domain runs on the other host, where it has been started.
    Moved,
    /// Have a domain run on that was sent and has not got there.
    TakeBack,
    /// Attach, detach or limit a disk or a network interface.
    Change,
    /// End and forget a domain.
    Remove,
    /// Make, set and remove network links.
    Link,
    /// Put the rules about VMs' ports in force.
    Guard,
    /// Mount a pool.
    Mount,
    /// Export a pool.
    Export,
    /// End the export of a pool.
    Withdraw,
    /// Begin to answer with an image.
    Serve,
    /// Send the second half of an image.
    ServeRest,
}

impl Step {
    /// Those of the hypervisor.
    pub const OF_HYPERVISOR: [Self; 15] = [
        Self::List,
        Self::Start,
        Self::Note,
        Self::Noted,
        Self::ShutDown,
        Self::Reboot,
        Self::Pause,
        Self::Resume,
        Self::Move,
        Self::LetGo,
        Self::Answered,
        Self::Moved,
        Self::TakeBack,
        Self::Change,
        Self::Remove,
    ];

    /// Those of the kernel and of programs.
    pub const OF_HOST: [Self; 3] = [Self::Link, Self::Guard, Self::Mount];

    /// Those of a storage server's programs.
    pub const OF_STORAGE: [Self; 2] = [Self::Export, Self::Withdraw];

    /// Those of a web server.
    pub const OF_WEB: [Self; 2] = [Self::Serve, Self::ServeRest];

    /// The steps after which something is other than before, and of which it can be unheard that they were taken.
    pub const WITH_EFFECT: [Self; 13] = [
        Self::Start,
        Self::ShutDown,
        Self::Reboot,
        Self::Pause,
        Self::Resume,
        Self::TakeBack,
        Self::Change,
        Self::Remove,
        Self::Link,
        Self::Guard,
        Self::Mount,
        Self::Export,
        Self::Withdraw,
    ];
}

/// How a step goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, so many times.
    Fails(u32),
    /// There is no answer that says whether it was done, so many times.
    NoAnswer(u32),
    /// It is done, and there is no answer that says so, so many times; of [`Step::WITH_EFFECT`].
    Unheard(u32),
    /// It takes this much longer.
    Takes(Duration),
    /// It goes on for ever, until the fault is taken away.
    Hangs,
}

/// The faults that a server has now.
#[derive(Debug, Default)]
pub struct Faults {
    now: watch::Sender<HashMap<Step, Fault>>,
    /// The steps that were taken.
    taken: Mutex<HashSet<Step>>,
}

impl Faults {
    /// The steps that were taken since this was last asked.
    pub fn taken(&self) -> HashSet<Step> {
        std::mem::take(&mut self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a step go wrong from now on.
    pub fn fault(&self, step: Step, fault: Fault) {
        self.set(step, Some(fault));
    }

    /// Makes a step go well from now on; what hangs in it goes on.
    pub fn heal(&self, step: Step) {
        self.set(step, None);
    }

    fn set(&self, step: Step, fault: Option<Fault>) {
        self.now.send_modify(|faults| match fault {
            Some(fault) => drop(faults.insert(step, fault)),
            None => drop(faults.remove(&step)),
        });
    }

    /// Lets the fault of a step happen before it is taken, if it has one.
    pub(crate) async fn strike(&self, step: Step) -> Result<(), Stumble> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(step);
        let fault = self.now.borrow().get(&step).copied();
        match fault {
            None | Some(Fault::Unheard(_)) => Ok(()),
            Some(Fault::Fails(times)) => {
                self.set(step, (times > 1).then(|| Fault::Fails(times - 1)));
                Err(Stumble::Fails)
            }
            Some(Fault::NoAnswer(times)) => {
                self.set(step, (times > 1).then(|| Fault::NoAnswer(times - 1)));
                Err(Stumble::NoAnswer)
            }
            Some(Fault::Takes(time)) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Some(Fault::Hangs) => {
                let hangs = |faults: &HashMap<Step, Fault>| faults.get(&step) == Some(&Fault::Hangs);
                let _ = self.now.subscribe().wait_for(|faults| !hangs(faults)).await;
                Ok(())
            }
        }
    }

    /// Whether it is heard that a step was taken.
    pub(crate) fn unheard(&self, step: Step) -> Result<(), Stumble> {
        let fault = self.now.borrow().get(&step).copied();
        let Some(Fault::Unheard(times)) = fault else { return Ok(()) };
        self.set(step, (times > 1).then(|| Fault::Unheard(times - 1)));
        Err(Stumble::NoAnswer)
    }

    /// As [`Faults::strike`], of a hypervisor.
    pub(crate) async fn happen(&self, step: Step) -> Result<(), HypervisorError> {
        self.strike(step).await.map_err(|stumble| stumble.of_hypervisor(step))
    }

    /// As [`Faults::unheard`], of a hypervisor.
    pub(crate) fn heard(&self, step: Step) -> Result<(), HypervisorError> {
        self.unheard(step).map_err(|stumble| stumble.of_hypervisor(step))
    }

    /// Runs a program, so to speak.
    pub(crate) async fn run<E: From<ExecError>, T>(
        &self,
        step: Step,
        does: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.strike(step).await.map_err(|stumble| stumble.of_program(step))?;
        let done = does()?;
        self.unheard(step).map_err(|stumble| stumble.of_program(step))?;
        Ok(done)
    }
}

/// What a fault comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stumble {
    Fails,
    NoAnswer,
}

impl Stumble {
    fn of_hypervisor(self, step: Step) -> HypervisorError {
        let (step, reason) = (name(step), "a simulated fault".to_owned());
        match self {
            Self::Fails => HypervisorError::Failed { step, reason },
            Self::NoAnswer => HypervisorError::Unavailable { step, reason },
        }
    }

    fn of_program(self, step: Step) -> ExecError {
        let command = name(step).to_owned();
        match self {
            Self::Fails => {
                let stderr = "a simulated fault".into();
                ExecError::Failed { command, status: ExitStatus::from_raw(1 << 8), stderr }
            }
            Self::NoAnswer => ExecError::TooSlow { command, deadline: Duration::from_secs(10) },
        }
    }
}

pub(crate) fn name(step: Step) -> &'static str {
    match step {
        Step::List => "list its domains",
        Step::Start => "start the VM",
        Step::Note | Step::Noted => "note what the VM should be",
        Step::ShutDown => "shut the VM down",
        Step::Reboot => "reboot the VM",
        Step::Pause => "pause the VM",
        Step::Resume => "resume the VM",
        Step::Move | Step::LetGo | Step::Answered | Step::Moved => "move the VM",
        Step::TakeBack => "take the VM back",
        Step::Change => "change the VM's devices",
        Step::Remove => "remove the VM",
        Step::Link => "change network links",
        Step::Guard => "nft",
        Step::Mount => "mount",
        Step::Export | Step::Withdraw => "exportfs",
        Step::Serve | Step::ServeRest => "send an image",
    }
}
