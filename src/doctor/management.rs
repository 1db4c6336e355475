//! The management API: whether it answers, who we are to it, and what it tells of the broker.

use jiff::fmt::rfc2822;

use super::clocks::Clocks;
use super::protocol::Protocol;
use super::reach::Server;
use super::report::{Fault, Report};
use super::{Management, end_of_step, word};
use crate::check::management::probe::{Overview, Permissions, Whoami};
use crate::check::management::{ManagementClient, ManagementFailure};
use crate::clock;
use crate::heartbeat::Timestamp;
use crate::telemetry::Chain;

const REST: [&str; 2] = ["tags", "statistics"];

/// What the API answered at first.
pub(super) struct Api<'a> {
    client: Option<&'a ManagementClient>,
    whoami: Option<Result<Whoami, ManagementFailure>>,
    asked_at: Timestamp,
    permissions: Option<Permissions>,
}

impl<'a> Api<'a> {
    /// There is none.
    pub(super) fn none() -> Self {
        Self { client: None, whoami: None, asked_at: clock::wall(), permissions: None }
    }

    /// Asks who we are, and what we may do.
    pub(super) async fn ask(client: &'a ManagementClient) -> Self {
        let whoami = client.whoami(end_of_step()).await;
        let asked_at = clock::wall();
        let permissions = match &whoami {
            Ok(_) => client.permissions(end_of_step()).await.ok(),
            Err(_) => None,
        };
        Self { client: Some(client), whoami: Some(whoami), asked_at, permissions }
    }

    /// The client, where it is worth asking.
    pub(super) fn client(&self) -> Option<&'a ManagementClient> {
        self.client.filter(|_| matches!(self.whoami, Some(Ok(_))))
    }

    /// What the user may do, where that is told.
    pub(super) fn permissions(&self) -> Option<&Permissions> {
        self.permissions.as_ref()
    }
}

/// Walks to the API, and tells of it what matters here.
pub(super) async fn examine(
    management: &Management,
    api: &Api<'_>,
    report: &mut Report<'_>,
    clocks: &mut Clocks,
) {
    let Some(whoami) = &api.whoami else { return };
    if let (Err(failure), false) = (whoami, management.needed) {
        let places: Vec<String> =
            management.hosts.iter().map(|host| server(management, host).target()).collect();
        report.part(&format!(
            "Management API of RabbitMQ at {}, which this role does without",
            places.join(", ")
        ));
        report.unknown(
            "access",
            &format!(
                "{}; what only it tells is unknown above. {}",
                said(failure),
                to_do_without(management, failure)
            ),
        );
        return;
    }
    // One that answered has been reached; else the way there says why not.
    for host in &management.hosts {
        let server = server(management, host);
        report.part(&format!("Management API of RabbitMQ at {}", server.target()));
        let Some(reached) = server.reach(report).await else {
            report.skip(&["login"]);
            report.skip(&REST);
            continue;
        };
        server.tell_tls(report, &reached);
        match whoami {
            Ok(whoami) => tell_access(management, whoami, report),
            Err(failure) => {
                fail_access(management, &server, &reached.address, failure, report).await;
                report.skip(&REST);
                continue;
            }
        }
        if let Some(date) = whoami.as_ref().ok().and_then(|whoami| whoami.date.as_deref()).and_then(moment) {
            clocks.saw("RabbitMQ", date, api.asked_at);
        }
        match management.client.overview(end_of_step()).await {
            Ok(overview) => tell_statistics(management, &overview, report),
            Err(failure) => {
                let asked = format!("asked at {} (GET /api/overview), it did not tell", server.target());
                report.unknown("statistics", &format!("{asked}: {}", said(&failure)));
            }
        }
        // Any node tells what all of them would.
        break;
    }
}

fn server<'a>(management: &'a Management, host: &'a str) -> Server<'a> {
    Server {
        name: "the management API",
        host,
        port: management.port,
        tls: management.tls.as_ref(),
        speaks: Protocol::Http,
        host_setting: "RABBITMQ_MANAGEMENT_HOST",
        places: &["RABBITMQ_MANAGEMENT_HOST", "RABBITMQ_MANAGEMENT_PORT"],
        switch: "RABBITMQ_MANAGEMENT_TLS",
        ca: "RABBITMQ_CA_CERT_PATH",
        server_name: "RABBITMQ_MANAGEMENT_TLS_SERVER_NAME",
        client: "RABBITMQ_CLIENT_CERT_PATH and RABBITMQ_CLIENT_KEY_PATH",
    }
}

