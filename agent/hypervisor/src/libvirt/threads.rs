//! Threads for calls that block, and may block for ever.
//!
//! # Design notes
//! A QEMU that hangs, as on storage that is away, holds up each call about its domain. What is about one VM, and was given up,
//! leaves its place to others, so that a few such VMs do not hold up all; but as long as it has not ended, nothing more is
//! asked about that VM, so that there are never more threads than places and VMs that hang.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use podzol_vocab::VmId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a call waits for one about the same VM that was given up: whoever asked may only have gone away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nothing is asked about a VM.
const UNANSWERED: &str = "what was asked before about this VM has not been answered yet";

/// How often to look whether that has ended.
const LOOK: Duration = Duration::from_millis(20);

/// So many threads for blocking calls. A call that does not end keeps its thread, and its place unless it is about one VM.
pub(super) struct Threads {
    free: Arc<Semaphore>,
    deadline: Duration,
    hung: Arc<Hung>,
}

/// How many calls about a VM were given up and have not ended.
#[derive(Default)]
struct Hung(Mutex<HashMap<VmId, usize>>);

/// Whether whoever waited for a call has given up. The call must not act any more then: what it was asked for may have
/// been overtaken by something else long ago.
#[derive(Debug, Clone, Default)]
pub(super) struct Abandoned(Arc<AtomicBool>);

/// A call that has a thread.
struct Call {
    of: Option<(VmId, Arc<Hung>)>,
    state: Mutex<CallState>,
}

enum CallState {
    /// It is waited for, or is about no VM.
    Waited {
        _place: OwnedSemaphorePermit,
    },
    /// It was given up, and counts among its VM's.
    GivenUp,
    Ended,
}

/// Gives a call up when it is dropped: at the deadline, or with the future that waits.
struct Waiter {
    abandoned: Abandoned,
    call: OnceLock<Arc<Call>>,
}

