//! A bridge with two guarded VMs and a router, in a network namespace for as long as a test runs.

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto, setsockopt, socket,
};
use nix::sys::time::TimeVal;
use podzol_agent::guards::{Change, Filter, Nft, Port};

use crate::frames::{Frame, VM6};

/// How long a frame may take to the second VM. It is there at once.
const PATIENCE: TimeVal = TimeVal::new(5, 0);

/// How often a frame is sent before nothing reaches the second VM.
const TRIES: u32 = 10;

/// The wires of the VMs, the last bytes of their MAC addresses, and whether they route.
const WIRES: [(&str, u8, bool); 3] = [("first", 1, false), ("second", 2, false), ("router", 3, true)];

pub(crate) struct Link {
    socket: OwnedFd,
    wires: Vec<LinkAddr>,
    tries: AtomicU32,
}

/// Runs a test on a thread in a new network namespace, which goes when the thread ends.
pub(crate) fn in_namespace(test: impl FnOnce(Link) + Send + 'static) {
    let run = move || {
        if let Err(missing) = make() {
            assert!(std::env::var_os("PODZOL_REQUIRE_8021Q").is_none(), "missing: {missing}");
            eprintln!("skipped, missing: {missing}");
            return;
        }
        guard();
        test(Link::open());
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Makes the bridge in a new network namespace, or says which right or program is missing.
fn make() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|error| format!("unshare: {error}"))?;
    run("ip", "link add bridge0 type bridge mcast_snooping 0")?;
    for (wire, last, _) in WIRES {
        run("ip", &format!("link add {} type veth peer name {wire}", name(last)))?;
        run("ip", &format!("link set {} master bridge0 up", name(last)))?;
        run("ip", &format!("link set {wire} up"))?;
    }
    run("ip", "link set bridge0 up")?;
    run("nft", "add table bridge probe")
}

fn name(last: u8) -> String {
    format!("pzt005e1000{last:02x}")
}

/// Brings the guards in force: the router's and the second VM's first, so that the first VM's come as a change.
fn guard() {
    let ports = WIRES.map(|(_, last, may_route)| Port {
        name: name(last).parse().unwrap(),
        mac: format!("02:00:5e:10:00:{last:02x}").parse().unwrap(),
        address: [10, 1, 1, last].into(),
        address6: (last == 1).then(|| VM6.parse().unwrap()),
        may_route,
    });
    let [first, rest @ ..] = ports;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        Nft.apply(&Change::All(rest.into())).await.unwrap();
        Nft.apply(&Change::Some { gone: [].into(), new: [first].into() }).await.unwrap();
    });
}

fn run(program: &str, arguments: &str) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments.split(' ')).output().map_err(|error| error.to_string())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Whoever may make a namespace may do this too. A mistake here is not what a kernel lacks.
    assert!(output.status.success(), "{program} {arguments}: {}", stderr.trim());
    Ok(())
}

impl Link {
    fn open() -> Self {
        let all: Vec<_> = getifaddrs().unwrap().collect();
        let address = |wire: &str| {
            let mut own = all.iter().filter(|one| one.interface_name == wire);
            own.find_map(|one| one.address?.as_link_addr().copied()).unwrap()
        };
        let wires = WIRES.map(|(wire, ..)| address(wire)).into();
        let (raw, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(AddressFamily::Packet, raw, flags, SockProtocol::EthAll).unwrap();
        setsockopt(&socket, ReceiveTimeout, &PATIENCE).unwrap();
        Self { socket, wires, tries: AtomicU32::new(0) }
    }

    /// Whether a frame reaches the second VM. One that reaches it for certain is sent behind it, so that nothing is waited for.
    /// Both are sent again if that one is not heard: a kernel with much to do drops what it has no room for, of any namespace.
    pub(crate) fn passes(&self, frame: &Frame) -> bool {
        let sent = frame.bytes();
        for _ in 0..TRIES {
            // What comes late of an earlier try has another number in its padding.
            let number = self.tries.fetch_add(1, Ordering::Relaxed);
            let last = [&arp(frame.sender())[..], &number.to_be_bytes()].concat();
            for bytes in [&sent, &last] {
                let wire = &self.wires[usize::from(frame.sender()) - 1];
                sendto(self.socket.as_raw_fd(), bytes, wire, MsgFlags::empty()).unwrap();
            }
            if let Some(has_passed) = self.hear(&sent, &last) {
                return has_passed;
            }
        }
        panic!("nothing reaches the second VM");
    }

    /// Whether a frame is heard at the second VM before the last one is, or nothing if that is not heard at all.
    fn hear(&self, sent: &[u8], last: &[u8]) -> Option<bool> {
        let mut buffer = [0; 2048];
        let mut has_passed = false;
        loop {
            let (length, from) = match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer) {
                Err(Errno::EAGAIN) => return None,
                heard => heard.unwrap(),
            };
            let from = from.unwrap();
            let is_here = from.ifindex() == self.wires[1].ifindex() && from.pkttype() != OUTGOING;
            match &buffer[..length] {
                bytes if is_here && bytes == last => return Some(has_passed),
                bytes => has_passed |= is_here && bytes == sent,
            }
        }
    }
}

/// What a frame is to those that hear it on the link that it leaves by (linux/if_packet.h).
const OUTGOING: u8 = 4;

/// A question for an address (RFC 826), which every port may ask.
fn arp(sender: u8) -> Vec<u8> {
    let mac = [0x02, 0, 0x5e, 0x10, 0, sender];
    [
        &[0xff; 6][..],
        &mac,
        &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1],
        &mac,
        &[0, 0, 0, 0],
        &[0; 6],
        &[10, 1, 1, 9],
    ]
    .concat()
}
