//! How much a page, a session, a VM and an address get.

use std::time::Duration;

/// Pages of a session.
pub(crate) const VIEWERS_OF_SESSION: usize = 8;

/// Pages of a VM.
pub(crate) const VIEWERS_OF_VM: usize = 32;

/// Polls for updates that a page has open at a time.
pub(crate) const POLLS: usize = 3;

/// How often the pages of a session begin, or begin another way to get their updates, in [`BEGINS_IN`]: each time a whole picture may
/// have to be made. One that loses every fifth answer stays below.
pub(crate) const BEGINS: u32 = 100;

/// In which time.
pub(crate) const BEGINS_IN: Duration = Duration::from_secs(10);

/// Batches of input that a page has under way.
pub(crate) const BATCHES: usize = 4;

/// How long a poll is open with nothing to tell.
pub(crate) const WAIT: Duration = Duration::from_secs(25);

/// How long a batch waits for those before it.
pub(crate) const GAP: Duration = Duration::from_secs(2);

/// How long a page that has no request open is remembered.
pub(crate) const FORGET: Duration = Duration::from_secs(15);

/// How long keys stay down without a word from their page.
pub(crate) const KEYS: Duration = Duration::from_secs(5);

/// How long a VM's display is kept after its last page.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// How long something is said at least on a stream or socket.
pub(crate) const ALIVE: Duration = Duration::from_secs(10);

/// How long a TLS handshake, or the head of a request, may take.
pub(crate) const HEAD: Duration = Duration::from_secs(10);

/// How long a connection is kept on which nothing is asked: pages ask all the time.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// How long a request's body may take.
pub(crate) const BODY: Duration = Duration::from_secs(20);

/// How long a connection may take nothing of what is sent.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// The same, while memory is short.
pub(crate) const STALL_WHEN_SHORT: Duration = Duration::from_secs(2);

/// Bytes of a request's head: all cookies that a browser keeps for a host, some 180, and more.
pub(crate) const HEAD_BYTES: usize = 32 << 10;

/// Bytes of a body in JSON.
pub(crate) const JSON_BYTES: usize = 4 << 10;

/// Bytes for the serial port in one request.
pub(crate) const SERIAL_BYTES: usize = 16 << 10;

/// Connections of one address: six of a browser over HTTP/1.1 are two tabs, and many users may be behind one address.
pub(crate) const CONNECTIONS_OF_ADDRESS: usize = 64;

/// Connections of an IPv6 /48, which is the most that one customer has.
pub(crate) const CONNECTIONS_OF_SITE: usize = 256;

/// Connections that one address makes in a second on average: each costs a handshake.
pub(crate) const HANDSHAKES: u32 = 10;

/// And at once: twice what it may have at a time.
pub(crate) const HANDSHAKES_AT_ONCE: u32 = 128;

/// Connections of one server: each takes a file and, in its handshake, some 20 KiB.
pub(crate) const CONNECTIONS: usize = 8192;

/// Forged tickets of one address in a minute before it is told nothing more of them.
pub(crate) const FAILURES: u32 = 20;

/// Pixels of a desktop: one of 5120x2880, which takes 59 MB.
pub(crate) const PIXELS: u32 = 5120 * 2880;

/// Bytes that wait to be read from a connection, and to be written.
pub(crate) const BUFFER: usize = 64 << 10;
