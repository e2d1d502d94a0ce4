//! Displays that mean no good: they hurt only themselves.

use std::io;
use std::time::Duration;

use podzol_console_proxy_api::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::browser::clipboard;
use crate::installation::Installation;
use crate::noting::{Noting, SIZE, greet, way};

const BELL: u8 = 2;

/// Flags of the extended clipboard.
const TEXT: u32 = 1;
const CAPS: u32 = 1 << 24;
const REQUEST: u32 = 1 << 25;
const NOTIFY: u32 = 1 << 27;
const PROVIDE: u32 = 1 << 28;

/// A display of this size that plays something once it has greeted.
async fn display<F>(size: (u16, u16), play: impl FnOnce(TcpStream) -> F + Send + 'static) -> Upstream
where
    F: Future<Output = io::Result<()>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        greet(&mut stream, size, "x").await?;
        play(stream).await
    });
    way(&address)
}

/// A message of the extended clipboard.
fn extended(flags: u32, rest: &[u8]) -> Vec<u8> {
    let length = -(4 + rest.len() as i32);
    [&[3, 0, 0, 0][..], &length.to_be_bytes(), &flags.to_be_bytes(), rest].concat()
}

/// A text that cannot be packed to much less.
fn noise(length: usize) -> String {
    let mut number = 1_u64;
    let mut letter = || {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (number >> 58) as u8)
    };
    (0..length).map(|_| letter()).collect()
}

#[tokio::test]
async fn a_display_that_asks_and_does_not_read_gets_no_memory_for_answers() {
    let all = Installation::new().await;
    let ((ask, asked), (read, may_read), (tell, told)) =
        (oneshot::channel::<()>(), oneshot::channel::<()>(), oneshot::channel());
    let way = display(SIZE, |mut stream| async move {
        let caps = extended(CAPS | REQUEST | NOTIFY | PROVIDE | TEXT, &[0; 4]);
        stream.write_all(&[&caps[..], &[BELL]].concat()).await?;
        let _ = asked.await;
        stream.write_all(&[&extended(REQUEST | TEXT, &[]).repeat(500)[..], &[BELL]].concat()).await?;
        let _ = may_read.await;
        let (mut bytes, mut count) = (vec![0; 1 << 16], 0);
        while let Ok(Ok(more @ 1..)) =
            tokio::time::timeout(Duration::from_secs(5), stream.read(&mut bytes)).await
        {
            count += more;
        }
        let _ = tell.send(count);
        Ok(())
    })
    .await;
    let page = all.page(&all.session(way), true).await;
    page.state_when("it knows the clipboard", |state| state["bells"] == 1).await;
    assert_eq!(page.give(&[clipboard(&noise(200_000))]).await.json()["applied"], 1);

    ask.send(()).unwrap();
    page.state_when("it has heard all", |state| state["bells"] == 2).await;
    read.send(()).unwrap();

    // What the system keeps between the two is some megabytes; all answers were 75.
    let count = told.await.unwrap();
    assert!((100_000..24 << 20).contains(&count), "{count} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_display_that_has_much_done_for_few_bytes_holds_no_other_up() {
    let (all, noting) = (Installation::new().await, Noting::new(true).await);
    let mut other = all.page(&all.session(noting.way()), true).await;
    other.on().await;
    let ((ask, asked), (tell, told)) = (oneshot::channel::<()>(), oneshot::channel());
    let (width, height) = (2560_u16, 1600_u16);
    let way = display((width, height), move |mut stream| async move {
        let _ = asked.await;
        // All of the desktop is copied to where it is, thirty thousand times: each of what is read at once is seconds of work.
        let whole =
            [[0; 4], [width.to_be_bytes(), height.to_be_bytes()].concat().try_into().unwrap()].concat();
        let copy = [&whole[..], &1_i32.to_be_bytes(), &[0; 4]].concat();
        let update = [&[0, 0][..], &30_000_u16.to_be_bytes(), &copy.repeat(30_000), &[BELL]].concat();
        stream.write_all(&update).await?;
        let _ = tell.send(());
        tokio::time::sleep(crate::wait::SOON).await;
        Ok(())
    })
    .await;
    let page = all.page(&all.session(way), true).await;
    page.on().await;
    ask.send(()).unwrap();
    told.await.unwrap();
    for shade in 50..55 {
        noting.paint(shade);
        while other.view.pixels().first() != Some(&(u32::from(shade) * 0x01_01_01)) {
            other.poll().await;
            // One that says nothing is forgotten.
            page.get("state?after=0").await;
        }
    }
    let state = page.get("state?after=0").await.json();
    assert_eq!(state["bells"], 0, "it is not heard to its end before others have their turn");
}

#[tokio::test]
async fn what_a_display_does_wrong_is_named() {
    let all = Installation::new().await;
    let far = [300_u16, 0, 64, 16].map(u16::to_be_bytes).concat();
    let update =
        |rectangle: &[u8], encoding: i32| [&[0, 0, 0, 1][..], rectangle, &encoding.to_be_bytes()].concat();
    let lies = [
        (vec![77], "type 77 is not known"),
        (update(&far, 0), "is not within"),
        (update(&[0; 8], 12_345), "encoding 12345 is not known"),
    ];
    for (lie, rule) in lies {
        let way = display(SIZE, |mut stream| async move {
            stream.write_all(&lie).await?;
            tokio::time::sleep(crate::wait::SOON).await;
            Ok(())
        })
        .await;
        let page = all.page(&all.session(way), true).await;
        let state = page.state_when("the line has ended", |state| !state["reason"].is_null()).await;
        let reason = state["reason"].as_str().unwrap();
        assert!(
            reason.contains("the display's server breaks the rules") && reason.contains(rule),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn a_page_that_waits_is_shown_what_there_is_of_an_update_that_does_not_end() {
    let (all, (ask, asked)) = (Installation::new().await, oneshot::channel::<()>());
    let way = display(SIZE, |mut stream| async move {
        let _ = asked.await;
        let corner = [0_u16, 0, 16, 16].map(u16::to_be_bytes).concat();
        let raw = [&corner[..], &0_i32.to_be_bytes(), &[0x77; 16 * 16 * 4]].concat();
        // The first of two rectangles.
        stream.write_all(&[&[0, 0, 0, 2][..], &raw].concat()).await?;
        tokio::time::sleep(crate::wait::SOON).await;
        Ok(())
    })
    .await;
    let mut page = all.page(&all.session(way), true).await;
    page.on().await;
    while page.number() == 0 {
        page.poll().await;
    }
    let next = format!("updates?after={}", page.number());
    let (answer, ()) = tokio::join!(page.get(&next), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        ask.send(()).unwrap();
    });
    assert_eq!(answer.status, 200, "it hears of it within its request");
    page.apply(&answer.body);
    assert_eq!(page.view.pixels()[..17], [&[0x77_7777; 16][..], &[0]].concat());
}
