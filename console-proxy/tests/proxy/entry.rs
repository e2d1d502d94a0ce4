//! Who gets in, and who does not.

use futures_util::StreamExt;
use http::Method;
use podzol_console_proxy_api::limits::SESSIONS_OF_VM;
use podzol_console_proxy_api::{
    Claims, DeletionReason, ProxyServer, Rights, Session, TicketSigner, Upstream,
};
use podzol_vocab::{ConsoleServerId, ConsoleSessionId, ErrorCode, Generation, Secret};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::browser::{Browser, Page, batch, key};
use crate::installation::{Installation, free_port, nobody, unix};
use crate::noting::Noting;

fn claims(all: &Installation, session: ConsoleSessionId) -> Claims {
    Claims::verify(&all.ticket(session), &[all.signer.key()], unix()).unwrap()
}

#[tokio::test]
async fn a_ticket_is_exchanged_once_for_a_cookie_that_scripts_and_other_hosts_do_not_get() {
    let all = Installation::new().await;
    let session = all.session(nobody());
    let (id, ticket) = all.ticket_for(&session).await;
    let browser = Browser::new(&all, true);

    let answer = browser.exchange(&ticket).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with(&format!("__Host-podzol-{id}=")), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict"), "{cookie}");
    let secs: u64 = cookie.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&secs), "as long as the session: {secs}");
    let opened = answer.json();
    assert_eq!((&opened["protocol"], &opened["rights"]), (&json!(1), &json!("control")));
    assert_eq!(opened["vm"], json!({ "id": session.vm, "name": "web-1" }));
    assert_eq!(opened["resume"]["token"], json!("t".repeat(43)));
    assert_eq!(browser.exchange(&ticket).await.refusal(), (401, "ticket_used".into()));
    assert_eq!(all.status().await.session(all.server, id).unwrap().viewers, 1);
}

#[tokio::test]
async fn a_ticket_for_a_stopped_vm_opens_nothing_until_it_runs_and_pages_that_are_there_stay() {
    let all = Installation::new().await;
    let runs = all.session(nobody());
    let (id, first) = all.ticket_for(&runs).await;
    let _page = Browser::new(&all, true).open(&first).await;
    let off = Session { generation: Generation(2), upstream: Upstream::Off, ..runs.clone() };
    all.put_session(id, &off).await.unwrap();
    let (browser, ticket) = (Browser::new(&all, true), all.ticket(id));

    let refused = browser.exchange(&ticket).await;
    assert_eq!(refused.refusal(), (409, "vm_not_running".into()));
    assert_eq!(refused.headers["retry-after"], "5");
    assert_eq!(all.status().await.session(all.server, id).unwrap().viewers, 1, "the page before");

    let again = Session { generation: Generation(3), ..runs };
    all.put_session(id, &again).await.unwrap();
    assert_eq!(browser.exchange(&ticket).await.status, 200, "it was not used");
}

#[tokio::test]
async fn tickets_that_are_not_what_they_should_be_are_refused() {
    let all = Installation::new().await;
    let (id, ticket) = all.ticket_for(&all.session(nobody())).await;
    let browser = Browser::new(&all, true);
    let sign = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims(&all, id);
        change(&mut claims);
        all.signer.sign_claims(&claims).expose().clone()
    };
    let mut altered = ticket.clone();
    let middle = altered.len() / 3;
    altered.replace_range(middle..=middle, if &altered[middle..=middle] == "A" { "B" } else { "A" });
    let stranger = TicketSigner::new(&Secret::new([9; 32]));
    let now = unix();
    for (ticket, status, code) in [
        (altered, 401, "ticket_invalid"),
        (String::new(), 401, "ticket_invalid"),
        (stranger.sign(id, all.server, now, [1; 16]).expose().clone(), 401, "ticket_invalid"),
        (sign(&|claims| (claims.iat, claims.exp) = (now - 61, now - 1)), 401, "ticket_expired"),
        // Before the proxy's start.
        (sign(&|claims| (claims.iat, claims.exp) = (now - 50, now + 10)), 401, "ticket_expired"),
        (sign(&|claims| claims.exp = now + 3600), 401, "ticket_invalid"),
        (sign(&|claims| claims.server = ConsoleServerId::new()), 409, "moved"),
        (sign(&|claims| claims.session = ConsoleSessionId::new()), 401, "session_unknown"),
    ] {
        assert_eq!(browser.exchange(&ticket).await.refusal(), (status, code.into()));
    }
    assert_eq!(browser.exchange(&ticket).await.status, 200);
}

