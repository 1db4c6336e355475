use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// Of "password", as htpasswd writes it, with the lowest cost.
const HASH: &str = "$2y$04$8KpiVxwVNlR1t1fpHBlBoeGmdF4N9pEs1KKLVNbUoBg3MftBE3JAK";

fn read(text: &str) -> WebFile {
    parse(text, Path::new("/etc/web")).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// What is wrong with a file, each on a line: place, why, and the value where it is shown.
fn wrong(text: &str) -> Vec<String> {
    let problems = parse(text, Path::new("/etc/web")).expect_err(text);
    let line = |problem: &Problem| {
        let value = problem.value.as_ref().map(|value| format!(" [{value}]")).unwrap_or_default();
        format!("{}: {}{value}", problem.name, problem.why)
    };
    problems.iter().map(line).collect()
}

#[track_caller]
fn one_problem(text: &str, expected: &str) {
    assert_eq!(wrong(text), [expected], "{text}");
}

/// TLS with one more line.
fn tls(line: &str) -> String {
    format!("tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n  {line}\n")
}

#[test]
fn every_key_of_the_toolkit_is_read() {
    let file = read(&format!(
        "tls_server_config:
  cert_file: server.crt
  key_file: /keys/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  client_allowed_sans: [prometheus.example.org, '2001:DB8:0::1']
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]
  prefer_server_cipher_suites: false
  curve_preferences: [CurveP384, X25519]
http_server_config:
  http2: false
  headers:
    X-Frame-Options: sameorigin
    X-Content-Type-Options: nosniff
    X-XSS-Protection: ''
    Strict-Transport-Security: max-age=31536000
    Content-Security-Policy: default-src 'self'
basic_auth_users:
  alice: {HASH}
  'bob@example.org': {HASH}
rate_limit:
  interval: 250ms
  burst: 20
"
    ));
    let tls = file.tls.clone().expect("TLS");
    assert_eq!(tls.cert, Pem::File("/etc/web/server.crt".into()));
    assert_eq!(tls.key, Pem::File("/keys/server.key".into()));
    let clients = tls.clients.expect("clients");
    assert!(clients.required && clients.ca == Pem::File("/etc/web/ca.pem".into()));
    assert_eq!(clients.names.expect("names"), ["prometheus.example.org", "2001:db8::1"]);
    assert!(tls.tls12 && tls.tls13 && !tls.own_order && tls.suites.len() == 2 && tls.groups.len() == 2);
    assert_eq!(file.headers.len(), 5);
    assert_eq!(file.users.keys().collect::<Vec<_>>(), ["alice", "bob@example.org"]);
    assert_eq!(file.rate_limit, Some(RateLimit { interval: Duration::from_millis(250), burst: 20 }));
    let files: Vec<_> = file.files().into_iter().map(Path::to_path_buf).collect();
    assert_eq!(files, ["/etc/web/server.crt", "/keys/server.key", "/etc/web/ca.pem"].map(PathBuf::from));
}

#[test]
fn what_is_left_out_is_as_the_toolkit_has_it() {
    let file = read("tls_server_config: {cert: PEM, key: PEM}");
    let tls = file.tls.clone().expect("TLS");
    assert_eq!((tls.cert, tls.clients), (Pem::Inline(Secret::new("PEM")), None));
    assert!(tls.tls12 && tls.tls13 && tls.own_order && tls.suites.is_empty() && tls.groups.is_empty());
    assert!(file.users.is_empty() && file.rate_limit.is_none() && file.files().is_empty());
    assert_eq!(read("rate_limit: {interval: 0, burst: 0}").rate_limit, None);
}

#[test]
fn misspelt_keys_are_problems_with_a_guess() {
    for (text, expected) in [
        ("basic_auth_user: {}", "basic_auth_user: there is no such key; is `basic_auth_users` meant?"),
        ("Rate-Limit: {}", "Rate-Limit: there is no such key; is `rate_limit` meant?"),
        ("cert_file: a.crt", "cert_file: there is no such key; its place is within tls_server_config"),
        (
            "auth_excluded_paths: [/-/healthy]",
            "auth_excluded_paths: there is no such key; WEB_HEALTH_WITHOUT_AUTH is the setting for health checks",
        ),
        (
            "nonsense: 1",
            "nonsense: there is no such key; here may be tls_server_config, http_server_config, basic_auth_users, rate_limit",
        ),
        (
            &tls("client_auth: x"),
            "tls_server_config.client_auth: there is no such key; is `client_auth_type` meant?",
        ),
        (
            &tls("client_allowed_san: [x]"),
            "tls_server_config.client_allowed_san: there is no such key; is `client_allowed_sans` meant?",
        ),
        (
            "http_server_config: {headers: {X-Frame-Option: deny}}",
            "http_server_config.headers.X-Frame-Option: there is no such key; is `X-Frame-Options` meant?",
        ),
        (
            "http_server_config: {http_2: false}",
            "http_server_config.http_2: there is no such key; is `http2` meant?",
        ),
    ] {
        one_problem(text, expected);
    }
    assert_eq!(
        wrong("rate_limit: {intervall: 1s, burst: 1}"),
        [
            "rate_limit.intervall: there is no such key; is `interval` meant?",
            "rate_limit.interval: it is missing"
        ]
    );
}

