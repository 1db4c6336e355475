//! Authentic heartbeats: who signed a message, whether that key may speak for the publisher that it names, and what
//! is done where it may not. docs/message.md has the bytes and what may be expected of them.
//!
//! All of it is pure: the keys come from files that others read.

mod key;
mod policy;
mod proof;
mod trusted;

pub use key::{KeyError, KeyId, PublicKey, SigningKey};
pub use policy::{Policy, Rules, Stance, UserNames};
pub use proof::{Claim, Doubt, KEY_ID_HEADER, Proof, SIGNATURE_HEADER, Unproven};
pub use trusted::{TrustProblem, TrustedKeys, trusted_line};
