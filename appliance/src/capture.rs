//! Captures: packets of one link that somebody wants to see, as a file of libpcap that is sent while it is made.
//!
//! ```text
//!   link ─▶ packet socket ─▶ filter ─▶ 4 parts that wait ─▶ the caller
//! ```
//! One goes on at a time. It ends when its time is over, its bytes are used up, its caller has gone, or its link has; whichever
//! comes first, and also if the caller does not read: what does not fit then is lost, as the kernel holds no more for it
//! than [`KERNEL`]. The management service's own connections are not captured, as each packet would make another.
//!
//! # Design notes
//! The filter looks at packets here and not in the kernel: IPv6 has headers of any number before the ports, which classic BPF
//! cannot follow. Of each packet only as much is copied as is kept or looked at.

mod filter;
mod socket;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use podzol_appliance_api::Capture;
use podzol_vocab::{ErrorCode, InterfaceName, WireError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use self::filter::Filter;
use self::socket::Socket;

/// How many bytes are sent at a time at most, before the last packet of them.
const PART: usize = 16 << 10;

/// How many parts wait for the caller: enough that one is being sent while the next is filled.
const PARTS: usize = 4;

/// The most that the kernel holds, in bytes.
const KERNEL: usize = 512 << 10;

/// The headers of the file and of each packet in it.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// The file's first four bytes if times are in nanoseconds, and the link's type (pcap-savefile(5)).
const MAGIC: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;

/// A place for one capture.
#[derive(Debug, Clone)]
pub(crate) struct Captures(Arc<Semaphore>);

impl Default for Captures {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// What is captured, as it comes.
#[derive(Debug)]
pub(crate) struct Captured(mpsc::Receiver<Vec<u8>>);

impl Stream for Captured {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|part| part.map(Ok))
    }
}

impl Captures {
    /// Begins one that keeps the rules.
    ///
    /// # Errors
    /// When another one goes on, or the link is not there.
    pub(crate) fn begin(
        &self,
        capture: &Capture,
        link: &InterfaceName,
        management: std::net::Ipv4Addr,
    ) -> Result<Captured, WireError> {
        let place = Arc::clone(&self.0).try_acquire_owned();
        let place = place.map_err(|_| WireError::new(ErrorCode::Conflict, "another capture goes on"))?;
        let socket = Socket::open(link, KERNEL);
        let socket = socket.map_err(|error| {
            WireError::new(ErrorCode::Unavailable, format!("link: {link} cannot be heard: {error}"))
        })?;
        let (parts, captured) = mpsc::channel(PARTS);
        tracing::info!(%capture, %link, "a capture begins");
        let work = Work { filter: Filter::new(capture, management), file: File::new(capture), socket, place };
        tokio::spawn(work.run(Duration::from_secs(capture.seconds.into()), parts));
        Ok(Captured(captured))
    }
}

struct Work {
    filter: Filter,
    file: File,
    socket: Socket,
    place: OwnedSemaphorePermit,
}

impl Work {
    async fn run(mut self, time: Duration, parts: mpsc::Sender<Vec<u8>>) {
        let end = Instant::now() + time;
        let why = tokio::select! {
            () = tokio::time::sleep_until(end) => "its time is over".to_owned(),
            () = parts.closed() => "nobody reads it any more".to_owned(),
            ended = fill(&mut self.file, &self.filter, &self.socket, &parts) => match ended {
                Ok(()) => "it has all its bytes".to_owned(),
                Err(error) => error.to_string(),
            },
        };
        let rest = self.file.take();
        if !rest.is_empty() {
            // What a caller has no room for is lost.
            let _ = parts.try_send(rest);
        }
        tracing::info!(packets = self.file.packets, why, "a capture has ended");
        self.socket.close();
        drop(self.place);
    }
}

/// Captures until the file is full.
async fn fill(
    file: &mut File,
    filter: &Filter,
    socket: &Socket,
    parts: &mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    // The headers go at once: so it is known that it has begun.
    send(parts, file.take()).await?;
    let mut buffer = vec![0; file.snap.max(filter::LOOKED_AT)];
    loop {
        // Packets that come fast are sent together, and others at once.
        let packet = match socket.try_next(&mut buffer)? {
            Some(packet) if file.part.len() < PART => packet,
            Some(packet) => {
                let full = file.take();
                send(parts, full).await?;
                packet
            }
            None => {
                let some = file.take();
                if !some.is_empty() {
                    send(parts, some).await?;
                }
                socket.next(&mut buffer).await?
            }
        };
        let bytes = &buffer[..packet.length.min(buffer.len())];
        if filter.admits(bytes) && !file.add(bytes, packet.length, packet.at) {
            return Ok(());
        }
        // A link may bring packets faster than they are looked at; services have their turn.
        tokio::task::consume_budget().await;
    }
}

async fn send(parts: &mpsc::Sender<Vec<u8>>, part: Vec<u8>) -> io::Result<()> {
    parts.send(part).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

/// The file, as far as it is not sent yet.
struct File {
    part: Vec<u8>,
    /// How many bytes it may still have.
    left: usize,
    snap: usize,
    packets: u64,
}

impl File {
    fn new(capture: &Capture) -> Self {
        let mut part = Vec::with_capacity(FILE_HEADER);
        part.extend(MAGIC.to_le_bytes());
        part.extend([2_u16, 4].iter().flat_map(|number| number.to_le_bytes()));
        part.extend([0, 0, capture.snap_bytes, ETHERNET].iter().flat_map(|number| number.to_le_bytes()));
        let left = (capture.bytes as usize).saturating_sub(part.len());
        Self { part, left, snap: capture.snap_bytes as usize, packets: 0 }
    }

    /// Adds a packet of which these bytes are known, with its length and when it came since 1970; unless there is no room.
    fn add(&mut self, bytes: &[u8], length: usize, at: Duration) -> bool {
        let kept = &bytes[..bytes.len().min(self.snap)];
        let Some(left) = self.left.checked_sub(PACKET_HEADER + kept.len()) else { return false };
        self.left = left;
        let numbers = [at.as_secs() as u32, at.subsec_nanos(), kept.len() as u32, length as u32];
        self.part.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self.part.extend_from_slice(kept);
        self.packets += 1;
        true
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.part)
    }
}