#[test]
fn what_protects_nothing_is_a_problem() {
    for (text, expected) in [
        ("", ": it holds nothing, and protects nothing; unset WEB_CONFIG_FILE if that is meant"),
        (
            "# basic_auth_users:\n",
            ": it holds nothing, and protects nothing; unset WEB_CONFIG_FILE if that is meant",
        ),
        ("[]", ": it has to hold keys with values"),
        ("basic_auth_users:", "basic_auth_users: it has to hold keys with values"),
        (
            "basic_auth_users: {}",
            "basic_auth_users: it names nobody, so that nobody would be asked for a password",
        ),
        (
            &tls("client_ca_file: ca.pem"),
            "tls_server_config.client_ca_file: it is set, and client_auth_type asks for no certificate",
        ),
        (
            &tls("client_allowed_sans: [x]"),
            "tls_server_config.client_allowed_sans: it is set, and client_auth_type asks for no certificate",
        ),
        (
            &tls("client_allowed_sans: []"),
            "tls_server_config.client_allowed_sans: it is no list of texts, or empty; leave it out if none is meant",
        ),
        (
            &tls("client_auth_type: RequireAndVerifyClientCert"),
            "tls_server_config.client_ca_file: it is missing, and client_auth_type asks for certificates; somebody has \
             to vouch for them",
        ),
        (
            &tls("client_auth_type: RequireAnyClientCert"),
            "tls_server_config.client_auth_type: it takes a certificate that anybody can make, and is not supported \
             [RequireAnyClientCert]",
        ),
        (
            &tls("client_auth_type: RequireAndVerifyClientCerts"),
            "tls_server_config.client_auth_type: there is no such type; is RequireAndVerifyClientCert meant? \
             [RequireAndVerifyClientCerts]",
        ),
        (
            &tls(
                "client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: a\n  client_allowed_sans: [x]",
            ),
            "tls_server_config.client_allowed_sans: it counts only where client_auth_type is \
             RequireAndVerifyClientCert: others get in without a name",
        ),
        ("rate_limit: {interval: 1s}", "rate_limit.burst: it is missing"),
        ("rate_limit: {interval: 1s, burst: 0}", "rate_limit.burst: it is no whole number from 1 to 1000000"),
        ("rate_limit: {interval: 5, burst: 1}", "rate_limit.interval: it is no time with a unit, up to 1h"),
    ] {
        let found = wrong(text);
        assert!(found.contains(&expected.to_owned()), "{text}\n{found:#?}");
    }
}

