//! The way to a server: its name, a connection, TLS. The same for RabbitMQ, its management API and Redis.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::AlertDescription;
use rustls::pki_types::UnixTime;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::STEP;
use super::protocol::{Protocol, what_speaks};
use super::report::{Fault, Report};
use crate::dial;
use crate::telemetry::Chain;
use crate::terminal::counted;
use crate::tls::{self, PeerTls, Refusal};

/// Time left of a certificate at which it is time to see to the next one.
const EXPIRES_SOON: Duration = tls::expiry::SOON;

/// One server, and the settings that lead to it.
pub(super) struct Server<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Host name or address.
    pub host: &'a str,
    /// Port.
    pub port: u16,
    /// TLS, where it is on.
    pub tls: Option<&'a PeerTls>,
    /// What it speaks.
    pub speaks: Protocol,
    /// The setting that names its host.
    pub host_setting: &'a str,
    /// The settings that say where it is.
    pub places: &'a [&'a str],
    /// The setting that turns TLS on.
    pub switch: &'a str,
    /// The setting of the file with the CA.
    pub ca: &'a str,
    /// The setting of the name in the certificate.
    pub server_name: &'a str,
    /// The settings of the client's certificate and key.
    pub client: &'a str,
}

/// A server that was reached.
pub(super) struct Reached {
    /// Who took the connection.
    pub address: SocketAddr,
    /// What is to be told of TLS, once nothing more can be wrong with it.
    tls: TlsFound,
}

/// What a handshake came to.
enum TlsFound {
    Off,
    Good(String),
    Expires { found: String },
}