#[tokio::test]
async fn whoever_guesses_tickets_is_told_nothing_more_and_keeps_nobody_else_at_his_address_out() {
    let all = Installation::new().await;
    let (_, used) = all.ticket_for(&all.session(nobody())).await;
    let (_, ticket) = all.ticket_for(&all.session(nobody())).await;
    let browser = Browser::new(&all, true);
    assert_eq!(browser.exchange(&used).await.status, 200);
    // One that was used is no guess, however often it is shown.
    for _ in 0..20 {
        assert_eq!(browser.exchange(&used).await.refusal(), (401, "ticket_used".into()));
    }
    for _ in 0..20 {
        assert_eq!(browser.exchange("x.y").await.refusal().0, 401);
    }
    assert_eq!(browser.exchange("x.y").await.refusal(), (429, "too_many".into()));
    assert_eq!(browser.exchange(&ticket).await.status, 200);
    let other = Browser::from(&all, true, [127, 0, 0, 2].into());
    assert_eq!(other.exchange("x.y").await.refusal().0, 401);
}

#[tokio::test]
async fn a_cookie_opens_its_own_session_and_no_other() {
    let all = Installation::new().await;
    let mine = all.page(&all.session(nobody()), true).await;
    let other = all.page(&all.session(nobody()), true).await;
    assert_eq!(mine.another().await.get("state?after=0").await.status, 200);

    let mut thief = mine.browser.clone();
    assert_eq!(
        thief.get(&format!("{}/state?after=0", other.path)).await.refusal(),
        (401, "session_unknown".into())
    );
    // The right name with the wrong value.
    let value = mine.browser.cookie.split_once('=').unwrap().1;
    thief.cookie = format!("__Host-podzol-{}={value}", other.session);
    assert_eq!(thief.get(&format!("{}/state?after=0", other.path)).await.refusal().0, 401);
    thief.cookie = String::new();
    assert_eq!(thief.get(&format!("{}/state?after=0", mine.path)).await.refusal().0, 401);
    let stray = mine.browser.get(&format!("/s/{}/v/{}/state", mine.session, "A".repeat(22))).await;
    assert_eq!(stray.refusal(), (404, "viewer_unknown".into()));
}

#[tokio::test]
async fn a_session_that_may_only_look_gives_no_input() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let page = all.page(&Session { rights: Rights::View, ..all.session(noting.way()) }, true).await;
    assert_eq!(page.rights(), Rights::View);
    page.on().await;
    assert_eq!(page.give(&[key(1, 30, 97)]).await.refusal(), (403, "view_only".into()));
    assert_eq!(page.get("clipboard").await.refusal(), (403, "view_only".into()));
    assert_eq!(page.post("serial/input?first=0", b"x".to_vec()).await.refusal(), (403, "view_only".into()));
    assert_eq!(page.post("input", batch(0, 1, &[])).await.json(), json!({ "applied": 0 }));
    assert!(noting.told().is_empty());
}

#[tokio::test]
async fn a_session_that_is_deleted_ends_at_once_and_does_not_come_back() {
    let all = Installation::new().await;
    let session = all.session(nobody());
    let (id, ticket) = all.ticket_for(&session).await;
    let page = Browser::new(&all, true).open(&ticket).await;
    let is_away = |state: &Value| state["line"] == "waiting" && !state["reason"].is_null();
    let state = page.state_when("nobody answers", is_away).await;
    let number = state["number"].as_u64().unwrap();
    let path = format!("state?after={number}");
    let (waiting, deleted) = tokio::join!(page.get(&path), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        all.delete(id, 1, DeletionReason::Revoked).await
    });
    deleted.unwrap();
    assert_eq!(
        (waiting.status, waiting.json()["reason"].clone()),
        (http::StatusCode::GONE, json!("revoked"))
    );
    let over = page.get("state?after=0").await;
    assert_eq!(over.refusal(), (410, "session_ended".into()));
    let forgotten = format!("__Host-podzol-{id}=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Strict");
    assert_eq!(over.headers["set-cookie"].to_str().unwrap(), forgotten);
    assert_eq!(Browser::new(&all, true).exchange(&all.ticket(id)).await.refusal().0, 410);

    all.delete(id, 1, DeletionReason::Revoked).await.unwrap();
    assert_eq!(all.status().await.all_sessions().count(), 0);
    assert_eq!(all.put_session(id, &session).await.unwrap_err().code(), Some(ErrorCode::StaleGeneration));
    let anew = Session { generation: Generation(2), ..session };
    all.put_session(id, &anew).await.unwrap();
    assert_eq!(page.get("state?after=0").await.refusal().0, 401, "old cookies stay worthless");
    assert_eq!(Browser::new(&all, true).exchange(&all.ticket(id)).await.status, 200);
}

