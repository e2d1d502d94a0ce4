//! A page that shows a VM.
//!
//! ```text
//!   open ──▶ asks, and is asked ──▶ forgotten: no request open for FORGET, it leaves, or its session is over
//! ```
//! Its updates go one *way* at a time: polls, a stream or a socket. Who begins another way ends the one before it, which finds its
//! own number out of date.

mod counted;

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use podzol_console_proxy_api::{DeletionReason, Rights};
use podzol_rfb::Press;
use podzol_stripes::Viewer as Shown;
use tokio::sync::{Notify, Semaphore};

pub(crate) use self::counted::{One, Open};
use crate::http::repeats::Repeats;
use crate::input::act::Act;
use crate::input::batch::{Batch, Event};
use crate::input::held::Held;
use crate::input::order::{Order, Place};
use crate::pace::Pace;
use crate::session::{Over, Session};
use crate::vm::Vm;

/// A page.
#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) id: String,
    pub(crate) session: Rc<Session>,
    pub(crate) vm: Rc<Vm>,
    /// What it shows.
    pub(crate) shown: RefCell<Shown>,
    pub(crate) pace: RefCell<Pace>,
    pub(crate) held: RefCell<Held>,
    order: Cell<Order>,
    pub(crate) serial_order: Cell<Order>,
    hidden: Cell<bool>,
    gone: Cell<Option<Gone>>,
    way: Cell<(u64, Way)>,
    repeats: Cell<Repeats>,
    open: Cell<usize>,
    pub(crate) polls: Cell<usize>,
    pub(crate) serial_polls: Cell<usize>,
    pub(crate) clipboards: Cell<usize>,
    serial_way: Cell<u64>,
    pub(crate) batches: Cell<usize>,
    pub(crate) serial_batches: Cell<usize>,
    pub(crate) asks_state: Cell<u64>,
    /// When it was heard of last, and when a batch of its came.
    heard: Cell<Duration>,
    input_heard: Cell<Duration>,
    /// Something is otherwise for this page alone.
    pub(crate) changed: Notify,
    /// Whose turn it is to get the next update, and to give input to the display and to the serial port: first come, first served.
    pub(crate) turn: Semaphore,
    pub(crate) input_turn: Semaphore,
    pub(crate) serial_turn: Semaphore,
}

/// A way for updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// Polls, as long as nothing else was begun.
    #[default]
    Polls,
    /// A stream or a socket.
    Line,
}

/// Why a page is not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It was forgotten.
    Forgotten,
    /// Its session is over.
    Over(Over),
    /// Its session was deleted.
    Deleted(DeletionReason),
}

impl Viewer {
    pub(crate) fn new(id: String, session: Rc<Session>, vm: Rc<Vm>, now: Duration) -> Self {
        Self {
            id,
            session,
            vm,
            shown: RefCell::default(),
            pace: RefCell::default(),
            held: RefCell::default(),
            order: Cell::default(),
            serial_order: Cell::default(),
            hidden: Cell::default(),
            gone: Cell::default(),
            way: Cell::default(),
            repeats: Cell::default(),
            open: Cell::default(),
            polls: Cell::default(),
            serial_polls: Cell::default(),
            clipboards: Cell::default(),
            serial_way: Cell::default(),
            batches: Cell::default(),
            serial_batches: Cell::default(),
            asks_state: Cell::default(),
            heard: Cell::new(now),
            input_heard: Cell::new(now),
            changed: Notify::new(),
            turn: Semaphore::new(1),
            input_turn: Semaphore::new(1),
            serial_turn: Semaphore::new(1),
        }
    }

    /// Why it is not known any more, if so.
    pub(crate) fn gone(&self) -> Option<Gone> {
        self.gone.get()
    }

    /// It is not known any more: what it holds goes up, and whatever waits for something hears of it.
    pub(crate) fn go(&self, gone: Gone) {
        if self.gone.get().is_none() {
            self.gone.set(Some(gone));
            self.release();
            *self.shown.borrow_mut() = Shown::new();
            self.changed.notify_waiters();
        }
    }

    /// Whether it can be seen.
    pub(crate) fn looks(&self) -> bool {
        self.gone.get().is_none() && !self.hidden.get()
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.hidden.get()
    }

    /// Begins another way: its number. None if its session does so too often.
    pub(crate) fn begin_way(&self, way: Way, after: u32, now: Duration) -> Option<u64> {
        if !self.session.may_begin(now) {
            return None;
        }
        let number = self.way() + 1;
        self.way.set((number, way));
        self.shown.borrow_mut().resume(after);
        self.pace.borrow_mut().lost();
        self.changed.notify_waiters();
        Some(number)
    }

    /// The number of the way in use.
    pub(crate) fn way(&self) -> u64 {
        self.way.get().0
    }

    /// The number of the way in use, if that is polls.
    pub(crate) fn polled_way(&self) -> Option<u64> {
        let (number, way) = self.way.get();
        (way == Way::Polls).then_some(number)
    }

    /// Notes a poll: whether it is not one that came before.
    pub(crate) fn is_new_poll(&self, number: u64) -> bool {
        let mut repeats = self.repeats.get();
        let is_new = repeats.is_new(number);
        self.repeats.set(repeats);
        is_new
    }

    /// Waits until it has another way than this, or is not known any more.
    pub(crate) async fn elsewhere(&self, way: u64) {
        self.until(|| self.way() != way || self.gone.get().is_some()).await;
    }

    /// Begins another stream or socket of the serial console, which ends the one before it: its number. None if its session does so
    /// too often.
    pub(crate) fn begin_serial_way(&self, now: Duration) -> Option<u64> {
        if !self.session.may_begin(now) {
            return None;
        }
        self.serial_way.set(self.serial_way.get() + 1);
        self.changed.notify_waiters();
        Some(self.serial_way.get())
    }