#[test]
fn what_cannot_be_held_to_is_a_problem() {
    for (text, expected) in [
        (
            "tls_server_config: {cert_file: a.crt}",
            "tls_server_config.key_file: it is missing, and so is key; without it there is no TLS",
        ),
        (&tls("cert: PEM"), "tls_server_config.cert: it is set, and so is cert_file; keep one of them"),
        (
            &tls("min_version: TLS10"),
            "tls_server_config.min_version: this version of TLS is broken, and is not spoken here [TLS10]",
        ),
        (
            &tls("max_version: TLS11"),
            "tls_server_config.max_version: this version of TLS is broken, and is not spoken here [TLS11]",
        ),
        (&tls("min_version: '1.2'"), "tls_server_config.min_version: it is neither TLS12 nor TLS13 [1.2]"),
        (
            &tls("min_version: 1.2"),
            "tls_server_config.min_version: it is no text, or empty; leave it out if none is meant",
        ),
        (
            &tls("min_version: TLS13\n  max_version: TLS12"),
            "tls_server_config.max_version: it is below min_version",
        ),
        (
            &tls("cipher_suites: [TLS_AES_128_GCM_SHA256]"),
            "tls_server_config.cipher_suites: it holds none of TLS 1.2, which is spoken; set min_version to TLS13, or \
             name one",
        ),
        (
            &tls("min_version: TLS13\n  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]"),
            "tls_server_config.cipher_suites: it holds none of TLS 1.3, and nothing else is spoken: it would have no \
             effect",
        ),
        (
            &tls("curve_preferences: [CurveP521]"),
            "tls_server_config.curve_preferences: it is not to be had here; there are X25519, CurveP256, CurveP384 \
             [CurveP521]",
        ),
        (
            &tls("prefer_server_cipher_suites: 'yes'"),
            "tls_server_config.prefer_server_cipher_suites: it is neither true nor false",
        ),
        (
            "http_server_config: {http2: true}",
            "http_server_config.http2: HTTP/2 is not spoken here, only HTTP/1.1; leave it out, or set it to false \
             [true]",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: DENY}}",
            "http_server_config.headers.X-Frame-Options: it is none of deny, sameorigin [DENY]",
        ),
        (
            "http_server_config: {headers: {Content-Security-Policy: \"a\\nb\"}}",
            "http_server_config.headers.Content-Security-Policy: it has characters that no header can have [a\nb]",
        ),
    ] {
        one_problem(text, expected);
    }
    let found = wrong(&tls("cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]"));
    assert!(
        found.len() == 1
            && found[0]
                .starts_with("tls_server_config.cipher_suites: it is not to be had here; there are TLS_AES")
            && found[0].ends_with("[TLS_RSA_WITH_RC4_128_SHA]"),
        "{found:#?}"
    );
}

