//! Authentic heartbeats: who signed a message, whether that key may speak for the publisher that it names, and what
//! is done where it may not. docs/message.md has the bytes and what may be expected of them.
//!
//! All of it is pure but [`watched`]: the keys come from files that are read anew when they change.

mod key;
mod policy;
mod proof;
mod trusted;
pub mod watched;

pub use key::{KeyError, KeyId, PublicKey, SigningKey};
pub use policy::{Policy, Rules, Stance, UserNames};
pub use proof::{Claim, Doubt, KEY_ID_HEADER, Proof, SIGNATURE_HEADER, Unproven};
pub use trusted::{TrustProblem, TrustedKeys, trusted_line};
