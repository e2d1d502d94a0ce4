//! How much a document may hold. The management service refuses what is more where it is asked for, so that a router never
//! has to.

/// The most networks that a router serves: so many network interfaces a VM can have, less the two others.
pub const MAX_GUESTS: usize = 6;

/// The most name servers that a router asks.
pub const MAX_FORWARDERS: usize = 8;

/// The most ranges of one side of a rule.
pub const MAX_RANGES: usize = 64;

/// The most VMs, and the most of their interfaces: so many have names and addresses in a router's memory of 96 MiB, with all
/// else that it does.
pub const MAX_VMS: usize = 4096;

/// The most rules of a kind: twice as many as are measured (`bench-router`).
pub const MAX_RULES: usize = 10_000;

/// The most balancers of connections.
pub const MAX_BALANCERS: usize = 1000;

/// The most balancers of HTTP: each has up to 64 places for members in another program's memory, of some 4 KiB.
pub const MAX_HTTP_BALANCERS: usize = 64;

/// The most members of a balancer.
pub const MAX_MEMBERS: usize = 64;

/// The most connections of a balancer of HTTP: as many as a gigabyte of memory holds, at 50 KiB for one.
pub const MAX_CONNECTIONS: u32 = 20_000;

/// The fewest and the most connections that a router may be told to follow, and how many it follows if it is told nothing. At
/// some 320 bytes each, that is 20 MB of a router's memory, and 336 MB for the most.
pub const MIN_FOLLOWED: u32 = 1024;
/// See [`MIN_FOLLOWED`].
pub const MAX_FOLLOWED: u32 = 1 << 20;
/// See [`MIN_FOLLOWED`].
pub const DEFAULT_FOLLOWED: u32 = 65_536;

/// The fewest connections that a VM may be limited to: with less, a system that boots comes to nothing.
pub const MIN_FOLLOWED_OF_VM: u32 = 64;

/// The longest that a client or a member of a balancer of HTTP may say nothing, in seconds.
pub const MAX_IDLE_SECS: u32 = 3600;

/// The most bytes of user data and keys together: those of 128 VMs with the largest user data there is.
pub const MAX_TEXTS: usize = 8 << 20;

/// The most ports that port forwards of several lead to others, together: the packet filter has each by itself.
pub const MAX_SHIFTED_PORTS: u32 = 65_536;

/// The most parts that the firewall rules of a kind have together, which the packet filter has each by itself: sources of
/// ingress rules, and pairs of a source and a destination of egress rules. Nor may they be cut in more pieces that do not overlap.
/// The kernel takes 0.1 s for 2,048 of them at once, four times as long for twice as many, and so 5 s for these.
pub const MAX_PIECES: u32 = 16_384;

/// The most ports for programs of its own VM.
pub const MAX_LOCAL_PORTS: usize = 16;

/// The most sources of connections that a diagnosis names.
pub const MAX_TALKERS: usize = 20;

/// The longest that a capture may take, in seconds.
pub const MAX_CAPTURE_SECS: u32 = 60;

/// The fewest and the most bytes of a capture's file: headers and a packet, and what is sent in seconds on a slow management
/// network.
pub const MIN_CAPTURE_BYTES: u32 = 1024;
/// See [`MIN_CAPTURE_BYTES`].
pub const MAX_CAPTURE_BYTES: u32 = 4 << 20;

/// The fewest and the most bytes that are kept of a packet: its headers, and all that an IP packet can have.
pub const MIN_SNAP_BYTES: u32 = 64;
/// See [`MIN_SNAP_BYTES`].
pub const MAX_SNAP_BYTES: u32 = 65_535;
