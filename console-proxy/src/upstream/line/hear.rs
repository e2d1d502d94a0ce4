//! What a display's server has said.

use std::time::Duration;

use podzol_rfb::{Clipboard, Contents, Event, Frame};
use podzol_stripes as stripes;

use super::{Line, LineError, TURN};
use crate::told::{Leds, LineTold};
use crate::upstream::key_queue::KeyQueue;

/// After so many pixels the clock is looked at. A small rectangle is as much work as [`SMALL`] of them.
const GLANCE: u32 = 16 << 10;

const SMALL: u32 = 512;

impl Line<'_> {
    /// What has happened, for a turn; whether TLS is to begin.
    pub(super) fn hear(&mut self) -> Result<bool, LineError> {
        let clock = self.worker.clock;
        let worked = clock.worked();
        let heard = self.hear_until(clock.now() + TURN);
        let now = clock.now();
        self.vm.share.borrow_mut().take(clock.worked().saturating_sub(worked), now);
        self.heard = now;
        heard
    }

    fn hear_until(&mut self, end: Duration) -> Result<bool, LineError> {
        self.rests = false;
        self.unheard = true;
        // An update may have a thousand rectangles of some pixels: the clock is not looked at for each.
        let mut work = GLANCE;
        loop {
            if work >= GLANCE {
                if self.worker.clock.now() >= end {
                    break;
                }
                work = 0;
            }
            let event = {
                let mut screen = self.vm.screen.borrow_mut();
                let size = screen.size();
                let rfb_size = podzol_rfb::Size::new(size.width, size.height);
                // Before it is connected there may be a picture of an earlier line, which stays.
                let mut frame = match self.client.size() {
                    Some(_) => Frame::new(screen.pixels(), rfb_size, size.width.into())?,
                    None => Frame::empty(),
                };
                self.client.next_event(&mut frame)?
            };
            let Some(event) = event else {
                self.unheard = false;
                break;
            };
            if matches!(event, Event::StartTls(_)) {
                return if self.tls.is_some() { Ok(true) } else { Err(LineError::NoTls) };
            }
            work += work_of(&event);
            self.heed(event);
        }
        self.look_at_what_comes();
        self.vm.understands(self.client.extensions());
        // No rectangle is here in part.
        if self.connected && !self.client.is_updating() {
            self.vm.screen.borrow_mut().settled();
        }
        Ok(false)
    }

    /// Notes whether an update is here in part. Parts of one that takes long are told of as they come; pages that wait for the rest
    /// were told of nothing yet.
    pub(super) fn look_at_what_comes(&mut self) {
        let vm = self.vm;
        if !self.client.is_updating() {
            vm.coming_since.set(None);
            return;
        }
        let now = self.worker.clock.now();
        vm.coming_since.set(Some(vm.coming_since.get().unwrap_or(now)));
        if vm.is_whole_in(now).is_zero() && vm.screen.borrow().is_painted() {
            vm.news.notify_waiters();
        }
    }

    fn heed(&mut self, event: Event) {
        let vm = self.vm;
        match event {
            Event::Connected { size, name } => {
                self.connected = true;
                self.keys = KeyQueue::of(&name);
                self.resize(size);
                // A line before this may have ended within a rectangle.
                vm.screen.borrow_mut().painted(stripes::Rect::new(0, 0, size.width, size.height));
                vm.set_line(LineTold::On, None);
            }
            Event::Desktop(desktop) => {
                let size = vm.screen.borrow().size();
                if (size.width, size.height) != (desktop.size.width, desktop.size.height) {
                    self.resize(desktop.size);
                }
            }
            Event::Painted(rect) | Event::Copied { to: rect, .. } => {
                vm.screen.borrow_mut().painted(stripes::Rect::new(rect.x, rect.y, rect.width, rect.height));
            }
            Event::UpdateEnd => {
                self.asked = false;
                if vm.screen.borrow().is_painted() {
                    self.nudge.changed(self.worker.clock.now());
                    vm.news.notify_waiters();
                }
            }
            Event::Cursor(cursor) => {
                let cursor = cursor.map(|cursor| stripes::Cursor {
                    hotspot: cursor.hotspot,
                    size: stripes::Size::new(cursor.size.width, cursor.size.height),
                    pixels: cursor.pixels,
                });
                vm.screen.borrow_mut().set_cursor(cursor.as_ref());
                vm.news.notify_waiters();
            }
            Event::Leds(leds) => {
                let leds = Some(Leds { caps: leds.caps, num: leds.num, scroll: leds.scroll });
                if vm.display.borrow().leds != leds {
                    vm.know(|display| display.leds = leds);
                }
            }
            Event::Bell => vm.know(|display| display.bells = display.bells.wrapping_add(1)),
            Event::Clipboard(clipboard) => self.heed_clipboard(clipboard),
            Event::StartTls(_) | Event::Name(_) | Event::Pointer(_) | Event::ExtendedKeys | Event::Xvp(_) => {
            }
        }
    }

    fn heed_clipboard(&mut self, clipboard: Clipboard) {
        match clipboard {
            Clipboard::Text(text) => self.vm.know(|display| {
                display.clipboard.number += 1;
                display.clipboard.bytes = text.len();
                display.text = text.into();
            }),
            Clipboard::Changed(Contents::Text) => self.owed.request = true,
            Clipboard::Request => self.owed.text = true,
            Clipboard::Peek => self.owed.contents = true,
            Clipboard::TooLong | Clipboard::Extended | Clipboard::Changed(Contents::Nothing) => {}
        }
    }

    /// The desktop has another size, or may have: all of it is to be asked for.
    fn resize(&mut self, size: podzol_rfb::Size) {
        self.vm.screen.borrow_mut().resize(stripes::Size::new(size.width, size.height));
        self.owed.all = true;
        self.vm.news.notify_waiters();
    }
}

/// How much work it was, in pixels.
const fn work_of(event: &Event) -> u32 {
    match event {
        Event::Painted(rect) | Event::Copied { to: rect, .. } => rect.size().pixels().saturating_add(SMALL),
        _ => GLANCE,
    }
}
