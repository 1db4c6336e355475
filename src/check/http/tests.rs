use super::exchange::header_value;
use super::*;

fn spec(url: &str) -> HttpSpec {
    HttpSpec {
        url: url.parse().unwrap(),
        method: Method::GET,
        headers: Vec::new(),
        secrets: Vec::new(),
        status: StatusCodes::default(),
        body: BodyRules::default(),
        follow_redirects: false,
        duration_max: None,
        secure: SecureSpec::default(),
    }
}

#[test]
fn a_target_holds_nothing_that_may_be_secret() {
    assert_eq!(spec("https://api.example.org/a?token=canary#canary").target(), "https://api.example.org/a");
    assert_eq!(spec("http://[::1]:8080/").target(), "http://[::1]:8080/");
}

#[test]
fn secrets_become_the_headers_that_servers_know() {
    let value = |form: SecretForm, secret| header_value(&form, secret);
    assert_eq!(value(SecretForm::Plain, "x").unwrap(), "x");
    assert_eq!(value(SecretForm::Bearer, "x").unwrap(), "Bearer x");
    // The example of RFC 7617.
    let form = SecretForm::Basic { user: "Aladdin".into() };
    assert_eq!(value(form, "open sesame").unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(value(SecretForm::Plain, "a\nb"), None);
}