#[tokio::test]
async fn a_session_that_moves_to_another_server_is_forgotten_here_and_its_pages_ask_where_it_is() {
    let all = Installation::new().await;
    let (mut document, other) = (all.document(2), ConsoleServerId::new());
    let server = &document.servers[&all.server];
    let sibling = ProxyServer { port: free_port(), ..server.clone() };
    document.servers.insert(other, sibling);
    all.put(&document).await.unwrap();
    let session = all.session(nobody());
    let (id, ticket) = all.ticket_for(&session).await;
    let page = Browser::new(&all, false).open(&ticket).await;
    let mut socket = crate::pictures::socket(&page, "socket?after=0").await;
    let there = Session { generation: Generation(2), server: other, ..session.clone() };
    all.put_session(id, &there).await.unwrap();

    all.delete(id, 2, DeletionReason::Moved).await.unwrap();

    let status = all.status().await;
    assert!(status.session(all.server, id).is_none() && status.session(other, id).is_some());
    let closed = loop {
        if let Message::Close(frame) = socket.next().await.unwrap().unwrap() {
            break frame.unwrap();
        }
    };
    assert_eq!(u16::from(closed.code), 4401);
    assert!(closed.reason.contains("moved"), "{}", closed.reason);
    assert_eq!(page.get("state?after=0").await.refusal(), (409, "moved".into()));
    assert_eq!(Browser::new(&all, true).exchange(&all.ticket(id)).await.refusal(), (409, "moved".into()));
    let back = Session { generation: Generation(3), ..session };
    all.put_session(id, &back).await.unwrap();
    Browser::new(&all, true).open(&all.ticket(id)).await;
}

#[tokio::test]
async fn a_session_whose_time_is_over_ends() {
    let all = Installation::new().await;
    let session = Session { expires_unix: unix() + 10, ..all.session(nobody()) };
    let page = all.page(&session, false).await;
    let answer = loop {
        let answer = page.get("state?after=0").await;
        if answer.status != 200 {
            break answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(
        (answer.refusal(), &answer.json()["reason"]),
        ((410, "session_ended".into()), &json!("expired"))
    );
}

#[tokio::test]
async fn a_server_takes_so_many_sessions_and_tells_management_the_four_answers() {
    let all = Installation::new().await;
    let mut document = all.document(2);
    document.servers.values_mut().for_each(|server| server.max_sessions = 1);
    all.put(&document).await.unwrap();
    all.put(&document).await.unwrap();
    assert_eq!(all.put(&all.document(1)).await.unwrap_err().code(), Some(ErrorCode::StaleGeneration));
    assert_eq!(all.put(&all.document(2)).await.unwrap_err().code(), Some(ErrorCode::GenerationConflict));

    let (id, session) = (ConsoleSessionId::new(), all.session(nobody()));
    assert_eq!(all.put_session(id, &session).await.unwrap(), 1);
    assert_eq!(all.put_session(id, &session).await.unwrap(), 1);
    let full = all.put_session(ConsoleSessionId::new(), &session).await.unwrap_err();
    assert_eq!(full.code(), Some(ErrorCode::Exhausted));
    let other = Session { viewer: "eve".into(), ..session.clone() };
    assert_eq!(all.put_session(id, &other).await.unwrap_err().code(), Some(ErrorCode::GenerationConflict));

    let bad = Session { idle_secs: 1, ..session };
    let error = all.put_session(id, &bad).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().message, "idle_secs: must be 60 to 86400");
    document.generation = Generation(3);
    document.certificate.key = Secret::new("no key".into());
    let error = all.put(&document).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().message, "certificate.key: must be a private key in PEM form");
    assert_eq!(all.status().await.generation, Some(Generation(2)));
}

#[tokio::test]
async fn a_vm_has_so_many_sessions_and_one_that_goes_makes_room() {
    let all = Installation::new().await;
    let mut document = all.document(2);
    document.servers.values_mut().for_each(|server| server.max_sessions = 1000);
    all.put(&document).await.unwrap();
    let session = all.session(nobody());
    let ids: Vec<_> = (0..SESSIONS_OF_VM).map(|_| ConsoleSessionId::new()).collect();
    for id in &ids {
        all.put_session(*id, &session).await.unwrap();
    }
    let one_more = ConsoleSessionId::new();
    let refused = all.put_session(one_more, &session).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::Exhausted));
    assert_eq!(refused.refusal().unwrap().message, "vm: has 128 sessions, which is the most of one VM");
    let unknown = Browser::new(&all, true).exchange(&all.ticket(one_more)).await;
    assert_eq!(unknown.refusal(), (401, "session_unknown".into()));

    let newer = Session { generation: Generation(2), viewer: "eve".into(), ..session.clone() };
    all.put_session(ids[0], &newer).await.unwrap();
    all.put_session(ConsoleSessionId::new(), &all.session(nobody())).await.unwrap();
    all.delete(ids[1], 1, DeletionReason::Revoked).await.unwrap();
    all.put_session(one_more, &session).await.unwrap();
    Browser::new(&all, true).open(&all.ticket(one_more)).await;
}

