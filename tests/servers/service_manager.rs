//! What systemd hears of each role, by a socket of the same kind.

use std::sync::{Arc, Mutex};

use tokio::net::UnixDatagram;
use tokio::task::JoinHandle;

use crate::support::field::{BOUND, EXCHANGE, config, publisher};
use crate::support::ports::free_port;
use crate::support::program::{Program, Setup};
use crate::support::rabbitmq::RabbitMq;
use crate::support::redis::Redis;
use crate::support::wait::wait_until;

/// A manager that wants a sign of life each second.
pub(crate) struct Manager {
    heard: Arc<Mutex<String>>,
    hearing: JoinHandle<()>,
}

impl Manager {
    /// Listens in the program's folder, and has the program told of it as systemd tells it.
    pub(crate) fn of(setup: Setup) -> (Self, Setup) {
        let path = setup.folder().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let heard = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&heard);
        let hearing = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer).await {
                let mut heard = into.lock().unwrap();
                heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
                heard.push('\n');
            }
        });
        let setup = setup.env("NOTIFY_SOCKET", path.to_str().unwrap()).env("WATCHDOG_USEC", "1000000");
        (Self { heard, hearing }, setup)
    }

    /// Waits until it has heard a line; what came before it is forgotten.
    async fn wait_line(&self, line: &str) {
        wait_until(&format!("the manager is told {line:?}"), BOUND, async || {
            let mut heard = self.heard.lock().unwrap();
            let found = heard.lines().position(|heard| heard == line).ok_or_else(|| heard.clone())?;
            *heard = heard.split_inclusive('\n').skip(found + 1).collect();
            Ok(())
        })
        .await;
    }

    /// Waits for some signs of life.
    pub(crate) async fn wait_alive(&self) {
        for _ in 0..3 {
            self.wait_line("WATCHDOG=1").await;
        }
    }

    async fn see_it_stop(&self, program: &mut Program) {
        assert_eq!(program.terminate(BOUND).await, Some(0));
        self.wait_line("STOPPING=1").await;
        let heard = self.heard.lock().unwrap();
        assert!(!heard.contains("READY"), "{heard}");
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_run_without_their_peers_and_say_what_they_lack() {
    let nobody = free_port().to_string();
    let setup = Setup::new("publisher").env("RABBITMQ_PORT", &nobody).env("RABBITMQ_HOST", "127.0.0.1");
    let (manager, setup) = Manager::of(setup.publisher_config(&config(&[], &[]).to_string()));
    let mut publisher = setup.start();
    manager.wait_line("READY=1").await;
    manager.wait_line("STATUS=Runs, and is not ready: not connected to RabbitMQ").await;
    manager.wait_alive().await;
    manager.see_it_stop(&mut publisher).await;

    let setup = Setup::new("subscriber").env("RABBITMQ_PORT", &nobody).env("RABBITMQ_HOST", "127.0.0.1");
    let (manager, setup) = Manager::of(setup.env("REDIS_HOST", "127.0.0.1").env("REDIS_PORT", &nobody));
    let mut subscriber = setup.start();
    manager.wait_line("READY=1").await;
    manager.wait_line("STATUS=Runs, and is not ready: the state is not loaded from Redis yet").await;
    manager.wait_alive().await;
    manager.see_it_stop(&mut subscriber).await;

    let (manager, setup) = Manager::of(Setup::new("standalone"));
    let mut standalone = setup.start();
    manager.wait_line("READY=1").await;
    manager.wait_line("STATUS=Ready").await;
    manager.wait_alive().await;
    manager.see_it_stop(&mut standalone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_say_when_they_do_their_work() {
    let vhost = RabbitMq::vhost().await;
    vhost.declare_exchange(EXCHANGE).await;
    let redis = Redis::start().await;
    let setup = Setup::new("subscriber").envs(vhost.environment()).envs(redis.environment());
    let setup = setup.env("RABBITMQ_EXCHANGE", EXCHANGE).env("RABBITMQ_QUEUE", "beats");
    let (outside, setup) = Manager::of(setup);
    let mut subscriber = setup.start();
    let (inside, setup) = Manager::of(publisher(&vhost, "beats", "oslo", &config(&[], &[])));
    let mut publisher = setup.start();
    for manager in [&outside, &inside] {
        manager.wait_line("READY=1").await;
        manager.wait_line("STATUS=Ready").await;
        manager.wait_alive().await;
    }

    // Still alive, and not restarted, for what a restart would not mend.
    redis.kill();
    outside.wait_line("STATUS=Runs, and is not ready: not connected to Redis").await;
    outside.wait_alive().await;
    redis.start_again().await;
    outside.wait_line("STATUS=Ready").await;

    inside.see_it_stop(&mut publisher).await;
    outside.see_it_stop(&mut subscriber).await;
}
