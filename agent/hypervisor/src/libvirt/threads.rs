//! Threads for calls that block, and may block for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

/// So many threads for blocking calls. A call that does not end keeps its thread.
pub(super) struct Threads {
    free: Arc<Semaphore>,
    deadline: Duration,
}

/// Whether whoever waited for a call has given up. The call must not act any more then: what it was asked for may have
/// been overtaken by something else long ago.
#[derive(Debug, Clone, Default)]
pub(super) struct Abandoned(Arc<AtomicBool>);

/// Gives a call up when it is dropped: at the deadline, or with the future that waits.
struct Waiter(Abandoned);

impl Abandoned {
    /// Whether nobody waits any more.
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

impl Threads {
    /// So many threads, for calls of at most this length.
    pub(super) fn new(threads: usize, deadline: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(threads)), deadline }
    }

    /// Runs a call when there is a thread for it, and waits for its end; for both together until the deadline.
    ///
    /// # Errors
    /// Why there is no answer. The call may have been made all the same, unless it looks at [`Abandoned`].
    pub(super) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Abandoned) -> T + Send + 'static,
    ) -> Result<T, String> {
        let abandoned = Abandoned::default();
        let _waiter = Waiter(abandoned.clone());
        let answer = async {
            let thread = Arc::clone(&self.free).acquire_owned().await.expect("nobody closes the semaphore");
            let task = tokio::task::spawn_blocking(move || {
                let _thread = thread;
                (!abandoned.is_so()).then(|| call(&abandoned))
            });
            task.await.ok().flatten().ok_or_else(|| "the call broke off".to_owned())
        };
        let late = || format!("no answer in {} s", self.deadline.as_secs());
        tokio::time::timeout(self.deadline, answer).await.unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_call_waits_until_there_is_a_thread_for_it() {
        let threads = Threads::new(1, Duration::from_secs(60));
        let (end, ended) = mpsc::channel::<()>();
        let first = threads.run(move |_| ended.recv().unwrap());
        let second = async {
            end.send(()).unwrap();
            threads.run(|_| 2).await
        };
        assert_eq!(tokio::join!(first, second), (Ok(()), Ok(2)));
    }

    #[tokio::test]
    async fn a_call_that_hangs_knows_that_nobody_waits_for_it_any_more() {
        let threads = Threads::new(1, Duration::from_millis(20));
        let ((end, ended), (told, tells)) = (mpsc::channel::<()>(), mpsc::channel());
        let call = threads.run(move |abandoned| {
            ended.recv().unwrap();
            told.send(abandoned.is_so()).unwrap();
        });
        assert!(call.await.is_err());
        end.send(()).unwrap();
        assert!(tells.recv().unwrap());
    }

    #[tokio::test]
    async fn a_call_whose_waiter_was_dropped_before_it_began_is_not_made() {
        let threads = Arc::new(Threads::new(1, Duration::from_secs(60)));
        let (end, ended) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let threads = Arc::clone(&threads);
            async move { threads.run(move |_| ended.recv().unwrap()).await }
        });
        while threads.free.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let (made, makes) = mpsc::channel::<()>();
        let second = threads.run(move |_| made.send(()).unwrap());
        drop(second);
        end.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert!(makes.recv().is_err());
    }
}
