//! The kernel's packet filter, through nft(8) and directly: each step of a change is one transaction.

mod generation;

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::sockopt::SndBufForce;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
};
use podzol_appliance_nft::{Batch, BatchError, Change, Counted, Dump, DumpError, Step};
use podzol_rpc::exec::{self, ExecError};

pub(crate) use generation::Generations;

/// How long nft(8) may take: some times what the largest document takes, which should be some 20 s if all kinds of rules are cut in as
/// many pieces as there may be.
const DEADLINE: Duration = Duration::from_secs(90);

const PROGRAM: &str = "nft";

/// How often counters are read again that were changed meanwhile.
const TRIES: u32 = 8;

/// Room beside a batch for what the kernel keeps of it.
const BESIDE: usize = 64 << 10;

/// How large a batch is at most that no thread of its own is started for.
const AT_ONCE: usize = 16 << 10;

/// Why a step of a change could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// nft(8) fails.
    #[error("nft cannot change or list the rules")]
    Nft(#[from] ExecError),
    /// The kernel refuses elements.
    #[error("elements cannot be changed")]
    Batch(#[from] BatchError),
    /// The kernel cannot be spoken to.
    #[error("the kernel cannot be asked to change elements")]
    Socket(#[from] io::Error),
}

/// Why it is not known what was counted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CountError {
    /// The kernel does not tell it.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// The kernel cannot be spoken to.
    #[error("the kernel cannot be asked for elements")]
    Socket(#[from] io::Error),
}

/// A change that did not come into force.
#[derive(Debug)]
pub(crate) struct ApplyError {
    pub(crate) error: StepError,
    /// Whether the kernel has what it had before, for sure.
    pub(crate) is_as_before: bool,
}

/// Brings a change into force, step by step.
pub(crate) async fn apply(change: Change) -> Result<(), ApplyError> {
    for (number, step) in change.steps().iter().enumerate() {
        let done = match step {
            Step::Script(script) => run(script).await.map_err(StepError::from),
            Step::Batch(batch) => commit(batch.clone()).await,
        };
        done.map_err(|error| {
            let is_as_before = number == 0
                && matches!(
                    error,
                    StepError::Nft(ExecError::Failed { .. }) | StepError::Batch(BatchError::Refused { .. })
                );
            ApplyError { error, is_as_before }
        })?;
    }
    Ok(())
}

/// Brings a script into force, all of it or nothing.
pub(crate) async fn run(script: &str) -> Result<(), ExecError> {
    exec::run_with_input(PROGRAM, &["-f", "-"], script, DEADLINE).await.map(drop)
}

/// Brings a batch into force, all of it or nothing.
pub(crate) async fn commit(batch: Batch) -> Result<(), StepError> {
    // The kernel does all of it before it answers: some ten microseconds, or with ten thousand elements a while.
    if batch.bytes().len() <= AT_ONCE {
        return Ok(batch.outcome(&ask(batch.bytes())?)?);
    }
    let committed = tokio::task::spawn_blocking(move || {
        let answers = ask(batch.bytes())?;
        Ok(batch.outcome(&answers)?)
    });
    committed.await.unwrap_or_else(|error| Err(StepError::Socket(io::Error::other(error))))
}

/// All that the kernel answers to messages of nfnetlink.
fn ask(messages: &[u8]) -> io::Result<Vec<u8>> {
    let protocol = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
    setsockopt(&socket, SndBufForce, &(messages.len() + BESIDE))?;
    sendto(socket.as_raw_fd(), messages, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    // The answers are there when it has been sent, or what is left of them when some have been taken.
    // One has the refused message in it.
    let (mut answers, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
        answers.extend_from_slice(&buffer[..length]);
    }
    Ok(answers)
}

/// What has been counted until now.
pub(crate) async fn counted() -> Result<Counted, CountError> {
    let mut tries = TRIES;
    loop {
        match counted_once().await {
            Err(CountError::Dump(DumpError::Changed(_))) if tries > 0 => tries -= 1,
            counted => return counted,
        }
    }
}

async fn counted_once() -> Result<Counted, CountError> {
    let mut counted = Counted::default();
    for dump in Dump::all() {
        dump.read(&ask(dump.bytes())?, &mut counted)?;
        // With ten thousand VMs each takes some milliseconds.
        tokio::task::yield_now().await;
    }
    Ok(counted)
}

/// What a listing with these arguments shows.
pub(crate) async fn list(arguments: &[&str]) -> Result<String, ExecError> {
    exec::run(PROGRAM, arguments, DEADLINE).await
}

/// The chains and the definitions of sets and maps, as text for people.
pub(crate) async fn for_people() -> Result<String, ExecError> {
    list(&["-t", "list", "ruleset"]).await
}
