//! A real Redis with replicas, and Sentinels that promote one of them when it is gone.

use std::time::Duration;

use futures_util::future::join_all;

use super::redis::{Options, Redis};
use super::resp::{Client, Reply};
use super::wait::wait_until;

/// Sentinels hear of each other through the primary, every two seconds.
const STANDS: Duration = Duration::from_secs(60);

/// Silence after which a Sentinel takes a server for dead, in milliseconds.
const DOWN_AFTER: &str = "1000";
/// Before a failover that did not come to an end is tried again, in milliseconds.
const FAILOVER: &str = "4000";

/// One primary, two replicas, three Sentinels of which two decide.
pub struct RedisSentinels {
    /// Those that hold data; the first is the primary at the beginning.
    pub servers: Vec<Redis>,
    /// The Sentinels.
    pub sentinels: Vec<Redis>,
}

impl RedisSentinels {
    /// Starts them, and waits until all know each other.
    pub async fn start() -> Self {
        let kept = |config| Options { append_only: true, config, ..Options::default() };
        // A full copy is sent as soon as it is asked for.
        let copies = || vec!["repl-diskless-sync-delay 0".to_owned()];
        let mut servers = vec![Redis::start_with(kept(copies())).await];
        let primary = servers[0].port;
        let replica = || {
            let mut config = copies();
            config.push(format!("replicaof 127.0.0.1 {primary}"));
            Redis::start_with(kept(config))
        };
        servers.extend(join_all([replica(), replica()]).await);
        let sentinel = || {
            let config = vec![
                format!("sentinel monitor mymaster 127.0.0.1 {primary} 2"),
                format!("sentinel down-after-milliseconds mymaster {DOWN_AFTER}"),
                format!("sentinel failover-timeout mymaster {FAILOVER}"),
            ];
            Redis::start_with(Options { sentinel: true, config, ..Options::default() })
        };
        let sentinels = join_all([sentinel(), sentinel(), sentinel()]).await;
        let group = Self { servers, sentinels };
        group.whole(STANDS).await;
        group
    }

    /// Waits until each Sentinel knows the others and two replicas, and these are in step.
    pub async fn whole(&self, bound: Duration) {
        wait_until("Redis has two replicas in step and three Sentinels", bound, async || {
            for sentinel in &self.sentinels {
                let told =
                    sentinel.client().await?.command(&["SENTINEL", "MASTER", "mymaster"]).await?.strings();
                let fields: Vec<(&str, &str)> =
                    told.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
                let wanted = [("num-slaves", "2"), ("num-other-sentinels", "2"), ("flags", "master")];
                if let Some(missing) = wanted.iter().find(|wanted| !fields.contains(wanted)) {
                    return Err(format!("not {missing:?}: {fields:?}"));
                }
            }
            let primary = self.primary().await?;
            let info = self.servers[primary].client().await?.command(&["INFO", "replication"]).await?;
            let info = info.string().unwrap_or_default();
            if info.matches("state=online").count() == 2 { Ok(()) } else { Err(info) }
        })
        .await;
    }

    /// Which of the servers the Sentinels name, of which one may be dead or frozen.
    pub async fn primary(&self) -> Result<usize, String> {
        let mut failed = String::from("no Sentinel runs");
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.pid().is_some()) {
            match named(sentinel).await {
                Ok(port) => {
                    let named = self.servers.iter().position(|server| server.port.to_string() == port);
                    return named.ok_or_else(|| format!("a stranger is the primary: {port}"));
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// A connection to the primary.
    pub async fn client(&self) -> Result<Client, String> {
        self.servers[self.primary().await?].client().await
    }

    /// The settings that lead a program here.
    pub fn environment(&self) -> Vec<(String, String)> {
        let nodes: Vec<String> =
            self.sentinels.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        [("REDIS_MODE", "sentinel".to_owned()), ("REDIS_NODES", nodes.join(","))]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec()
    }
}

async fn named(sentinel: &Redis) -> Result<String, String> {
    let asked = async {
        let told =
            sentinel.client().await?.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]).await?;
        match told {
            Reply::Array(_) => told.strings().pop().ok_or_else(|| "no address".to_owned()),
            other => Err(format!("{other:?}")),
        }
    };
    tokio::time::timeout(Duration::from_secs(1), asked)
        .await
        .unwrap_or_else(|_| Err("a Sentinel is silent".into()))
}