#[test]
fn users_need_usable_hashes_and_nothing_of_them_is_shown() {
    const NO_HASH: &str = "it is no bcrypt hash: those begin with $2a$, $2b$ or $2y$ and have 60 characters";
    for (entry, expected) in [
        ("alice: canary", format!("basic_auth_users.alice: {NO_HASH}")),
        ("alice: 12345", "basic_auth_users.alice: it is no text, and has to be a bcrypt hash".into()),
        ("alice:", "basic_auth_users.alice: it is no text, and has to be a bcrypt hash".into()),
        // Of apr1, which htpasswd writes unless asked for bcrypt.
        ("alice: $apr1$canary$q9w8e7r6t5y4u3i2o1p0..", format!("basic_auth_users.alice: {NO_HASH}")),
        (&format!("alice: {}", &HASH[..59]), format!("basic_auth_users.alice: {NO_HASH}")),
        (&format!("alice: {}!", &HASH[..59]), format!("basic_auth_users.alice: {NO_HASH}")),
        // Its salt has bits that no salt has: nothing could ever be held against it.
        (&format!("alice: {}", HASH.replacen("Boe", "Bof", 1)), format!("basic_auth_users.alice: {NO_HASH}")),
        (&format!("alice: {}", HASH.replacen("$2y$", "$2x$", 1)), format!("basic_auth_users.alice: {NO_HASH}")),
        (
            &format!("alice: {}", HASH.replacen("$04$", "$03$", 1)),
            "basic_auth_users.alice: its cost is 3; from 4 to 16 would do, where 10 is usual".into(),
        ),
        (
            &format!("alice: {}", HASH.replacen("$04$", "$31$", 1)),
            "basic_auth_users.alice: its cost is 31; from 4 to 16 would do, where 10 is usual".into(),
        ),
        (
            &format!("'a:b': {HASH}"),
            "basic_auth_users.a:b: nobody can give this name: it is empty, or has a colon or a control character".into(),
        ),
        (&format!("1: {HASH}"), "basic_auth_users: it has a name that is no text; put it in quotes".into()),
    ] {
        let text = format!("basic_auth_users:\n  {entry}\n");
        one_problem(&text, &expected);
        let said = parse(&text, Path::new("")).expect_err(&text).to_string();
        assert!(!said.contains("canary") && !said.contains(&HASH[7..20]), "{said}");
    }
    let shown = format!("{:?}", read(&format!("basic_auth_users: {{alice: {HASH}}}")));
    assert!(shown.contains("alice") && !shown.contains("$2y"), "{shown}");
    let shown = format!("{:?}", read("tls_server_config: {cert: c, key: canary}"));
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn the_same_key_twice_and_broken_yaml_are_problems() {
    let found = wrong("rate_limit: {interval: 1s, burst: 1}\nrate_limit: {interval: 2s, burst: 1}\n");
    assert!(found[0].starts_with(": it is no YAML: duplicate entry with key \"rate_limit\""), "{found:?}");
    let found = wrong("basic_auth_users:\n  alice: \"canary\n");
    assert!(found[0].starts_with(": it is no YAML: ") && !found[0].contains("canary"), "{found:?}");
    let endless = "a: ".to_owned() + &"x".repeat(FILE_BYTES_MAX);
    assert_eq!(wrong(&endless), [": the file is longer than 1048576 bytes"]);
}

#[test]
fn a_hash_is_held_against_passwords() {
    let hash = PasswordHash::new(HASH).expect("a hash");
    let real = PasswordHash::new(&bcrypt::hash("sesame", 4).expect("a cost")).expect("a hash");
    assert!(real.verify(b"sesame") && !real.verify(b"sesam") && !real.verify(b"") && !hash.verify(b"sesame"));
    // Of exporter-toolkit's documentation; its form is that of htpasswd.
    let documented = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG";
    assert_eq!(PasswordHash::new(documented).map(|hash| hash.cost()), Ok(10));
    // A decoy has to cost the work, which it does only where its form is right.
    let decoy = PasswordHash::decoy(4);
    assert_eq!(PasswordHash::new(decoy.text.expose()), Ok(decoy.clone()));
    assert_eq!(bcrypt::verify("x", decoy.text.expose()).ok(), Some(false));
}

#[test]
fn a_file_that_asks_for_less_is_told_from_one_that_asks_for_something_else() {
    let strict =
        "client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: [x]";
    let users = format!("basic_auth_users: {{alice: {HASH}}}\n");
    let all = read(&(tls(strict) + &users));
    let lax = strict.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven");
    for (text, less) in [
        (tls(strict), Some("a password")),
        (users.clone(), Some("TLS")),
        (tls("min_version: TLS13") + &users, Some("a client certificate")),
        (tls(&lax.replace("\n  client_allowed_sans: [x]", "")) + &users, Some("a client certificate")),
        (
            tls(&strict.replace("\n  client_allowed_sans: [x]", "")) + &users,
            Some("a name in the client certificate"),
        ),
        (tls(&strict.replace("[x]", "[y, z]")) + &users.replace("alice", "bob"), None),
    ] {
        assert_eq!(read(&text).asks_less_than(&all), less, "{text}");
        assert_eq!(all.asks_less_than(&read(&text)), None, "{text}");
    }
}

#[test]
fn the_files_that_are_named_are_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yml");
    let problems = |text: &str| {
        std::fs::write(&path, text).expect("a file");
        load(&path).expect_err(text).to_string().replace(&folder.path().display().to_string(), "DIR")
    };
    let text = problems("tls_server_config: {cert_file: no.crt, key_file: no.key}");
    assert!(text.contains("DIR/web.yml, tls_server_config.cert_file: there is no such file"), "{text}");
    assert!(text.contains("\"DIR/no.crt\""), "{text}");
    let text = problems("tls_server_config: {cert: canary, key: canary}");
    assert!(
        text.contains("DIR/web.yml, tls_server_config.cert: it holds no certificate in PEM form"),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let (one, other) = (pair(), pair());
    std::fs::write(folder.path().join("a.crt"), one.cert.pem()).expect("a file");
    std::fs::write(folder.path().join("a.key"), other.signing_key.serialize_pem()).expect("a file");
    let text = problems("tls_server_config: {cert_file: a.crt, key_file: a.key}");
    assert!(text.contains("tls_server_config.key_file: it does not belong to the certificate"), "{text}");
    let text = problems(&tls("client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: a.key"));
    assert!(text.contains("client_ca_file: it holds no certificate in PEM form"), "{text}");
    std::fs::write(folder.path().join("a.key"), one.signing_key.serialize_pem()).expect("a file");
    std::fs::write(&path, "tls_server_config: {cert_file: a.crt, key_file: a.key}").expect("a file");
    let (_, served) = load(&path).expect("it is right");
    assert!(served.expect("TLS").not_after > 0);
    std::fs::remove_file(&path).expect("it was there");
    let text = load(&path).expect_err("gone").to_string();
    assert!(text.contains("there is no such file"), "{text}");
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "\\PC{0,200}") {
        let _ = parse(&text, Path::new(""));
    }

    #[test]
    fn nor_does_a_broken_file(
        cut in 0usize..600,
        put in "[\\[\\]{}:&*!|>'\"%@` \n-]{0,4}",
    ) {
        let whole = format!("{}basic_auth_users: {{alice: {HASH}}}\n", tls("client_allowed_sans: [x]"));
        let at = cut % whole.len();
        let _ = parse(&format!("{}{put}{}", &whole[..at], &whole[at..]), Path::new(""));
    }
}
