//! Which servers, how they belong together, and who we are to them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fred::error::Error;
use fred::prelude::*;
use fred::types::config::{
    ClusterDiscoveryPolicy, HostMapping, Server, TlsConfig, TlsConnector, TlsHostMapping,
};

use crate::dial::endpoint;
use crate::secret::SecretSource;
use crate::tls::PeerTls;

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which servers, and how they belong together.
    pub topology: Topology,
    /// ACL user, where there is one.
    pub username: Option<String>,
    /// Password, where there is one; read anew for each connection.
    pub password: Option<SecretSource>,
    /// TLS, where it is on.
    pub tls: Option<PeerTls>,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Longest wait between two attempts to connect.
    pub reconnect_max: Duration,
}

/// How Redis is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single {
        /// Host and port.
        node: (String, u16),
        /// Database number.
        database: u8,
    },
    /// A primary that Sentinels name.
    Sentinel {
        /// The Sentinels, each host and port.
        nodes: Vec<(String, u16)>,
        /// The name of the primary.
        service: String,
        /// Database number.
        database: u8,
    },
    /// A Redis Cluster, which has database 0 alone.
    Cluster {
        /// Nodes to ask first, each host and port.
        nodes: Vec<(String, u16)>,
    },
}

impl Topology {
    /// `name`: what a server is called in TLS, where not as its host.
    fn server(&self, name: Option<&str>) -> (ServerConfig, u8) {
        let server =
            |(host, port): &(String, u16)| Server::new_with_tls(host.clone(), *port, name.map(str::to_owned));
        let servers = |nodes: &[(String, u16)]| nodes.iter().map(server).collect();
        match self {
            Self::Single { node, database } => {
                (ServerConfig::Centralized { server: server(node) }, *database)
            }
            Self::Sentinel { nodes, service, database } => {
                let sentinel =
                    ServerConfig::Sentinel { hosts: servers(nodes), service_name: service.clone() };
                (sentinel, *database)
            }
            Self::Cluster { nodes } => (
                ServerConfig::Clustered { hosts: servers(nodes), policy: ClusterDiscoveryPolicy::default() },
                0,
            ),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster { .. })
    }

    /// Whether those that are named say where others are.
    pub(super) fn leads_on(&self) -> bool {
        !matches!(self, Self::Single { .. })
    }

    /// How many servers are asked at most before one is found that leads on.
    fn asked(&self) -> usize {
        match self {
            Self::Single { .. } => 1,
            Self::Sentinel { nodes, .. } | Self::Cluster { nodes } => nodes.len(),
        }
    }

    /// Where it is and which part of it is used, for people.
    pub fn place(&self) -> String {
        match self {
            Self::Single { database, .. } | Self::Sentinel { database, .. } => {
                format!("{}, database {database}", self.target())
            }
            Self::Cluster { .. } => self.target(),
        }
    }

    /// Where it is, for people.
    pub(super) fn target(&self) -> String {
        let listed = |nodes: &[(String, u16)]| {
            let nodes: Vec<String> = nodes.iter().map(|(host, port)| endpoint(host, *port)).collect();
            nodes.join(", ")
        };
        match self {
            Self::Single { node: (host, port), .. } => endpoint(host, *port),
            Self::Sentinel { nodes, service, .. } => {
                format!("{service} of the Sentinels {}", listed(nodes))
            }
            Self::Cluster { nodes } => format!("the cluster {}", listed(nodes)),
        }
    }
}

/// The name of every node in TLS, also of those that the cluster tells by address.
#[derive(Debug)]
struct OneName(String);

impl HostMapping for OneName {
    fn map(&self, _: &IpAddr, _: &str) -> Option<String> {
        Some(self.0.clone())
    }
}

impl Config {
    /// A client that is not connected yet, for one connection.
    pub(super) async fn client(&self) -> Result<Client, Error> {
        let password = match &self.password {
            Some(secret) => Some(secret.read_aside().await.expose().to_owned()),
            None => None,
        };
        if let Some(tls) = &self.tls {
            tls.renew().await;
        }
        let name = self.tls.as_ref().and_then(PeerTls::server_name).map(|name| name.to_str());
        let tls = self.tls.as_ref().map(|tls| TlsConfig {
            connector: TlsConnector::from(rustls::ClientConfig::clone(&tls.client_config())),
            hostnames: match &name {
                None => TlsHostMapping::None,
                Some(name) => TlsHostMapping::Custom(Arc::new(OneName(name.as_ref().into()))),
            },
        });
        let (server, database) = self.topology.server(name.as_deref());
        let config = fred::types::config::Config {
            server,
            username: self.username.clone(),
            password,
            database: (database != 0).then_some(database),
            tls,
            fail_fast: true,
            ..fred::types::config::Config::default()
        };
        Builder::from_config(config)
            .with_connection_config(|connection| {
                connection.connection_timeout = self.timeout;
                connection.internal_command_timeout = self.timeout;
                // In a cluster a command may be sent to where its slot was, and again to where it is.
                connection.max_command_attempts = if self.topology.is_cluster() { 3 } else { 1 };
                connection.tcp.nodelay = Some(true);
            })
            .with_performance_config(|performance| performance.default_command_timeout = self.timeout)
            .build()
    }

    /// Longest wait for a connection. The servers are asked one after the other, always in the same order, and one that
    /// is cut off takes a whole [`timeout`](Self::timeout): it must not hide those behind it. Three more are for
    /// the server that is found, for what it leads to, and for the connection to that.
    pub(super) fn connecting_limit(&self) -> Duration {
        let asked = u32::try_from(self.topology.asked()).unwrap_or(u32::MAX);
        self.timeout.saturating_mul(asked.saturating_add(3))
    }
}
