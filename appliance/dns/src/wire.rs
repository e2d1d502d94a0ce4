//! The numbers of the protocol (RFC 1035, 4.1.1 and IANA's "Domain Name System Parameters").

/// The length of the header.
pub(crate) const HEADER: usize = 12;

/// The largest packet over UDP: it fits into IPv6's smallest MTU, so it is never cut to fragments (the DNS flag day of
/// 2020).
pub(crate) const UDP_SIZE: usize = 1232;

/// The class of the Internet, the only one served.
pub(crate) const IN: u16 = 1;

/// Bits of a header's second word.
pub(crate) mod flag {
    pub(crate) const ANSWER: u16 = 0x8000;
    pub(crate) const OPCODE: u16 = 0x7800;
    pub(crate) const AUTHORITATIVE: u16 = 0x0400;
    pub(crate) const TRUNCATED: u16 = 0x0200;
    pub(crate) const RECURSION_DESIRED: u16 = 0x0100;
    pub(crate) const RECURSION_AVAILABLE: u16 = 0x0080;
    pub(crate) const AUTHENTIC: u16 = 0x0020;
    pub(crate) const CHECKING_DISABLED: u16 = 0x0010;
    pub(crate) const RCODE: u16 = 0x000f;
}

/// What became of a query.
pub(crate) mod rcode {
    pub(crate) const NO_ERROR: u16 = 0;
    pub(crate) const FORMAT: u16 = 1;
    pub(crate) const SERVER_FAILURE: u16 = 2;
    pub(crate) const NO_NAME: u16 = 3;
    pub(crate) const NOT_IMPLEMENTED: u16 = 4;
    pub(crate) const REFUSED: u16 = 5;
    /// Its upper eight bits are in the OPT record (RFC 6891, 6.1.3).
    pub(crate) const BAD_VERSION: u16 = 16;
}

/// Types of records.
pub(crate) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const HINFO: u16 = 13;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const ANY: u16 = 255;
    /// Types that only questions have and that are not for clients: TKEY, TSIG, IXFR, AXFR, MAILB, MAILA.
    pub(crate) const META: std::ops::RangeInclusive<u16> = 249..=254;
}
