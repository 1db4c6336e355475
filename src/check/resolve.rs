//! Names to addresses, with the errors of `getaddrinfo` kept apart: a name that is not there is a finding
//! about the host, a resolver that does not answer is none.
//!
//! `getaddrinfo` blocks, for half a minute where no name server answers, and cannot be stopped. So each
//! lookup has a thread; a name that is being looked up is not looked up a second time, which holds a hung
//! name to one thread however often it is checked; and the threads are bounded.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType};
use tokio::sync::{Semaphore, watch};

use super::{Verdict, is_local_failure};
use crate::heartbeat::Reason;

/// Threads that may wait for the resolver at once: well below the 512 that the runtime has for blocking
/// work, and enough that some tens of hung names leave room for the rest.
const LOOKUPS_MAX: usize = 64;

/// What the resolver said: addresses, at least one, or what that makes of the check.
type Answer = Result<Arc<[SocketAddr]>, Verdict>;

/// The lookup that every check of one name waits for; `None` until it has ended.
type Pending = watch::Receiver<Option<Answer>>;

static PERMITS: Semaphore = Semaphore::const_new(LOOKUPS_MAX);

/// Lookups under way. Held for single map operations only, never across an await.
static UNDER_WAY: LazyLock<Mutex<HashMap<Arc<str>, Pending>>> = LazyLock::new(Mutex::default);

/// All addresses of a host, in the resolver's order, each once. An IP literal, bracketed or not, needs no
/// resolver. Whoever waits sets the deadline, and may go away at any time.
pub(super) async fn resolve(host: &str, port: u16) -> Answer {
    if let Some(ip) = ip_literal(host) {
        return Ok(Arc::new([SocketAddr::new(ip, port)]));
    }
    let mut answer = None;
    // A lookup ends without an answer where its runtime went down; another may still run it.
    for _ in 0..2 {
        if let Ok(found) = join(host, look_up).wait_for(Option::is_some).await {
            answer.clone_from(&found);
            break;
        }
    }
    let addresses = answer.unwrap_or(Err(Verdict::unknown(Reason::Local)))?;
    Ok(addresses.iter().map(|address| with_port(*address, port)).collect())
}

/// An address written out, as `127.0.0.1`, `::1` or `[::1]`.
pub(super) fn ip_literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Keeps the scope of a link-local address, which a pair of IP and port would lose.
fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// The lookup of this name that is under way, or a new one.
fn join(host: &str, look_up: fn(&str) -> Answer) -> Pending {
    let mut under_way = under_way();
    if let Some(pending) = under_way.get(host) {
        return pending.clone();
    }
    let (sender, receiver) = watch::channel(None);
    let host: Arc<str> = host.into();
    under_way.insert(Arc::clone(&host), receiver.clone());
    tokio::spawn(Lookup { host, sender }.run(look_up));
    receiver
}

fn under_way() -> MutexGuard<'static, HashMap<Arc<str>, Pending>> {
    // The map is whole after any panic: nothing but single operations happens under the lock.
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One lookup; it takes itself out of the map however it ends, so that no later check waits for it.
struct Lookup {
    host: Arc<str>,
    sender: watch::Sender<Option<Answer>>,
}

impl Lookup {
    async fn run(self, look_up: fn(&str) -> Answer) {
        let Ok(permit) = PERMITS.acquire().await else { return };
        if self.is_forsaken() {
            return;
        }
        let host = Arc::clone(&self.host);
        let answer = tokio::task::spawn_blocking(move || {
            // Given back by the thread, not by those who wait: a hung thread counts until it ends.
            let _permit = permit;
            look_up(&host)
        });
        if let Ok(answer) = answer.await {
            self.sender.send_replace(Some(answer));
        }
    }

    /// Whether everyone who waited for a thread has gone meanwhile. Under the lock, so that nobody joins
    /// between the answer and the removal.
    fn is_forsaken(&self) -> bool {
        let mut under_way = under_way();
        // One receiver is the map's own.
        let forsaken = self.sender.receiver_count() <= 1;
        if forsaken {
            under_way.remove(&self.host);
        }
        forsaken
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let mut under_way = under_way();
        // A forsaken lookup may already have a successor under the same name.
        if under_way.get(&self.host).is_some_and(|pending| pending.same_channel(&self.sender.subscribe())) {
            under_way.remove(&self.host);
        }
    }
}

