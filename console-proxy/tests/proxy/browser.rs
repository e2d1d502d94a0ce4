//! A browser, as far as pages need one: a cookie, requests, and what PROTOCOL.md says that a page does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use podzol_console_proxy_api::Rights;
use podzol_rpc::tls::anonymous_client_config;
use podzol_stripes::decode::{Error, View};
use serde_json::{Value, json};

use crate::installation::{DOMAIN, Installation};

/// The name of a proxy at 127.0.0.1.
pub(crate) const HOST: &str = "127-0-0-1";

/// How long a poll is waited for.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A browser. Cloning is another tab.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) http: reqwest::Client,
    pub(crate) origin: String,
    pub(crate) cookie: String,
}

/// An answer with all of its body.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Its status and the code of its error.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["code"].as_str().unwrap().to_owned())
    }
}

impl Browser {
    pub(crate) fn new(installation: &Installation, is_http2: bool) -> Self {
        Self::from(installation, is_http2, Ipv4Addr::LOCALHOST)
    }

    /// A browser at another address.
    pub(crate) fn from(installation: &Installation, is_http2: bool, from: Ipv4Addr) -> Self {
        Self::with(installation, is_http2, |http| http.local_address(std::net::IpAddr::V4(from)))
    }

    /// A browser that is otherwise.
    pub(crate) fn with(
        installation: &Installation,
        is_http2: bool,
        change: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Self {
        let mut tls = anonymous_client_config(&installation.authority.pem).unwrap();
        tls.alpn_protocols = vec![if is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let host = format!("{HOST}.{DOMAIN}");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, installation.port));
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls).resolve(&host, address);
        let http = change(http.no_proxy()).build().unwrap();
        Self { http, origin: format!("https://{host}:{}", installation.port), cookie: String::new() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.origin));
        if self.cookie.is_empty() { request } else { request.header("cookie", &self.cookie) }
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        Answer { status, headers, body: answer.bytes().await.unwrap().to_vec() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("origin", &self.origin);
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    pub(crate) async fn exchange(&self, ticket: &str) -> Answer {
        self.post_json("/session", &json!({ "ticket": ticket })).await
    }

    /// Exchanges a ticket: the page.
    pub(crate) async fn open(mut self, ticket: &str) -> Page {
        let answer = self.exchange(ticket).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        self.cookie = cookie.split(';').next().unwrap().to_owned();
        Page::new(self, &answer.json())
    }
}

/// A page that shows a VM.
pub(crate) struct Page {
    pub(crate) browser: Browser,
    pub(crate) session: String,
    pub(crate) path: String,
    pub(crate) view: View,
    pub(crate) opened: Value,
    next: Arc<AtomicU64>,
    gave_up: bool,
}

impl Page {
    pub(crate) fn new(browser: Browser, opened: &Value) -> Self {
        let session = opened["session"].as_str().unwrap().to_owned();
        let path = format!("/s/{session}/v/{}", opened["viewer"].as_str().unwrap());
        let view = View::new(1 << 24);
        Self { browser, session, path, view, opened: opened.clone(), next: Arc::new(1.into()), gave_up: true }
    }

    /// Another page of the same session, as after a reload.
    pub(crate) async fn another(&self) -> Self {
        let answer = self.browser.post_json(&format!("/s/{}/viewers", self.session), &json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Self::new(self.browser.clone(), &answer.json())
    }

    pub(crate) fn rights(&self) -> Rights {
        serde_json::from_value(self.opened["rights"].clone()).unwrap()
    }

    pub(crate) async fn get(&self, what: &str) -> Answer {
        self.browser.get(&format!("{}/{what}", self.path)).await
    }

    pub(crate) async fn post(&self, what: &str, body: Vec<u8>) -> Answer {
        let request = self.browser.request(Method::POST, &format!("{}/{what}", self.path));
        self.browser.send(request.header("content-type", "application/octet-stream").body(body)).await
    }

    pub(crate) fn number(&self) -> u32 {
        self.view.number().unwrap_or(0)
    }

    /// Polls for an update once. When nothing comes for a while, it gives up and says so the next time.
    pub(crate) async fn poll(&mut self) {
        let resume = if std::mem::take(&mut self.gave_up) { "&resume=1" } else { "" };
        let what = format!("updates?after={}{resume}", self.number());
        match tokio::time::timeout(PATIENCE, self.get(&what)).await {
            Ok(answer) if answer.status == 200 => self.apply(&answer.body),
            Ok(answer) => assert_eq!(answer.status, 204, "{answer:?}"),
            Err(_) => self.gave_up = true,
        }
    }

    /// Applies a body.
    pub(crate) fn apply(&mut self, body: &[u8]) {
        match self.view.apply(body) {
            Ok(_) => {}
            Err(error @ Error::OutOfOrder { .. }) => panic!("out of order: {error}"),
            Err(error) => panic!("a body that is wrong: {error}"),
        }
    }

    /// Events as the next batch.
    pub(crate) fn batch(&self, events: &[Vec<u8>]) -> Vec<u8> {
        let first = self.next.fetch_add(events.len() as u64, Ordering::Relaxed);
        batch(self.number(), first, events)
    }

    /// Gives events, and waits until they were applied.
    pub(crate) async fn give(&self, events: &[Vec<u8>]) -> Answer {
        self.post("input", self.batch(events)).await
    }

    /// The state, as soon as it is so.
    pub(crate) async fn state_when(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut number = 0;
        for _ in 0..1000 {
            let answer = self.get(&format!("state?after={number}")).await;
            if answer.status == 204 {
                continue;
            }
            assert_eq!(answer.status, 200, "{what}: {answer:?}");
            let state = answer.json();
            if is_so(&state) {
                return state;
            }
            number = state["number"].as_u64().unwrap();
        }
        panic!("in vain: {what}");
    }

    /// Waits until the display is there.
    pub(crate) async fn on(&self) {
        self.state_when("the display is there", |state| state["line"] == "on").await;
    }
}

/// A batch of events.
pub(crate) fn batch(after: u32, first: u64, events: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![1, 0];
    number(&mut bytes, after);
    number(&mut bytes, first as u32);
    events.iter().for_each(|event| bytes.extend(event));
    bytes
}

/// A number as FORMAT.md has it.
pub(crate) fn number(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// A key that goes down (1) or up (2).
pub(crate) fn key(kind: u8, scancode: u32, keysym: u32) -> Vec<u8> {
    let mut bytes = vec![kind];
    number(&mut bytes, scancode);
    number(&mut bytes, keysym);
    bytes
}

/// A clipboard's text.
pub(crate) fn clipboard(text: &str) -> Vec<u8> {
    let mut bytes = vec![6];
    number(&mut bytes, text.len() as u32);
    bytes.extend(text.as_bytes());
    bytes
}

/// A pointer's place.
pub(crate) fn pointer(buttons: u8, x: u32, y: u32) -> Vec<u8> {
    let mut bytes = vec![3, buttons];
    number(&mut bytes, x);
    number(&mut bytes, y);
    bytes
}
