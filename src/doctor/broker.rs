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
    let mut let_in: Option<(Probe, &Node)> = None;
    for node in &broker.nodes {
        match log_in(broker, node, report).await {
            Some(probe) if let_in.is_none() => let_in = Some((probe, node)),
            Some(another) => another.close().await,
            None => {}
        }
    }
    let rest = rest(broker);
    // Any node tells what all of them would.
    if broker.nodes.len() > 1 && !rest.is_empty() {
        let by = let_in.as_ref().map(|(_, node)| format!(", as {} tells", server(broker, node).target()));
        report.part(&format!("What stands at RabbitMQ{}", by.unwrap_or_default()));
    }
    let Some((probe, _)) = let_in else {
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
        places: if broker.amqp.tls.is_some() {
            &["RABBITMQ_HOST", "RABBITMQ_TLS_PORT"]
        } else {
            &["RABBITMQ_HOST", "RABBITMQ_PORT"]
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
            report.ok("login", &format!("{} is let in", broker.who()));
            report.ok("virtual host", &format!("{:?} is open to it", config.vhost));
            Some(probe)
        }
        Err((stage, error)) => {
            fail_login(broker, &server, &reached, stage, &error, report).await;
            None
        }
    }
}

async fn fail_login(
    broker: &Broker,
    server: &Server<'_>,
    reached: &Reached,
    stage: Stage,
    error: &AmqpError,
    report: &mut Report<'_>,
) {
    let why = error.said().unwrap_or_else(|| Chain(error).to_string());
    let (vhost, user) = (&broker.amqp.vhost, broker.user_word());
    if let (Stage::Tls, AmqpError::Tls { source, .. }) = (stage, error) {
        server.fail_tls(report, source, reached.address).await;
        report.skip(&["login", "virtual host"]);
        return;
    }
    server.tell_tls(report, reached);
    match stage {
        Stage::Login => {
            let attempted = format!("logging in at {} as {}", reached.address, broker.who());
            let to_do = match broker.amqp.mechanism {
                Mechanism::Plain => format!(
                    "Set RABBITMQ_USER and RABBITMQ_PASS (or RABBITMQ_PASS_FILE) to those of a user of this broker \
                     (rabbitmqctl list_users, rabbitmqctl authenticate_user {}); `guest` is let in from the broker's own \
                     machine alone.",
                    user
                ),
                Mechanism::External => {
                    "See that the broker has a user of the client certificate's name (rabbitmqctl list_users; \
                     ssl_cert_login_from says which name that is), and offers EXTERNAL: the plugin \
                     rabbitmq_auth_mechanism_ssl, and auth_mechanisms in rabbitmq.conf."
                        .to_owned()
                }
            };
            report.fail("login", &Fault { attempted: &attempted, why: &why, to_do: &to_do });
            report.skip(&["virtual host"]);
        }
        Stage::Vhost => {
            report.ok("login", &format!("{} is let in", broker.who()));
            let attempted = format!("opening the virtual host {vhost:?} as {}", broker.who());
            let to_do = if why.contains("not found") {
                format!(
                    "Set RABBITMQ_VHOST to one that there is (rabbitmqctl list_vhosts), or make it: rabbitmqctl add_vhost {}",
                    word(vhost)
                )
            } else if why.contains("node connection limit") {
                "Close a connection that is not needed (rabbitmqctl list_connections user vhost name), or raise \
                 connection_max in the rabbitmq.conf of that node."
                    .to_owned()
            } else if why.contains("connection limit (") {
                format!(
                    "Close a connection that is not needed (rabbitmqctl list_connections user vhost name), or raise the \
                     limit: rabbitmqctl list_user_limits --user {user} and rabbitmqctl list_vhost_limits -p {} say what it is.",
                    word(vhost)
                )
            } else {
                format!(
                    "Give the user permissions there: rabbitmqctl set_permissions -p {} {} CONFIGURE WRITE READ; \
                     docs/least-privilege.md says which.",
                    word(vhost),
                    user
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
