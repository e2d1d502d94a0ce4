//! Which keys and buttons a page holds down, so that none of them stays down when the page does not say that it went up.

use std::collections::BTreeSet;

use podzol_rfb::Press;

use super::act::Act;
use super::batch::Key;
use crate::told::Keys;

/// The most keys that a page holds: more than anybody has fingers. Others are not pressed.
const MOST: usize = 32;

/// Scancodes and keysyms of the keys that QEMU looks at before it switches to a console of its own: both Controls, and the left Alt.
const CONTROLS: ([u32; 2], [u32; 2]) = ([0x1d, 0x9d], [0xffe3, 0xffe4]);
const ALTS: ([u32; 1], [u32; 1]) = ([0x38], [0xffe9]);

/// What a page holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    keys: BTreeSet<Key>,
    pub(crate) buttons: u8,
    /// Where the pointer was.
    pub(crate) at: (u32, u32),
}

impl Held {
    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.buttons == 0
    }

    /// Whether a key is held.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.keys.iter().any(|held| is_same(*held, key))
    }

    /// Whether a key may go down, again if it is held.
    pub(crate) fn may_press(&self, key: Key) -> bool {
        self.keys.len() < MOST || self.has(key)
    }

    /// Takes what a display was given: keys and buttons that went down or up by it.
    pub(crate) fn take(&mut self, act: &Act) {
        match *act {
            // A layout may have changed meanwhile: the place on the keyboard tells which key it is.
            Act::Key(Press::Up, key) => self.keys.retain(|held| !is_same(*held, key)),
            Act::Key(Press::Down, key) if !self.has(key) => drop(self.keys.insert(key)),
            Act::Pointer { buttons, x, y } => (self.buttons, self.at) = (buttons, (x, y)),
            Act::Move { buttons, .. } => self.buttons = buttons,
            Act::Key(Press::Down, _) | Act::Clipboard(_) => {}
        }
    }

    /// The keys that are held, in the order in which they should go up: others before the keys that change their meaning.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.keys.iter().copied().collect();
        keys.sort_by_key(|key| is_of(*key, CONTROLS) || is_of(*key, ALTS));
        keys
    }

    /// Whether a Control is held, and the left Alt.
    pub(crate) fn control_and_alt(&self) -> (bool, bool) {
        let any = |is: &dyn Fn(Key) -> bool| self.keys.iter().any(|key| is(*key));
        (any(&|key| is_of(key, CONTROLS)), any(&|key| is_of(key, ALTS)))
    }
}

/// Whether a key, with Control and Alt, may have QEMU show a console of its own, as the digits 1 to 9 above the letters do.
///
/// Where the meaning counts, QEMU's layout says which meanings are on these keys: `!` in one, `é` in another. So nothing passes
/// then but what is on them in none: keys that are no characters, and the letters of ASCII.
pub(crate) fn switches_consoles(key: Key, counts: Keys) -> bool {
    let by_meaning = key.scancode == 0 || counts == Keys::Keysyms;
    let is_elsewhere = (0xff00..=0xffff).contains(&key.keysym)
        || u8::try_from(key.keysym).is_ok_and(|byte| byte.is_ascii_alphabetic());
    (0x02..=0x0a).contains(&key.scancode) || (by_meaning && !is_elsewhere)
}

fn is_same(one: Key, other: Key) -> bool {
    if one.scancode != 0 || other.scancode != 0 {
        one.scancode == other.scancode
    } else {
        one.keysym == other.keysym
    }
}

fn is_of<const N: usize>(key: Key, (scancodes, keysyms): ([u32; N], [u32; N])) -> bool {
    scancodes.contains(&key.scancode) || keysyms.contains(&key.keysym)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn key(scancode: u32, keysym: u32) -> Key {
        Key { scancode, keysym }
    }

    const fn down(scancode: u32, keysym: u32) -> Act {
        Act::Key(Press::Down, key(scancode, keysym))
    }

    #[test]
    fn a_key_goes_up_by_its_place_whatever_it_meant() {
        let mut held = Held::default();
        held.take(&down(30, 'a' as u32));
        held.take(&down(30, 'A' as u32));
        assert_eq!(held.keys().len(), 1);
        held.take(&Act::Key(Press::Up, key(30, 'q' as u32)));
        assert!(held.is_empty());
        held.take(&down(0, 0xe4));
        held.take(&Act::Key(Press::Up, key(0, 0xe5)));
        assert!(!held.is_empty());
    }

    #[test]
    fn nobody_holds_more_keys_than_he_has_fingers() {
        let mut held = Held::default();
        for scancode in 1..=MOST as u32 {
            assert!(held.may_press(key(scancode, 0)));
            held.take(&down(scancode, 0));
        }
        assert!(!held.may_press(key(100, 0)));
        assert!(held.may_press(key(1, 0)), "a held key repeats");
    }

    #[test]
    fn modifiers_go_up_last_and_are_known_by_place_or_meaning() {
        let mut held = Held::default();
        [0x1d, 0x38, 0x53].iter().for_each(|scancode| held.take(&down(*scancode, 0)));
        assert_eq!(held.keys()[0], key(0x53, 0));
        assert_eq!(held.control_and_alt(), (true, true));
        let mut right = Held::default();
        right.take(&down(0xb8, 0));
        right.take(&down(0, 0xffe4));
        assert_eq!(right.control_and_alt(), (true, false), "AltGr is no Alt");
        let mut meant = Held::default();
        meant.take(&down(0x1e, 0xffe3));
        meant.take(&down(0x1f, 0xffe9));
        assert_eq!(meant.control_and_alt(), (true, true), "the meaning may be what counts");
    }

    #[test]
    fn what_may_be_a_digit_in_some_layout_switches_consoles_and_what_is_one_in_none_does_not() {
        let switches = |scancode, keysym, counts| switches_consoles(key(scancode, keysym), counts);
        assert!(switches(2, 0, Keys::Scancodes) && switches(2, 'a' as u32, Keys::Keysyms));
        for meaning in ['1', '!', '&', 'é'] {
            assert!(switches(0, meaning as u32, Keys::Scancodes), "{meaning}");
            assert!(switches(0x4f, meaning as u32, Keys::Keysyms), "{meaning}");
            assert!(!switches(0x4f, meaning as u32, Keys::Scancodes), "{meaning}: only its place counts");
        }
        assert!(switches(0, 0x0100_0e45, Keys::Scancodes), "a character of Thai");
        for elsewhere in [0xffff, 0xff1b, 0xffb1, 't' as u32] {
            assert!(!switches(0, elsewhere, Keys::Keysyms), "{elsewhere:#x}");
        }
        assert!(!switches(0x0b, 0x30, Keys::Scancodes), "zero");
    }
}
