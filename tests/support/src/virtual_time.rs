//! Time that passes only when nothing else can happen.
//!
//! The parts run as in real time: each on a runtime of its own, speaking TLS over loopback, with threads of its own for what waits.
//! Their clocks stand still until every thread of this process sleeps; then all go on by the same step. So a minute of
//! waiting costs nothing, and no deadline passes because a machine is slow.
//!
//! # Design notes
//! That nothing goes on is asked of the kernel: all threads but one's own sleep, and none has been switched to or from
//! while they were looked at (proc_pid_stat(5), getrusage(2)). Data on loopback is with its receiver before the sender's
//! system call returns, unless the kernel leaves packets to a thread of its own, as it does when there are many: so it is
//! asked as well whether packets wait on any processor.
//! Refused: tokio's own advance of a paused clock, which knows one runtime and not that others work for it; a
//! runtime for all, as a killed part's tasks must end while those of the others go on.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::future::Future;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// The shortest step: how long a timer may be late.
const STEP: Duration = Duration::from_millis(50);

/// The longest step, when nothing has happened for a while.
const LONGEST: Duration = Duration::from_millis(400);

/// How long to let threads go on before they are looked at again.
const LOOK: Duration = Duration::from_micros(30);

/// How much processor time threads may take at most within one instant. How long that lasts depends on what else runs.
const UNREST: Duration = Duration::from_secs(60);

/// How long an instant may last in real time, for a thread that waits for a disk or the like and not for another.
const STUCK: Duration = Duration::from_secs(1200);

/// What the kernel tells of the packets that came in, a line for each processor: `softnet_seq_show` in
/// net/core/net-procfs.c.
const PACKETS: &str = "/proc/net/softnet_stat";

/// The place in such a line of how many of them wait.
const WAITING: usize = 11;

static WORLD: LazyLock<Mutex<World>> = LazyLock::new(Mutex::default);

/// All clocks of this process.
#[derive(Default)]
struct World {
    /// The latest time on any of them, once they are virtual.
    now: Option<Instant>,
    clocks: Vec<UnboundedSender<Instant>>,
}

fn world() -> MutexGuard<'static, World> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process lives in virtual time.
pub(crate) fn is_on() -> bool {
    world().now.is_some()
}

/// Runs a test in virtual time, on this thread. All parts that are started in this process live in it from now on.
///
/// # Panics
/// When threads cannot be started.
pub fn run<F: Future>(test: F) -> F::Output {
    let runtime = runtime();
    {
        let _here = runtime.enter();
        world().now.get_or_insert_with(Instant::now);
    }
    let pacer = std::thread::Builder::new().name("pacer".into()).spawn(pace);
    drop(pacer.expect("a thread can be started"));
    runtime.block_on(within(test))
}

/// A runtime with a clock that stands still.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .thread_keep_alive(Duration::from_millis(200))
        .build()
        .expect("a runtime can be made")
}

/// Runs something on a runtime of this module, whose clock goes with the others.
pub(crate) async fn within<F: Future>(work: F) -> F::Output {
    let (tell, told) = unbounded_channel();
    let now = {
        let mut world = world();
        world.clocks.push(tell);
        world.now
    };
    // A blocking task keeps tokio from moving the clock itself. It ends with the runtime, which drops `_held`.
    let (_held, hold) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || hold.recv().is_err());
    if let Some(now) = now {
        set(now).await;
    }
    let clock = tokio::spawn(follow(told));
    let output = work.await;
    clock.abort();
    output
}

async fn follow(mut told: UnboundedReceiver<Instant>) {
    while let Some(now) = told.recv().await {
        set(now).await;
    }
}

async fn set(now: Instant) {
    tokio::time::advance(now.saturating_duration_since(Instant::now())).await;
}

