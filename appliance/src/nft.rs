//! The kernel's packet filter, through nft(8): one script is one transaction.

use std::time::Duration;

use podzol_rpc::exec::{self, ExecError};

/// How long nft(8) may take: with 10,000 elements it takes a second on an emulated machine.
const DEADLINE: Duration = Duration::from_secs(20);

const PROGRAM: &str = "nft";

/// Brings a script into force, all of it or nothing.
pub(crate) async fn apply(script: &str) -> Result<(), ExecError> {
    exec::run_with_input(PROGRAM, &["-f", "-"], script, DEADLINE).await.map(drop)
}

/// What a listing with these arguments shows.
pub(crate) async fn list(arguments: &[&str]) -> Result<String, ExecError> {
    exec::run(PROGRAM, arguments, DEADLINE).await
}

/// The chains and the definitions of sets and maps, as text for people.
pub(crate) async fn for_people() -> Result<String, ExecError> {
    list(&["-t", "list", "ruleset"]).await
}