impl Abandoned {
    /// Whether nobody waits any more.
    pub(super) fn is_so(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Hung {
    /// Waits a while until no call about a VM that was given up goes on any more.
    async fn answered(&self, vm: VmId, patience: Duration) -> Result<(), String> {
        let answered = async {
            while self.list().contains_key(&vm) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let late = |_| UNANSWERED.to_owned();
        tokio::time::timeout(patience, answered).await.map_err(late)
    }

    fn list(&self) -> MutexGuard<'_, HashMap<VmId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    fn state(&self) -> MutexGuard<'_, CallState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self) {
        let Some((vm, hung)) = &self.of else { return };
        let mut state = self.state();
        if matches!(*state, CallState::Waited { .. }) {
            *hung.list().entry(*vm).or_default() += 1;
            *state = CallState::GivenUp;
        }
    }

    fn end(&self) {
        let ended = std::mem::replace(&mut *self.state(), CallState::Ended);
        if let (CallState::GivenUp, Some((vm, hung))) = (ended, &self.of) {
            let mut list = hung.list();
            let left = list.get(vm).map_or(0, |calls| calls - 1);
            if left == 0 {
                list.remove(vm)
            } else {
                list.insert(*vm, left)
            };
        }
    }
}

/// Ends a call when its thread does, however.
struct Ends(Arc<Call>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.abandoned.0.store(true, Ordering::SeqCst);
        self.call.get().into_iter().for_each(|call| call.give_up());
    }
}

impl Threads {
    /// So many threads, for calls of at most this length.
    pub(super) fn new(threads: usize, deadline: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(threads)), deadline, hung: Arc::default() }
    }

    /// Runs a call, about one VM if so, when there is a thread for it, and waits for its end; for both together until the
    /// deadline.
    ///
    /// # Errors
    /// Why there is no answer. The call may have been made all the same, unless it looks at [`Abandoned`].
    pub(super) async fn run<T: Send + 'static>(
        &self,
        vm: Option<VmId>,
        work: impl FnOnce(&Abandoned) -> T + Send + 'static,
    ) -> Result<T, String> {
        if let Some(vm) = vm {
            self.hung.answered(vm, PATIENCE.min(self.deadline)).await?;
        }
        let abandoned = Abandoned::default();
        let waiter = Waiter { abandoned: abandoned.clone(), call: OnceLock::new() };
        let answer = async {
            let place = Arc::clone(&self.free).acquire_owned().await.expect("nobody closes the semaphore");
            // Others about the same VM may have been given up meanwhile.
            if vm.is_some_and(|vm| self.hung.list().contains_key(&vm)) {
                return Err(UNANSWERED.to_owned());
            }
            let of = vm.map(|vm| (vm, Arc::clone(&self.hung)));
            let call = Arc::new(Call { of, state: Mutex::new(CallState::Waited { _place: place }) });
            let _ = waiter.call.set(Arc::clone(&call));
            let task = tokio::task::spawn_blocking(move || {
                let _ends = Ends(call);
                (!abandoned.is_so()).then(|| work(&abandoned))
            });
            task.await.ok().flatten().ok_or_else(|| "the call broke off".to_owned())
        };
        let late = || format!("no answer in {} s", self.deadline.as_secs());
        tokio::time::timeout(self.deadline, answer).await.unwrap_or_else(|_| Err(late()))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_call_waits_until_there_is_a_thread_for_it() {
        let threads = Threads::new(1, Duration::from_secs(60));
        let (end, ended) = mpsc::channel::<()>();
        let first = threads.run(None, move |_| ended.recv().unwrap());
        let second = async {
            end.send(()).unwrap();
            threads.run(None, |_| 2).await
        };
        assert_eq!(tokio::join!(first, second), (Ok(()), Ok(2)));
    }

    #[tokio::test]
    async fn a_call_that_hangs_knows_that_nobody_waits_for_it_any_more() {
        let threads = Threads::new(1, Duration::from_millis(20));
        let ((end, ended), (told, tells)) = (mpsc::channel::<()>(), mpsc::channel());
        let call = threads.run(None, move |abandoned| {
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
            async move { threads.run(None, move |_| ended.recv().unwrap()).await }
        });
        while threads.free.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let (made, makes) = mpsc::channel::<()>();
        let second = threads.run(None, move |_| made.send(()).unwrap());
        drop(second);
        end.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert!(makes.recv().is_err());
    }

    #[tokio::test]
    async fn a_vm_that_hangs_leaves_its_thread_to_others_and_is_asked_nothing_more_until_it_has_answered() {
        let threads = Threads::new(1, Duration::from_secs(60));
        let (hangs, other) = (VmId::new(), VmId::new());
        let (end, ended) = mpsc::channel::<()>();
        {
            let (begins, begun) = tokio::sync::oneshot::channel();
            let mut call = pin!(threads.run(Some(hangs), move |_| {
                begins.send(()).unwrap();
                ended.recv().unwrap();
            }));
            tokio::select! {
                _ = &mut call => panic!("it has ended"),
                begun = begun => begun.unwrap(),
            }
            // Whoever waits gives up.
        }

        assert_eq!(threads.run(Some(other), |_| 2).await, Ok(2));
        let refused = threads.run(Some(hangs), |_| 2).await.unwrap_err();
        assert!(refused.contains("has not been answered"), "{refused}");
        end.send(()).unwrap();
        while threads.hung.list().contains_key(&hangs) {
            tokio::task::yield_now().await;
        }
        assert_eq!(threads.run(Some(hangs), |_| 3).await, Ok(3));
        assert_eq!(threads.free.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_call_about_no_vm_that_hangs_keeps_its_thread() {
        let threads = Threads::new(1, Duration::from_secs(60));
        let (end, ended) = mpsc::channel::<()>();
        let call = threads.run(None, move |_| ended.recv().unwrap());
        assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
        assert_eq!(threads.free.available_permits(), 0);
        end.send(()).unwrap();
        while threads.free.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(threads.run(None, |_| 2).await, Ok(2));
    }
}
