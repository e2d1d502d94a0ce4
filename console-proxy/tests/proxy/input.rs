//! Input arrives once and in order, whatever happens to requests; and nothing stays down.

use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use podzol_console_proxy_api::{Rights, Session};
use podzol_vocab::Generation;
use tokio_tungstenite::tungstenite::Message;

use crate::browser::{Browser, Page, batch, key, pointer};
use crate::installation::Installation;
use crate::noting::{Noting, Told};
use crate::pictures::socket;
use crate::wait::{SOON, until};

const EVENTS: u64 = 10_000;

/// A number that looks random, for what happens to a request.
fn chance(number: u64) -> u64 {
    let mixed = (number ^ 0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)) % 100
}

/// The event of a number, from 1, and what the display is to be told for it. Pointers change their buttons each time, so none is merged.
fn event(number: u64) -> (Vec<u8>, Told) {
    let (scancode, place) = ((number / 2 % 60 + 16) as u32, (number % 300) as u32);
    match number % 4 {
        0 => (key(1, scancode, 97), Told::Scancode(true, scancode, 97)),
        1 => (key(2, scancode, 97), Told::Scancode(false, scancode, 97)),
        other => {
            let buttons = (number / 4 % 2 * 2 + (other - 2)) as u8;
            (pointer(buttons, place, 5), Told::Pointer(buttons, place as u16, 5))
        }
    }
}

/// Sends a batch through a line on which one in twenty requests is dropped, one is answered and the answer lost, one comes
/// late and one comes twice: what the page hears, if anything.
async fn send(page: &Page, number: u64, body: Vec<u8>) -> Option<u64> {
    let chance = chance(number);
    if chance < 5 {
        return None;
    }
    if chance < 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let answer = page.post("input", body.clone()).await;
    if chance >= 95 {
        page.post("input", body).await;
    }
    match answer.status.as_u16() {
        200 if !(90..95).contains(&chance) => answer.json()["applied"].as_u64(),
        200 | 429 => None,
        _ => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn ten_thousand_events_arrive_once_and_in_order_over_a_line_that_drops_delays_and_repeats() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    let (mut applied, mut begun, mut requests) = (0, 0, 0);
    let mut under_way = FuturesUnordered::new();
    while applied < EVENTS {
        // As a page does: at most three at a time, and all from what was applied on after one has failed.
        while under_way.len() < 3 && begun < EVENTS {
            let end = (begun + 1 + chance(begun) % 40).min(EVENTS);
            let events: Vec<Vec<u8>> = (begun + 1..=end).map(|number| event(number).0).collect();
            let body = batch(0, begun + 1, &events);
            requests += 1;
            under_way.push(send(&page, requests, body));
            begun = end;
        }
        match under_way.next().await {
            Some(Some(told)) => applied = applied.max(told),
            // Lost: the page sends it again, once it hears of the others.
            Some(None) | None => {
                while let Some(told) = under_way.next().await {
                    applied = applied.max(told.unwrap_or(0));
                }
                begun = applied;
            }
        }
        if under_way.is_empty() {
            begun = applied;
        }
    }
    let expected: Vec<Told> = (1..=EVENTS).map(|number| event(number).1).collect();
    until("all has arrived", || async { (noting.told().len() >= expected.len()).then_some(()) }).await;
    let told = noting.told();
    let wrong = told.iter().zip(&expected).position(|(told, expected)| told != expected);
    assert_eq!(
        (wrong, told.len()),
        (None, expected.len()),
        "{:?}",
        wrong.map(|place| &told[place..place + 1])
    );
}

#[tokio::test]
async fn pointer_moves_that_fall_together_may_be_one_and_end_where_the_last_one_led() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    let moves: Vec<Vec<u8>> = (0..500).map(|x| pointer(0, x, 1_000_000)).collect();
    assert_eq!(page.give(&moves).await.json()["applied"], 500);
    page.give(&[pointer(1, 7, 7)]).await;
    until("it has arrived", || async { noting.told().contains(&Told::Pointer(1, 7, 7)).then_some(()) }).await;
    let told = noting.told();
    assert!(told.len() < 400, "{}", told.len());
    assert_eq!(told[told.len() - 2], Told::Pointer(0, 319, 199), "what is outside is moved to the edge");
}

#[tokio::test]
async fn a_qemu_gets_no_more_keys_than_it_gives_its_vm_and_who_waits_is_told_how_far_it_is() {
    let (all, noting) = (Installation::new().await, Noting::named("QEMU (web-1)", true).await);
    let page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    let keys: Vec<Vec<u8>> =
        (0..1500).map(|number| key(1 + u8::from(number % 2 == 1), 30 + number / 2 % 20, 0)).collect();
    let began = Instant::now();
    let applied = page.give(&keys).await.json()["applied"].as_u64().unwrap();
    let (secs, told) = (began.elapsed().as_secs_f64(), noting.told().len());
    assert!((1024..1500).contains(&applied), "{applied} after {secs} s");
    assert!(told > 10 && (told as f64) < 20.0 + 100.0 * secs, "{told} in {secs} s");
}

