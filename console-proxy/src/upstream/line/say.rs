//! What a display's server is told of acts.

use std::rc::Rc;

use podzol_rfb::{ClientMessage, Contents, Extensions, PointerMode};

use super::Line;
use crate::input::act::Act;

impl Line<'_> {
    pub(super) fn say_act(&mut self, act: &Act) {
        let Extensions { extended_keys, clipboard, pointer, .. } = self.client.extensions();
        let is_absolute = pointer == PointerMode::Absolute;
        match act {
            Act::Key(press, key) if extended_keys && key.scancode != 0 => {
                let (press, keysym, scancode) = (*press, key.keysym, key.scancode);
                self.say(ClientMessage::Scancode { press, keysym, scancode });
            }
            Act::Key(press, key) if key.keysym != 0 => {
                self.say(ClientMessage::Key { press: *press, keysym: key.keysym });
            }
            Act::Pointer { buttons, x, y } if is_absolute => {
                let size = self.client.size().unwrap_or_default();
                let (x, y) = (within(*x, size.width), within(*y, size.height));
                self.say(ClientMessage::Pointer { buttons: *buttons, x, y });
            }
            Act::Move { buttons, right, down } if !is_absolute => {
                let far = |by: i32| by.clamp(-0x7ffe, 0x7ffe) as i16;
                self.say(ClientMessage::Move { buttons: *buttons, dx: far(*right), dy: far(*down) });
            }
            Act::Clipboard(text) if clipboard => {
                *self.vm.offered.borrow_mut() = Some(Rc::clone(text));
                self.say(ClientMessage::ClipboardChanged(Contents::Text));
            }
            Act::Clipboard(text) => self.say(ClientMessage::CutText(text)),
            // A key without a meaning where only that counts, or a pointer of the other kind.
            Act::Key(..) | Act::Pointer { .. } | Act::Move { .. } => {}
        }
    }

    /// Says what was asked for, as far as there is room.
    pub(super) fn say_owed(&mut self) {
        if self.has_room() && std::mem::take(&mut self.owed.request) {
            self.say(ClientMessage::ClipboardRequest);
        }
        let offered = self.vm.offered.borrow().clone();
        if self.has_room() && std::mem::take(&mut self.owed.contents) {
            let contents = if offered.is_some() { Contents::Text } else { Contents::Nothing };
            self.say(ClientMessage::ClipboardChanged(contents));
        }
        if self.has_room()
            && std::mem::take(&mut self.owed.text)
            && let Some(text) = offered
        {
            self.say(ClientMessage::ClipboardText(&text));
        }
    }

    pub(super) fn say(&mut self, message: ClientMessage<'_>) {
        if let Err(error) = self.client.send(message) {
            tracing::debug!(vm = %self.vm.id, %error, "not said to a display's server");
        }
    }
}

/// A coordinate on the desktop.
fn within(at: u32, size: u16) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX).min(size.saturating_sub(1))
}
