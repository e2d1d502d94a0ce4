//! How much there may be of each thing.

use std::ops::RangeInclusive;

/// Proxy servers of one proxy: each has a thread.
pub const MAX_SERVERS: usize = 64;

/// Sessions of one proxy server.
pub const SESSIONS: RangeInclusive<u32> = 1..=10_000;

/// Sessions of one proxy that are not over.
pub const MAX_SESSIONS: usize = 20_000;

/// Sessions that look at one VM and are not over: more than a class has pupils. All are at one proxy server, so that the VM's display is
/// read once. The management service opens no more, and a proxy server takes no more.
pub const SESSIONS_OF_VM: usize = 128;

/// Keys whose tickets are taken: the one in use, and those before and after it.
pub const MAX_TICKET_KEYS: usize = 4;

/// Origins that pages may resume at.
pub const MAX_ORIGINS: usize = 8;

/// Bytes of a certificate's chain, and of its key.
pub const MAX_PEM: usize = 64 << 10;

/// Characters of a name that is shown.
pub const MAX_NAME: usize = 128;

/// Bytes of a token by which a page resumes: far more than 256 bits take.
pub const TOKEN: RangeInclusive<usize> = 32..=128;

/// Seconds without input after which a session ends.
pub const IDLE_SECS: RangeInclusive<u32> = 60..=86_400;

/// Addresses of a host.
pub const MAX_ADDRESSES: usize = 8;

/// Bytes of a grant.
pub const MAX_GRANT: usize = podzol_rpc::statement::MAX_STATEMENT;
