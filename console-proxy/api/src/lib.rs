//! The console proxy's control API, and the tickets by which browsers come to it.
//!
//! ```text
//!   management ── Document, Session ──▶ proxy: which servers it runs, who may see which VM
//!       │                                 ▲
//!       └── Ticket, in a link ─▶ browser ─┘  a session's cookie
//! ```
//! A proxy keeps what it is told in memory only. After a restart, which its status shows by another `boot_id`, all of it is put
//! again; what is put again and the same is success. The management service is the only caller.
//!
//! This crate does no I/O and reads no clock: whoever asks passes the time in. It does not know what browsers and proxies say
//! to each other; that is in `console-proxy/PROTOCOL.md`.

mod check;
mod document;
mod endpoint;
pub mod limits;
mod session;
mod status;
mod ticket;

pub use check::Problem;
pub use document::{Certificate, Document, Domain, Origin, ProxyServer};
pub use endpoint::{DocumentPut, SessionDelete, SessionPut, SessionsGet, StatusGet};
pub use session::{
    Deletion, DeletionReason, HostAddress, Resume, Rights, Session, SessionAnswer, Upstream, UpstreamSecurity,
};
pub use status::{Line, ProxyStatus, ServerStatus, SessionStatus, Sessions};
pub use ticket::{
    Bytes, Claims, Nonce, TICKET_SECS, Ticket, TicketError, TicketKey, TicketKeyId, TicketSigner,
};

/// The port of the console proxy's control API on its management interface.
pub const PORT: u16 = 8448;
