//! How fast a display's server takes keys.
//!
//! QEMU gives its VM a key every 10 ms (`key-delay-ms` of its VNC server, which libvirt does not set). What comes sooner waits in a queue of
//! 1024 entries, three for each key; what finds no room there is dropped without a word, keys that go up too, so that they stay down
//! (`ui/input.c`). Pointers do not wait in it, and overtake keys that do. So no more is said than it soon gives, and no button that changes
//! before all keys were given; where the pointer is meanwhile matters to nobody, and moves do not wait. Whoever types by hand is never that fast; a text that is pasted is, and a page whose line was away. A QEMU is
//! known by the name of its desktop; of other servers none is known that loses keys.

use std::time::Duration;

use crate::input::act::Act;

/// A little longer than a key takes.
const EACH: Duration = Duration::from_millis(11);

/// How much may wait in the server, so that none is late because of timers here.
const AHEAD: Duration = Duration::from_millis(33);

/// By how much the server may be late with keys that wait: on a host with more to do than processors more than 50 ms were seen. Nobody who
/// types and clicks by hand meets it, as keys do not wait then.
const LATE: Duration = Duration::from_millis(120);

/// The keys that a server has.
#[derive(Debug, Default)]
pub(crate) struct KeyQueue {
    is_qemu: bool,
    /// When the next one that comes is given to the VM, if the server is not free before.
    next: Duration,
    /// When all that have waited were given.
    given: Duration,
    /// The buttons that are down.
    buttons: u8,
}

impl KeyQueue {
    /// That of a server which calls its desktop so.
    pub(crate) fn of(name: &str) -> Self {
        Self { is_qemu: name.starts_with("QEMU"), ..Self::default() }
    }

    /// In how long an act may be said.
    pub(crate) fn wait(&self, act: &Act, now: Duration) -> Duration {
        match act {
            _ if !self.is_qemu => Duration::ZERO,
            Act::Key(..) => self.next.saturating_sub(now + AHEAD),
            Act::Pointer { buttons, .. } | Act::Move { buttons, .. } if *buttons != self.buttons => {
                self.given.saturating_sub(now)
            }
            Act::Pointer { .. } | Act::Move { .. } | Act::Clipboard(_) => Duration::ZERO,
        }
    }

    /// An act was said.
    pub(crate) fn said(&mut self, act: &Act, now: Duration) {
        match act {
            Act::Key(..) => {
                if self.next > now {
                    self.given = self.next + LATE;
                }
                self.next = self.next.max(now) + EACH;
            }
            Act::Pointer { buttons, .. } | Act::Move { buttons, .. } => self.buttons = *buttons,
            Act::Clipboard(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use podzol_rfb::Press;

    use super::*;
    use crate::input::batch::Key;

    const KEY: Act = Act::Key(Press::Down, Key { scancode: 30, keysym: 97 });
    const CLICK: Act = Act::Pointer { buttons: 1, x: 0, y: 0 };

    #[test]
    fn one_key_is_not_waited_for() {
        let (mut keys, now) = (KeyQueue::of("QEMU (web-1)"), Duration::from_secs(5));
        assert_eq!(keys.wait(&KEY, now), Duration::ZERO);
        keys.said(&KEY, now);
        assert_eq!((keys.wait(&KEY, now), keys.wait(&CLICK, now)), (Duration::ZERO, Duration::ZERO));
    }

    /// Types as fast as it may for ten seconds, at a server that gives a key each 10 ms: the most that waited there.
    #[test]
    fn a_queue_in_the_server_stays_short_and_it_is_never_idle() {
        let (mut keys, mut waiting, mut most, mut idle) = (KeyQueue::of("QEMU"), 0, 0, 0);
        for tick in 0..1000_u64 {
            let now = Duration::from_millis(10 * tick);
            while keys.wait(&KEY, now).is_zero() {
                keys.said(&KEY, now);
                waiting += 1;
            }
            most = most.max(waiting);
            idle += u32::from(waiting == 0);
            waiting -= waiting.min(1);
        }
        assert!(most <= 4, "{most} wait");
        assert!(idle <= 100, "nothing to give in {idle} of 1000");
    }

    #[test]
    fn other_servers_take_all_at_once() {
        let (mut keys, now) = (KeyQueue::of("x11"), Duration::from_secs(5));
        (0..10_000).for_each(|_| keys.said(&KEY, now));
        assert_eq!((keys.wait(&KEY, now), keys.wait(&CLICK, now)), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_pointer_does_not_overtake_keys_that_wait() {
        let (mut keys, now) = (KeyQueue::of("QEMU"), Duration::from_secs(5));
        (0..4).for_each(|_| keys.said(&KEY, now));
        // The first was given at once.
        assert_eq!(keys.wait(&CLICK, now), 3 * EACH + LATE);
        assert_eq!(keys.wait(&CLICK, now + 3 * EACH + LATE), Duration::ZERO);
        let drag = Act::Pointer { buttons: 1, x: 9, y: 9 };
        keys.said(&CLICK, now);
        assert_eq!(keys.wait(&drag, now), Duration::ZERO, "a move may be early");
    }
}
