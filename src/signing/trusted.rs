//! The file of trusted keys: a line a key, with the publisher that it may speak for.
//!
//! ```text
//! # publisher  algorithm  public key                                    when
//! oslo         ed25519    11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=  not-after=2027-01-01T00:00:00Z
//! ```
//!
//! Fields are parted by spaces or tabs. In an id, spaces, `%` and `#` are percent-encoded. A publisher may have several
//! keys, and a key has one publisher.

use std::collections::HashMap;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::key::{ALGORITHM, KeyId, PublicKey};
use super::proof::{Claim, Doubt, Unproven};
use crate::heartbeat::{PublisherId, Timestamp};
use crate::watched::Format;

/// What would end a field or begin a comment.
const IN_A_FIELD: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'#');

/// Problems of one file that are told; a file of another kind has one in each line.
const PROBLEMS_MAX: usize = 20;

/// The line with which a publisher's key is trusted.
pub fn trusted_line(publisher: &PublisherId, key: &PublicKey) -> String {
    format!("{} {ALGORITHM} {key}", utf8_percent_encode(publisher.as_str(), IN_A_FIELD))
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustProblem {
    /// Its number, from 1.
    pub line: usize,
    /// The field, as it stands there; `None` where the whole line is meant.
    pub value: Option<String>,
    /// What is wrong with it: a clause about "it".
    pub why: String,
}

/// Keys by their ids, each with whom it may speak for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrustedKeys {
    keys: HashMap<KeyId, Trusted>,
}

#[derive(Clone, Debug, PartialEq)]
struct Trusted {
    publisher: PublisherId,
    key: PublicKey,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    /// Where it stands.
    line: usize,
}

impl TrustedKeys {
    /// How the file is read anew.
    pub const FORMAT: Format<Self> = Format {
        what: "trusted keys",
        parse: |bytes| {
            let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
            Self::parse(text).map_err(|problems| {
                let told = |problem: &TrustProblem| format!("line {}: {}", problem.line, problem.why);
                problems.iter().map(told).collect::<Vec<_>>().join("; ")
            })
        },
        describe: |keys| format!("keys: {}", keys.len()),
    };

    /// Reads the file's text.
    ///
    /// # Errors
    /// All problems at once, up to a bound, in the order of the lines.
    pub fn parse(text: &str) -> Result<Self, Vec<TrustProblem>> {
        let mut trusted = Self::default();
        let mut problems = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Err((value, why)) = read_line(line, index + 1).and_then(|key| trusted.add(key)) {
                problems.push(TrustProblem { line: index + 1, value: value.map(str::to_owned), why });
                if problems.len() == PROBLEMS_MAX {
                    break;
                }
            }
        }
        if problems.is_empty() { Ok(trusted) } else { Err(problems) }
    }

    fn add<'a>(&mut self, trusted: Trusted) -> Result<(), Wrong<'a>> {
        let id = trusted.key.id();
        if let Some(known) = self.keys.get(&id) {
            let why = if known.publisher == trusted.publisher {
                format!("it is the key of line {} again", known.line)
            } else {
                format!("it is the key of line {}, where it is another publisher's", known.line)
            };
            return Err((None, why));
        }
        self.keys.insert(id, trusted);
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether some key may speak for this publisher.
    pub fn names(&self, publisher: &PublisherId) -> bool {
        self.keys.values().any(|trusted| trusted.publisher == *publisher)
    }

    /// Who signed this body: the publisher whose key it is. The body is not read.
    ///
    /// # Errors
    /// Says why nobody is known to have signed it.
    pub fn signer(&self, claim: &Claim, body: &[u8], now: Timestamp) -> Result<PublisherId, Unproven> {
        let Some((id, signature)) = claim.read()? else {
            return Err(Unproven::new(Doubt::Unsigned, "it is not signed"));
        };
        let Some(trusted) = self.keys.get(&id) else {
            return Err(Unproven::new(Doubt::Key, format!("the key {id} is not trusted")));
        };
        if !trusted.key.has_signed(body, &signature) {
            return Err(Unproven::new(Doubt::Signature, format!("the key {id} did not sign this body")));
        }
        let publisher = trusted.publisher.as_str();
        if trusted.not_before.is_some_and(|from| now < from) {
            return Err(Unproven::new(
                Doubt::Key,
                format!("the key {id} of {publisher:?} does not count yet"),
            ));
        }
        if trusted.not_after.is_some_and(|until| now > until) {
            return Err(Unproven::new(Doubt::Key, format!("the key {id} of {publisher:?} counts no longer")));
        }
        Ok(trusted.publisher.clone())
    }
}

/// The field, and what is wrong with it.
type Wrong<'a> = (Option<&'a str>, String);