impl Server<'_> {
    /// Walks from the name to TLS, and tells of all but TLS where that is good: the last word on it may come later.
    pub(super) async fn reach(&self, report: &mut Report<'_>) -> Option<Reached> {
        let Some(addresses) = self.look_up(report).await else {
            report.skip(&["TCP"]);
            self.skip_tls(report);
            return None;
        };
        let Some((stream, address)) = self.connect(report, &addresses).await else {
            self.skip_tls(report);
            return None;
        };
        let tls = match self.tls {
            None => TlsFound::Off,
            Some(tls) => self.shake_hands(report, tls, stream, address).await?,
        };
        Some(Reached { address, tls })
    }

    fn skip_tls(&self, report: &mut Report<'_>) {
        if self.tls.is_some() {
            report.skip(&["TLS"]);
        }
    }

    /// The settings that say where it is.
    fn place(&self) -> String {
        self.places.join(" and ")
    }

    /// Host and port.
    pub(super) fn target(&self) -> String {
        dial::endpoint(self.host, self.port)
    }

    async fn look_up(&self, report: &mut Report<'_>) -> Option<Vec<SocketAddr>> {
        let Self { host, port, .. } = self;
        let attempted = format!("looking up {host:?}");
        let failed = |report: &mut Report<'_>, why: &str| {
            let to_do = format!(
                "Look for a slip in {}; ask the resolver of this machine by `getent hosts {host}`; in a container, see \
                 that it is on the network of {}.",
                self.host_setting, self.name
            );
            report.fail("DNS", &Fault { attempted: &attempted, why, to_do: &to_do });
        };
        match timeout(STEP, lookup_host((*host, *port))).await {
            Err(_) => {
                failed(report, &format!("the resolver did not answer within {STEP:?}"));
                None
            }
            Ok(Err(error)) => {
                failed(report, &error.to_string());
                None
            }
            Ok(Ok(found)) => {
                let mut addresses: Vec<SocketAddr> = Vec::new();
                for address in found {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
                let shown = shown.join(", ");
                let found = if shown == *host {
                    format!("{host} is an address")
                } else {
                    format!("{host} is {shown}")
                };
                report.ok("DNS", &found);
                Some(addresses)
            }
        }
    }

    async fn connect(
        &self,
        report: &mut Report<'_>,
        addresses: &[SocketAddr],
    ) -> Option<(TcpStream, SocketAddr)> {
        let connect =
            async |address: SocketAddr| Ok::<_, io::Error>((TcpStream::connect(address).await?, address));
        match dial::first(addresses, Instant::now() + STEP, connect).await {
            Ok((stream, address)) => {
                report.ok("TCP", &format!("{address} takes connections"));
                Some((stream, address))
            }
            Err(failed) => {
                let shown: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
                let attempted = format!("connecting to {}", shown.join(", "));
                let (why, to_do) = match failed.errors.last().filter(|_| !failed.out_of_time) {
                    Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => (
                        format!("{error}: the machine is there, and nothing listens on this port"),
                        format!(
                            "Start {}, or set {} to where it listens; it may listen on other addresses of its machine \
                             alone.",
                            self.name,
                            self.place()
                        ),
                    ),
                    Some(error) => (
                        error.to_string(),
                        format!("See that there is a route from here, and check {}.", self.place()),
                    ),
                    None => (
                        format!(
                            "no answer within {STEP:?}: something between drops what is sent, or the machine is off"
                        ),
                        format!("Open the way in the firewalls between, or mend {}.", self.place()),
                    ),
                };
                report.fail("TCP", &Fault { attempted: &attempted, why: &why, to_do: &to_do });
                None
            }
        }
    }

    async fn shake_hands(
        &self,
        report: &mut Report<'_>,
        tls: &PeerTls,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Option<TlsFound> {
        let shaken = timeout(STEP, tls::handshake(tls, self.host, stream)).await;
        let late = io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {STEP:?}"));
        match shaken.unwrap_or(Err(late)) {
            Ok(not_after) => Some(self.judge_end(not_after)),
            Err(error) => {
                self.fail_tls(report, &error, address).await;
                None
            }
        }
    }

    /// Tells why there is no TLS, by what went wrong, and by what answers without.
    pub(super) async fn fail_tls(&self, report: &mut Report<'_>, error: &io::Error, address: SocketAddr) {
        let attempted = format!("a TLS handshake with {address}");
        let (why, to_do) = match cause(error) {
            Cause::Certificate(Some(Refusal::OtherName { .. })) => (
                words(error),
                format!(
                    "Set {} to a name that the certificate is for, or have one made for {:?}.",
                    self.server_name, self.host
                ),
            ),
            Cause::Certificate(Some(Refusal::UnknownIssuer { .. })) => (
                words(error),
                format!(
                    "Set {} to the file of the CA that signed it: with a file, no other CA counts; without, the system's.",
                    self.ca
                ),
            ),
            Cause::Certificate(Some(Refusal::Expired { .. } | Refusal::NotYetValid { .. })) => {
                (words(error), "Renew the certificate, or set the clock that is wrong.".to_owned())
            }
            Cause::Certificate(Some(Refusal::OfAuthority { .. })) => (
                words(error),
                format!(
                    "Make a certificate for {:?} that is a server's, with CA:FALSE, and have {} show it; its CA, or it itself, \
                     goes into the file of {}.",
                    self.host, self.name, self.ca
                ),
            ),
            Cause::Certificate(None) => (
                words(error),
                format!(
                    "See what is wrong with the certificate that {} shows, by `openssl s_client -connect {} -showcerts`: \
                     who signed it ({}), which names it has ({}), and until when it is good; have one made that is.",
                    self.name,
                    self.target(),
                    self.ca,
                    self.server_name
                ),
            ),
            Cause::Client => (
                words(error),
                format!(
                    "{} wants a certificate of whoever connects, and one that it trusts: set {}.",
                    self.name, self.client
                ),
            ),
            Cause::Other => match what_speaks(address).await {
                spoken @ (Protocol::Amqp | Protocol::Http | Protocol::Redis) => (
                    format!("{}; the port speaks {spoken} without TLS", words(error)),
                    format!(
                        "Set {} to the port on which {} speaks TLS, or turn {} off.",
                        self.place(),
                        self.name,
                        self.switch
                    ),
                ),
                Protocol::Tls | Protocol::Other => (
                    words(error),
                    format!(
                        "See in the log of {} why it ended the handshake, and whether it is where {} {} it to be.",
                        self.name,
                        self.place(),
                        if self.places.len() > 1 { "say" } else { "says" }
                    ),
                ),
            },
        };
        report.fail("TLS", &Fault { attempted: &attempted, why: &why, to_do: &to_do });
    }

    /// Tells of TLS that is good.
    pub(super) fn tell_tls(&self, report: &mut Report<'_>, reached: &Reached) {
        match &reached.tls {
            TlsFound::Off => {
                report.ok("TLS", &format!("off ({}): what is sent can be read on its way", self.switch));
            }
            TlsFound::Good(found) => report.ok("TLS", found),
            TlsFound::Expires { found } => report.warn("TLS", found, "Renew it in time."),
        }
    }

    /// Tells that the port does not speak as it should, and what it speaks instead, where that can be seen.
    pub(super) async fn fail_protocol(
        &self,
        report: &mut Report<'_>,
        step: &str,
        address: SocketAddr,
        error: &str,
    ) {
        let attempted = format!("speaking {} with {address}", self.speaks);
        let spoken = if self.tls.is_some() { Protocol::Other } else { what_speaks(address).await };
        let (why, to_do) = match spoken {
            Protocol::Tls => (
                "the port speaks TLS, and was spoken to without".to_owned(),
                format!("Turn {} on, or set {} to the port without TLS.", self.switch, self.place()),
            ),
            spoken @ (Protocol::Amqp | Protocol::Http | Protocol::Redis) if spoken != self.speaks => (
                format!("the port speaks {spoken}, and not {}", self.speaks),
                format!("Set {} to where {} speaks {}.", self.place(), self.name, self.speaks),
            ),
            _ => (
                error.to_owned(),
                format!("See in the log of {} what it has against this; check {}.", self.name, self.place()),
            ),
        };
        report.fail(step, &Fault { attempted: &attempted, why: &why, to_do: &to_do });
    }

    fn judge_end(&self, not_after: Option<i64>) -> TlsFound {
        let Some(not_after) = not_after else { return TlsFound::Good("the certificate is good".into()) };
        let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        let left = not_after.saturating_sub(now);
        let days = left / 86_400;
        let found = format!(
            "the certificate of {} is good for {} more",
            self.name,
            counted(days.max(0).unsigned_abs(), "day")
        );
        if left <= EXPIRES_SOON.as_secs().cast_signed() {
            TlsFound::Expires { found }
        } else {
            TlsFound::Good(found)
        }
    }
}

