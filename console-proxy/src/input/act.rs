//! What is to be given to a VM's display, in its order.
//!
//! A display that takes input slowly has pointer moves merged: those that follow one another are one move to where the last one
//! led. Nothing else is merged or left out: not what presses a button or lets it go, or a click that is followed by a move would
//! become a drag. What waits is bounded; whoever has more waits too.

use std::collections::VecDeque;
use std::rc::Rc;

use podzol_rfb::Press;

use super::batch::Key;

/// The most that waits: more than anybody types in the time of a stall that is worth waiting for.
const MOST: usize = 1024;

/// Something to be given to a display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Key(Press, Key),
    Pointer { buttons: u8, x: u32, y: u32 },
    Move { buttons: u8, right: i32, down: i32 },
    Clipboard(Rc<str>),
}

impl Act {
    /// The buttons that are down with it, if it is about the pointer.
    const fn buttons(&self) -> Option<u8> {
        match self {
            Self::Pointer { buttons, .. } | Self::Move { buttons, .. } => Some(*buttons),
            Self::Key(..) | Self::Clipboard(_) => None,
        }
    }
}

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    waiting: VecDeque<Act>,
    /// The buttons of the last one that has any.
    buttons: u8,
    /// Whether the last one that waits, if it is about the pointer, has changed no button.
    moves: bool,
}

impl Acts {
    /// Adds one, if there is room.
    pub(crate) fn push(&mut self, act: &Act) -> bool {
        let buttons = act.buttons().unwrap_or(self.buttons);
        match (self.waiting.back_mut(), act) {
            (Some(Act::Pointer { x, y, .. }), Act::Pointer { x: to_x, y: to_y, .. })
                if self.moves && buttons == self.buttons =>
            {
                (*x, *y) = (*to_x, *to_y);
                return true;
            }
            (Some(Act::Move { right, down, .. }), Act::Move { right: more_right, down: more_down, .. })
                if self.moves && buttons == self.buttons =>
            {
                *right = right.saturating_add(*more_right);
                *down = down.saturating_add(*more_down);
                return true;
            }
            (Some(Act::Clipboard(text)), Act::Clipboard(newer)) => {
                *text = Rc::clone(newer);
                return true;
            }
            _ => {}
        }
        let has_room = self.waiting.len() < MOST;
        if has_room {
            self.add(act.clone());
        }
        has_room
    }

    fn add(&mut self, act: Act) {
        let buttons = act.buttons().unwrap_or(self.buttons);
        self.moves = buttons == self.buttons;
        self.buttons = buttons;
        self.waiting.push_back(act);
    }

    /// Adds one in any case: keys that go up when a page is gone, which are few.
    pub(crate) fn push_in_any_case(&mut self, act: &Act) {
        if !self.push(act) {
            self.add(act.clone());
        }
    }

    /// The one that is next.
    pub(crate) fn first(&self) -> Option<&Act> {
        self.waiting.front()
    }

    /// Takes the next one.
    pub(crate) fn pop(&mut self) -> Option<Act> {
        self.waiting.pop_front()
    }

    /// Forgets all: there is no display.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(buttons: u8, x: u32) -> Act {
        Act::Pointer { buttons, x, y: 0 }
    }

    fn check(acts: &[Act], expected: &[Act]) {
        let mut waiting = Acts::default();
        acts.iter().for_each(|act| assert!(waiting.push(act)));
        let taken: Vec<Act> = std::iter::from_fn(|| waiting.pop()).collect();
        assert_eq!(taken, expected);
    }

    #[test]
    fn moves_that_follow_one_another_are_one_and_nothing_overtakes_anything() {
        let key = Act::Key(Press::Down, Key { scancode: 30, keysym: 0 });
        check(
            &[
                pointer(0, 1),
                pointer(0, 2),
                pointer(1, 2),
                pointer(1, 3),
                pointer(1, 4),
                key.clone(),
                key.clone(),
                pointer(1, 5),
            ],
            &[pointer(0, 2), pointer(1, 2), pointer(1, 4), key.clone(), key, pointer(1, 5)],
        );
    }

    #[test]
    fn a_click_on_the_spot_stays_a_click() {
        let click = [pointer(0, 1), pointer(1, 1), pointer(0, 1), pointer(1, 1), pointer(0, 1)];
        check(&click, &click);
    }

    #[test]
    fn a_click_that_is_followed_by_a_move_does_not_become_a_drag() {
        let acts = [pointer(0, 1), pointer(1, 1), pointer(0, 1), pointer(0, 8), pointer(0, 9)];
        check(&acts, &[pointer(0, 1), pointer(1, 1), pointer(0, 1), pointer(0, 9)]);
    }

    #[test]
    fn relative_moves_add_up() {
        let by = |right| Act::Move { buttons: 0, right, down: -right };
        check(&[by(1), by(2)], &[by(3)]);
        check(&[by(1), by(i32::MAX)], &[Act::Move { buttons: 0, right: i32::MAX, down: i32::MIN }]);
    }

    #[test]
    fn what_waits_is_bounded_and_still_takes_moves() {
        let mut waiting = Acts::default();
        let up = |scancode| Act::Key(Press::Up, Key { scancode, keysym: 0 });
        let taken = (0..2000).filter(|number| waiting.push(&up(*number))).count();
        assert_eq!(taken, MOST);
        waiting.push_in_any_case(&up(1));
        assert_eq!(waiting.waiting.len(), MOST + 1);
    }
}
