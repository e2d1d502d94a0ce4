//! What happens to sessions by and by: their cookies are renewed, and those in which nobody does anything end.

use std::time::{Duration, Instant};

use podzol_console_proxy_api::Session;
use podzol_vocab::Generation;
use serde_json::Value;

use crate::browser::{Answer, Browser, key};
use crate::installation::Installation;
use crate::noting::Noting;

/// The cookie that an answer sets.
fn set(answer: &Answer) -> Option<String> {
    let cookie = answer.headers.get("set-cookie")?.to_str().unwrap();
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{cookie}");
    Some(cookie.split(';').next().unwrap().to_owned())
}

#[tokio::test]
async fn a_cookie_is_renewed_while_its_session_lives_and_the_old_one_is_good_for_a_while() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    // With so little, a cookie gets old in half a minute.
    let session = Session { idle_secs: 60, ..all.session(noting.way()) };
    let mut page = all.page(&session, true).await;
    page.on().await;
    // A page that asks for nothing would be forgotten.
    let mut number = Value::Null;
    for _ in 0..4 {
        let answer = page.get("state?after=0").await;
        assert_eq!(set(&answer), None);
        number = answer.json()["number"].take();
        tokio::time::sleep(Duration::from_secs(8)).await;
    }

    // The answer that carries a new one is held back, and the page goes on to ask.
    let held = format!("state?after={number}");
    let (held, ()) = tokio::join!(page.get(&held), async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert_eq!(set(&page.get("state?after=0").await), None, "one is on its way");
    });
    let (old, new) = (page.browser.cookie.clone(), set(&held).expect("it is renewed"));
    assert_eq!(held.status, 204);
    assert!(new.split('=').next() == old.split('=').next() && new != old, "{new} after {old}");
    page.browser.cookie.clone_from(&new);
    assert_eq!(page.give(&[key(1, 30, 97), key(2, 30, 97)]).await.status, 200);
    page.browser.cookie.clone_from(&old);
    assert_eq!(page.get("state?after=0").await.status, 200, "it was on its way");
    page.browser.cookie.clone_from(&new);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(page.get("state?after=0").await.status, 200);
    }

    page.browser.cookie = old;
    assert_eq!(page.get("state?after=0").await.refusal(), (401, "session_unknown".into()));
    page.browser.cookie = new;
    assert_eq!(page.another().await.get("state?after=0").await.status, 200, "a page that is loaded again");
}

#[tokio::test]
async fn a_session_in_which_nobody_does_anything_ends_and_one_in_which_somebody_does_goes_on() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let idle = Session { idle_secs: 60, ..all.session(noting.way()) };
    let begun = Instant::now();
    let (id, ticket) = all.ticket_for(&idle).await;
    let page = Browser::new(&all, true).open(&ticket).await;
    let busy = all.page(&Session { idle_secs: 60, ..all.session(noting.way()) }, true).await;
    let typing = async {
        // A page that asks for nothing would be forgotten.
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(8)).await;
            assert_eq!(busy.get("state?after=0").await.status, 200);
        }
        assert_eq!(busy.give(&[key(1, 30, 97), key(2, 30, 97)]).await.status, 200);
    };
    // Looking is nothing that anybody does.
    let looking = async {
        let mut number = 0;
        loop {
            let answer = page.get(&format!("state?after={number}")).await;
            match answer.status.as_u16() {
                200 => number = answer.json()["number"].as_u64().unwrap(),
                204 => {}
                _ => break answer,
            }
        }
    };
    let ((), over) = tokio::join!(typing, looking);

    assert_eq!(over.refusal(), (410, "session_ended".into()));
    assert_eq!(over.json()["reason"], "idle");
    let took = begun.elapsed().as_secs();
    assert!((60..75).contains(&took), "after {took} s");
    assert_eq!(busy.another().await.get("state?after=0").await.status, 200);
    // Its user asks for it again.
    let again = Session { generation: Generation(2), ..idle };
    all.put_session(id, &again).await.unwrap();
    Browser::new(&all, true).open(&all.ticket(id)).await;
}
