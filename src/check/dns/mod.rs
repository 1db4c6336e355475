//! Whether a name server answers a question as it should.

mod ask;

use std::io;
use std::net::IpAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::time::Instant;

use super::open::{addresses, told};
use super::{Finding, Seen, Verdict};
use crate::dial;
use crate::heartbeat::Reason;
use ask::ask;

/// Response codes that may be right, as the registry of DNS has their names.
pub const RCODES: &[(&str, ResponseCode)] = &[
    ("NOERROR", ResponseCode::NoError),
    ("FORMERR", ResponseCode::FormErr),
    ("SERVFAIL", ResponseCode::ServFail),
    ("NXDOMAIN", ResponseCode::NXDomain),
    ("NOTIMP", ResponseCode::NotImp),
    ("REFUSED", ResponseCode::Refused),
];

/// What is asked of a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSpec {
    /// Host name or address of the server.
    pub server: Box<str>,
    /// Its port.
    pub port: u16,
    /// The name that is asked for.
    pub name: Name,
    /// The type of records that are asked for.
    pub record_type: RecordType,
    /// How it is asked.
    pub transport: Transport,
    /// Whether the server is to ask others for what it does not know.
    pub recursion_desired: bool,
    /// The right response codes.
    pub rcodes: Vec<ResponseCode>,
    /// Records that must be among the answers, as zone files have them.
    pub answers: Vec<Box<str>>,
}

/// How a name server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By datagrams; by TCP where the answer is too long for one.
    Udp,
    /// By TCP.
    Tcp,
}

impl DnsSpec {
    /// The question, and who is asked.
    pub fn target(&self) -> String {
        let server = dial::endpoint(&self.server, self.port);
        format!("{} {} @{server}", self.name, self.record_type)
    }
}

pub(super) async fn check(spec: &DnsSpec, end: Instant, seen: &mut Seen) -> Result<(), Finding> {
    let addresses = addresses(&spec.server, spec.port, end).await?;
    seen.peer = addresses.first().copied();
    let asked = dial::first(&addresses, end, |address| async move {
        ask(spec, address).await.map(|answer| (answer, address))
    });
    let (answer, address) = asked.await.map_err(|failed| {
        let is_garbled = |error: &io::Error| error.kind() == io::ErrorKind::InvalidData;
        if failed.errors.iter().any(is_garbled) { Verdict::down(Reason::Protocol) } else { told(&failed) }
    })?;
    seen.peer = Some(address);
    judge(spec, &answer)
}

fn judge(spec: &DnsSpec, answer: &Message) -> Result<(), Finding> {
    let code = answer.metadata.response_code;
    if !spec.rcodes.contains(&code) {
        let right: Vec<String> = spec.rcodes.iter().map(|code| word(*code)).collect();
        let detail = format!("it answered {}, where {} is right", word(code), right.join(", "));
        return Err(Verdict::down(Reason::Status).because(detail));
    }
    let records =
        || answer.answers.iter().map(|record| &record.data).filter(|data| is_of(data, spec.record_type));
    match spec.answers.iter().find(|expected| !records().any(|data| is_same(data, expected))) {
        Some(missing) => {
            let detail = format!("its answer has no record {missing} of type {}", spec.record_type);
            Err(Verdict::down(Reason::Content).because(detail))
        }
        None => Ok(()),
    }
}

/// A response code as the registry of DNS has it.
fn word(code: ResponseCode) -> String {
    let known = RCODES.iter().find(|(_, known)| *known == code);
    known.map_or_else(|| format!("code {}", u16::from(code)), |(word, _)| (*word).to_owned())
}

fn is_of(data: &RData, wanted: RecordType) -> bool {
    wanted == RecordType::ANY || data.record_type() == wanted
}

