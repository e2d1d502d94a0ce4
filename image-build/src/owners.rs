//! Files of several owners, made by an ordinary user: in a user namespace (user_namespaces(7)), in which the user is root and has
//! the other ids that are the user's by `/etc/subuid` and `/etc/subgid`.
//!
//! # Design notes
//! All of a build runs in it, as what one program makes the next one reads with the same owners. Devices cannot be made there, so
//! recipes keep none: the kernel makes those of a running system (devtmpfs). Refused: to write owners into archives and file systems by
//! hand, as the scripts of Debian's packages ask for users and change owners themselves.

use std::path::Path;
use std::process::Command;

use crate::tools::{self, MissingTools, Tool};

/// What makes the namespace.
const TOOLS: [Tool; 3] = [
    Tool::new("setpriv", "util-linux"),
    Tool::new("unshare", "util-linux"),
    Tool::new("newuidmap", "uidmap"),
];

/// It ends with this process, however that ends: unshare takes no signal but this one, and has all in the namespace end with it.
/// With process ids of its own, for packages' scripts look at `/proc`.
const NAMESPACES: [&str; 11] = [
    "--pdeathsig",
    "KILL",
    "unshare",
    "--user",
    "--map-auto",
    "--map-root-user",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--",
];

/// Whether this process may make files of any owner.
pub fn are_free() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What runs a program where it may make files of any owner.
///
/// # Errors
/// When a tool is missing.
pub fn free(program: &Path) -> Result<Command, MissingTools> {
    tools::require(&TOOLS)?;
    let mut command = Command::new(TOOLS[0].program);
    command.env("PATH", tools::search_path()).args(NAMESPACES).arg(program);
    Ok(command)
}
