//! Which traces are recorded.

use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Sampler as SdkSampler, SamplingDecision, ShouldSample};

use super::config::{Root, Sampler};
use crate::trace::TraceContext;

impl Sampler {
    /// Whether this trace is recorded; `parent` is who began it, where somebody else did.
    pub fn samples(&self, parent: Option<&TraceContext>, trace_id: TraceId) -> bool {
        if let Some(parent) = parent.filter(|_| self.parent_based) {
            return parent.sampled;
        }
        match self.root {
            Root::AlwaysOn => true,
            Root::AlwaysOff => false,
            // By the rule that every OpenTelemetry program has, so that all choose the same.
            Root::Ratio(share) => {
                let sampler = SdkSampler::TraceIdRatioBased(share);
                let result = sampler.should_sample(None, trace_id, "", &SpanKind::Internal, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_decides_where_it_may() {
        for sampled in [true, false] {
            let parent = TraceContext::random(sampled);
            for root in [Root::AlwaysOn, Root::AlwaysOff, Root::Ratio(0.5)] {
                let sampler = Sampler { root, parent_based: true };
                assert_eq!(sampler.samples(Some(&parent), parent.trace_id()), sampled);
            }
            let deaf = |root| Sampler { root, parent_based: false }.samples(Some(&parent), parent.trace_id());
            assert!(deaf(Root::AlwaysOn) && !deaf(Root::AlwaysOff));
        }
    }

    #[test]
    fn a_ratio_is_kept_and_everybody_chooses_the_same() {
        let sampler = |share| Sampler { root: Root::Ratio(share), parent_based: false };
        let ids: Vec<TraceId> = (0..4000).map(|_| TraceContext::random(true).trace_id()).collect();
        let chosen = ids.iter().filter(|id| sampler(0.25).samples(None, **id)).count();
        // Nine standard deviations on either side.
        assert!((750..1250).contains(&chosen), "{chosen} of 4000");
        assert!(ids.iter().all(|id| sampler(0.25).samples(None, *id) <= sampler(0.5).samples(None, *id)));
        assert!(ids.iter().all(|id| sampler(1.0).samples(None, *id) && !sampler(0.0).samples(None, *id)));
    }
}
