//! A token that whoever asks has to show (RFC 6750), read anew from its file.

use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};

use crate::secret::SecretSource;

/// What clients have to show.
#[derive(Debug)]
pub(super) struct Bearer {
    token: SecretSource,
    /// Of this process: what is compared is known to nobody, so that the time that it takes tells nothing.
    secret: [u8; 32],
}

impl Bearer {
    pub(super) fn new(token: SecretSource) -> Self {
        Self { token, secret: rand::random() }
    }

    /// Whether a request has the token as it is now.
    pub(super) async fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(shown) = shown(headers) else { return false };
        let token = self.token.read_aside().await;
        self.digest(shown.as_bytes()) == self.digest(token.expose().as_bytes())
    }

    fn digest(&self, text: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(self.secret).chain_update(text).finalize().into()
    }
}

fn shown(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::secret::Secret;

    fn sent(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[tokio::test]
    async fn only_the_token_counts() {
        let bearer = Bearer::new(SecretSource::given(Secret::new("open-sesame")));
        assert!(bearer.admits(&sent("Bearer open-sesame")).await);
        assert!(bearer.admits(&sent("bearer  open-sesame")).await);
        for wrong in ["Bearer open", "Bearer open-sesame2", "Basic open-sesame", "open-sesame", "Bearer ", ""]
        {
            assert!(!bearer.admits(&sent(wrong)).await, "{wrong:?}");
        }
        assert!(!bearer.admits(&HeaderMap::new()).await);
        let mut two = sent("Bearer open-sesame");
        two.append(AUTHORIZATION, HeaderValue::from_static("Bearer other"));
        assert!(!bearer.admits(&two).await, "nobody can say which one is meant");
        assert!(!format!("{bearer:?}").contains("sesame"));
    }

    #[tokio::test]
    async fn a_token_that_was_changed_counts_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one\n").unwrap();
        let bearer = Bearer::new(SecretSource::file(path.clone()).unwrap());
        assert!(bearer.admits(&sent("Bearer one")).await);
        std::fs::write(&path, "two\n").unwrap();
        assert!(bearer.admits(&sent("Bearer two")).await);
        assert!(!bearer.admits(&sent("Bearer one")).await);
    }
}