/// Asks the system's resolver, and blocks until it answers.
fn look_up(host: &str) -> Answer {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints)).map_err(not_found)?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.flatten().map(|info| info.sockaddr) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(Verdict::down(Reason::Dns)) } else { Ok(addresses.into()) }
}

/// Only a definite answer, that there is no such name or no address for it, says something of the host.
fn not_found(error: LookupError) -> Verdict {
    match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => Verdict::down(Reason::Dns),
        LookupErrorKind::Memory => Verdict::unknown(Reason::Local),
        LookupErrorKind::System if is_local_failure(&io::Error::from(error)) => {
            Verdict::unknown(Reason::Local)
        }
        _ => Verdict::unknown(Reason::Dns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::Outcome;

    #[test]
    fn addresses_need_no_resolver() {
        for (text, ip) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[::1]", "::1")] {
            assert_eq!(ip_literal(text), ip.parse().ok(), "{text}");
        }
        for name in ["localhost", "[localhost]", "[127.0.0.1", "1.2.3.4.5"] {
            assert_eq!(ip_literal(name), None, "{name}");
        }
    }

    #[tokio::test]
    async fn a_name_has_its_addresses_once() {
        let addresses = resolve("localhost", 80).await.unwrap();
        assert!(addresses.contains(&"127.0.0.1:80".parse().unwrap()), "{addresses:?}");
        let mut once = addresses.to_vec();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), addresses.len());
    }

    /// A resolver that does not answer for a second.
    fn hung(_: &str) -> Answer {
        std::thread::sleep(std::time::Duration::from_secs(1));
        Err(Verdict::unknown(Reason::Dns))
    }

    #[tokio::test]
    async fn checks_of_one_name_share_one_lookup() {
        let mut first = join("shared.test", hung);
        let second = join("shared.test", hung);
        assert!(first.same_channel(&second));
        let answer = first.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(answer, Some(Err(Verdict::unknown(Reason::Dns))));
    }

    #[tokio::test]
    async fn hung_names_hold_one_thread_each_and_nobody_up() {
        let start = std::time::Instant::now();
        let before = PERMITS.available_permits();
        let mut pending = Vec::new();
        for check in 0..100 {
            pending.push(join(&format!("hung-{}.test", check % 10), hung));
        }
        resolve("localhost", 80).await.unwrap();
        assert!(start.elapsed().as_millis() < 900, "waited for hung names: {:?}", start.elapsed());
        // Other tests look names up too.
        assert!(before.saturating_sub(PERMITS.available_permits()) <= 14);
        for mut answer in pending {
            answer.wait_for(Option::is_some).await.unwrap();
        }
        assert!(start.elapsed().as_millis() < 3000, "hung one after another: {:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_lookup_that_nobody_waits_for_is_not_made() {
        let (sender, receiver) = watch::channel(None);
        under_way().insert("forsaken.test".into(), receiver);
        let lookup = Lookup { host: "forsaken.test".into(), sender };
        lookup.run(|_| panic!("looked up for nobody")).await;
        assert!(!under_way().contains_key("forsaken.test"));
    }

    #[tokio::test]
    async fn an_ended_lookup_is_made_anew() {
        let _ = resolve("localhost.", 80).await;
        let gone = || !under_way().contains_key("localhost.");
        for _ in 0..1000 {
            if gone() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("the lookup is still in the map");
    }

    #[test]
    fn only_a_definite_answer_is_down() {
        let verdict = |code| not_found(LookupError::new(code));
        // Linux' numbers, of netdb.h.
        assert_eq!(verdict(-2), Verdict::down(Reason::Dns), "EAI_NONAME");
        assert_eq!(verdict(-5), Verdict::down(Reason::Dns), "EAI_NODATA");
        assert_eq!(verdict(-3), Verdict::unknown(Reason::Dns), "EAI_AGAIN");
        assert_eq!(verdict(-4), Verdict::unknown(Reason::Dns), "EAI_FAIL");
        assert_eq!(verdict(-10), Verdict::unknown(Reason::Local), "EAI_MEMORY");
    }

    #[tokio::test]
    async fn a_name_that_is_nowhere_is_as_the_resolver_says() {
        let name = "does-not-exist.invalid";
        let expected = look_up(name).unwrap_err();
        assert_eq!(expected.reason, Some(Reason::Dns));
        assert_ne!(expected.outcome, Outcome::Up);
        assert_eq!(resolve(name, 80).await, Err(expected));
    }
}