#[tokio::test]
async fn a_vm_has_so_many_pages_whatever_sessions_they_are_of() {
    let all = Installation::new().await;
    let session = all.session(nobody());
    let mut pages = Vec::new();
    for _ in 0..4 {
        let page = all.page(&session, true).await;
        for _ in 0..7 {
            pages.push(page.another().await);
        }
        pages.push(page);
    }
    let (_, ticket) = all.ticket_for(&session).await;
    let browser = Browser::new(&all, true);
    assert_eq!(browser.exchange(&ticket).await.refusal(), (429, "too_many".into()));
    // A page takes the place of another one of its session that has been silent for a second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    pages[0].another().await;
    assert_eq!(browser.exchange(&ticket).await.refusal(), (429, "too_many".into()));
    all.page(&all.session(nobody()), true).await;

    assert_eq!(pages[9].post("leave", vec![]).await.status, 204);
    assert_eq!(browser.exchange(&ticket).await.status, 200, "it was not used");
}

#[tokio::test]
async fn what_another_origin_or_a_strange_path_asks_for_is_refused() {
    let all = Installation::new().await;
    let page: Page = all.page(&all.session(nobody()), false).await;
    let browser = &page.browser;
    for (header, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        let path = format!("{}/state?after=0", page.path);
        let request = browser.request(Method::GET, &path).header(header, value);
        assert_eq!(browser.send(request).await.refusal(), (403, "origin".into()), "{value}");
    }
    for path in ["/x", "/assets/..%2f..%2fetc", "/assets/x", "/s/1", "/s/../s", "/%2e%2e/%2e%2e/etc/passwd"] {
        assert_eq!(browser.get(path).await.refusal(), (404, "not_found".into()), "{path}");
    }
    let request = browser.request(Method::PUT, "/session");
    assert_eq!(browser.send(request).await.refusal(), (405, "method".into()));
    let request = browser.request(Method::POST, "/session").header("content-type", "text/plain").body("{}");
    assert_eq!(browser.send(request).await.refusal(), (415, "type".into()));
    let long = json!({ "ticket": "x".repeat(5000) });
    assert_eq!(browser.post_json("/session", &long).await.refusal(), (413, "too_large".into()));
    assert_eq!(
        browser.post_json("/session", &json!({ "tickets": 1 })).await.refusal(),
        (400, "invalid".into())
    );
    assert_eq!(page.post("input", vec![0; 400_000]).await.refusal(), (413, "too_large".into()));
    assert_eq!(page.post("input", batch(0, 1, &[vec![9]])).await.refusal(), (400, "invalid".into()));
    assert_eq!(page.get("updates?after=x").await.refusal(), (400, "invalid".into()));
}

#[tokio::test]
async fn the_document_may_run_its_own_scripts_alone_and_reach_its_proxy_and_where_it_resumes() {
    let all = Installation::new().await;
    let browser = Browser::new(&all, true);
    for path in ["/".to_owned(), format!("/s/{}", ConsoleSessionId::new())] {
        let answer = browser.get(&path).await;
        assert_eq!(answer.status, 200);
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        let host = browser.origin.strip_prefix("https://").unwrap();
        for part in
            ["default-src 'none'", "script-src 'self';", &format!("wss://{host} https://cloud.example;")]
        {
            assert!(policy.contains(part), "{part} in {policy}");
        }
        assert_eq!(answer.headers["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn a_head_has_room_for_all_cookies_of_a_host_and_not_for_more() {
    let all = Installation::new().await;
    for is_http2 in [false, true] {
        let mut browser = Browser::new(&all, is_http2);
        let cookies = |count: usize| {
            let cookie = |_| format!("__Host-podzol-{}={}", ConsoleSessionId::new(), "v".repeat(43));
            (0..count).map(cookie).collect::<Vec<_>>().join("; ")
        };
        browser.cookie = cookies(180);
        assert_eq!(browser.get("/").await.status, 200, "http2: {is_http2}");
        browser.cookie = cookies(400);
        let refused = browser.request(Method::GET, "/").send().await;
        assert!(refused.is_err() || refused.unwrap().status() == 431, "http2: {is_http2}");
    }
}

#[tokio::test]
async fn a_socket_says_something_that_pages_hear_while_nothing_happens() {
    let all = Installation::new().await;
    let page = all.page(&all.session(nobody()), false).await;
    for path in ["socket?after=0", "serial/socket?after=0"] {
        let mut socket = crate::pictures::socket(&page, path).await;
        let says_so = async {
            while let Some(Ok(message)) = socket.next().await {
                if message == Message::Text("{}".into()) {
                    return true;
                }
            }
            false
        };
        let heard = tokio::time::timeout(std::time::Duration::from_secs(25), says_so).await;
        assert_eq!(heard, Ok(true), "{path}");
    }
}
