//! RabbitMQ: whether the user is let in, and into the virtual host.

use super::management::Api;
use super::protocol::Protocol;
use super::reach::{Reached, Server};
use super::report::{Fault, Report};
use super::topology::Topology;
use super::{Broker, Use, word};
use crate::amqp::probe::{Probe, Stage};
use crate::amqp::{self, AmqpError, Mechanism, Node, Nodes};
use crate::telemetry::Chain;

/// Walks to the broker, and tells of it what matters here.
pub(super) async fn examine(broker: &Broker, api: &Api<'_>, report: &mut Report<'_>) {
    let mut let_in = None;
    for node in &broker.nodes {
        if let Some(probe) = log_in(broker, node, report).await {
            let_in.get_or_insert(probe);
        }
    }
    let rest = rest(broker);
    let Some(probe) = let_in else {
        report.skip(&rest);
        return;
    };
    if broker.use_of != Use::Looks {
        Topology { broker, api, probe: &probe }.examine(report).await;
    }
    probe.close().await;
}

/// What comes after the login.
fn rest(broker: &Broker) -> Vec<&'static str> {
    match broker.use_of {
        Use::Looks => Vec::new(),
        Use::Sends | Use::Takes => vec!["exchange", "permissions", "queue", "binding"],
    }
}

fn server<'a>(broker: &'a Broker, node: &'a Node) -> Server<'a> {
    Server {
        name: "RabbitMQ",
        host: &node.host,
        port: node.port,
        tls: broker.amqp.tls.as_ref(),
        speaks: Protocol::Amqp,
        host_setting: "RABBITMQ_HOST",
        place: if broker.amqp.tls.is_some() {
            "RABBITMQ_HOST and RABBITMQ_TLS_PORT"
        } else {
            "RABBITMQ_HOST and RABBITMQ_PORT"
        },
        switch: "RABBITMQ_TLS",
        ca: "RABBITMQ_CA_CERT_PATH",
        server_name: "RABBITMQ_TLS_SERVER_NAME",
        client: "RABBITMQ_CLIENT_CERT_PATH and RABBITMQ_CLIENT_KEY_PATH",
    }
}

async fn log_in(broker: &Broker, node: &Node, report: &mut Report<'_>) -> Option<Probe> {
    let server = server(broker, node);
    report.part(&format!("RabbitMQ at {}", server.target()));
    let Some(reached) = server.reach(report).await else {
        report.skip(&["login", "virtual host"]);
        return None;
    };
    let config = amqp::Config { nodes: Nodes::new([node.clone()]), ..broker.amqp.clone() };
    match Probe::open(&config).await {
        Ok(probe) => {
            server.tell_tls(report, &reached);
            report.ok("login", &format!("{} is let in", who(&config)));
            report.ok("virtual host", &format!("{:?} is open to it", config.vhost));
            Some(probe)
        }
        Err((stage, error)) => {
            fail_login(&config, &server, &reached, stage, &error, report).await;
            None
        }
    }
}

fn who(config: &amqp::Config) -> String {
    match config.mechanism {
        Mechanism::Plain => format!("user {:?}", config.user),
        Mechanism::External => "the user of the client certificate".to_owned(),
    }
}

async fn fail_login(
    config: &amqp::Config,
    server: &Server<'_>,
    reached: &Reached,
    stage: Stage,
    error: &AmqpError,
    report: &mut Report<'_>,
) {
    let why = error.said().unwrap_or_else(|| Chain(error).to_string());
    let (vhost, user) = (&config.vhost, &config.user);
    if let (Stage::Tls, AmqpError::Tls { source, .. }) = (stage, error) {
        server.fail_tls(report, source, reached.address).await;
        report.skip(&["login", "virtual host"]);
        return;
    }
    server.tell_tls(report, reached);
    match stage {
        Stage::Login => {
            let attempted = format!("logging in at {} as {}", reached.address, who(config));
            let to_do = match config.mechanism {
                Mechanism::Plain => format!(
                    "Set RABBITMQ_USER and RABBITMQ_PASS (or RABBITMQ_PASS_FILE) to those of a user of this broker \
                     (rabbitmqctl list_users, rabbitmqctl authenticate_user {}); `guest` is let in from the broker's own \
                     machine alone.",
                    word(user)
                ),
                Mechanism::External => {
                    "See that the broker has a user of the client certificate's name, and the plugin \
                                        rabbitmq_auth_mechanism_ssl."
                        .to_owned()
                }
            };
            report.fail("login", &Fault { attempted: &attempted, why: &why, to_do: &to_do });
            report.skip(&["virtual host"]);
        }
        Stage::Vhost => {
            report.ok("login", &format!("{} is let in", who(config)));
            let attempted = format!("opening the virtual host {vhost:?} as {}", who(config));
            let to_do = if why.contains("not found") {
                format!(
                    "Set RABBITMQ_VHOST to one that there is (rabbitmqctl list_vhosts), or make it: rabbitmqctl add_vhost {}",
                    word(vhost)
                )
            } else {
                format!(
                    "Give the user permissions there: rabbitmqctl set_permissions -p {} {} CONFIGURE WRITE READ; \
                     docs/least-privilege.md says which.",
                    word(vhost),
                    word(user)
                )
            };
            report.fail("virtual host", &Fault { attempted: &attempted, why: &why, to_do: &to_do });
        }
        Stage::Tcp | Stage::Tls | Stage::Greeting => {
            server.fail_protocol(report, "login", reached.address, &why).await;
            report.skip(&["virtual host"]);
        }
    }
}
