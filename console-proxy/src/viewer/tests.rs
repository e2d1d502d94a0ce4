//! Tests of what a page has and holds.

use std::sync::Arc;

use futures_util::{pin_mut, poll};
use podzol_console_proxy_api::{Session as Told, Upstream};
use podzol_stripes::{Composer, Rect, Size, Update};
use podzol_vocab::{ConsoleSessionId, VmId};

use super::*;
use crate::input::batch::Key;
use crate::limits::{STALL, STALL_WHEN_SHORT};
use crate::session::tests::told;
use crate::told::LineTold;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn viewer() -> Viewer {
    let session = Rc::new(Session::new(ConsoleSessionId::new(), told(), at(0)));
    let vm = Rc::new(Vm::new(VmId::new(), Upstream::Off, [1, 2, 3, 4]));
    vm.screen.borrow_mut().resize(Size::new(32, 32));
    Viewer::new("v".into(), session, vm, at(0))
}

/// What it is sent when its VM has painted all in this colour.
fn send(viewer: &Viewer, colour: u32, now: Duration) -> Option<Update> {
    let mut screen = viewer.vm.screen.borrow_mut();
    screen.pixels().fill(colour);
    screen.painted(Rect::new(0, 0, 32, 32));
    let update = Composer::new().update(&mut screen, &mut viewer.shown.borrow_mut(), 1 << 16, now)?;
    viewer.pace.borrow_mut().sent(update.number, update.body.len(), now);
    Some(update)
}

#[test]
fn a_viewer_that_acknowledges_nothing_for_too_long_is_kept_nothing_for_and_begins_anew() {
    let viewer = viewer();
    let first = send(&viewer, 1, at(1)).unwrap();
    viewer.acknowledge(first.number, at(2));
    assert!(send(&viewer, 2, at(3)).is_some() && send(&viewer, 3, at(30)).is_some());
    viewer.give_up_stalled(at(33), STALL);
    assert_eq!(viewer.shown.borrow().sent(), 2);
    viewer.give_up_stalled(at(34), STALL);
    assert_eq!((viewer.shown.borrow().sent(), viewer.shown.borrow().size()), (0, None));
    let anew = send(&viewer, 4, at(35)).unwrap();
    assert!(anew.number > first.number);
    viewer.give_up_stalled(at(40), STALL);
    assert_eq!(viewer.shown.borrow().sent(), 1);
    viewer.give_up_stalled(at(40), STALL_WHEN_SHORT);
    assert_eq!(viewer.shown.borrow().sent(), 0);
}

const A: Event = key(Press::Down, 30);

const fn key(press: Press, scancode: u32) -> Event {
    Event::Key(press, Key { scancode, keysym: 0 })
}

/// A viewer whose display takes nothing more.
async fn viewer_that_waits() -> Viewer {
    let viewer = viewer();
    viewer.vm.set_line(LineTold::On, None);
    for number in 0..1024 {
        assert!(viewer.apply(key(Press::Up, number % 100)).await.is_continue());
    }
    viewer
}

/// What its display is given, if all is taken now.
fn given(viewer: &Viewer) -> Vec<Act> {
    std::iter::from_fn(|| viewer.vm.next_act(|_| true)).collect()
}

#[tokio::test]
async fn a_key_is_held_from_when_it_is_given_to_the_display_until_that_is_given_that_it_went_up() {
    let viewer = viewer_that_waits().await;
    {
        let down = viewer.apply(A);
        pin_mut!(down);
        assert!(poll!(&mut down).is_pending() && viewer.held.borrow().is_empty());
        viewer.release();
        assert_eq!(given(&viewer).len(), 1024, "nothing was held");
        assert!(poll!(&mut down).is_ready() && !viewer.held.borrow().is_empty());
    }
    for _ in 0..1023 {
        assert!(viewer.apply(key(Press::Up, 1)).await.is_continue());
    }
    let up = viewer.apply(key(Press::Up, 30));
    pin_mut!(up);
    assert!(poll!(&mut up).is_pending() && !viewer.held.borrow().is_empty());
}

#[tokio::test]
async fn what_waits_when_a_page_may_only_look_or_goes_does_not_come_later() {
    for goes in [false, true] {
        let viewer = viewer_that_waits().await;
        let down = viewer.apply(A);
        pin_mut!(down);
        assert!(poll!(&mut down).is_pending());
        if goes {
            viewer.go(Gone::Forgotten);
        } else {
            let less = Told { rights: Rights::View, ..(*told()).clone() };
            viewer.session.tell(Arc::new(less), at(1));
            viewer.rights_changed();
        }
        assert_eq!(given(&viewer).len(), 1024);
        assert!(down.await.is_break());
        assert!(given(&viewer).is_empty() && viewer.held.borrow().is_empty());
    }
}

#[tokio::test]
async fn nothing_waits_for_a_vm_that_nobody_looks_at_any_more() {
    let viewer = viewer_that_waits().await;
    let down = viewer.apply(A);
    pin_mut!(down);
    assert!(poll!(&mut down).is_pending());
    viewer.vm.end();
    assert!(down.await.is_continue() && viewer.held.borrow().is_empty());
}
