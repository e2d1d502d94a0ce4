//! The stream of changes, read as a client does (server-sent events, HTML Living Standard 9.2).

use std::collections::VecDeque;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::Value;

use crate::SOON;

/// A message of the stream.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id, to go on from.
    pub id: String,
    /// The change in it.
    pub change: Value,
}

/// An open stream of changes.
pub struct Changes {
    chunks: BoxStream<'static, String>,
    text: String,
    ready: VecDeque<Message>,
}

impl Changes {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        let chunks = response.bytes_stream().map(|chunk| match chunk {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        });
        Self { chunks: chunks.boxed(), text: String::new(), ready: VecDeque::new() }
    }

    /// The next message.
    ///
    /// # Panics
    /// When none comes in time, or the stream ends.
    pub async fn next(&mut self) -> Message {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return message;
            }
            let chunk = tokio::time::timeout(SOON, self.chunks.next()).await;
            self.text += &chunk.expect("a change comes in time").expect("the stream goes on");
            while let Some((message, rest)) = self.text.split_once("\n\n") {
                let message = parse(message);
                self.text = rest.to_owned();
                self.ready.extend(message);
            }
        }
    }

    /// Whether the stream ends soon, whatever comes before its end.
    pub async fn ends(&mut self) -> bool {
        tokio::time::timeout(SOON, async { while self.chunks.next().await.is_some() {} }).await.is_ok()
    }

    /// The messages up to the first that is looked for, with that one.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn until(&mut self, found: impl Fn(&Value) -> bool) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.next().await;
            let last = found(&message.change);
            messages.push(message);
            if last {
                return messages;
            }
        }
    }
}

/// A message, or nothing for a comment that keeps the connection open.
fn parse(block: &str) -> Option<Message> {
    let field = |name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start)
    };
    let change = serde_json::from_str(field("data")?).expect("a change is JSON");
    Some(Message { id: field("id").unwrap_or_default().to_owned(), change })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_an_id_and_a_change_and_a_comment_is_none() {
        let message = parse("id: 7\nevent: change\ndata: {\"kind\":\"vm\"}").unwrap();
        assert_eq!((message.id.as_str(), message.change["kind"].as_str()), ("7", Some("vm")));
        assert!(parse(":").is_none());
    }
}
