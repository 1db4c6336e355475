use std::net::Ipv4Addr;

use serde_json::json;
use tokio::net::UdpSocket;

use super::{checking, named, wait_all};
use crate::support::field::Shown::{Down, Up};
use crate::support::name_server::NameServer;
use crate::support::ports::free_port;
use crate::support::tcp::Greeting;

const ZONE: &str = "example.org.";

fn records() -> String {
    let mut text = "\
$ORIGIN example.org.
$TTL 60
@ IN SOA ns hostmaster 1 60 60 60 60
@ IN NS ns
@ IN MX 10 Mail
ns IN A 192.0.2.53
www IN A 192.0.2.1
www IN A 192.0.2.2
www IN AAAA 2001:db8::1
alias IN CNAME www
text IN TXT \"hello world\"
"
    .to_owned();
    // Longer than a datagram may be without an agreement.
    for number in 0..40 {
        text.push_str(&format!(
            "many IN TXT \"record number {number} of forty, which together are too long\"\n"
        ));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_judged_by_their_code_and_their_records() {
    let server = NameServer::start(ZONE, &records()).await;
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let other = Greeting::open();
    let ask = |name: &str| json!({"server": "127.0.0.1", "port": server.port, "query_name": name});
    let at = |port: u16| json!({"server": "127.0.0.1", "port": port, "query_name": "www.example.org"});
    let entries = [
        named("plain", ask("www.example.org"), json!({})),
        named(
            "by stream",
            ask("www.example.org"),
            json!({"transport_protocol": "tcp", "expected_answers": "192.0.2.2"}),
        ),
        named("right", ask("WWW.example.org."), json!({"expected_answers": ["192.0.2.2", "192.0.2.1"]})),
        named("wrong", ask("www.example.org"), json!({"expected_answers": ["192.0.2.1", "192.0.2.3"]})),
        named(
            "ipv6",
            ask("www.example.org"),
            json!({"query_type": "AAAA", "expected_answers": "2001:DB8:0::1"}),
        ),
        named(
            "mail",
            ask("example.org"),
            json!({"query_type": "MX", "expected_answers": "10 mail.example.org"}),
        ),
        named("alias", ask("alias.example.org"), json!({"expected_answers": "192.0.2.1"})),
        named(
            "text",
            ask("text.example.org"),
            json!({"query_type": "TXT", "expected_answers": "hello world"}),
        ),
        named("no such type", ask("text.example.org"), json!({"expected_answers": "192.0.2.1"})),
        named(
            "many",
            ask("many.example.org"),
            json!({"query_type": "TXT", "expected_answers": "record number 39 of forty, which together are too long"}),
        ),
        named("missing", ask("missing.example.org"), json!({})),
        named("missing, rightly", ask("missing.example.org"), json!({"valid_rcodes": ["NXDOMAIN"]})),
        named("not its own", ask("www.example.net"), json!({})),
        named("silent", at(silent_port), json!({"timeout": "1500ms"})),
        named("refused", at(free_port()), json!({})),
        named("refused by stream", at(free_port()), json!({"transport_protocol": "tcp"})),
        named("no dns", at(other.address.port()), json!({"transport_protocol": "tcp"})),
    ];
    let program = checking(&json!({"dns": entries})).await;
    let expected = [
        ("plain", Up),
        ("by stream", Up),
        ("right", Up),
        ("wrong", Down("content")),
        ("ipv6", Up),
        ("mail", Up),
        ("alias", Up),
        ("text", Up),
        ("no such type", Down("content")),
        ("many", Up),
        ("missing", Down("status")),
        ("missing, rightly", Up),
        ("not its own", Down("status")),
        ("silent", Down("timeout")),
        ("refused", Down("refused")),
        ("refused by stream", Down("refused")),
        ("no dns", Down("reset")),
    ];
    wait_all(&program, "dns", &expected).await;
    // One datagram that is lost is sent once more: a second after the first, well within the deadline.
    let mut buffer = [0; 512];
    let (first, _) = silent.recv_from(&mut buffer).await.unwrap();
    let question = buffer[..first].to_vec();
    let mut again = false;
    for _ in 0..3 {
        let (length, _) = silent.recv_from(&mut buffer).await.unwrap();
        again |= buffer[..length] == question;
        if again {
            break;
        }
    }
    assert!(again, "no question came twice");
}
