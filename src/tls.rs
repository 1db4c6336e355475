//! TLS to every peer: one stack, built from files.
//!
//! A CA file is the *only* root that counts where one is given: whoever names it means to trust
//! nobody else. Versions are TLS 1.2 and 1.3.
//!
//! [`PeerTls`] is what a component holds that speaks TLS to a peer. It reads its [`files`] anew for each
//! connection, so that a renewed certificate counts without a restart, and tells [`expiry`] of every
//! certificate that it sees. [`Trust`] is for components that are checked: what they show says something of them alone.

mod checked;
pub mod expiry;
pub mod files;
mod handshake;
pub mod https;
mod peer;
mod pem;
mod refusal;
pub mod server;

use rustls::crypto::aws_lc_rs;

pub use checked::{Handshake, Looked, Means, Own, Trust};
pub use expiry::{Certificate, Expiry};
pub use files::{ClientFiles, TlsError, TlsFile, TlsFiles};
pub use handshake::{client_hello, failure, handshake};
pub use peer::{Peer, PeerTls, TlsConfig};
pub use refusal::{Refusal, refusal};

/// Makes aws-lc-rs the provider of the process, for the libraries that ask for the default one.
/// The first thing in `main`; later calls change nothing.
pub fn install_provider() {
    // An error means that one is installed already, and then there is nothing to do.
    let _ = aws_lc_rs::default_provider().install_default();
}

#[cfg(test)]
mod tests;