fn read_line(line: &str, number: usize) -> Result<Trusted, Wrong<'_>> {
    let mut fields = line.split_ascii_whitespace();
    let (Some(publisher), Some(algorithm), Some(key)) = (fields.next(), fields.next(), fields.next()) else {
        return Err((None, format!("it is not of the form PUBLISHER {ALGORITHM} PUBLIC-KEY")));
    };
    let id = percent_decode_str(publisher).decode_utf8().map_err(|error| error.to_string());
    let id = id.and_then(|id| PublisherId::new(&id).map_err(|error| error.to_string()));
    let id = id.map_err(|why| (Some(publisher), format!("it is no publisher's id: {why}")))?;
    if algorithm != ALGORITHM {
        return Err((
            Some(algorithm),
            format!("it is no algorithm that is known; that is {ALGORITHM} alone"),
        ));
    }
    let public = PublicKey::parse(key);
    let public = public.ok_or_else(|| (Some(key), "it is no public key: 32 bytes in base64".to_owned()))?;
    let mut trusted = Trusted { publisher: id, key: public, not_before: None, not_after: None, line: number };
    for field in fields {
        let (limit, time) = match field.split_once('=') {
            Some(("not-before", time)) => (&mut trusted.not_before, time),
            Some(("not-after", time)) => (&mut trusted.not_after, time),
            _ => return Err((Some(field), "it is neither not-before=TIME nor not-after=TIME".into())),
        };
        let time = Timestamp::parse_rfc3339(time);
        let time =
            time.map_err(|_| (Some(field), "it has no time such as 2027-01-01T00:00:00Z".to_owned()))?;
        if limit.replace(time).is_some() {
            return Err((Some(field), "it is given twice".into()));
        }
    }
    if let (Some(from), Some(until)) = (trusted.not_before, trusted.not_after)
        && from >= until
    {
        return Err((None, "it would never count: not-after is not after not-before".into()));
    }
    Ok(trusted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signing::SigningKey;

    const KEY: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn publisher(id: &str) -> PublisherId {
        PublisherId::new(id).expect("an id")
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("a time")
    }

    fn claim(key: &SigningKey, body: &[u8]) -> Claim {
        let signature = Some(key.sign(body).into());
        Claim { signature, key_id: Some(key.id().to_string().into()) }
    }

    fn doubt(trusted: &TrustedKeys, claim: &Claim, body: &[u8]) -> Option<Doubt> {
        trusted.signer(claim, body, Timestamp::EPOCH).err().map(|unproven| unproven.doubt)
    }

    /// Two publishers, the first with two keys.
    fn two() -> ([SigningKey; 3], TrustedKeys) {
        let keys = [(); 3].map(|()| SigningKey::generate().expect("a key"));
        let lines = [("oslo", 0), ("oslo", 1), ("ber gen", 2)]
            .map(|(id, key)| trusted_line(&publisher(id), &keys[key].public()));
        let trusted = TrustedKeys::parse(&lines.join("\n")).expect("valid");
        (keys, trusted)
    }

    #[test]
    fn each_key_speaks_for_its_publisher() {
        let (keys, trusted) = two();
        for (key, id) in keys.iter().zip(["oslo", "oslo", "ber gen"]) {
            assert_eq!(trusted.signer(&claim(key, b"body"), b"body", Timestamp::EPOCH), Ok(publisher(id)));
        }
        assert!(trusted.names(&publisher("ber gen")) && !trusted.names(&publisher("ber")));
    }

    #[test]
    fn each_forgery_has_its_reason() {
        let (keys, trusted) = two();
        let good = claim(&keys[0], b"body");
        let stranger = SigningKey::generate().expect("a key");
        let with_id = |id: &str| Claim { key_id: Some(id.into()), ..good.clone() };
        let with_signature = |text: &str| Claim { signature: Some(text.into()), ..good.clone() };
        for (claim, wanted) in [
            (Claim::default(), Doubt::Unsigned),
            (Claim { signature: None, ..good.clone() }, Doubt::Signature),
            (Claim { key_id: None, ..good.clone() }, Doubt::Signature),
            (with_signature(""), Doubt::Signature),
            (with_signature("!"), Doubt::Signature),
            (with_signature(&stranger.sign(b"body")), Doubt::Signature),
            // A signature is no better under another of the publisher's own keys.
            (with_id(&keys[1].id().to_string()), Doubt::Signature),
            (with_id("oslo"), Doubt::Key),
            (claim(&stranger, b"body"), Doubt::Key),
        ] {
            assert_eq!(doubt(&trusted, &claim, b"body"), Some(wanted), "{claim:?}");
        }
        assert_eq!(doubt(&trusted, &good, b"bodi"), Some(Doubt::Signature));
        assert_eq!(doubt(&TrustedKeys::default(), &good, b"body"), Some(Doubt::Key));
    }

    #[test]
    fn a_key_counts_within_its_time() {
        let key = SigningKey::generate().expect("a key");
        let line = trusted_line(&publisher("oslo"), &key.public());
        let text = format!("{line}\tnot-before=2026-01-01T00:00:00Z  not-after=2027-01-01T00:00:00Z");
        let trusted = TrustedKeys::parse(&text).expect("valid");
        let claim = claim(&key, b"body");
        let doubt = |time| trusted.signer(&claim, b"body", at(time)).err().map(|unproven| unproven.doubt);
        assert_eq!(doubt("2025-12-31T23:59:59Z"), Some(Doubt::Key));
        assert_eq!(doubt("2026-01-01T00:00:00Z"), None);
        assert_eq!(doubt("2027-01-01T00:00:00Z"), None);
        assert_eq!(doubt("2027-01-01T00:00:01Z"), Some(Doubt::Key));
    }

    #[test]
    fn all_problems_are_told_by_line() {
        let text = format!(
            "# trusted\n\n  oslo ed25519 {KEY}\nbergen ed25519 {KEY}\noslo ed25519 {KEY}\nbergen\nbergen rsa {KEY}\n\
             bergen ed25519 {}\nb%FFergen ed25519 {KEY}\nb%0Aergen ed25519 {KEY}\nb ed25519 {KEY} not-after=soon\n\
             b ed25519 {KEY} forever\nb ed25519 {KEY} not-after=2027-01-01T00:00:00Z not-after=2027-01-01T00:00:00Z\n\
             b ed25519 {KEY} not-after=2027-01-01T00:00:00Z not-before=2027-01-01T00:00:00Z",
            &KEY[..40]
        );
        let problems = TrustedKeys::parse(&text).expect_err("problems");
        let told: Vec<(usize, Option<&str>, &str)> =
            problems.iter().map(|p| (p.line, p.value.as_deref(), p.why.as_str())).collect();
        assert_eq!(
            told,
            [
                (4, None, "it is the key of line 3, where it is another publisher's"),
                (5, None, "it is the key of line 3 again"),
                (6, None, "it is not of the form PUBLISHER ed25519 PUBLIC-KEY"),
                (7, Some("rsa"), "it is no algorithm that is known; that is ed25519 alone"),
                (8, Some(&KEY[..40]), "it is no public key: 32 bytes in base64"),
                (
                    9,
                    Some("b%FFergen"),
                    "it is no publisher's id: invalid utf-8 sequence of 1 bytes from index 1"
                ),
                (10, Some("b%0Aergen"), "it is no publisher's id: it holds a control character"),
                (11, Some("not-after=soon"), "it has no time such as 2027-01-01T00:00:00Z"),
                (12, Some("forever"), "it is neither not-before=TIME nor not-after=TIME"),
                (13, Some("not-after=2027-01-01T00:00:00Z"), "it is given twice"),
                (14, None, "it would never count: not-after is not after not-before"),
            ]
        );
        let foreign = "what is this?\n".repeat(1000);
        assert_eq!(TrustedKeys::parse(&foreign).map_err(|problems| problems.len()), Err(PROBLEMS_MAX));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is changed in the body, the signature or the key's id, one reason is found, and never a signer.
        #[test]
        fn nothing_but_what_was_signed_passes(
            body in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            flip in 1u8..=255,
            part in 0..3,
        ) {
            let (keys, trusted) = two();
            let good = claim(&keys[0], &body);
            prop_assert_eq!(trusted.signer(&good, &body, Timestamp::EPOCH), Ok(publisher("oslo")));
            let (mut changed, mut altered) = (good.clone(), body.clone());
            let spoil = |text: &Option<Box<str>>| {
                let mut text = text.as_deref().unwrap_or_default().to_owned().into_bytes();
                let index = at.index(text.len());
                text[index] ^= flip & 0x7f | 1;
                Some(String::from_utf8_lossy(&text).into())
            };
            match part {
                0 if body.is_empty() => altered.push(flip),
                0 => altered[at.index(body.len())] ^= flip,
                1 => changed.signature = spoil(&good.signature),
                _ => changed.key_id = spoil(&good.key_id),
            }
            prop_assert!(trusted.signer(&changed, &altered, Timestamp::EPOCH).is_err());
        }

        /// A line that is written is read, whatever the id.
        #[test]
        fn a_written_line_is_read(id in "\\PC{1,40}") {
            prop_assume!(PublisherId::new(&id).is_ok());
            let key = SigningKey::generate().expect("a key");
            let trusted = TrustedKeys::parse(&trusted_line(&publisher(&id), &key.public())).expect("valid");
            prop_assert_eq!(trusted.signer(&claim(&key, b""), b"", Timestamp::EPOCH), Ok(publisher(&id)));
        }

        /// No text ends the program.
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = TrustedKeys::parse(&text);
        }
    }
}