    /// Waits until it has another stream or socket of the serial console than this, or is not known any more.
    pub(crate) async fn serial_elsewhere(&self, way: u64) {
        self.until(|| self.serial_way.get() != way || self.gone.get().is_some()).await;
    }

    /// Waits until something is so that is told by `changed`.
    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so() {
                return;
            }
            changed.await;
        }
    }

    /// It has applied this update, and all before it.
    pub(crate) fn acknowledge(&self, number: u32, now: Duration) {
        if number > 0 {
            self.pace.borrow_mut().acknowledged(number, now);
            self.shown.borrow_mut().acknowledge(number);
            self.changed.notify_waiters();
        }
    }

    /// For how long its oldest update on the way has been there.
    pub(crate) fn stalls_for(&self, now: Duration) -> Duration {
        self.pace.borrow().waits_for(now)
    }

    /// An update that was not acknowledged for so long will not be: what is kept for it is forgotten, and the next one begins anew.
    pub(crate) fn give_up_stalled(&self, now: Duration, patience: Duration) {
        if self.stalls_for(now) > patience {
            self.shown.borrow_mut().begin_anew();
            self.pace.borrow_mut().lost();
            self.changed.notify_waiters();
        }
    }

    /// It is there.
    pub(crate) fn hear(&self, now: Duration) {
        self.heard.set(now);
    }

    /// Notes a request that is open until what this gives is dropped.
    pub(crate) fn open(self: &Rc<Self>, clock: crate::worker::Clock) -> Open {
        self.open.set(self.open.get() + 1);
        self.hear(clock.now());
        Open { viewer: Rc::clone(self), clock }
    }

    /// For how long none of its requests has been open.
    pub(crate) fn silent_for(&self, now: Duration) -> Duration {
        if self.open.get() > 0 { Duration::ZERO } else { now.saturating_sub(self.heard.get()) }
    }

    /// For how long it has said nothing while it holds something.
    pub(crate) fn holds_for(&self, now: Duration) -> Duration {
        if self.held.borrow().is_empty() {
            Duration::ZERO
        } else {
            now.saturating_sub(self.input_heard.get())
        }
    }

    /// How many events, and bytes for the serial port, were applied.
    pub(crate) fn applied(&self) -> u64 {
        self.order.get().applied()
    }

    /// What a batch says beside its events.
    pub(crate) fn hear_batch(&self, batch: &Batch, now: Duration) {
        self.hear(now);
        self.input_heard.set(now);
        if self.hidden.replace(batch.hidden) != batch.hidden {
            self.changed.notify_waiters();
            self.vm.wanted.notify_waiters();
        }
        self.acknowledge(batch.after, now);
    }

    /// What is to be done with a batch.
    pub(crate) fn place(&self, batch: &Batch) -> Place {
        self.order.get().place(u64::from(batch.first) - 1)
    }

    /// Whether it may give input.
    pub(crate) fn may_control(&self) -> bool {
        self.gone.get().is_none() && self.rights() == Rights::Control
    }

    /// Waits until it may give no input any more.
    pub(crate) async fn loses_control(&self) {
        self.until(|| !self.may_control()).await;
    }

    /// Applies one event, if it may give input until the display has taken that. Whoever asks has the turn.
    pub(crate) async fn apply(&self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Release => self.release(),
            Event::Clipboard(text) => self.act(Act::Clipboard(text.into())).await?,
            Event::Key(press, key) if press == Press::Up || self.held.borrow().may_press(key) => {
                self.act(Act::Key(press, key)).await?;
            }
            Event::Key(..) => {}
            Event::Pointer { buttons, x, y } => self.act(Act::Pointer { buttons, x, y }).await?,
            Event::Move { buttons, right, down } => self.act(Act::Move { buttons, right, down }).await?,
        }
        let mut order = self.order.get();
        order.add(1);
        self.order.set(order);
        ControlFlow::Continue(())
    }

    /// Gives something to the display. What is held by it is held from when it was taken on, so that whatever releases all before
    /// leaves nothing out, and nothing comes after.
    async fn act(&self, act: Act) -> ControlFlow<()> {
        tokio::select! {
            biased;
            () = self.loses_control() => ControlFlow::Break(()),
            is_given = self.vm.act(&act) => {
                if is_given {
                    self.held.borrow_mut().take(&act);
                }
                ControlFlow::Continue(())
            }
        }
    }

    /// Its rights are others: what it holds goes up if it may not hold it, and whatever waits hears of it.
    pub(crate) fn rights_changed(&self) {
        if !self.may_control() {
            self.release();
        }
        self.changed.notify_waiters();
    }

    /// All that it holds goes up, but for what another page holds too.
    pub(crate) fn release(&self) {
        let held = std::mem::take(&mut *self.held.borrow_mut());
        let others: Vec<Rc<Self>> =
            self.vm.viewers.borrow().iter().filter(|other| other.id != self.id).cloned().collect();
        for key in held.keys() {
            if !others.iter().any(|other| other.held.borrow().has(key)) {
                self.vm.act_at_once(Act::Key(Press::Up, key));
            }
        }
        if held.buttons != 0 {
            let (x, y) = held.at;
            self.vm.act_at_once(Act::Pointer { buttons: 0, x, y });
            self.vm.act_at_once(Act::Move { buttons: 0, right: 0, down: 0 });
        }
    }

    /// What it may do.
    pub(crate) fn rights(&self) -> Rights {
        self.session.told().rights
    }
}

#[cfg(test)]
mod tests;
