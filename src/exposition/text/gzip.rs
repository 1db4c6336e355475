//! gzip of families that are written side by side: each is compressed in strokes as it grows, and they follow each other at
//! the end.
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

/// Text that is compressed at a time: few strokes, and still in the processor's cache when it is.
const STROKE: usize = 64 << 10;

/// Text, of which the beginning may be compressed.
#[derive(Default)]
pub(super) struct Text {
    blocks: Vec<u8>,
    /// Of what is compressed.
    crc: Crc,
    /// What is not compressed, behind it.
    pub(super) rest: Vec<u8>,
}

impl Text {
    /// With room for so much that is not compressed.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self { rest: Vec::with_capacity(bytes), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.blocks.is_empty()
    }
}

/// One for all of a scrape: it takes a third of a megabyte.
pub(super) struct Compressor(Compress);

impl Compressor {
    /// Room for text that is compressed whenever it is long enough.
    pub(super) const ROOM: usize = STROKE + STROKE / 4;

    pub(super) fn new() -> Self {
        Self(Compress::new(Compression::new(LEVEL), false))
    }

    /// Compresses what is not compressed yet, if that is enough to be worth it.
    pub(super) fn stroke(&mut self, text: &mut Text) {
        if text.rest.len() >= STROKE {
            self.compress(text);
        }
    }

    /// The blocks point at nothing that was compressed before, and end with a whole byte, so that anything may stand before
    /// and behind them.
    fn compress(&mut self, Text { blocks, crc, rest }: &mut Text) {
        crc.update(rest);
        let mut from = rest.as_slice();
        loop {
            blocks.reserve(from.len() / 16 + 1024);
            let before = self.0.total_in();
            // Errors are those of a caller that goes on after the end.
            let written = self.0.compress_vec(from, blocks, FlushCompress::Full);
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(from.len());
            from = from.get(taken..).unwrap_or_default();
            // Room that is left says that nothing waits for some.
            if written.is_err() || (from.is_empty() && blocks.len() < blocks.capacity()) {
                break;
            }
        }
        rest.clear();
    }

    /// One gzip member of all texts, in its parts.
    pub(super) fn member(mut self, texts: Vec<Text>) -> Vec<Vec<u8>> {
        let (mut parts, mut whole) = (vec![HEADER.to_vec()], Crc::new());
        let mut push = |mut text: Text| {
            if !text.rest.is_empty() {
                self.compress(&mut text);
            }
            whole.combine(&text.crc);
            parts.push(text.blocks);
        };
        // Short ones are compressed together.
        let mut short = Text::default();
        for text in texts {
            if text.blocks.is_empty() {
                short.rest.extend_from_slice(&text.rest);
            } else {
                push(std::mem::take(&mut short));
                push(text);
            }
        }
        push(short);
        let end = [&LAST_BLOCK[..], &whole.sum().to_le_bytes(), &whole.amount().to_le_bytes()];
        parts.push(end.concat());
        parts
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
        assert_eq!(unpacked(&Compressor::new().member(Vec::new())), b"");
    }

    #[test]
    fn text_that_does_not_shrink_comes_whole() {
        let mut state = 1u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let noise: Vec<u8> = noise.take(3 << 20).collect();
        let mut compressor = Compressor::new();
        let mut text = Text { rest: noise.clone(), ..Text::default() };
        compressor.stroke(&mut text);
        assert!(text.rest.is_empty() && !text.is_empty());
        assert_eq!(unpacked(&compressor.member(vec![text])), noise);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is written in however many strokes, in turn with others; repeats reach far back.
        #[test]
        fn it_is_what_was_written(
            strokes in proptest::collection::vec((0usize..4, "[ab]{0,9}", 0usize..30_000), 0..24)
        ) {
            let mut compressor = Compressor::new();
            let mut all: Vec<(Vec<u8>, Text)> = (0..4).map(|_| Default::default()).collect();
            for (at, word, times) in strokes {
                let written = word.repeat(times).into_bytes();
                let (plain, text) = &mut all[at];
                text.rest.extend_from_slice(&written);
                compressor.stroke(text);
                plain.extend(written);
            }
            let (plain, texts): (Vec<Vec<u8>>, Vec<Text>) = all.into_iter().unzip();
            prop_assert_eq!(unpacked(&compressor.member(texts)), plain.concat());
        }
    }
}
