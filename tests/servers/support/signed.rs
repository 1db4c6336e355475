//! Signed messages, made by hand from docs/message.md and not by our own signing.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use sha2::{Digest, Sha256};

use super::bridge::{Bridge, EXCHANGE, KEY};

/// A private key.
pub struct Key(Ed25519KeyPair);

/// A message with the two headers of its signature; either may be taken away.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The body.
    pub body: Vec<u8>,
    /// `heartbeat-key-id`.
    pub key_id: Option<String>,
    /// `heartbeat-signature`.
    pub signature: Option<String>,
    /// The property `user_id`.
    pub user_id: Option<String>,
}

impl Key {
    /// A new one.
    pub fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// Its id.
    pub fn id(&self) -> String {
        Sha256::digest(self.public())[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Its line in the file of trusted keys.
    pub fn line(&self, publisher: &str) -> String {
        format!("{publisher} ed25519 {}\n", STANDARD.encode(self.public()))
    }

    /// Signs a body.
    pub fn sign(&self, body: Vec<u8>) -> Signed {
        let signed = [b"heartbeat signature v1\0", self.id().as_bytes(), b"\0", body.as_slice()].concat();
        let signature = Some(STANDARD.encode(self.0.sign(&signed).as_ref()));
        Signed { body, key_id: Some(self.id()), signature, user_id: None }
    }
}

impl Signed {
    /// A message that nobody signed.
    pub fn not(body: Vec<u8>) -> Self {
        Self { body, key_id: None, signature: None, user_id: None }
    }

    /// As a publisher's message with these headers.
    pub fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        for (name, value) in [("heartbeat-key-id", &self.key_id), ("heartbeat-signature", &self.signature)] {
            if let Some(value) = value {
                headers.insert(name.into(), AMQPValue::LongString(value.as_str().into()));
            }
        }
        let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        match &self.user_id {
            Some(user) => properties.with_user_id(user.as_str().into()),
            None => properties,
        }
    }

    /// Sends it, confirmed.
    pub async fn send(&self, bridge: &Bridge) {
        bridge.vhost.publish(EXCHANGE, KEY, &self.properties(), [&self.body]).await;
    }
}
