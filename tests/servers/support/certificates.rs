//! Certificates made anew at each run, so that none expires in the repository.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A CA and two pairs that it signed, as PEM files.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The CA's certificate.
    pub ca: PathBuf,
    /// For `localhost`, `127.0.0.1` and `::1`.
    pub server: PathBuf,
    /// The server's key.
    pub server_key: PathBuf,
    /// For a client; its common name is `heartbeat-client`.
    pub client: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes all of them in `folder`.
    pub fn make(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Heartbeat test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let names = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
        let server = signed("localhost", names, ExtendedKeyUsagePurpose::ServerAuth, &issuer);
        let client = signed("heartbeat-client", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, &issuer);
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self {
            ca: write("ca.pem", &ca.pem()),
            server: write("server.pem", &server.0),
            server_key: write("server.key", &server.1),
            client: write("client.pem", &client.0),
            client_key: write("client.key", &client.1),
        }
    }
}

/// A CA of a test's own, which signs what the test asks for.
pub struct Authority {
    /// The CA's certificate.
    pub ca: PathBuf,
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one; its files bear its name.
    pub fn make(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let ca = folder.join(format!("{name}.pem"));
        std::fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { ca, folder: folder.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// A server's certificate that ends in so many days, and its key; the days may have passed.
    pub fn server(&self, host: &str, days_left: i64) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let now = SystemTime::now();
        let day = Duration::from_secs(86_400);
        params.not_before = (now - 1000 * day).into();
        let left = day * u32::try_from(days_left.unsigned_abs()).unwrap();
        params.not_after = if days_left < 0 { now - left } else { now + left }.into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let ca = self.ca.file_stem().unwrap().to_string_lossy();
        let path = |ending: &str| self.folder.join(format!("{host}-{days_left}-by-{ca}.{ending}"));
        std::fs::write(path("pem"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("pem"), path("key"))
    }
}

fn signed(
    common_name: &str,
    names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
    issuer: &Issuer<'_, KeyPair>,
) -> (String, String) {
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}
