//! The part `tls_server_config`.

use std::net::IpAddr;
use std::path::Path;

use rustls::{CipherSuite, NamedGroup};
use yaml_serde::Mapping;

use super::reader::{Reader, joined};
use crate::config::likeness;
use crate::secret::Secret;
use crate::tls::server::{Clients, Pem, ServerTls};

pub(super) const EXAMPLE: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key}";

const PATH: &str = "tls_server_config";

const KEYS: &[&str] = &[
    "cert",
    "key",
    "client_ca",
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "cipher_suites",
    "prefer_server_cipher_suites",
    "curve_preferences",
];

const CLIENT_AUTH_TYPES: &[&str] = &["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"];

/// Those that take a certificate that nobody vouches for.
const UNVERIFIED: &[&str] = &["RequestClientCert", "RequireAnyClientCert", "RequireClientCert"];

/// Suites that there are, as Go names them; the last of a row: whether it is of TLS 1.3.
const SUITES: &[(&str, CipherSuite, bool)] = &[
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256, true),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384, true),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, true),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, false),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        false,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, false),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, false),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        false,
    ),
];

/// Curves that there are, as the toolkit names them.
const CURVES: &[(&str, NamedGroup)] = &[
    ("X25519", NamedGroup::X25519),
    ("CurveP256", NamedGroup::secp256r1),
    ("CurveP384", NamedGroup::secp384r1),
];

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Version {
    Tls12,
    Tls13,
}

pub(super) fn read(r: &mut Reader, section: &Mapping, folder: &Path) -> Option<ServerTls> {
    r.known_keys(section, PATH, KEYS);
    let cert = required_pem(r, section, "cert", folder);
    let key = required_pem(r, section, "key", folder);
    let clients = read_clients(r, section, folder);
    let (tls12, tls13) = read_versions(r, section);
    let suites = read_suites(r, section, tls12, tls13);
    let own_order = r.boolean(section, PATH, "prefer_server_cipher_suites").unwrap_or(true);
    let groups = read_curves(r, section);
    Some(ServerTls { cert: cert?, key: key?, clients, tls12, tls13, suites, own_order, groups })
}

/// A PEM text under `key`, or in the file under `<key>_file`.
fn pem(r: &mut Reader, section: &Mapping, key: &str, folder: &Path) -> Option<Pem> {
    let file_key = format!("{key}_file");
    let inline = r.text(section, PATH, key).map(|text| Pem::Inline(Secret::new(text)));
    let file = r.text(section, PATH, &file_key).map(|text| Pem::File(folder.join(text)));
    if inline.is_some() && file.is_some() {
        let why = format!("it is set, and so is {file_key}; keep one of them");
        r.problem(&joined(PATH, key), None, why, "");
    }
    file.or(inline)
}

fn required_pem(r: &mut Reader, section: &Mapping, key: &str, folder: &Path) -> Option<Pem> {
    let file_key = format!("{key}_file");
    let found = pem(r, section, key, folder);
    if !section.contains_key(key) && !section.contains_key(&file_key) {
        let why = format!("it is missing, and so is {key}; without it there is no TLS");
        r.problem(&joined(PATH, &file_key), None, why, EXAMPLE);
    }
    found
}

