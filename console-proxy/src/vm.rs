//! A VM that somebody looks at: its screen, what pages are told of it, and what waits for its display.
//!
//! ```text
//!   upstream ── paints ──▶ screen ──▶ each viewer's next update
//!            ── tells ───▶ display ─▶ state
//!   viewers ──▶ acts ──▶ upstream
//! ```
//! All pages of a worker that look at the same VM share one. It is made for the first page and ends a while after the last.
//! It does not know how the display is reached: [`crate::upstream`] does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use podzol_console_proxy_api::Upstream;
use podzol_rfb::{Extensions, Press};
use podzol_stripes::{Screen, Secret, Size};
use podzol_vocab::VmId;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::input::act::{Act, Acts};
use crate::input::batch::Key;
use crate::input::held::switches_consoles;
use crate::serial::Serial;
use crate::share::Share;
use crate::told::{ClipboardTold, Keys, Leds, LineTold, Pointer};
use crate::viewer::Viewer;

/// How long a picture is waited for to be whole. A part of one costs as much as all of it, and of a window that is dragged a part is where it
/// was and a part where it is, so that nothing is found to have moved. Pictures of displays that are near have come long before; of those that
/// are far, parts are shown as they come.
const WHOLE: Duration = Duration::from_millis(100);

/// A VM that somebody looks at.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) id: VmId,
    pub(crate) screen: RefCell<Screen>,
    /// Of the thread's time, for its pixels.
    pub(crate) share: RefCell<Share>,
    pub(crate) display: RefCell<Display>,
    pub(crate) viewers: RefCell<Vec<Rc<Viewer>>>,
    pub(crate) serial: Serial,
    /// The pages' clipboard, which the VM may ask for.
    pub(crate) offered: RefCell<Option<Rc<str>>>,
    acts: RefCell<Acts>,
    way: RefCell<Upstream>,
    /// Which description of the way is in force.
    way_number: Cell<u64>,
    /// The number of the state.
    number: Cell<u64>,
    /// There are new pixels, or another state.
    pub(crate) news: Notify,
    /// The upstream has something to do.
    pub(crate) wanted: Notify,
    /// Acts were taken.
    pub(crate) room: Notify,
    /// Since when an update of the display's has been coming that is not here as a whole.
    pub(crate) coming_since: Cell<Option<Duration>>,
    /// When there was input last.
    pub(crate) input_at: Cell<Duration>,
    /// When its last page went.
    pub(crate) left: Cell<Option<Duration>>,
    tasks: RefCell<Vec<AbortHandle>>,
}

/// What is known of a display.
#[derive(Debug, Default)]
pub(crate) struct Display {
    pub(crate) line: LineTold,
    pub(crate) reason: Option<String>,
    pub(crate) keys: Keys,
    pub(crate) pointer: Pointer,
    pub(crate) leds: Option<Leds>,
    pub(crate) bells: u32,
    pub(crate) clipboard: ClipboardTold,
    pub(crate) text: Bytes,
}

impl Vm {
    pub(crate) fn new(id: VmId, way: Upstream, secret: [u64; 4]) -> Self {
        Self {
            id,
            screen: RefCell::new(Screen::new(Size::new(0, 0), Secret::new(secret))),
            share: RefCell::default(),
            display: RefCell::default(),
            viewers: RefCell::default(),
            serial: Serial::default(),
            offered: RefCell::default(),
            acts: RefCell::default(),
            way: RefCell::new(way),
            way_number: Cell::new(1),
            number: Cell::new(1),
            news: Notify::new(),
            wanted: Notify::new(),
            room: Notify::new(),
            coming_since: Cell::default(),
            input_at: Cell::default(),
            left: Cell::default(),
            tasks: RefCell::default(),
        }
    }

    /// The way to its display, and the number of that description.
    pub(crate) fn way(&self) -> (u64, Upstream) {
        (self.way_number.get(), self.way.borrow().clone())
    }

    /// Whether another description of the way is in force.
    pub(crate) fn has_moved(&self, number: u64) -> bool {
        self.way_number.get() != number
    }

    /// The way to its display is this from now on.
    pub(crate) fn lead(&self, way: &Upstream) {
        if *self.way.borrow() != *way {
            way.clone_into(&mut self.way.borrow_mut());
            self.way_number.set(self.way_number.get() + 1);
            self.wanted.notify_waiters();
            self.serial.wanted.notify_waiters();
        }
    }

    /// The number of its state.
    pub(crate) fn number(&self) -> u64 {
        self.number.get()
    }

    /// What pages are told is something else.
    pub(crate) fn changed(&self) {
        self.number.set(self.number.get() + 1);
        self.news.notify_waiters();
    }

