//! `podzol`, the command: everything that the API can do.
//!
//! What it ends with, for scripts, is in its help.

mod api;
mod arguments;
mod names;
mod output;
mod run;
mod things;
mod wait;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::api::ApiError;
use crate::arguments::{Arguments, Command};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Completion { shell } = arguments.command {
        clap_complete::generate(shell, &mut Arguments::command(), "podzol", &mut io::stdout());
        return ExitCode::SUCCESS;
    }
    match run::run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough, as `head` does.
        Err(error) if nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("podzol: {error:#}");
            match error.downcast_ref::<ApiError>() {
                Some(ApiError::Unreachable { .. } | ApiError::Setup(_)) => ExitCode::from(3),
                Some(ApiError::NotEnded { .. }) => ExitCode::from(4),
                _ => ExitCode::from(1),
            }
        }
    }
}

fn nobody_reads(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