fn read_clients(r: &mut Reader, section: &Mapping, folder: &Path) -> Option<Clients> {
    let kind = r.text(section, PATH, "client_auth_type");
    let ca = pem(r, section, "client_ca", folder);
    let names =
        r.texts(section, PATH, "client_allowed_sans").map(|names| names.into_iter().map(san).collect());
    let place = joined(PATH, "client_auth_type");
    let required = match kind {
        None | Some("NoClientCert") => {
            let why = "it is set, and client_auth_type asks for no certificate";
            let idle = ["client_ca_file", "client_ca", "client_allowed_sans"];
            for key in idle.into_iter().filter(|key| section.contains_key(*key)) {
                r.problem(&joined(PATH, key), None, why, "client_auth_type: RequireAndVerifyClientCert");
            }
            return None;
        }
        Some("VerifyClientCertIfGiven") => false,
        Some("RequireAndVerifyClientCert") => true,
        Some(kind) => {
            let why = match likeness::nearest(kind, CLIENT_AUTH_TYPES.iter().copied()) {
                _ if UNVERIFIED.contains(&kind) => {
                    "it takes a certificate that anybody can make, and is not supported".to_owned()
                }
                Some(meant) => format!("there is no such type; is {meant} meant?"),
                None => format!("it is none of {}", CLIENT_AUTH_TYPES.join(", ")),
            };
            r.problem(&place, Some(kind.into()), why, "RequireAndVerifyClientCert");
            return None;
        }
    };
    if names.is_some() && !required {
        let why = "it counts only where client_auth_type is RequireAndVerifyClientCert: others get in without a name";
        r.problem(&joined(PATH, "client_allowed_sans"), None, why, "");
    }
    if !section.contains_key("client_ca") && !section.contains_key("client_ca_file") {
        let why = "it is missing, and client_auth_type asks for certificates; somebody has to vouch for them";
        r.problem(&joined(PATH, "client_ca_file"), None, why, "client_ca.pem");
    }
    Some(Clients { ca: ca?, required, names })
}

/// A name as certificates are searched for it.
fn san(text: &str) -> String {
    text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |address| address.to_string())
}

fn read_versions(r: &mut Reader, section: &Mapping) -> (bool, bool) {
    let min = read_version(r, section, "min_version").unwrap_or(Version::Tls12);
    let max = read_version(r, section, "max_version").unwrap_or(Version::Tls13);
    if min > max {
        r.problem(&joined(PATH, "max_version"), None, "it is below min_version", "TLS13");
    }
    (min == Version::Tls12, max == Version::Tls13)
}

fn read_version(r: &mut Reader, section: &Mapping, key: &str) -> Option<Version> {
    let text = r.text(section, PATH, key)?;
    let why = match text {
        "TLS12" => return Some(Version::Tls12),
        "TLS13" => return Some(Version::Tls13),
        "TLS10" | "TLS11" => "this version of TLS is broken, and is not spoken here",
        _ => "it is neither TLS12 nor TLS13",
    };
    r.problem(&joined(PATH, key), Some(text.into()), why, "TLS12");
    None
}

fn read_suites(r: &mut Reader, section: &Mapping, tls12: bool, tls13: bool) -> Vec<CipherSuite> {
    let Some(names) = r.texts(section, PATH, "cipher_suites") else { return Vec::new() };
    let place = joined(PATH, "cipher_suites");
    let (mut suites, mut of_12, mut of_13) = (Vec::new(), false, false);
    for name in names {
        if let Some((_, suite, is_13)) = SUITES.iter().find(|(known, ..)| *known == name) {
            suites.push(*suite);
            of_12 |= !is_13;
            of_13 |= is_13;
            continue;
        }
        // A suite that Go has and this program has not differs by a few letters from one that both have.
        let known: Vec<&str> = SUITES.iter().map(|(known, ..)| *known).collect();
        let why = format!("it is not to be had here; there are {}", known.join(", "));
        r.problem(&place, Some(name.into()), why, "");
    }
    if !r.problems.iter().any(|problem| problem.name == place) {
        if tls12 && !of_12 {
            let why = "it holds none of TLS 1.2, which is spoken; set min_version to TLS13, or name one";
            r.problem(&place, None, why, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
        } else if !tls12 && tls13 && !of_13 {
            let why = "it holds none of TLS 1.3, and nothing else is spoken: it would have no effect";
            r.problem(&place, None, why, "TLS_AES_128_GCM_SHA256");
        }
    }
    suites
}

fn read_curves(r: &mut Reader, section: &Mapping) -> Vec<NamedGroup> {
    let names = r.texts(section, PATH, "curve_preferences").unwrap_or_default();
    let mut groups = Vec::new();
    for name in names {
        match CURVES.iter().find(|(known, _)| *known == name) {
            Some((_, group)) => groups.push(*group),
            None => {
                let known: Vec<&str> = CURVES.iter().map(|(known, _)| *known).collect();
                let why = format!("it is not to be had here; there are {}", known.join(", "));
                r.problem(&joined(PATH, "curve_preferences"), Some(name.into()), why, "X25519");
            }
        }
    }
    groups
}
