//! Basic authentication against bcrypt hashes.
//!
//! A verification takes tens of milliseconds on purpose, so it runs off the async threads, one at a time, and what
//! was right once is remembered. What is remembered is a keyed digest of the password, under the user's name as a
//! field of its own: names and passwords that are joined to one text can be made to collide (CVE-2022-46146).
//! A user that is not known costs as much time as one that is.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::web::PasswordHash;

/// Verifications at once. Each takes a whole core, and heartbeats are to be read meanwhile.
const VERIFICATIONS_MAX: usize = 1;

/// Longest wait for a verification to begin; scrapers give up after 10 s.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// Right passwords that are remembered. A user has one; more come from what bcrypt cuts off after 72 bytes.
const REMEMBERED_MAX: usize = 256;

/// What became of a request's name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are right.
    Known,
    /// They are wrong, or missing.
    Unknown,
    /// It could not be found out in time.
    Busy,
}

/// The users, and who of them has been here.
pub(super) struct BasicAuth {
    users: BTreeMap<String, PasswordHash>,
    /// Of this process, so that nothing can be computed beforehand.
    secret: [u8; 32],
    /// Locked for a look-up alone.
    remembered: Mutex<HashSet<Right>>,
    turns: Arc<Semaphore>,
}

/// A user with the digest of a password that was right.
#[derive(PartialEq, Eq, Hash)]
struct Right {
    user: String,
    password: [u8; 32],
}

/// A name and a password, as they were sent.
struct Credentials {
    user: String,
    password: Vec<u8>,
}

impl fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicAuth").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

impl BasicAuth {
    /// For users, of whom there is at least one.
    pub(super) fn new(users: BTreeMap<String, PasswordHash>) -> Self {
        let turns = Arc::new(Semaphore::new(VERIFICATIONS_MAX));
        Self { users, secret: rand::random(), remembered: Mutex::default(), turns }
    }

    /// Looks at a request's `Authorization`.
    pub(super) async fn check(self: &Arc<Self>, headers: &HeaderMap) -> Verdict {
        let Some(credentials) = Credentials::of(headers) else { return Verdict::Unknown };
        if self.is_remembered(&credentials) {
            return Verdict::Known;
        }
        let turn = timeout(TURN_TIMEOUT, Arc::clone(&self.turns).acquire_owned());
        let Ok(Ok(turn)) = turn.await else { return Verdict::Busy };
        let auth = Arc::clone(self);
        let work = move || {
            // Whoever waited for the same verification need not do it again.
            let right = auth.is_remembered(&credentials) || auth.verify(&credentials);
            drop(turn);
            right
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(true) => Verdict::Known,
            Ok(false) => Verdict::Unknown,
            Err(_) => Verdict::Busy,
        }
    }

    fn verify(&self, credentials: &Credentials) -> bool {
        let Credentials { user, password } = credentials;
        let Some(hash) = self.users.get(user) else {
            self.decoy(user).verify(password);
            return false;
        };
        let right = hash.verify(password);
        if right {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= REMEMBERED_MAX {
                remembered.clear();
            }
            remembered.insert(self.right(credentials));
        }
        right
    }

    fn is_remembered(&self, credentials: &Credentials) -> bool {
        let right = self.right(credentials);
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).contains(&right)
    }

    fn right(&self, credentials: &Credentials) -> Right {
        Right { user: credentials.user.clone(), password: self.digest(&credentials.password) }
    }

    fn digest(&self, text: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.secret).chain_update(text).finalize().into()
    }

    /// A hash for somebody who is not known, as costly as that of one who is: of whom is drawn by the name, so that
    /// the same stranger always takes the same time.
    fn decoy(&self, user: &str) -> PasswordHash {
        let drawn = usize::from(self.digest(user.as_bytes())[0]) % self.users.len().max(1);
        let cost = self.users.values().nth(drawn).map_or(10, PasswordHash::cost);
        PasswordHash::decoy(cost)
    }
}

