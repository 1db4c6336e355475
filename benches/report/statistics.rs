//! Medians, and how far they can be trusted.

use serde::{Deserialize, Serialize};

use crate::support::v2::Chance;

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
    let mut chance = Chance::new(0);
    let mut drawn = vec![0.0; values.len()];
    let medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            drawn.fill_with(|| values[usize::try_from(chance.below(values.len() as u64)).unwrap()]);
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