/// What a handshake failed for.
#[derive(Debug)]
enum Cause<'a> {
    /// The certificate; `None`: something of it that has no words of ours.
    Certificate(Option<&'a Refusal>),
    /// That of the client.
    Client,
    Other,
}

fn cause(error: &io::Error) -> Cause<'_> {
    if let Some(refusal) = tls::refusal(error) {
        return Cause::Certificate(Some(refusal));
    }
    match tls::failure(error) {
        Some(rustls::Error::AlertReceived(alert)) if is_of_client(*alert) => Cause::Client,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Cause::Certificate(None)
        }
        _ => Cause::Other,
    }
}

/// Whether a peer says that it wants another certificate of the client.
fn is_of_client(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// The innermost words, without those of the library around them.
fn words(error: &io::Error) -> String {
    tls::refusal(error).map_or_else(|| Chain(error).to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, Error};

    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_looked_for_in_the_certificate() {
        let of = |error: Error| io::Error::new(io::ErrorKind::InvalidData, error);
        for wrong in
            [CertificateError::Revoked, CertificateError::BadEncoding, CertificateError::InvalidPurpose]
        {
            assert!(matches!(cause(&of(Error::InvalidCertificate(wrong))), Cause::Certificate(None)));
        }
        // Others may use our words.
        let said = io::Error::other("the server's certificate is for a, and not for b");
        assert!(matches!(cause(&said), Cause::Other));
        assert!(matches!(cause(&of(Error::AlertReceived(AlertDescription::UnknownCA))), Cause::Client));
        assert!(matches!(cause(&of(Error::AlertReceived(AlertDescription::HandshakeFailure))), Cause::Other));
    }
}
