//! One connection to a display: pixels to the screen, acts to the VM.
//!
//! A picture is asked for only while a page can be seen, and the next one only when the last has come whole. What the server says
//! is never waited for by input, nor the other way round.
//!
//! What a server says is heard for [`TURN`] at a time; then others have theirs, and a VM that has taken more than its
//! [share](crate::share) rests before more is read.
//!
//! A server that asks and does not read gets no memory for answers: what it is owed is noted, each kind once, and said when there
//! is room.

mod hear;
mod say;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use podzol_rfb::{Client, ClientMessage, Press};
use podzol_rpc::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::dial::{Dialled, Tls};
use super::key_queue::KeyQueue;
use super::nudge::Nudge;
use super::{moved, put};
use crate::vm::Vm;
use crate::worker::Worker;

/// How long a server may take until the handshake is over.
const SHAKES_HANDS: Duration = Duration::from_secs(20);

/// A screen lets go of its pixels when its server has said nothing for so long. Whatever is said may be followed by pixels, and they are
/// made of the picture for it again: so they go at most once in this time, also if a server says only that its bell rings.
const RESTS: Duration = Duration::from_secs(3);

/// What may wait to be written to a server before more acts are taken.
const WAITING: usize = 4096;

/// How long a server is heard before others have their turn: a fourth of what a picture has at 60 a second. One event may take
/// longer.
const TURN: Duration = Duration::from_millis(4);