    /// Changes what is known of the display.
    pub(crate) fn know(&self, change: impl FnOnce(&mut Display)) {
        change(&mut self.display.borrow_mut());
        self.changed();
    }

    /// How the line is, and why.
    pub(crate) fn set_line(&self, line: LineTold, reason: Option<String>) {
        let is_news = {
            let display = self.display.borrow();
            (display.line, &display.reason) != (line, &reason)
        };
        if is_news {
            self.know(|display| (display.line, display.reason) = (line, reason));
        }
    }

    /// Whether the line is there.
    pub(crate) fn is_on(&self) -> bool {
        self.display.borrow().line == LineTold::On
    }

    /// What the display's server understands.
    pub(crate) fn understands(&self, extensions: Extensions) {
        let keys = if extensions.extended_keys { Keys::Scancodes } else { Keys::Keysyms };
        let pointer = match extensions.pointer {
            podzol_rfb::PointerMode::Absolute => Pointer::Absolute,
            podzol_rfb::PointerMode::Relative => Pointer::Relative,
        };
        let is_news = {
            let display = self.display.borrow();
            (display.keys, display.pointer) != (keys, pointer)
        };
        if is_news {
            self.know(|display| (display.keys, display.pointer) = (keys, pointer));
        }
    }

    /// How long to wait for the rest of the display's update before a picture is made: at most [`WHOLE`] from its beginning.
    pub(crate) fn is_whole_in(&self, now: Duration) -> Duration {
        self.coming_since.get().map_or(Duration::ZERO, |since| (since + WHOLE).saturating_sub(now))
    }

    /// Whether a page can be seen that shows it.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.viewers.borrow().iter().any(|viewer| viewer.looks())
    }

    /// Whether Control and Alt are held by whoever, and the key would then have QEMU show a console of its own.
    fn would_switch(&self, key: Key) -> bool {
        let held = self
            .viewers
            .borrow()
            .iter()
            .map(|viewer| viewer.held.borrow().control_and_alt())
            .fold((false, false), |(control, alt), (more_control, more_alt)| {
                (control || more_control, alt || more_alt)
            });
        held == (true, true) && switches_consoles(key, self.display.borrow().keys)
    }

    /// Gives something to the display: whether it did. It waits while too much does. Without a display it is forgotten, and so is a key
    /// that would switch consoles.
    pub(crate) async fn act(&self, act: &Act) -> bool {
        loop {
            let room = self.room.notified();
            if !self.is_on() || matches!(act, Act::Key(Press::Down, key) if self.would_switch(*key)) {
                return false;
            }
            if self.acts.borrow_mut().push(act) {
                self.wanted.notify_waiters();
                return true;
            }
            room.await;
        }
    }

    /// The same, for what cannot wait: keys that go up.
    pub(crate) fn act_at_once(&self, act: Act) {
        if self.is_on() {
            self.acts.borrow_mut().push_in_any_case(&act);
            self.wanted.notify_waiters();
        }
    }

    /// How long the next thing for the display waits, if there is one.
    pub(crate) fn act_waits(&self, wait: impl FnOnce(&Act) -> Duration) -> Option<Duration> {
        self.acts.borrow().first().map(wait)
    }

    /// The next thing for the display, if it may be said.
    pub(crate) fn next_act(&self, may: impl FnOnce(&Act) -> bool) -> Option<Act> {
        let mut acts = self.acts.borrow_mut();
        let act = if acts.first().is_some_and(may) { acts.pop() } else { None };
        if act.is_some() {
            self.room.notify_waiters();
        }
        act
    }

    /// Forgets what waits: there is no display any more.
    pub(crate) fn forget_acts(&self) {
        self.acts.borrow_mut().clear();
        self.room.notify_waiters();
    }

    /// Has a task end with this.
    pub(crate) fn keep(&self, task: AbortHandle) {
        self.tasks.borrow_mut().push(task);
    }

    /// Ends its tasks. Whatever waits for its display or serial port waits no longer.
    pub(crate) fn end(&self) {
        self.tasks.borrow_mut().drain(..).for_each(|task| task.abort());
        self.set_line(LineTold::Off, None);
        self.forget_acts();
        self.serial.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_coming_is_waited_for_but_not_for_long() {
        let vm = Vm::new(VmId::new(), Upstream::Off, [1, 2, 3, 4]);
        let at = Duration::from_millis;
        assert_eq!(vm.is_whole_in(at(1000)), Duration::ZERO);
        vm.coming_since.set(Some(at(1000)));
        assert_eq!([1000, 1070, 1100, 5000].map(|ms| vm.is_whole_in(at(ms))), [100, 30, 0, 0].map(at));
        vm.coming_since.set(None);
        assert_eq!(vm.is_whole_in(at(1001)), Duration::ZERO);
    }
}
