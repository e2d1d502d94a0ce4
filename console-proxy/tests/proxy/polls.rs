//! Polls that come again or too late, and pages that are opened too often.

use std::time::Duration;

use futures_util::StreamExt;
use podzol_stripes::decode::View;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::browser::{Browser, Page};
use crate::installation::Installation;
use crate::noting::Noting;
use crate::pictures::socket;

#[tokio::test]
async fn a_poll_that_comes_again_is_told_so_and_the_page_begins_anew() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), true).await;
    page.on().await;
    let first = page.get("updates?after=0&poll=1&resume=1").await;
    assert_eq!(first.status, 200);
    noting.paint(9);
    assert_eq!(page.get("updates?after=0&poll=1").await.refusal(), (409, "repeated".into()));
    let anew = page.get("updates?after=0&poll=2&resume=1").await;
    View::new(1 << 24).apply(&anew.body).unwrap();
    // What says what it waits for is answered, also when it comes again.
    let again = page.get("updates?after=0&poll=2&resume=1").await;
    View::new(1 << 24).apply(&again.body).unwrap();
}

#[tokio::test]
async fn a_poll_that_comes_late_takes_nothing_from_a_socket() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), false).await;
    page.on().await;
    let mut line = socket(&page, "socket?after=0").await;
    let late = page.get("updates?after=0");
    let late = tokio::time::timeout(Duration::from_secs(10), late).await.expect("it is answered at once");
    assert_eq!(late.status, 204);
    noting.paint(9);
    let mut view = View::new(1 << 24);
    while view.pixels().first() != Some(&0x0009_0909) {
        if let Message::Binary(body) = line.next().await.unwrap().unwrap() {
            view.apply(&body).unwrap();
        }
    }
}

#[tokio::test]
async fn a_session_opens_so_many_pages_and_no_more() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&all.session(noting.way()), true).await;
    let path = format!("/s/{}/viewers", page.session);
    // Those that were opened long ago do not count.
    let mut opened = 0;
    let refused = loop {
        let answer = page.browser.post_json(&path, &json!({})).await;
        if answer.status == 429 {
            break answer;
        }
        let other = Page::new(page.browser.clone(), &answer.json());
        assert_eq!(other.post("leave", vec![]).await.status, 204);
        opened += 1;
        assert!(opened < 3000, "all are let in");
    };
    assert!(opened >= 99, "{opened}");
    assert_eq!(refused.refusal(), (429, "too_many".into()));
    // Another session is not theirs.
    all.page(&all.session(noting.way()), true).await;
}

#[tokio::test]
async fn a_ticket_for_which_there_is_no_room_is_good_when_there_is() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let (id, ticket) = all.ticket_for(&all.session(noting.way())).await;
    let page = Browser::new(&all, true).open(&ticket).await;
    page.on().await;
    let mut pages = vec![page];
    for _ in 0..7 {
        let another = pages[0].another().await;
        pages.push(another);
    }
    // They have requests open, so none of them is in the way.
    let waits: Vec<_> = pages
        .iter()
        .map(|page| {
            let (browser, path) = (page.browser.clone(), format!("{}/serial?after=0", page.path));
            tokio::spawn(async move { browser.get(&path).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let ticket = all.ticket(id);
    assert_eq!(Browser::new(&all, true).exchange(&ticket).await.refusal(), (429, "too_many".into()));
    waits[3].abort();
    assert_eq!(pages[3].post("leave", vec![]).await.status, 204);
    Browser::new(&all, true).open(&ticket).await;
}
