//! Parts of Podzol that run in this process as if each were one of its own.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A part that runs on threads of its own. Dropping it kills it: all its tasks end where they are, as after `kill -9`.
pub struct Process {
    runtime: Option<Runtime>,
    stop: CancellationToken,
    main: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Process {
    /// Starts a part. It should end when the token that it gets is cancelled.
    ///
    /// # Panics
    /// When no thread can be started.
    pub fn start<F>(name: &str, main: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(name)
            .enable_all()
            .build()
            .expect("threads can be started");
        let stop = CancellationToken::new();
        let main = runtime.spawn(main(stop.clone()));
        Self { runtime: Some(runtime), stop, main: Some(main) }
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// When it ended with an error.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(main) = self.main.take() {
            main.await.expect("a part does not panic").expect("a part ends without an error");
        }
    }

    /// Kills it.
    pub fn kill(self) {
        drop(self);
    }

    /// The error with which it has ended by itself, if it has.
    pub async fn failure(&mut self) -> Option<String> {
        if self.main.as_ref().is_none_or(|main| !main.is_finished()) {
            return None;
        }
        match self.main.take()?.await {
            Ok(Ok(())) => Some("it has ended".into()),
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(error) => Some(error.to_string()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