fn tell_access(management: &Management, whoami: &Whoami, report: &mut Report<'_>) {
    let user = &management.user;
    report.ok("login", &format!("user {user:?} is let in"));
    let tags = whoami.tags.join(", ");
    let sees_all = whoami.tags.iter().any(|tag| matches!(tag.as_str(), "monitoring" | "administrator"));
    // As docs/least-privilege.md has it.
    let how = if management.needed && !sees_all { ": each queue is asked for by itself" } else { "" };
    report.ok("tags", &format!("user {user:?} has {tags}{how}"));
}

/// Why an API did not answer, in its words where it has some.
fn said(failure: &ManagementFailure) -> String {
    match failure {
        ManagementFailure::Denied { said: Some(said), .. } => format!("{}: {said}", Chain(failure)),
        _ => Chain(failure).to_string(),
    }
}

/// What to do where an API is to tell more than the role needs.
fn to_do_without(management: &Management, failure: &ManagementFailure) -> String {
    match failure {
        ManagementFailure::Denied { said: Some(said), .. } if said.contains("Not management user") => {
            format!("To have it told: rabbitmqctl set_user_tags {} management", word(&management.user))
        }
        ManagementFailure::Denied { .. } => {
            "It lets in users of the tag management, by RABBITMQ_USER and RABBITMQ_PASS.".to_owned()
        }
        _ => {
            "RABBITMQ_MANAGEMENT_HOST, RABBITMQ_MANAGEMENT_PORT and RABBITMQ_MANAGEMENT_TLS say where it is."
                .to_owned()
        }
    }
}

async fn fail_access(
    management: &Management,
    server: &Server<'_>,
    address: &std::net::SocketAddr,
    failure: &ManagementFailure,
    report: &mut Report<'_>,
) {
    let user = &management.user;
    let attempted = format!("asking {} who user {user:?} is (GET /api/whoami)", server.target());
    let (why, to_do) = match failure {
        ManagementFailure::Denied { said: Some(said), .. } if said.contains("Not management user") => (
            format!("status 401: {said}: the password is right, and the user has no tag that lets it in"),
            format!("rabbitmqctl set_user_tags {} management", word(user)),
        ),
        ManagementFailure::Denied { status, said, .. } => (
            format!("status {status}: {}", said.as_deref().unwrap_or("no word of why")),
            "Set RABBITMQ_USER and RABBITMQ_PASS to those of a user of this broker; `guest` is let in from the \
             broker's own machine alone."
                .to_owned(),
        ),
        ManagementFailure::Invalid(_) | ManagementFailure::Unreachable(_) => {
            return server.fail_protocol(report, "login", *address, &Chain(failure).to_string()).await;
        }
        _ => (
            Chain(failure).to_string(),
            "See in the log of RabbitMQ why; its management plugin has to run: rabbitmq-plugins enable \
             rabbitmq_management"
                .to_owned(),
        ),
    };
    report.fail("login", &Fault { attempted: &attempted, why: &why, to_do: &to_do });
}

fn tell_statistics(management: &Management, overview: &Overview, report: &mut Report<'_>) {
    let version = &overview.rabbitmq_version;
    if !overview.disable_stats {
        report.ok("statistics", &format!("kept by RabbitMQ {version}"));
        return;
    }
    if !management.needed {
        report.ok("statistics", &format!("disabled at RabbitMQ {version}, and not needed by this role"));
        return;
    }
    report.fail(
        "statistics",
        &Fault {
            attempted: &format!("looking whether RabbitMQ {version} keeps statistics (GET /api/overview)"),
            why: "they are disabled, so that consumers of queues are unknown by the reason stats_disabled",
            to_do: "Take management.disable_stats and management_agent.disable_metrics_collector out of rabbitmq.conf.",
        },
    );
}

/// The header `Date`, which is in whole seconds: on average it was half a second later.
fn moment(date: &str) -> Option<Timestamp> {
    let zoned = rfc2822::parse(date).ok()?;
    Some(Timestamp::from_unix_ms(zoned.timestamp().as_millisecond()).plus_ms(500))
}
