//! A thread for what takes long, or waits for other programs.
//!
//! Refused: tokio's threads for blocking work, which are made when they are wanted: one that cannot be made is a panic, with a
//! group's commit half-way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use sea_orm::DbErr;
use tokio::sync::oneshot;

use crate::DbError;

type Job = Box<dyn FnOnce() + Send>;

/// The thread, which ends after the last of these.
#[derive(Debug, Clone)]
pub(crate) struct Background(Sender<Job>);

impl Background {
    pub(crate) fn start() -> Result<Self, DbError> {
        let (tell, jobs) = channel::<Job>();
        let work = move || {
            for job in jobs {
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("work on the database has panicked");
                }
            }
        };
        let started = thread::Builder::new().name("database".into()).spawn(work);
        started.map_err(|error| failed(&format!("it cannot have a thread: {error}")))?;
        Ok(Self(tell))
    }

    /// Does something, after what was given before.
    pub(crate) fn begin(&self, does: impl FnOnce() + Send + 'static) {
        // The thread is there for as long as this is.
        let _ = self.0.send(Box::new(does));
    }

    /// Does something, and waits for it. It is done to its end if nobody waits any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        does: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, DbError> {
        let (tell, told) = oneshot::channel();
        self.begin(move || drop(tell.send(does())));
        told.await.map_err(|_| failed("it has panicked"))
    }
}

fn failed(why: &str) -> DbError {
    DbError::Failed(DbErr::Custom(why.to_owned()))
}