/// Why a line ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("the connection to the display is lost")]
    Lost(#[from] std::io::Error),
    #[error("the display's server breaks the rules")]
    Broken(#[from] podzol_rfb::Error),
    #[error("the screen has no room for the desktop")]
    Frame(#[from] podzol_rfb::FrameError),
    #[error("the display's server does not finish its handshake")]
    Slow,
    #[error("the display's server wants TLS that was not configured")]
    NoTls,
}

/// Carries until the server ends it, something is wrong, or another way is in force.
pub(crate) async fn carry(worker: &Worker, vm: &Rc<Vm>, dialled: Dialled, way: u64) -> Result<(), LineError> {
    let Dialled { stream, config, tls } = dialled;
    let mut line = Line {
        worker,
        vm,
        way,
        client: Client::new(config),
        tls,
        connected: false,
        asked: false,
        owed: Owed::default(),
        unheard: false,
        keys: KeyQueue::default(),
        nudge: Nudge::default(),
        began: worker.clock.now(),
        heard: worker.clock.now(),
        rests: false,
        tells_parts: false,
    };
    let mut stream = stream;
    while let Some(wrapped) = line.run(stream).await? {
        stream = wrapped;
    }
    Ok(())
}

struct Line<'a> {
    worker: &'a Worker,
    vm: &'a Rc<Vm>,
    way: u64,
    client: Client,
    tls: Option<Tls>,
    connected: bool,
    /// Whether a picture was asked for and has not come.
    asked: bool,
    owed: Owed,
    /// Whether there may be more to hear in what was read.
    unheard: bool,
    keys: KeyQueue,
    nudge: Nudge,
    began: Duration,
    heard: Duration,
    rests: bool,
    /// Whether parts of an update will have to be told of if it does not become whole.
    tells_parts: bool,
}

/// Reads into memory that all lines of a thread share, so that it may be large: how much.
async fn read(reader: &mut (impl AsyncRead + Unpin), bytes: &RefCell<Box<[u8]>>) -> std::io::Result<usize> {
    poll_fn(|context| {
        let mut bytes = bytes.borrow_mut();
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut *reader).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

/// What the server is to be told when there is room, however often it gave cause.
#[derive(Debug, Default)]
struct Owed {
    /// All pixels are asked for, as the desktop may have another size.
    all: bool,
    /// Its clipboard is asked for.
    request: bool,
    /// It is told whether there is a clipboard here,
    contents: bool,
    /// and what is in it.
    text: bool,
}

impl Line<'_> {
    /// Runs on a stream; gives it back within TLS when the server wants that.
    async fn run(&mut self, stream: Box<dyn Bytes>) -> Result<Option<Box<dyn Bytes>>, LineError> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut flushes = false;
        // One for all turns: to set it later takes no lock.
        let mut alarm = pin!(sleep(Duration::ZERO));
        loop {
            let wanted = self.vm.wanted.notified();
            if self.vm.has_moved(self.way) {
                return Ok(None);
            }
            self.speak();
            let due = self.due()?;
            let rests = self.vm.share.borrow().rests(self.worker.clock.now());
            let may_hear = rests.is_zero();
            alarm.as_mut().reset(Instant::now() + if may_hear { due } else { due.min(rests) });
            tokio::select! {
                // An alarm that is the next one of the thread costs it a look at its files, so what is ready comes before. What there
                // is to say is said before anything else is heard, and is little.
                biased;
                put = put(&mut writer, self.client.output()), if flushes || !self.client.output().is_empty() => {
                    let count = put?;
                    self.client.sent(count);
                    flushes = count > 0;
                }
                read = read(&mut reader, &self.worker.bytes), if may_hear && !self.unheard => match read? {
                    0 => return Ok(None),
                    count => {
                        // Nobody else has read since: this is still the same turn.
                        self.client.receive(&self.worker.bytes.borrow()[..count]);
                        if self.hear()? {
                            return self.wrap(reader, writer).await;
                        }
                        // There is more, most likely: others have their turn first.
                        self.unheard |= count == self.worker.bytes.borrow().len();
                    }
                },
                () = yield_now(), if may_hear && self.unheard => {
                    if self.hear()? {
                        return self.wrap(reader, writer).await;
                    }
                }
                () = wanted => {}
                () = &mut alarm => {}
            }
        }
    }

    /// All that there is to say now.
    fn speak(&mut self) {
        if !self.connected {
            return;
        }
        let now = self.worker.clock.now();
        while self.has_room() {
            let Some(act) = self.vm.next_act(|act| self.keys.wait(act, now).is_zero()) else { break };
            self.keys.said(&act, now);
            self.vm.input_at.set(now);
            self.nudge.input(now);
            self.nudge.nudged(now);
            self.say_act(&act);
        }
        self.say_owed();
        if !self.vm.is_looked_at() {
            return;
        }
        if (self.owed.all || !self.asked) && self.has_room() {
            let (whole, all) = (self.client.size().unwrap_or_default().whole(), self.owed.all);
            (self.asked, self.owed.all) = (true, false);
            self.say(if all { ClientMessage::All(whole) } else { ClientMessage::Changes(whole) });
        }
        if self.nudges() && self.nudge.due(now) <= now && self.client.output().is_empty() {
            self.nudge.nudged(now);
            // Scancode 0 is no key's, so it is never down, and QEMU drops it.
            self.say(ClientMessage::Scancode { press: Press::Up, keysym: 0, scancode: 0 });
        }
    }

    /// In how long what there is of an update is shown, if no more of it comes.
    fn parts_in(&mut self, now: Duration) -> Duration {
        let left = self.vm.is_whole_in(now);
        if !left.is_zero() {
            self.tells_parts = true;
            return left;
        }
        if std::mem::take(&mut self.tells_parts) {
            self.look_at_what_comes();
        }
        Duration::from_secs(3600)
    }

    /// In how long there is something to do if nothing happens.
    fn due(&mut self) -> Result<Duration, LineError> {
        let now = self.worker.clock.now();
        if !self.connected {
            let left = (self.began + SHAKES_HANDS).saturating_sub(now);
            return if left.is_zero() { Err(LineError::Slow) } else { Ok(left) };
        }
        let rests_in = (self.heard + RESTS).saturating_sub(now);
        // Within an update there may be pixels that nothing has told of yet.
        if rests_in.is_zero() && !self.rests && !self.client.is_updating() {
            self.rests = true;
            self.vm.screen.borrow_mut().rest(now);
        }
        let long = if self.client.is_updating() {
            self.parts_in(now)
        } else if self.rests {
            Duration::from_secs(3600)
        } else {
            rests_in
        };
        // Where there is no room, the next act is said once there is.
        let waits = self.vm.act_waits(|act| self.keys.wait(act, now)).filter(|_| self.has_room());
        let long = waits.map_or(long, |wait| wait.min(long));
        let nudges = self.nudges() && self.vm.is_looked_at() && self.client.output().is_empty();
        Ok(if nudges { self.nudge.due(now).saturating_sub(now).min(long) } else { long })
    }

    /// Whether more may be said.
    fn has_room(&self) -> bool {
        self.client.output().len() < WAITING
    }

    fn nudges(&self) -> bool {
        self.worker.nudges() && self.client.extensions().extended_keys
    }

    /// Begins TLS on the stream.
    async fn wrap(
        &mut self,
        reader: ReadHalf<Box<dyn Bytes>>,
        mut writer: WriteHalf<Box<dyn Bytes>>,
    ) -> Result<Option<Box<dyn Bytes>>, LineError> {
        let tls = self.tls.take().ok_or(LineError::NoTls)?;
        let output = self.client.output().to_vec();
        let wrapped = async {
            writer.write_all(&output).await?;
            writer.flush().await?;
            let connector = tokio_rustls::TlsConnector::from(tls.config);
            connector.connect(tls.name, reader.unsplit(writer)).await
        };
        let stream = tokio::select! {
            wrapped = tokio::time::timeout(SHAKES_HANDS, wrapped) => wrapped.map_err(|_| LineError::Slow)??,
            () = moved(self.vm, self.way) => return Ok(None),
        };
        self.client.sent(output.len());
        self.client.tls_started()?;
        Ok(Some(Box::new(stream)))
    }
}
