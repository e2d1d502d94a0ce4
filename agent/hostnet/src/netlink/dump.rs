//! Dumps: whole and consistent, or an error.
//!
//! The kernel sends a dump in pieces, and what it tells of can change between two of them: it may leave a link out then.
//! It says so with a flag in the header of each later message (`NLM_F_DUMP_INTR`, netlink(7)), and such a dump is asked
//! for again. To take one for whole would make a bridge whose port was left out look unused. `rtnetlink`'s own requests
//! do not look at the flag.

use std::io;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::socket::{Message, Socket};

/// How often a dump is tried that is not consistent.
const ATTEMPTS: u32 = 5;

/// The pause after the first that was not; it grows by as much each time.
const PAUSE: Duration = Duration::from_millis(5);

/// All messages that answer a dump request.
pub(super) async fn dump(
    socket: &Socket,
    request: RouteNetlinkMessage,
) -> io::Result<Vec<RouteNetlinkMessage>> {
    let _alone = socket.one_dump.lock().await;
    for attempt in 1..=ATTEMPTS {
        let mut message = NetlinkMessage::from(request.clone());
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        if let Some(messages) = whole(socket.ask(message)?).await? {
            return Ok(messages);
        }
        tokio::time::sleep(PAUSE * attempt).await;
    }
    Err(io::Error::other(format!("it changed each of the {ATTEMPTS} times that it was listed")))
}

/// The messages of a dump; nothing if they are not consistent.
async fn whole(
    mut answers: impl Stream<Item = io::Result<Message>> + Unpin,
) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
    let (mut messages, mut consistent) = (Vec::new(), true);
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        consistent &= answer.header.flags & NLM_F_DUMP_INTR == 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(message) => messages.push(message),
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(done.code.saturating_neg()));
            }
            NetlinkPayload::Done(_) => return Ok(consistent.then_some(messages)),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => return Err(io::Error::other("an answer that is part of no dump")),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use rtnetlink::packet_core::DoneMessage;
    use rtnetlink::packet_route::link::LinkMessage;

    use super::*;

    fn link(flags: u16) -> Message {
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewLink(LinkMessage::default()));
        message.header.flags = flags;
        message
    }

    fn done(code: i32, flags: u16) -> Message {
        let mut done = DoneMessage::default();
        done.code = code;
        let mut message = link(flags);
        message.payload = NetlinkPayload::Done(done);
        message
    }

    async fn check(answers: Vec<Message>, expected: Result<Option<usize>, i32>) {
        let found = whole(stream::iter(answers.into_iter().map(Ok)))
            .await
            .map(|messages| messages.map(|list| list.len()));
        assert_eq!(found.map_err(|error| error.raw_os_error().unwrap_or(0)), expected);
    }

    #[tokio::test]
    async fn a_dump_is_whole_when_its_end_has_come_and_nothing_changed_meanwhile() {
        check(vec![link(0), link(0), done(0, 0)], Ok(Some(2))).await;
        check(vec![done(0, 0)], Ok(Some(0))).await;
        check(vec![link(0), link(NLM_F_DUMP_INTR), link(0), done(0, 0)], Ok(None)).await;
        check(vec![link(0), done(0, NLM_F_DUMP_INTR)], Ok(None)).await;
    }

    #[tokio::test]
    async fn a_dump_that_breaks_off_is_an_error() {
        check(vec![link(0)], Err(0)).await;
        check(vec![link(0), done(-libc::ENOMEM, 0)], Err(libc::ENOMEM)).await;
    }
}
