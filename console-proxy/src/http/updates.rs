//! Updates: the next one for a page, as soon as there is something to show and its line has room; and polls for them.

use std::rc::Rc;
use std::time::Duration;

use podzol_stripes::Update;
use tokio::time::{Instant, sleep_until};

use super::answer::{Answer, binary, nothing};
use super::fault::Fault;
use super::serve::Asked;
use crate::limits::{POLLS, WAIT};
use crate::viewer::{One, Viewer, Way};
use crate::worker::Worker;

/// What came of waiting for an update.
#[derive(Debug)]
pub(crate) enum Next {
    Update(Update),
    /// There was none in time.
    Nothing,
    /// The page gets its updates another way now.
    Elsewhere,
}

/// A poll: answered with the next update, in the order in which polls came.
pub(crate) async fn poll(asked: Asked) -> Result<Answer, Fault> {
    let Asked { worker, viewer, query, .. } = asked;
    let after = query.update()?;
    let now = worker.clock.now();
    let is_new = query.poll.is_none_or(|number| viewer.is_new_poll(number));
    let way = if query.resume {
        viewer.begin_way(Way::Polls, after, now).ok_or(Fault::TooMany("ways were begun"))?
    } else if !is_new {
        return Err(Fault::Repeated);
    } else {
        viewer.acknowledge(after, now);
        // One that comes late takes nothing from the stream or socket that its page has now.
        let Some(way) = viewer.polled_way() else { return Ok(nothing()) };
        way
    };
    let one = || One::of(&viewer, |viewer| &viewer.polls, POLLS);
    let one = match one() {
        // Those before are just hearing that they are.
        None if query.resume => {
            tokio::task::yield_now().await;
            one()
        }
        one => one,
    };
    let one = one.ok_or(Fault::TooMany("polls are open"))?;
    match next(&worker, &viewer, way, Instant::now() + WAIT).await? {
        Next::Update(update) => Ok(binary(update.body).map(|content| content.counting(one))),
        Next::Nothing | Next::Elsewhere => Ok(nothing()),
    }
}

/// The next update of a page that has this way.
///
/// # Errors
/// When the page is not known any more.
pub(crate) async fn next(
    worker: &Worker,
    viewer: &Rc<Viewer>,
    way: u64,
    until: Instant,
) -> Result<Next, Fault> {
    let (vm, mut turn) = (&viewer.vm, None);
    let acquire = viewer.turn.acquire();
    tokio::pin!(acquire);
    loop {
        let (news, changed) = (vm.news.notified(), viewer.changed.notified());
        if let Some(gone) = viewer.gone() {
            return Err(gone.into());
        }
        if viewer.way() != way {
            return Ok(Next::Elsewhere);
        }
        if turn.is_none() {
            tokio::select! {
                // In the order in which they came.
                biased;
                permit = &mut acquire => turn = permit.ok(),
                () = changed => {}
                () = sleep_until(until) => return Ok(Next::Nothing),
            }
            continue;
        }
        let now = worker.clock.now();
        let rests = vm.share.borrow().rests(now).max(vm.is_whole_in(now));
        if rests.is_zero()
            && let Some(update) = compose(worker, viewer)
        {
            return Ok(Next::Update(update));
        }
        let due = match may_send(viewer) {
            true if rests.is_zero() => due(worker, viewer),
            true => Some(rests),
            false => None,
        };
        let wake = due.map_or(until, |due| until.min(Instant::now() + due.max(Duration::from_millis(1))));
        tokio::select! {
            () = news => {}
            () = changed => {}
            () = sleep_until(wake) => if wake == until {
                return Ok(Next::Nothing);
            },
        }
    }
}

/// Whether anything may be sent to a page now.
fn may_send(viewer: &Viewer) -> bool {
    !viewer.is_hidden() && viewer.pace.borrow().may_send()
}

/// In how long there is something to send that is not painted.
fn due(worker: &Worker, viewer: &Viewer) -> Option<Duration> {
    let screen = viewer.vm.screen.borrow();
    (screen.size().pixels() > 0).then(|| viewer.shown.borrow().due(&screen, worker.clock.now())).flatten()
}

fn compose(worker: &Worker, viewer: &Viewer) -> Option<Update> {
    let mut screen = viewer.vm.screen.borrow_mut();
    // Before the display has been seen once, there is nothing to show.
    if !may_send(viewer) || screen.size().pixels() == 0 {
        return None;
    }
    // Acknowledgements come here too.
    if viewer.shown.borrow().has_all(&screen) {
        return None;
    }
    let (now, worked) = (worker.clock.now(), worker.clock.worked());
    let budget = viewer.pace.borrow().budget();
    let mut shown = viewer.shown.borrow_mut();
    let update = worker.composer.borrow_mut().update(&mut screen, &mut shown, budget, now);
    let took = worker.clock.worked().saturating_sub(worked);
    viewer.vm.share.borrow_mut().take(took, worker.clock.now());
    let update = update?;
    viewer.pace.borrow_mut().sent(update.number, update.body.len(), now);
    viewer.session.add_sent(update.body.len());
    let counts = &worker.counts;
    counts.updates.set(counts.updates.get() + 1);
    counts.update_bytes.set(counts.update_bytes.get() + update.body.len() as u64);
    Some(update)
}
