//! The command line of consoles, their sessions and the proxies that show them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Delete, List, Which};

#[derive(Debug, Args)]
pub(crate) struct Console {
    /// The VM, by its name or id.
    pub(crate) vm: String,
    /// Opens the link in a browser.
    #[arg(long)]
    pub(crate) open: bool,
    /// Keys and mouse do nothing.
    #[arg(long)]
    pub(crate) view_only: bool,
    /// The longest to wait for a console proxy that has to be started, in seconds.
    #[arg(long, default_value_t = 600)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConsoleSessionVerb {
    /// Lists them.
    List(List),
    /// Shows one.
    Show(Which),
    /// Closes one: its pages show nothing any more.
    Close(Delete),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConsoleProxyVerb {
    /// Lists them.
    List(List),
    /// Shows one.
    Show(Which),
    /// Lets one get no new sessions; it goes when those that it has are elsewhere.
    Drain(Which),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConsoleCertificateVerb {
    /// Shows it.
    Show,
    /// Has console proxies show another one.
    Set {
        /// The file with the chain (PEM), its own first.
        #[arg(long)]
        certificates: PathBuf,
        /// The file with its private key (PEM).
        #[arg(long)]
        key: PathBuf,
    },
    /// Has console proxies show one of the installation's own authority again.
    Reset,
}
