//! Letting browsers in: tickets and cookies.

use std::net::IpAddr;
use std::rc::Rc;

use podzol_console_proxy_api::{Claims, TicketError, Upstream};
use podzol_vocab::ConsoleSessionId;

use super::Worker;
use crate::cookie::{self, Shown};
use crate::http::fault::Fault;
use crate::session::Session;
use crate::told::{LimitsTold, Opened, ResumeTold, State, ViewerTold, VmTold};
use crate::viewer::Viewer;

/// The most tickets that are remembered: as many as are exchanged in a minute by a thousand a second.
const NONCES: usize = 60_000;

/// Whether a ticket was refused for what it is: no page has one that is so.
fn is_forged(fault: &Fault) -> bool {
    use TicketError::{Malformed, Signature, UnknownKey, Version};
    matches!(fault, Fault::TicketInvalid(Malformed | Version | UnknownKey | Signature))
}

impl Worker {
    /// Exchanges a ticket: its session, and what the browser is to keep.
    pub(crate) fn exchange(&self, ticket: &str, from: IpAddr) -> Result<(Rc<Session>, String), Fault> {
        let now = self.clock.now();
        let exchanged = self.try_ticket(ticket);
        if let Err(fault) = &exchanged {
            // One that is old, or was used, is none that somebody has guessed; and whoever has a good one is let in, whatever
            // others behind the same address have tried.
            if is_forged(fault) {
                if !self.addresses.may_try(from, now) {
                    return Err(Fault::TooMany("tickets of this address were refused too often"));
                }
                self.addresses.failed(from, now);
            }
            tracing::info!(%from, reason = %fault, "a ticket was refused");
        }
        let session = exchanged?;
        let value = session.cookies.borrow_mut().make(now);
        let cookie = cookie::set_cookie(session.id, &value, session.ends_in_secs(self.clock.unix()));
        Ok((session, cookie))
    }

    fn try_ticket(&self, ticket: &str) -> Result<Rc<Session>, Fault> {
        let document = self.document();
        let claims =
            Claims::verify(ticket, &document.ticket_keys, self.clock.unix()).map_err(
                |error| match error {
                    TicketError::Expired => Fault::TicketExpired,
                    other => Fault::TicketInvalid(other),
                },
            )?;
        if claims.server != self.id {
            return Err(Fault::Moved);
        }
        // Which of them were exchanged before the start is not known.
        if claims.iat < self.clock.started_unix() {
            return Err(Fault::TicketExpired);
        }
        let session = self.known_session(claims.session)?;
        if let Some(over) = session.over() {
            return Err(Fault::Over(over));
        }
        // Its pages stay when their VM is stopped, and none comes.
        if session.told().upstream == Upstream::Off {
            return Err(Fault::Stopped);
        }
        let mut nonces = self.nonces.borrow_mut();
        if nonces.contains_key(&claims.nonce) {
            return Err(Fault::TicketUsed);
        }
        if nonces.len() >= NONCES {
            return Err(Fault::TooMany("too many tickets were exchanged"));
        }
        // A ticket that opens nothing now may be shown again.
        if !self.has_room(&session) {
            return Err(Fault::TooMany("pages look at it already"));
        }
        nonces.insert(claims.nonce, claims.exp);
        Ok(session)
    }

    /// The session of a request, by its cookie; and a new cookie, if the old one is old.
    pub(crate) fn enter(
        &self,
        id: ConsoleSessionId,
        cookies: &str,
    ) -> Result<(Rc<Session>, Option<String>), Fault> {
        // Without a right to it, nobody hears even why it is over; but one that was deleted has no cookies any more.
        let session = self.known_session(id)?;
        let value = cookie::find(cookies, id).ok_or(Fault::SessionUnknown)?;
        let shown = session.cookies.borrow_mut().show(value, session.may_idle(), self.clock.now());
        let renewed = match shown {
            Shown::Unknown => return Err(Fault::SessionUnknown),
            Shown::Good => None,
            Shown::Old(value) => {
                Some(cookie::set_cookie(id, &value, session.ends_in_secs(self.clock.unix())))
            }
        };
        session.seen_unix.set(Some(self.clock.unix()));
        match session.over() {
            Some(over) => Err(Fault::Over(over)),
            None => Ok((session, renewed)),
        }
    }

    /// What whoever gets a viewer is told, as JSON.
    pub(crate) fn opened(&self, viewer: &Viewer) -> Vec<u8> {
        let told = viewer.session.told();
        let opened = Opened {
            protocol: 1,
            session: viewer.session.id,
            viewer: &viewer.id,
            vm: VmTold { id: told.vm, name: &told.vm_name },
            rights: told.rights,
            resume: ResumeTold { url: &told.resume.url, token: told.resume.token.expose() },
            limits: LimitsTold::ALL,
            state: self.state(viewer),
        };
        serde_json::to_vec(&opened).expect("it has nothing that JSON lacks")
    }

    /// The state that a page is told.
    pub(crate) fn state(&self, viewer: &Viewer) -> State {
        let (vm, session, now) = (&viewer.vm, &viewer.session, self.clock.unix());
        let (display, told) = (vm.display.borrow(), session.told());
        let of_viewer = |other: &Rc<Viewer>| ViewerTold {
            name: other.session.told().viewer.clone(),
            rights: other.rights(),
            you: other.id == viewer.id,
            sessions_own: other.session.id == session.id,
        };
        State {
            number: vm.number(),
            line: display.line,
            reason: display.reason.clone(),
            rights: told.rights,
            keys: display.keys,
            pointer: display.pointer,
            leds: display.leds,
            bells: display.bells,
            clipboard: display.clipboard,
            serial: vm.serial.told.get(),
            viewers: vm.viewers.borrow().iter().map(of_viewer).collect(),
            now,
            ends: told.expires_unix,
            idle_ends: now + session.idles_in(self.clock.now()).as_secs(),
            draining: self.is_draining(),
        }
    }
}