#[tokio::test]
async fn keys_of_a_page_that_leaves_or_says_nothing_go_up() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let session = all.session(noting.way());
    let (page, other) = (all.page(&session, true).await, all.page(&session, false).await);
    page.on().await;
    page.give(&[key(1, 0x2a, 0xffe1), key(1, 30, 65), pointer(1, 5, 5)]).await;
    other.give(&[key(1, 30, 65)]).await;
    page.post("leave", vec![]).await;
    let up =
        |noting: &Noting, scancode, keysym| noting.told().contains(&Told::Scancode(false, scancode, keysym));
    until("Shift is up", || async { up(&noting, 0x2a, 0xffe1).then_some(()) }).await;
    until("the button is up", || async { noting.told().contains(&Told::Pointer(0, 5, 5)).then_some(()) })
        .await;
    assert!(!up(&noting, 30, 65), "the other page holds it");
    until("the other page was silent", || async { up(&noting, 30, 65).then_some(()) }).await;
    other.give(&[key(1, 31, 0), vec![5]]).await;
    until("it was released", || async { up(&noting, 31, 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_page_that_may_only_look_from_now_on_holds_nothing_any_more() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let session = all.session(noting.way());
    let (id, ticket) = all.ticket_for(&session).await;
    let page = Browser::new(&all, true).open(&ticket).await;
    page.on().await;
    page.give(&[key(1, 30, 97)]).await;
    let less = Session { generation: Generation(2), rights: Rights::View, ..session };
    all.put_session(id, &less).await.unwrap();
    page.state_when("it may only look", |state| state["rights"] == "view").await;
    until("the key is up", || async { noting.told().contains(&Told::Scancode(false, 30, 97)).then_some(()) })
        .await;
    assert_eq!(page.give(&[key(1, 31, 0)]).await.refusal(), (403, "view_only".into()));
}

#[tokio::test]
async fn consoles_of_qemus_own_are_out_of_reach() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let session = all.session(noting.way());
    let (one, other) = (all.page(&session, true).await, all.page(&session, true).await);
    one.on().await;
    one.give(&[key(1, 0x1d, 0)]).await;
    other.give(&[key(1, 0x38, 0), key(1, 3, 50), key(2, 3, 50), key(1, 0x3c, 0)]).await;
    until("F2 has arrived", || async {
        noting.told().contains(&Told::Scancode(true, 0x3c, 0)).then_some(())
    })
    .await;
    assert!(!noting.told().contains(&Told::Scancode(true, 3, 50)));
}

#[tokio::test]
async fn a_server_without_scancodes_is_told_keysyms() {
    let (all, noting) = (Installation::new().await, Noting::new(false).await);
    let page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    page.state_when("it takes keysyms", |state| state["keys"] == "keysyms").await;
    page.give(&[key(1, 30, 0), key(1, 30, 97), key(2, 30, 97), key(1, 0, 0x0100_20ac)]).await;
    until("all has arrived", || async { (noting.told().len() >= 3).then_some(()) }).await;
    let expected = [Told::Keysym(true, 97), Told::Keysym(false, 97), Told::Keysym(true, 0x0100_20ac)];
    assert_eq!(noting.told(), expected);
    assert_eq!(noting.nudges(), 0, "only QEMU is nudged");
}

#[tokio::test]
async fn each_batch_in_a_socket_has_an_answer_however_fast_they_come() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), false).await;
    page.on().await;
    let mut socket = socket(&page, "socket?after=0").await;
    // The last two come again, the way a page repeats what it knows nothing of. Without events there is nothing to answer.
    for (first, events) in [(1, 2), (3, 1), (4, 1), (5, 0), (3, 1), (4, 1)] {
        let keys: Vec<_> = (0..events).map(|number| key(1 + number % 2, 30, 97)).collect();
        socket.feed(Message::Binary(batch(0, first, &keys).into())).await.unwrap();
    }
    socket.flush().await.unwrap();
    let mut answers = Vec::new();
    while answers.len() < 5 {
        let message = tokio::time::timeout(SOON, socket.next()).await.expect("an answer to each");
        if let Message::Text(text) = message.unwrap().unwrap() {
            let told: serde_json::Value = serde_json::from_str(&text).unwrap();
            answers.extend(told["applied"].as_u64());
        }
    }
    assert_eq!(answers, [2, 3, 4, 4, 4]);
}
