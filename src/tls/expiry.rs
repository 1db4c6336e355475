//! When certificates expire, told in time: as a metric, and in the log.
//!
//! Whoever sees a certificate tells an [`Expiry`] of it: [`PeerTls`](super::PeerTls) does so of those that
//! peers show in handshakes and of the program's own in its files. For a further one, add a variant to
//! [`Certificate`] and call [`Expiry::seen`] with the DER form of the leaf, or [`Expiry::ends_at`], whenever it is
//! read anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Time left at which a warning is due: a fortnight, as most who renew certificates by hand have it. Those
/// that are renewed by a machine are so with a month left.
pub const SOON: Duration = Duration::from_secs(14 * DAY);

const DAY: u64 = 86_400;

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(3600);

/// A certificate whose end is told; `peer` in the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certificate {
    /// The broker's.
    RabbitMq,
    /// Ours, for the broker and its management API.
    RabbitMqClient,
    /// The management API's.
    Management,
    /// That of Redis.
    Redis,
    /// Ours, for Redis.
    RedisClient,
    /// An OTLP receiver's.
    Otlp,
    /// Ours, for OTLP receivers.
    OtlpClient,
    /// Ours, for those who scrape.
    Web,
}

impl Certificate {
    /// Its word in metrics and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RabbitMq => "rabbitmq",
            Self::RabbitMqClient => "rabbitmq_client",
            Self::Management => "management",
            Self::Redis => "redis",
            Self::RedisClient => "redis_client",
            Self::Otlp => "otlp",
            Self::OtlpClient => "otlp_client",
            Self::Web => "web",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PeerLabel {
    peer: &'static str,
}

/// Knows when certificates expire. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Expiry {
    ends: Family<PeerLabel, Gauge>,
    /// A std lock: held for a look, never across an await.
    known: Arc<Mutex<BTreeMap<Certificate, Known>>>,
}

impl Expiry {
    /// One whose certificates are shown as `heartbeat_tls_certificate_not_after_timestamp_seconds`.
    pub fn register(registry: &mut Registry) -> Self {
        let expiry = Self::default();
        registry.register_with_unit(
            "heartbeat_tls_certificate_not_after_timestamp",
            "When a certificate expires, of those that were last seen",
            Unit::Seconds,
            expiry.ends.clone(),
        );
        expiry
    }

    /// A certificate was seen: the leaf of a handshake, or of a file.
    pub fn seen(&self, certificate: Certificate, leaf: &CertificateDer<'_>) {
        // What cannot be read is refused by whoever has to trust it.
        if let Some(not_after) = not_after(leaf) {
            self.ends_at(certificate, not_after);
        }
    }

    /// The same, of a certificate whose end is known, in seconds since the epoch.
    pub fn ends_at(&self, certificate: Certificate, not_after: i64) {
        self.ends.get_or_create(&PeerLabel { peer: certificate.as_str() }).set(not_after);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(certificate).or_insert(Known { not_after, told_at: None });
        if entry.not_after != not_after {
            *entry = Known { not_after, told_at: None };
        }
        entry.tell(certificate, now());
    }

    /// Looks now and then whether something is to be told, until `stop`: a connection may last for months.
    pub async fn watch(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for (certificate, entry) in known.iter_mut() {
                entry.tell(*certificate, now());
            }
        }
    }
}

/// Seconds since the epoch.
fn now() -> i64 {
    i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX)
}

/// The end of a certificate, in seconds since the epoch.
pub(super) fn not_after(leaf: &CertificateDer<'_>) -> Option<i64> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    Some(leaf.validity().not_after.timestamp())
}

/// A time for people.
pub(super) fn shown(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |at| at.to_string())
}

/// A certificate's end, and when it was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    not_after: i64,
    told_at: Option<i64>,
}

/// What is to be told of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Soon { days_left: i64 },
    Expired,
}

impl Known {
    /// What is due now: once a day, from [`SOON`] before the end.
    fn due(&mut self, now: i64) -> Option<Due> {
        let left = self.not_after.saturating_sub(now);
        let day = DAY.cast_signed();
        if left > SOON.as_secs().cast_signed() || self.told_at.is_some_and(|at| now.saturating_sub(at) < day)
        {
            return None;
        }
        self.told_at = Some(now);
        Some(if left > 0 { Due::Soon { days_left: left / day } } else { Due::Expired })
    }

    fn tell(&mut self, certificate: Certificate, now: i64) {
        let (peer, not_after) = (certificate.as_str(), shown(self.not_after));
        match self.due(now) {
            None => {}
            Some(Due::Soon { days_left }) => {
                warn!(peer, not_after, days_left, "A certificate expires soon; renew it");
            }
            Some(Due::Expired) => error!(peer, not_after, "A certificate has expired; renew it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY_S: i64 = 86_400;

    fn known(left: i64) -> Known {
        Known { not_after: NOW + left, told_at: None }
    }

    #[test]
    fn the_end_is_told_a_fortnight_before_once_a_day() {
        assert_eq!(known(14 * DAY_S + 1).due(NOW), None);
        let mut soon = known(14 * DAY_S);
        assert_eq!(soon.due(NOW), Some(Due::Soon { days_left: 14 }));
        assert_eq!(soon.due(NOW + DAY_S - 1), None);
        assert_eq!(soon.due(NOW + DAY_S), Some(Due::Soon { days_left: 13 }));
        assert_eq!(soon.due(NOW + 14 * DAY_S), Some(Due::Expired));
        assert_eq!(known(0).due(NOW), Some(Due::Expired));
        assert_eq!(known(i64::MIN).due(NOW), Some(Due::Expired));
    }

    #[test]
    fn a_certificate_that_was_seen_is_shown_and_a_renewed_one_replaces_it() {
        let mut registry = Registry::default();
        let expiry = Expiry::register(&mut registry);
        let text = |registry: &Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
            text
        };
        assert!(!text(&registry).contains("peer="), "nothing was seen yet");
        for year in [2027, 2031] {
            let mut params = rcgen::CertificateParams::new(vec!["a".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let cert = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            expiry.seen(Certificate::Web, cert.der());
            let ends: jiff::Timestamp = format!("{year}-01-01T00:00:00Z").parse().unwrap();
            let ends = ends.as_second();
            let line =
                format!("heartbeat_tls_certificate_not_after_timestamp_seconds{{peer=\"web\"}} {ends}\n");
            assert!(text(&registry).contains(&line), "{}", text(&registry));
        }
        expiry.seen(Certificate::Redis, &CertificateDer::from(b"no certificate".as_slice()));
        assert!(!text(&registry).contains("redis"));
    }
}
