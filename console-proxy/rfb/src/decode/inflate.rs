//! zlib streams that go on from rectangle to rectangle, unpacked piece by piece.

use flate2::{Decompress, FlushDecompress, Status};

use super::Painter;
use crate::error::Rule;
use crate::frame::Frame;
use crate::input::Input;

/// Unpacked bytes that are held at a time. More than the longest unit of any painter: a tile's palette.
const PIECE: usize = 16_384;

/// The streams of a connection (RFC 6143, 7.7.6; rfbproto, "zlib Encoding" and "Tight Encoding").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Zlib's own.
    Zlib,
    /// ZRLE's own.
    Zrle,
    /// One of Tight's four.
    Tight(u8),
}

/// Streams, each made when it is first used, and the bytes between them and a painter.
#[derive(Debug, Default)]
pub(crate) struct Inflate {
    streams: [Option<Box<Decompress>>; 6],
    piece: Vec<u8>,
    filled: usize,
}

impl Inflate {
    /// Begins a stream anew.
    pub(crate) fn reset(&mut self, stream: Stream) {
        if let Some(stream) = &mut self.streams[stream.index()] {
            stream.reset(true);
        }
    }

    /// Gives a painter what these packed bytes unpack to; `left` are those of the rectangle that have not been seen. True
    /// when that were all of them.
    ///
    /// # Errors
    /// When the stream is broken, or it has more or fewer pixels than the rectangle.
    pub(crate) fn paint(
        &mut self,
        stream: Stream,
        left: &mut u32,
        input: &mut Input,
        painter: &mut impl Painter,
        frame: &mut Frame<'_>,
    ) -> Result<bool, Rule> {
        loop {
            let source = input.rest();
            let source = &source[..source.len().min(*left as usize)];
            let unpacked = self.unpack(stream, source);
            input.skip(unpacked.used);
            *left -= unpacked.used as u32;
            let painted = painter.paint(&self.piece[..self.filled], frame)?;
            self.piece.copy_within(painted..self.filled, 0);
            self.filled -= painted;
            if painter.is_done() && self.filled > 0 {
                return Err(Rule::Excess);
            }
            // Only now, so that what is found first does not depend on how many bytes have come.
            if unpacked.is_broken {
                return Err(Rule::Zlib);
            }
            if unpacked.used == 0 && unpacked.made == 0 {
                break;
            }
        }
        if *left > 0 {
            return Ok(false);
        }
        if painter.is_done() { Ok(true) } else { Err(Rule::Missing) }
    }

    /// Unpacks as many bytes as there is room for what they make.
    fn unpack(&mut self, stream: Stream, source: &[u8]) -> Unpacked {
        self.piece.resize(PIECE, 0);
        let stream = self.streams[stream.index()].get_or_insert_with(|| Box::new(Decompress::new(true)));
        let (was_in, was_out) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(source, &mut self.piece[self.filled..], FlushDecompress::None);
        let (used, made) = ((stream.total_in() - was_in) as usize, (stream.total_out() - was_out) as usize);
        self.filled += made;
        // A stream that has ended takes nothing more; another one does, as there is always room for what it makes.
        let has_ended = matches!(status, Ok(Status::StreamEnd)) && used < source.len();
        let is_stuck = !source.is_empty() && used == 0 && made == 0;
        Unpacked { used, made, is_broken: status.is_err() || has_ended || is_stuck }
    }
}

/// What became of packed bytes.
struct Unpacked {
    used: usize,
    made: usize,
    is_broken: bool,
}

impl Stream {
    fn index(self) -> usize {
        match self {
            Self::Zlib => 4,
            Self::Zrle => 5,
            Self::Tight(number) => usize::from(number & 3),
        }
    }
}
