//! Scenarios that disturb each other as little as two customers do, and run two at a time: a Debian VM boots for minutes on h1,
//! and leaves h2, the storage server and a processor of this machine to the others.

mod cloud_init;
mod emulation;
mod on_hosts;
mod templates;
