//! gzip of families that are written side by side: each is compressed as it grows, and they follow each other at the end.
//!
//! So the whole text never is in memory, which is twenty times what is sent, and what is compressed has just been written.

use flate2::{Compress, Compression, Crc, FlushCompress};

/// The fastest that makes it smaller: the text of metrics shrinks nineteenfold by it, and by the default of most programs
/// thirtyfold, at six times the cost.
const LEVEL: u32 = 1;

/// Deflate, and no time, no name, the fastest method, any system (RFC 1952, §2.3.1).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// A last block with nothing in it (RFC 1951, §3.2.3 and §3.2.6).
const LAST_BLOCK: [u8; 2] = [3, 0];

/// Text, whole or compressed as far as it was written.
pub(super) enum Piece {
    /// As it is.
    Plain(Vec<u8>),
    /// Compressed.
    Blocks(Blocks),
}

impl Piece {
    /// The text of one that is not compressed.
    pub(super) fn plain(self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Blocks(_) => None,
        }
    }
}

/// Compressed text that other such may follow and go before.
pub(super) struct Blocks {
    deflate: Compress,
    crc: Crc,
    out: Vec<u8>,
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self { deflate: Compress::new(Compression::new(LEVEL), false), crc: Crc::new(), out: Vec::new() }
    }

    /// Compresses more text, by and by.
    pub(super) fn write(&mut self, text: &[u8]) {
        self.crc.update(text);
        self.run(text, FlushCompress::None);
    }

    /// The bytes until here, which end with one that is whole, and what they are to be checked by. What is written from
    /// now on points at none of it.
    fn take(&mut self) -> (Vec<u8>, Crc) {
        self.run(&[], FlushCompress::Full);
        (std::mem::take(&mut self.out), std::mem::replace(&mut self.crc, Crc::new()))
    }

    fn run(&mut self, mut text: &[u8], flush: FlushCompress) {
        loop {
            self.out.reserve(text.len() / 16 + 1024);
            let before = self.deflate.total_in();
            // Errors are those of a caller that goes on after the end, or has no room.
            let _ = self.deflate.compress_vec(text, &mut self.out, flush);
            let taken = usize::try_from(self.deflate.total_in() - before).unwrap_or(text.len());
            text = text.get(taken..).unwrap_or_default();
            // Room that is left says that nothing waits for some.
            if text.is_empty() && self.out.len() < self.out.capacity() {
                return;
            }
        }
    }
}

/// One gzip member of all that the pieces hold, in its parts.
pub(super) fn member(pieces: Vec<Piece>) -> Vec<Vec<u8>> {
    let mut member = Member { parts: vec![HEADER.to_vec()], crc: Crc::new() };
    // What is short has no compressor of its own.
    let mut short = Blocks::new();
    for piece in pieces {
        match piece {
            Piece::Plain(text) => short.write(&text),
            Piece::Blocks(mut blocks) => {
                member.push(&mut short);
                member.push(&mut blocks);
            }
        }
    }
    member.push(&mut short);
    let mut end = LAST_BLOCK.to_vec();
    end.extend_from_slice(&member.crc.sum().to_le_bytes());
    end.extend_from_slice(&member.crc.amount().to_le_bytes());
    member.parts.push(end);
    member.parts
}

struct Member {
    parts: Vec<Vec<u8>>,
    crc: Crc,
}

impl Member {
    fn push(&mut self, blocks: &mut Blocks) {
        let (part, crc) = blocks.take();
        self.parts.push(part);
        self.crc.combine(&crc);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn unpacked(parts: &[Vec<u8>]) -> Vec<u8> {
        let (mut text, packed) = (Vec::new(), parts.concat());
        let mut decoder = GzDecoder::new(&*packed);
        decoder.read_to_end(&mut text).unwrap();
        assert!(decoder.into_inner().is_empty(), "one member and nothing behind it");
        text
    }

    #[test]
    fn nothing_is_a_member_too() {
        assert_eq!(unpacked(&member(Vec::new())), b"");
    }

    #[test]
    fn text_that_does_not_shrink_comes_whole() {
        let mut state = 1u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let noise: Vec<u8> = noise.take(3 << 20).collect();
        let mut blocks = Blocks::new();
        blocks.write(&noise);
        assert_eq!(
            unpacked(&member(vec![Piece::Blocks(blocks), Piece::Plain(noise.clone())])),
            noise.repeat(2)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever stands beside what, and in however many strokes it was written; repeats reach far back.
        #[test]
        fn it_is_what_was_written(
            pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec("[ab]{0,9}", 0..4), 0usize..9_000), 0..8)
        ) {
            let (mut plain, mut given) = (Vec::new(), Vec::new());
            for (own, strokes, times) in pieces {
                let mut blocks = Blocks::new();
                let mut text = Vec::new();
                for stroke in &strokes {
                    let stroke = stroke.repeat(times).into_bytes();
                    blocks.write(&stroke);
                    text.extend(stroke);
                }
                plain.extend_from_slice(&text);
                given.push(if own { Piece::Blocks(blocks) } else { Piece::Plain(text) });
            }
            prop_assert_eq!(unpacked(&member(given)), plain);
        }
    }
}
