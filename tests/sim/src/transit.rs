//! How a domain gets from one simulated hypervisor to another, over the sockets that the agents carry to each other.
//!
//! What libvirt promises holds here too: the domain is made on the other host first and stands still there; its memory is
//! sent while it runs on; it stands still here, is let go on there, and is forgotten here. A connection that is lost
//! before it is let go on there ends it there after a while, and it runs on here. A domain that runs there holds its disks, so it cannot
//! be resumed here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use podzol_hypervisor::{DomainState, Route};
use podzol_vocab::VmId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;

use crate::fault::Step;
use crate::hypervisor::{SimulatedDomain, SimulatedHypervisor};

/// Domains on their way in this process, by the number that is sent for each in place of its contents.
static ON_THEIR_WAY: LazyLock<Mutex<HashMap<u64, SimulatedDomain>>> = LazyLock::new(Mutex::default);
static NUMBERS: AtomicU64 = AtomicU64::new(1);

const PREPARED: u8 = b'P';
const GO_ON: u8 = b'G';
const GOES_ON: u8 = b'D';
const REFUSED: u8 = b'R';

/// How long a domain that did not get here is still there: libvirt takes seconds to notice and to clean up.
const CLEANS_UP: Duration = Duration::from_secs(2);

/// How long the other hypervisor may be silent: libvirt asks five times, every 5 s, whether it is still there.
const SILENT: Duration = Duration::from_secs(30);

/// How often to see whether a domain is called back while nothing of it can be sent.
const LOOK: Duration = Duration::from_millis(100);

/// How much is sent as a domain's memory, so that the streams carry something.
const MEMORY: usize = 1 << 20;

/// Sends a domain, and says when it runs on the other host, or why it stays. If it runs there, and that was not heard, it
/// stays here too, standing still, and why is given: libvirt lets it go on here then, which the locks on its images forbid.
pub(crate) async fn send(
    from: &SimulatedHypervisor,
    vm: VmId,
    route: &Route,
) -> Result<Option<String>, String> {
    let domain = from.domain(vm).filter(SimulatedDomain::is_active).ok_or("domain is not running")?;
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let before = domain.state;
    on_their_way().insert(number, domain);
    let sent = send_it(from, vm, number, route).await;
    // The other side has taken it out if it runs there.
    let stays = on_their_way().remove(&number).is_some();
    match sent {
        Ok(()) if !stays => return Ok(None),
        Err(Broken::Stays(reason)) if !stays => return Ok(Some(reason)),
        Err(Broken::Unknown(reason)) => return Ok(Some(reason)),
        _ => {}
    }
    from.settle(vm, before);
    match sent {
        Err(Broken::Stays(reason)) => Err(reason),
        _ => Err("the connection was lost".into()),
    }
}

/// How a move broke off.
enum Broken {
    /// It goes on here, unless it does there.
    Stays(String),
    /// Whoever knew whether it was let go there has died: it stands still here.
    Unknown(String),
}

impl From<String> for Broken {
    fn from(reason: String) -> Self {
        Self::Stays(reason)
    }
}

impl From<&str> for Broken {
    fn from(reason: &str) -> Self {
        Self::Stays(reason.to_owned())
    }
}

async fn send_it(from: &SimulatedHypervisor, vm: VmId, number: u64, route: &Route) -> Result<(), Broken> {
    let mut control = connect(&route.control).await?;
    control.write_u64(number).await.map_err(text)?;
    match hear(&mut control).await? {
        PREPARED => {}
        _ => return Err("the other host cannot take it in".into()),
    }
    let mut data = connect(&route.data).await?;
    let page = [7; 4096];
    for _ in 0..MEMORY / page.len() {
        let called_back = async {
            while !from.is_called_back(vm) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            () = called_back => return Err("it was called back".into()),
            written = data.write_all(&page) => written.map_err(text)?,
        }
    }
    data.shutdown().await.map_err(text)?;
    if !from.settle(vm, DomainState::Passing) {
        return Err("it has ended on its way".into());
    }
    from.takes(Step::LetGo).await.map_err(Broken::Unknown)?;
    control.write_u8(GO_ON).await.map_err(text)?;
    let goes_on = hear(&mut control).await?;
    from.takes(Step::Answered).await?;
    match goes_on {
        GOES_ON => Ok(()),
        _ => Err("it did not go on".into()),
    }
}

/// What the other hypervisor says next.
async fn hear(control: &mut UnixStream) -> Result<u8, String> {
    match tokio::time::timeout(SILENT, control.read_u8()).await {
        Ok(heard) => heard.map_err(text),
        Err(_) => Err("the other hypervisor does not answer any more".into()),
    }
}

async fn connect(path: &Path) -> Result<UnixStream, String> {
    UnixStream::connect(path).await.map_err(|error| format!("{}: {error}", path.display()))
}

/// Takes in domains from other hosts at a socket in a folder, for ever. The folder is the agent's, with VMs' files in it.
pub(crate) async fn serve(to: Arc<SimulatedHypervisor>, state_dir: PathBuf) -> anyhow::Result<()> {
    to.runs_on(Handle::current());
    let socket = socket(&state_dir);
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(socket)?;
    loop {
        let (mut control, _) = listener.accept().await?;
        let (to, vms) = (Arc::clone(&to), state_dir.join("vms"));
        tokio::spawn(async move {
            if receive(&to, &mut control, &vms).await.is_err() {
                let _ = control.write_u8(REFUSED).await;
            }
        });
    }
}

async fn receive(to: &Arc<SimulatedHypervisor>, control: &mut UnixStream, vms: &Path) -> Result<(), String> {
    let number = control.read_u64().await.map_err(text)?;
    let domain = on_their_way().get(&number).cloned().ok_or("nothing of that number is on its way")?;
    let (vm, before) = (domain.record.plan.vm, domain.state);
    let files = vms.join(vm.to_string());
    let data = files.join("move/data.sock");
    let _ = std::fs::remove_file(&data);
    let listener = UnixListener::bind(&data).map_err(text)?;
    to.take_in(domain, number, &files.join("seed.iso"))?;
    let arrived = async {
        control.write_u8(PREPARED).await.map_err(text)?;
        let memory = async {
            let (mut stream, _) = listener.accept().await.map_err(text)?;
            let mut memory = Vec::with_capacity(MEMORY);
            stream.read_to_end(&mut memory).await.map_err(text)?;
            if memory.len() == MEMORY { Ok(()) } else { Err("its memory did not come whole".to_owned()) }
        };
        let go_on = async { control.read_u8().await.map_err(text) };
        match tokio::try_join!(memory, go_on)? {
            ((), GO_ON) => {}
            _ => return Err("it was not to go on".to_owned()),
        }
        if !to.domain(vm).is_some_and(|domain| domain.is_active()) {
            return Err("it has ended here".to_owned());
        }
        on_their_way().remove(&number).map(drop).ok_or("it stayed where it was".to_owned())
    };
    if let Err(reason) = arrived.await {
        let to = Arc::clone(to);
        tokio::spawn(async move {
            tokio::time::sleep(CLEANS_UP).await;
            to.did_not_come(vm, number);
        });
        return Err(reason);
    }
    to.go_on(vm, before);
    control.write_u8(GOES_ON).await.map_err(text)
}

/// Where a hypervisor listens.
pub(crate) fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("libvirt.sock")
}

fn on_their_way() -> std::sync::MutexGuard<'static, HashMap<u64, SimulatedDomain>> {
    ON_THEIR_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}
