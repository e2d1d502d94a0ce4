//! The way to a VM's display: made for the first page that looks, kept, and made again when it is lost or the VM has moved.
//!
//! ```text
//!               way is Off                       dialled                      lost, or another way
//!   connecting ────────────▶ off   connecting ───────────▶ on   on ──────────────────────────────▶ waiting
//!        ▲                    │                                                                      │
//!        └────────────────────┘ another way                          dialled: on; not there: off ◀───┘
//! ```
//! What the screen shows stays while there is no line, so that pages see only a new picture when it is back.

pub(crate) mod backoff;
pub(crate) mod dial;
mod key_queue;
mod line;
mod nudge;

use std::rc::Rc;

use podzol_console_proxy_api::Upstream;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::sleep;

use self::backoff::Backoff;
use crate::told::LineTold;
use crate::vm::Vm;
use crate::worker::Worker;

/// Writes some of these bytes, or has those before get out if there are none: how many it has written. Whoever has written goes on
/// until none are, and may do something else in between, as nothing is lost when it does not wait for this.
pub(crate) async fn put(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<usize> {
    if bytes.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    match writer.write(bytes).await? {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// Keeps a VM's line until the task is ended.
pub(crate) async fn follow(worker: Rc<Worker>, vm: Rc<Vm>) {
    let (mut backoff, mut logged) = (Backoff::default(), None);
    loop {
        let (number, way) = vm.way();
        if way == Upstream::Off {
            vm.set_line(LineTold::Off, Some("the VM is not running".into()));
            moved(&vm, number).await;
            continue;
        }
        let dialled = tokio::select! {
            dialled = dial::display(&worker, &vm, &way) => dialled,
            () = moved(&vm, number) => continue,
        };
        let (line, reason, causes) = match dialled {
            Ok(dialled) => {
                let began = worker.clock.now();
                let ended = line::carry(&worker, &vm, dialled, number).await;
                vm.set_line(LineTold::Waiting, None);
                vm.coming_since.set(None);
                vm.forget_acts();
                vm.viewers.borrow().iter().for_each(|viewer| *viewer.held.borrow_mut() = Default::default());
                backoff.lasted(worker.clock.now().saturating_sub(began));
                match ended {
                    Ok(()) => {
                        (LineTold::Waiting, "the display's server has ended the connection".to_owned(), None)
                    }
                    // Which rule, too: it is how a server is known that is not as it should be.
                    Err(error @ line::LineError::Broken(_)) => {
                        (LineTold::Waiting, chain(&error), Some(chain(&error)))
                    }
                    Err(error) => (LineTold::Waiting, error.to_string(), Some(chain(&error))),
                }
            }
            Err(error) => {
                let line = if error.is_not_there() { LineTold::Off } else { LineTold::Waiting };
                (line, error.to_string(), Some(chain(&error)))
            }
        };
        if !vm.has_moved(number) {
            // Pages hear what happened, and the log why; the same again and again is no news.
            if logged != causes {
                tracing::info!(vm = %vm.id, reason, causes, "no line to a display");
                logged = causes;
            }
            vm.set_line(line, Some(reason));
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = moved(&vm, number) => backoff = Backoff::default(),
            }
        }
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Waits until another way than this one is in force.
async fn moved(vm: &Vm, number: u64) {
    loop {
        let wanted = vm.wanted.notified();
        if vm.has_moved(number) {
            return;
        }
        wanted.await;
    }
}
