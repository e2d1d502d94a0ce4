//! A network namespace with a trunk, for as long as a test runs.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use podzol_hostnet::{Desired, Kernel, Link, Links, converge, difference};
use podzol_vocab::NetworkId;

/// The host in a test: an empty network namespace with the trunk `eth1`.
pub(crate) struct Namespace {
    pub(crate) kernel: Kernel,
}

/// Runs a test on a thread in a new network namespace, which goes when the thread ends.
pub(crate) fn in_namespace(test: impl AsyncFnOnce(Namespace) + Send + 'static) {
    let run = move || {
        if let Err(missing) = enter() {
            assert!(std::env::var_os("PODZOL_REQUIRE_8021Q").is_none(), "missing: {missing}");
            eprintln!("skipped, missing: {missing}");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(Namespace { kernel: Kernel::open().unwrap() }).await });
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Enters a new network namespace, or says which capability is missing.
fn enter() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|error| format!("unshare: {error}"))?;
    // The links of this namespace in /sys, for this thread only.
    let none = None::<&str>;
    let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
    nix::mount::mount(none, "/", none, private, none).map_err(|error| format!("private mounts: {error}"))?;
    nix::mount::mount(Some("sysfs"), "/sys", Some("sysfs"), nix::mount::MsFlags::empty(), none)
        .map_err(|error| format!("sysfs: {error}"))?;
    // A veth as the trunk, since every kernel here has it; the wire ends nowhere.
    for (capability, command) in [
        ("veth", "link add eth1 mtu 1500 type veth peer name wire"),
        ("802.1q", "link add link eth1 name probe type vlan id 4094"),
        ("bridge", "link add probe2 type bridge"),
        ("dummy", "link add probe3 type dummy"),
    ] {
        try_ip(command).map_err(|error| format!("{capability} ({error})"))?;
    }
    ["probe", "probe2", "probe3"].iter().try_for_each(|probe| try_ip(&format!("link del {probe}")))?;
    ["lo", "wire", "eth1"].iter().try_for_each(|link| try_ip(&format!("link set {link} up")))
}

impl Namespace {
    /// Runs `ip` as an operator would.
    pub(crate) fn ip(&self, arguments: &str) {
        try_ip(arguments).unwrap();
    }

    /// The same, where it may fail.
    pub(crate) fn try_ip(&self, arguments: &str) -> Result<(), String> {
        try_ip(arguments)
    }

    /// Runs `bridge` as an operator would.
    pub(crate) fn bridge(&self, arguments: &str) {
        run("bridge", arguments).unwrap();
    }

    /// The network of a link.
    pub(crate) async fn network(&self, name: &str) -> NetworkId {
        self.link(name).await.network().unwrap()
    }

    /// Converges, and finds nothing wrong and nothing left to do.
    pub(crate) async fn converge(&self, desired: &Desired) {
        let pass = converge(&self.kernel, desired).await.unwrap();
        assert!(pass.failures.is_empty() && pass.refused.is_empty() && pass.in_use.is_empty(), "{pass:#?}");
        self.assert_converged(desired).await;
    }

    pub(crate) async fn assert_converged(&self, desired: &Desired) {
        let changes = difference(desired, &self.kernel.observe().await.unwrap());
        assert!(changes.is_empty(), "{changes}");
    }

    pub(crate) async fn find(&self, name: &str) -> Option<Link> {
        self.kernel.observe().await.unwrap().into_iter().find(|link| link.name.as_str() == name)
    }

    pub(crate) async fn link(&self, name: &str) -> Link {
        self.find(name).await.unwrap_or_else(|| panic!("no link {name}"))
    }

    pub(crate) async fn foreign(&self) -> Vec<Link> {
        self.kernel.observe().await.unwrap().into_iter().filter(|link| !link.is_ours()).collect()
    }

    pub(crate) fn bridge_option(&self, bridge: &str, option: &str) -> String {
        let path = format!("/sys/class/net/{bridge}/bridge/{option}");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }
}

fn try_ip(arguments: &str) -> Result<(), String> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &str) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments.split(' ')).output().map_err(|error| error.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {arguments}: {}", stderr.trim())) }
}