/// Has time go on, for ever.
fn pace() {
    let mut threads = Threads::new();
    let mut step = STEP;
    let mut switches_before = 0;
    loop {
        let switches = threads.wait_for_quiet();
        let clocks = {
            let mut world = world();
            world.clocks.retain(|clock| !clock.is_closed());
            let now = world.now.map(|now| now + step);
            world.now = now;
            now.map_or(0, |now| world.clocks.iter().filter(|clock| clock.send(now).is_ok()).count())
        };
        // A clock that is moved costs a few switches. More than that, and something has happened.
        let idle = switches - switches_before < 4 * clocks as i64 + 8;
        switches_before = switches;
        step = if idle { (step * 2).min(LONGEST) } else { STEP };
    }
}

/// The threads of this process but one's own, and the packets on their way to them.
struct Threads {
    /// For each thread the open file that tells what it does.
    states: HashMap<OsString, File>,
    packets: File,
}

impl Threads {
    fn new() -> Self {
        let packets = File::open(PACKETS).expect("this is Linux");
        Self { states: HashMap::new(), packets }
    }

    /// Waits until all sleep, and says how often they were switched until then.
    fn wait_for_quiet(&mut self) -> i64 {
        let mut before = switches_of_others();
        let (begun, worked) = (std::time::Instant::now(), processor_time_of_others());
        loop {
            std::thread::sleep(LOOK);
            let now = switches_of_others();
            // Looking at all threads is dear, so only once nothing seems to go on. Packets first: whoever gets one is
            // awake by the time that threads are looked at.
            if now == before && !self.packets_wait() && self.all_sleep() && switches_of_others() == before {
                return before;
            }
            let worked = processor_time_of_others().saturating_sub(worked);
            if worked > UNREST || begun.elapsed() > STUCK {
                let (worked, lasts) = (worked.as_secs(), begun.elapsed().as_secs());
                eprintln!("an instant lasts {lasts} s, in which threads have worked for {worked} s");
                std::process::abort();
            }
            before = now;
        }
    }

    /// Whether packets of whomever wait for the kernel. Kernels before 5.10 do not tell.
    fn packets_wait(&mut self) -> bool {
        let mut text = String::new();
        let told = self.packets.rewind().and_then(|()| self.packets.read_to_string(&mut text));
        told.expect("the kernel tells everybody");
        let mut waiting = text.lines().filter_map(|line| line.split(' ').nth(WAITING));
        waiting.any(|packets| packets.contains(|digit| digit != '0'))
    }

    fn all_sleep(&mut self) -> bool {
        let me = OsString::from(nix::unistd::gettid().to_string());
        let tasks = fs::read_dir("/proc/self/task").expect("this is Linux");
        let names: HashSet<OsString> =
            tasks.flatten().map(|task| task.file_name()).filter(|name| *name != me).collect();
        self.states.retain(|name, _| names.contains(name));
        names.into_iter().all(|name| {
            let stat = match self.states.entry(name) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let path = Path::new("/proc/self/task").join(entry.key()).join("stat");
                    // A thread that has just ended does nothing.
                    let Ok(file) = File::open(path) else { return true };
                    entry.insert(file)
                }
            };
            let mut text = [0; 128];
            let Ok(read) = stat.read_at(&mut text, 0) else { return true };
            // The name before it may have any character.
            let name_ends = text[..read].iter().rposition(|byte| *byte == b')');
            name_ends.is_none_or(|end| text.get(end + 2) == Some(&b'S'))
        })
    }
}

/// How much processor time the threads but one's own have taken.
fn processor_time_of_others() -> Duration {
    let of = |who| {
        let usage = getrusage(who).expect("every process may ask for its usage");
        (usage.user_time() + usage.system_time()).num_microseconds()
    };
    Duration::from_micros((of(UsageWho::RUSAGE_SELF) - of(UsageWho::RUSAGE_THREAD)).max(0).unsigned_abs())
}

fn switches_of_others() -> i64 {
    let of = |who| {
        let usage = getrusage(who).expect("every process may ask for its usage");
        usage.voluntary_context_switches() + usage.involuntary_context_switches()
    };
    of(UsageWho::RUSAGE_SELF) - of(UsageWho::RUSAGE_THREAD)
}