impl Credentials {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (all.next(), all.next()) else { return None };
        let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = STANDARD.decode(encoded.trim()).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let user = std::str::from_utf8(&decoded[..colon]).ok()?.to_owned();
        Some(Self { user, password: decoded[colon + 1..].to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn hash(password: &str, cost: u32) -> PasswordHash {
        PasswordHash::new(&bcrypt::hash(password, cost).expect("a cost")).expect("a hash")
    }

    fn users(all: &[(&str, PasswordHash)]) -> Arc<BasicAuth> {
        let all = all.iter().map(|(name, hash)| ((*name).to_owned(), hash.clone()));
        Arc::new(BasicAuth::new(all.collect()))
    }

    fn sent(text: &str) -> HeaderMap {
        raw(&format!("Basic {}", STANDARD.encode(text)))
    }

    fn raw(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"))])
    }

    #[tokio::test]
    async fn only_the_right_password_of_the_right_user_counts() {
        let auth = users(&[("alice", hash("open:sesame", 4)), ("bob", hash("", 4))]);
        // Twice, since what is remembered must say the same.
        for _ in 0..2 {
            assert_eq!(auth.check(&sent("alice:open:sesame")).await, Verdict::Known);
            assert_eq!(auth.check(&sent("bob:")).await, Verdict::Known);
            for wrong in [
                "alice:open",
                "alice:open:sesame ",
                "alice:",
                "Alice:open:sesame",
                "bob:open:sesame",
                "alice:open:sesame\0",
                ":",
                "",
                "alice",
                "carol:open:sesame",
            ] {
                assert_eq!(auth.check(&sent(wrong)).await, Verdict::Unknown, "{wrong}");
            }
        }
        let encoded = STANDARD.encode("alice:open:sesame");
        assert_eq!(auth.check(&raw(&format!("bAsIc {encoded}"))).await, Verdict::Known);
        for wrong in [format!("Bearer {encoded}"), encoded, "Basic".into(), "Basic !!".into()] {
            assert_eq!(auth.check(&raw(&wrong)).await, Verdict::Unknown, "{wrong}");
        }
        assert_eq!(auth.check(&HeaderMap::new()).await, Verdict::Unknown);
        let mut two = sent("alice:open:sesame");
        two.append(AUTHORIZATION, HeaderValue::from_static("Basic eDp5"));
        assert_eq!(auth.check(&two).await, Verdict::Unknown, "nobody can say which one is meant");
    }

    /// CVE-2022-46146: two pairs of name and password that are the same text when joined.
    #[tokio::test]
    async fn what_is_remembered_of_one_says_nothing_of_another() {
        let auth = users(&[("a", hash("bc", 4)), ("ab", hash("other", 4))]);
        assert_eq!(auth.check(&sent("a:bc")).await, Verdict::Known);
        assert_eq!(auth.check(&sent("ab:c")).await, Verdict::Unknown);
        let remembered = auth.remembered.lock().expect("no panic");
        assert_eq!(remembered.len(), 1, "what was wrong is not remembered");
    }

    #[tokio::test]
    async fn a_password_that_was_right_is_not_computed_again() {
        let auth = users(&[("alice", hash("sesame", 10))]);
        let began = std::time::Instant::now();
        assert_eq!(auth.check(&sent("alice:sesame")).await, Verdict::Known);
        let first = began.elapsed();
        // A verification that cannot begin: only what is remembered gets in.
        let _held = Arc::clone(&auth.turns).acquire_owned().await;
        let began = std::time::Instant::now();
        assert_eq!(auth.check(&sent("alice:sesame")).await, Verdict::Known);
        assert!(began.elapsed() < first, "{:?} and then {:?}", first, began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_guesses_waits_and_not_for_ever() {
        let auth = users(&[("alice", hash("sesame", 4))]);
        let _held = Arc::clone(&auth.turns).acquire_owned().await;
        assert_eq!(auth.check(&sent("alice:guess")).await, Verdict::Busy);
    }

    /// A stranger costs the work of a hash that somebody has, and always of the same.
    #[test]
    fn strangers_cannot_be_told_by_their_time() {
        let auth = users(&[("alice", hash("x", 4)), ("bob", hash("x", 7))]);
        let costs: HashSet<u32> = (0..100).map(|n| auth.decoy(&format!("stranger{n}")).cost()).collect();
        assert_eq!(costs, HashSet::from([4, 7]));
        assert_eq!(auth.decoy("carol").cost(), auth.decoy("carol").cost());
    }

    #[test]
    fn nothing_secret_is_printed() {
        let auth = users(&[("alice", hash("canary", 4))]);
        let printed = format!("{auth:?} {:?}", auth.users);
        assert!(!printed.contains("$2") && !printed.contains("canary"), "{printed}");
    }
}
