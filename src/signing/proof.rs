//! What a message brings to prove whose it is, and why that may not do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::key::KeyId;
use crate::heartbeat::PublisherId;

/// The AMQP header with the signature, in base64.
pub const SIGNATURE_HEADER: &str = "heartbeat-signature";

/// The AMQP header with the id of the key.
pub const KEY_ID_HEADER: &str = "heartbeat-key-id";

/// Begins what is signed, so that no signature made for something else passes for one of a heartbeat.
const CONTEXT: &[u8] = b"heartbeat signature v1\0";

/// What is signed: the context, the id of the key, a zero byte, the body as it is sent.
pub(super) fn signed_bytes(key: KeyId, body: &[u8]) -> Vec<u8> {
    let id = key.to_string();
    [CONTEXT, id.as_bytes(), b"\0", body].concat()
}

/// What a message brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// What it says of its signature.
    pub claim: Claim,
    /// The AMQP property `user_id`: a broker takes none but that of the connection's own user.
    pub user_id: Option<Box<str>>,
    /// Who signed it; `None` while nobody has looked.
    pub signer: Option<Result<PublisherId, Unproven>>,
}

/// The two headers as they came. Either may be missing, and neither has been looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// [`SIGNATURE_HEADER`].
    pub signature: Option<Box<str>>,
    /// [`KEY_ID_HEADER`].
    pub key_id: Option<Box<str>>,
}

impl Claim {
    /// The headers read; `None` where there is neither.
    pub(super) fn read(&self) -> Result<Option<(KeyId, Vec<u8>)>, Unproven> {
        let (signature, key_id) = match (&self.signature, &self.key_id) {
            (None, None) => return Ok(None),
            (Some(signature), Some(key_id)) => (signature, key_id),
            (None, Some(_)) => {
                return Err(Unproven::new(Doubt::Signature, format!("there is no {SIGNATURE_HEADER}")));
            }
            (Some(_), None) => {
                return Err(Unproven::new(Doubt::Signature, format!("there is no {KEY_ID_HEADER}")));
            }
        };
        let Some(key_id) = KeyId::parse(key_id) else {
            return Err(Unproven::new(Doubt::Key, format!("{KEY_ID_HEADER} is no key's id")));
        };
        match STANDARD.decode(signature.as_bytes()) {
            Ok(signature) => Ok(Some((key_id, signature))),
            Err(_) => Err(Unproven::new(Doubt::Signature, format!("{SIGNATURE_HEADER} is no base64"))),
        }
    }
}

/// Why a message is not taken for its publisher's own: the label of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// Nobody signed it.
    Unsigned,
    /// The signature is not that of the key over this body.
    Signature,
    /// The key is not trusted, or not at this time.
    Key,
    /// The key is trusted, for another publisher.
    Signer,
    /// It may have been sent before, by a process that ended long ago.
    Replayed,
    /// The broker does not vouch for the user that sent it, or for another one.
    UserId,
    /// It was made long before it came. Never refused; its publisher is not taken to live still.
    Delayed,
}

impl Doubt {
    /// Those that a message can be refused for.
    pub const REFUSED: [Self; 6] =
        [Self::Unsigned, Self::Signature, Self::Key, Self::Signer, Self::Replayed, Self::UserId];

    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Unsigned,
        Self::Signature,
        Self::Key,
        Self::Signer,
        Self::Replayed,
        Self::UserId,
        Self::Delayed,
    ];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Signature => "signature",
            Self::Key => "key",
            Self::Signer => "signer",
            Self::Replayed => "replayed",
            Self::UserId => "user_id",
            Self::Delayed => "delayed",
        }
    }
}

/// A message that does not prove whose it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not proven to be its publisher's ({}): {detail}", doubt.as_str())]
pub struct Unproven {
    /// The bounded reason.
    pub doubt: Doubt,
    /// For people: never a label.
    pub detail: String,
}

impl Unproven {
    /// With what was found.
    pub fn new(doubt: Doubt, detail: impl Into<String>) -> Self {
        Self { doubt, detail: detail.into() }
    }
}