/// Whether a record says what was written: addresses in any of their forms, names in any case, with or without the dot that
/// ends them.
fn is_same(data: &RData, expected: &str) -> bool {
    let plain = |text: &str| text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    match data {
        RData::A(address) => expected.parse() == Ok(IpAddr::V4(address.0)),
        RData::AAAA(address) => expected.parse() == Ok(IpAddr::V6(address.0)),
        RData::TXT(_) => data.to_string() == expected,
        _ => plain(&data.to_string()) == plain(expected),
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_proto::op::{MessageType, OpCode};
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, TXT};

    use super::*;

    fn spec(record_type: RecordType, answers: &[&str]) -> DnsSpec {
        DnsSpec {
            server: "ns.example.org".into(),
            port: 53,
            name: Name::from_str("www.example.org.").unwrap(),
            record_type,
            transport: Transport::Udp,
            recursion_desired: true,
            rcodes: vec![ResponseCode::NoError],
            answers: answers.iter().map(|text| (*text).into()).collect(),
        }
    }

    fn answer(code: ResponseCode, records: Vec<RData>) -> Message {
        let mut message = Message::new(1, MessageType::Response, OpCode::Query);
        message.metadata.response_code = code;
        let name = Name::from_str("www.example.org.").unwrap();
        message.add_answers(records.into_iter().map(|data| Record::from_rdata(name.clone(), 60, data)));
        message
    }

    fn name(text: &str) -> Name {
        Name::from_str(text).unwrap()
    }

    const CONTENT: Result<(), Verdict> = Err(Verdict::down(Reason::Content));

    #[test]
    fn the_response_code_comes_first() {
        let refused = answer(ResponseCode::Refused, vec![RData::A(A::new(192, 0, 2, 1))]);
        let finding = judge(&spec(RecordType::A, &[]), &refused).unwrap_err();
        assert_eq!(finding.verdict, Verdict::down(Reason::Status));
        assert_eq!(finding.detail.as_deref(), Some("it answered REFUSED, where NOERROR is right"));
        let nowhere = DnsSpec { rcodes: vec![ResponseCode::NXDomain], ..spec(RecordType::A, &[]) };
        assert_eq!(judge(&nowhere, &answer(ResponseCode::NXDomain, Vec::new())), Ok(()));
    }

    #[test]
    fn each_expected_record_must_be_there_and_others_may() {
        let found = answer(
            ResponseCode::NoError,
            vec![
                RData::CNAME(CNAME(name("web.example.org."))),
                RData::A(A::new(192, 0, 2, 1)),
                RData::A(A::new(192, 0, 2, 2)),
            ],
        );
        let judged = |expected: &[&str]| {
            judge(&spec(RecordType::A, expected), &found).map_err(|finding| finding.verdict)
        };
        let finding = judge(&spec(RecordType::A, &["192.0.2.2", "192.0.2.3"]), &found).unwrap_err();
        assert_eq!(finding.detail.as_deref(), Some("its answer has no record 192.0.2.3 of type A"));
        assert_eq!(judged(&[]), Ok(()));
        assert_eq!(judged(&["192.0.2.2"]), Ok(()));
        assert_eq!(judged(&["192.0.2.2", "192.0.2.1"]), Ok(()));
        assert_eq!(judged(&["192.0.2.2", "192.0.2.3"]), CONTENT);
        assert_eq!(judged(&["web.example.org."]), CONTENT, "of another type than asked for");
    }

    #[test]
    fn records_are_compared_by_what_they_say() {
        let ipv6 = RData::AAAA(AAAA("2001:db8::1".parse().unwrap()));
        assert!(is_same(&ipv6, "2001:0DB8:0:0::1"));
        let mx = RData::MX(MX::new(10, name("Mail.example.org.")));
        assert!(is_same(&mx, "10 mail.example.org"));
        assert!(!is_same(&mx, "20 mail.example.org"));
        let txt = RData::TXT(TXT::new(vec!["v=spf1 -all".into()]));
        assert!(is_same(&txt, "v=spf1 -all"));
        assert!(!is_same(&txt, "V=spf1 -all"), "text is no name");
    }
}
