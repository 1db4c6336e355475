//! Medians, and how far they can be trusted.

use serde::{Deserialize, Serialize};

/// A median with the interval in which it lies by 95 %.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Interval {
    /// The median of the rounds.
    pub median: f64,
    /// 2.5 % of the medians of resampled rounds are below.
    pub low: f64,
    /// 2.5 % are above.
    pub high: f64,
}

impl Interval {
    /// The same on the other side of zero.
    pub fn negated(self) -> Self {
        Self { median: -self.median, low: -self.high, high: -self.low }
    }
}

/// Samples drawn anew: enough for two digits of a percentile.
const RESAMPLES: usize = 10_000;

/// The middle value, or the mean of both.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

/// The value below which a share of all is.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the slice")]
    let index = ((sorted.len() - 1) as f64 * share).round() as usize;
    sorted[index]
}

/// The median, and its interval by the percentile bootstrap: what rounds drawn from these rounds would have shown. It
/// supposes nothing of how they are distributed. The same rounds always give the same interval.
pub fn interval(values: &[f64]) -> Interval {
    let mut chance = Chance(0);
    let mut drawn = vec![0.0; values.len()];
    let medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            drawn.fill_with(|| values[chance.below(values.len())]);
            median(&drawn)
        })
        .collect();
    Interval { median: median(values), low: quantile(&medians, 0.025), high: quantile(&medians, 0.975) }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}
