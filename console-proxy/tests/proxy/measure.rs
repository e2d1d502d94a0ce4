//! How soon pages see what happens, and what sessions take. It prints, and asserts nothing: run it alone on a quiet machine, in
//! a release build.

use std::time::{Duration, Instant};

use podzol_console_proxy_api::Document;
use podzol_vocab::Generation;

use crate::browser::{Browser, Page, key};
use crate::host::Host;
use crate::installation::Installation;
use crate::noting::Noting;
use crate::qemu::{Machine, is_there};
use crate::restart::Program;

/// Keys of the guest that draw another picture, each with its name for QMP.
const KEYS: [(u32, &str); 4] = [(0x1e, "a"), (0x20, "d"), (0x30, "b"), (0x2e, "c")];

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1000.0;
    println!("{what}: p50 {:.1}, p90 {:.1}, p99 {:.1} ms of {}", at(50), at(90), at(99), times.len());
}

/// Polls until there is an update.
async fn next(page: &mut Page) {
    let before = page.number();
    while page.number() == before {
        page.poll().await;
    }
}

/// Takes what there is, until nothing has come for as long as a poll is waited for.
async fn settle(page: &mut Page) {
    loop {
        let before = page.number();
        page.poll().await;
        if page.number() == before {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn how_soon_a_key_and_a_change_by_itself_are_seen() {
    if !is_there() {
        return;
    }
    let mut machine = tokio::task::spawn_blocking(Machine::start).await.unwrap();
    let all = Installation::new().await;
    let host = Host::new(&all).await;
    host.has(machine.display(), "/nowhere".into());
    for (generation, nudge) in [(2, true), (3, false)] {
        let document = Document { generation: Generation(generation), nudge, ..all.document(generation) };
        all.put(&document).await.unwrap();
        let mut page = all.page(&all.session(host.way()), true).await;
        page.on().await;
        settle(&mut page).await;
        let mut times = Vec::new();
        for number in 0..60 {
            let (scancode, _) = KEYS[number % 4];
            tokio::time::sleep(Duration::from_millis(200 + number as u64 * 7 % 130)).await;
            let began = Instant::now();
            page.give(&[key(1, scancode, 0)]).await;
            next(&mut page).await;
            times.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(90)).await;
            page.give(&[key(2, scancode, 0)]).await;
            settle(&mut page).await;
        }
        print(&format!("nudge {nudge}: key to update"), times);
        let mut times = Vec::new();
        for number in 0..12 {
            settle(&mut page).await;
            tokio::time::sleep(Duration::from_millis(3500 + number * 37)).await;
            let began = Instant::now();
            machine.press(KEYS[number as usize % 4].1);
            next(&mut page).await;
            times.push(began.elapsed());
        }
        print(&format!("nudge {nudge}: change after 5 s of quiet"), times);
        page.post("leave", vec![]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn what_nudges_cost_qemu() {
    if !is_there() {
        return;
    }
    let machine = tokio::task::spawn_blocking(Machine::start).await.unwrap();
    let all = Installation::new().await;
    let host = Host::new(&all).await;
    host.has(machine.display(), "/nowhere".into());
    for generation in 2..8 {
        let nudge = generation % 2 == 0;
        let document = Document { nudge, ..all.document(generation) };
        all.put(&document).await.unwrap();
        let mut page = all.page(&all.session(host.way()), true).await;
        page.on().await;
        for _ in 0..3 {
            settle(&mut page).await;
        }
        let before = machine.cpu();
        for _ in 0..6 {
            settle(&mut page).await;
        }
        println!("nudge {nudge}: {} ms of QEMU in 9 s of quiet", (machine.cpu() - before) * 10);
        page.post("leave", vec![]).await;
        tokio::time::sleep(Duration::from_secs(7)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures"]
async fn what_an_idle_session_takes() {
    let (all, folder) = (Installation::without_proxy(), tempfile::tempdir().unwrap());
    Program::prepare(&all, folder.path());
    let _program = Program::start(folder.path());
    let mut document = all.document(1);
    document.servers.values_mut().for_each(|server| server.max_sessions = 1000);
    all.put_soon(document).await;
    let before = all.status().await;
    let (mut pages, mut displays) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let noting = Noting::new(true).await;
        // An address has only so many connections.
        let from = [127, 0, 3, pages.len() as u8 / 20 + 1].into();
        let (_, ticket) = all.ticket_for(&all.session(noting.way())).await;
        let mut page = Browser::from(&all, pages.len() % 2 == 0, from).open(&ticket).await;
        page.poll().await;
        pages.push(page);
        displays.push(noting);
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let idle = all.status().await;
    println!(
        "{} sessions, {} bytes of memory each",
        idle.sessions.len(),
        (idle.memory_bytes - before.memory_bytes) / 100
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    let later = all.status().await;
    let cpu = (later.cpu_micros - idle.cpu_micros) as f64 / 5.0 / 100.0;
    println!("{cpu:.0} microseconds of a processor each second for each");
}
