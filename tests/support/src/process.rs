//! Parts of Podzol that run in this process as if each were one of its own.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::virtual_time;

type Ended = Result<anyhow::Result<()>, String>;

/// A part that runs on threads of its own. Dropping it kills it: all its tasks end where they are, as after `kill -9`.
pub struct Process {
    /// The threads that it runs on, in real time.
    runtime: Option<Runtime>,
    /// Dropped to kill it, in virtual time.
    _life: Option<oneshot::Sender<()>>,
    stop: CancellationToken,
    ended: Option<oneshot::Receiver<Ended>>,
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
        let stop = CancellationToken::new();
        let (tell, ended) = oneshot::channel();
        let main = main(stop.clone());
        let main = async {
            let ended = tokio::spawn(main).await.map_err(|error| error.to_string());
            drop(tell.send(ended));
        };
        let (runtime, life) = if virtual_time::is_on() {
            (None, Some(in_virtual_time(name, main)))
        } else {
            (Some(in_real_time(name, main)), None)
        };
        Self { runtime, _life: life, stop, ended: Some(ended) }
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// When it ended with an error.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(ended) = self.ended.take() {
            let ended = ended.await.expect("a part that is stopped says how it ended");
            ended.expect("a part does not panic").expect("a part ends without an error");
        }
    }

    /// Kills it.
    pub fn kill(self) {
        drop(self);
    }

    /// The error with which it has ended by itself, if it has.
    pub async fn failure(&mut self) -> Option<String> {
        let ended = self.ended.as_mut()?.try_recv().ok()?;
        self.ended = None;
        match ended {
            Ok(Ok(())) => Some("it has ended".into()),
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(error) => Some(error),
        }
    }
}

/// How long the threads of a process that is killed may take to notice.
const DIES: Duration = Duration::from_secs(5);

fn in_real_time(name: &str, main: impl Future<Output = ()> + Send + 'static) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).thread_name(name).enable_all().build();
    let runtime = runtime.expect("threads can be started");
    runtime.spawn(main);
    runtime
}

/// Starts it on a thread, where it lives until the sender is dropped.
fn in_virtual_time(name: &str, main: impl Future<Output = ()> + Send + 'static) -> oneshot::Sender<()> {
    let (life, death) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let runtime = virtual_time::runtime();
        runtime.block_on(virtual_time::within(async {
            tokio::spawn(main);
            drop(death.await);
        }));
        runtime.shutdown_background();
    });
    drop(thread.expect("a thread can be started"));
    life
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A killed process does nothing any more once it is dead, so this is waited for: the next one on the same files
            // must not meet a task that is just finishing a step. On a thread, as a task must not wait for it.
            let dies = std::thread::spawn(move || runtime.shutdown_timeout(DIES));
            let _ = dies.join();
        }
    }
}
