//! What may go wrong with bytes on their way, in toxiproxy's words where it has one.

use std::time::Duration;

/// Which way bytes go, as toxiproxy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Upstream,
    /// From the server to the client.
    Downstream,
}

impl Direction {
    /// Both ways.
    pub const BOTH: [Self; 2] = [Self::Upstream, Self::Downstream];
}

/// The faults of one direction, applied in this order; none by default.
///
/// Several compose: `Toxics { bandwidth: Some(8192), ..Toxics::latency(ms(200), ms(100)) }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Toxics {
    /// Each chunk comes so much later; the order is kept, and chunks are under way side by side.
    pub latency: Option<Latency>,
    /// Nothing passes until it is lifted; then everything does, ends and resets too. The sender is slowed down.
    pub stall: bool,
    /// What comes vanishes, ends and resets too. A connection that has lost a byte so goes on losing all of that
    /// direction when it is lifted, as behind a firewall that has forgotten it.
    pub swallow: bool,
    /// The connection ends after so many bytes of it.
    pub limit_data: Option<Limit>,
    /// This byte comes with all its bits turned; 0 is the next.
    pub flip: Option<u64>,
    /// Bytes come in small segments.
    pub slicer: Option<Slicer>,
    /// Bytes in a second.
    pub bandwidth: Option<u64>,
    /// An end comes so much later.
    pub slow_close: Option<Duration>,
}

/// A delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// In the middle.
    pub base: Duration,
    /// At most so much less or more; every amount is equally likely.
    pub jitter: Duration,
}

/// Where a connection ends. The bytes are counted from when it is set, or from the connection's begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many still pass.
    pub bytes: u64,
    /// How it ends.
    pub how: Ending,
}

/// How a connection ends, to both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order (FIN).
    Close,
    /// At once (RST).
    Reset,
}

/// Small segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slicer {
    /// At most so many bytes each.
    pub bytes: usize,
    /// Between two.
    pub delay: Duration,
}

impl Toxics {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// Late, by `base` ± `jitter`.
    pub fn latency(base: Duration, jitter: Duration) -> Self {
        Self { latency: Some(Latency { base, jitter }), ..Self::default() }
    }

    /// Held until released.
    pub fn stall() -> Self {
        Self { stall: true, ..Self::default() }
    }

    /// Lost, while the connection stays up: a black hole.
    pub fn swallow() -> Self {
        Self { swallow: true, ..Self::default() }
    }

    /// The connection is reset after so many bytes.
    pub fn reset_at(bytes: u64) -> Self {
        Self { limit_data: Some(Limit { bytes, how: Ending::Reset }), ..Self::default() }
    }

    /// The connection is closed in order after so many bytes.
    pub fn close_at(bytes: u64) -> Self {
        Self { limit_data: Some(Limit { bytes, how: Ending::Close }), ..Self::default() }
    }

    /// One byte is turned.
    pub fn flip_at(byte: u64) -> Self {
        Self { flip: Some(byte), ..Self::default() }
    }

    /// Segments of so many bytes.
    pub fn slicer(bytes: usize, delay: Duration) -> Self {
        Self { slicer: Some(Slicer { bytes, delay }), ..Self::default() }
    }

    /// So many bytes in a second.
    pub fn bandwidth(rate: u64) -> Self {
        Self { bandwidth: Some(rate), ..Self::default() }
    }

    /// Ends come late.
    pub fn slow_close(delay: Duration) -> Self {
        Self { slow_close: Some(delay), ..Self::default() }
    }

    /// Whether nothing gets through.
    pub(super) fn blocks(&self) -> bool {
        self.stall || self.swallow
    }
}
