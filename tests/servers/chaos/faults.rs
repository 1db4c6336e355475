//! How each fault is done, and lifted.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::ledger::At;
use super::schedule::{Fault, Kind, Part};
use super::world::{CutOff, World};
use crate::support::bridge::{EXCHANGE, QUEUE, SOON};
use crate::support::proxy::{Direction, Proxy, Side, Toxics};
use crate::support::rabbitmq_api::{Permissions, encode};

/// Bytes in a second of a slow line: some ten times what the heartbeats here need.
const SLOW: u64 = 64 * 1024;

/// A subscriber knows that Redis does not answer, or answers again, after so long at most.
const NOTICED: Duration = Duration::from_secs(6);

impl World {
    /// Does a fault, waits, lifts it, and says when that was. `since` is when its round began.
    pub async fn suffer(&self, fault: &Fault, since: At) -> At {
        sleep(fault.begin).await;
        self.truth.note(format!("begins: {fault}"));
        let held = matches!(fault.part, Part::Broker | Part::PublishPath);
        if held {
            self.truth.oracle().ledger.hold(self.truth.now());
        }
        match fault.part {
            Part::Broker => self.on_broker(fault, since).await,
            Part::Redis => {
                let since = self.cuts_off(&[0, 1]);
                self.on_redis(fault).await;
                self.leads_on(&[0, 1], since);
            }
            Part::Subscriber(number) => self.on_subscriber(fault, number).await,
            Part::AmqpPath(number) => on_path(&self.amqp_paths[number], fault).await,
            Part::RedisPath(number) => {
                let since = self.cuts_off(&[number]);
                on_path(&self.redis_paths[number], fault).await;
                self.leads_on(&[number], since);
            }
            Part::PublishPath => on_path(&self.publish_path, fault).await,
            Part::Publisher => self.on_publisher(fault).await,
            Part::Simulated => {
                let chosen = self.fleet.silence(fault.chance);
                sleep(fault.length).await;
                self.fleet.revive(&chosen, fault.kind == Kind::Kill);
            }
            Part::Ports => self.on_ports(fault).await,
        }
        if held {
            self.truth.oracle().ledger.release(self.truth.now());
        }
        self.truth.note(format!("lifted: {fault}"));
        self.truth.now()
    }

    async fn on_broker(&self, fault: &Fault, since: At) {
        let vhost = &self.bridge.vhost;
        match fault.kind {
            Kind::Kill => {
                self.broker.kill();
                sleep(fault.length).await;
                self.broker.start_again().await;
            }
            Kind::Pause => {
                self.broker.pause();
                sleep(fault.length).await;
                self.broker.resume();
            }
            Kind::MemoryAlarm => {
                self.broker.control(&["set_vm_memory_high_watermark", "0.0000001"]).await;
                sleep(fault.length).await;
                self.broker.control(&["set_vm_memory_high_watermark", "0.9"]).await;
            }
            Kind::DiskAlarm => {
                self.broker.control(&["set_disk_free_limit", "1000000GB"]).await;
                sleep(fault.length).await;
                self.broker.control(&["set_disk_free_limit", "50MB"]).await;
            }
            Kind::Permissions => {
                vhost.api.permit(&vhost.name, &vhost.name, Permissions::NONE).await;
                vhost.close_connections().await;
                sleep(fault.length).await;
                vhost.api.permit(&vhost.name, &vhost.name, Permissions::ALL).await;
            }
            Kind::QueueDeleted => {
                vhost.delete_queue(QUEUE).await;
                self.truth.oracle().ledger.queue_deleted(since);
            }
            Kind::ExchangeDeleted => {
                let path = format!("/api/exchanges/{}/{}", encode(&vhost.name), encode(EXCHANGE));
                vhost.api.must("DELETE", &path, &serde_json::Value::Null).await;
            }
            Kind::ConnectionsClosed => drop(vhost.close_connections().await),
            other => panic!("{other:?} is nothing for a broker"),
        }
    }

    async fn on_redis(&self, fault: &Fault) {
        let redis = &self.bridge.redis;
        match fault.kind {
            Kind::Kill => {
                redis.kill();
                sleep(fault.length).await;
                redis.start_again().await;
            }
            Kind::Pause => {
                redis.pause();
                sleep(fault.length).await;
                redis.resume();
            }
            Kind::Restart => {
                redis.stop().await;
                sleep(fault.length).await;
                redis.start_again().await;
            }
            Kind::ClientPause => {
                let length = fault.length.as_millis().to_string();
                redis.command(&["CLIENT", "PAUSE", &length, "WRITE"]).await;
                sleep(fault.length).await;
                redis.command(&["CLIENT", "UNPAUSE"]).await;
            }
            Kind::ConnectionsClosed => drop(redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await),
            Kind::ScriptFlush => drop(redis.command(&["SCRIPT", "FLUSH"]).await),
            other => panic!("{other:?} is nothing for Redis"),
        }
    }

    async fn on_subscriber(&self, fault: &Fault, number: usize) {
        let mut program = self.subscribers[number].lock().await;
        match fault.kind {
            Kind::Pause => {
                program.signal(Signal::STOP);
                sleep(fault.length).await;
                program.signal(Signal::CONT);
                return;
            }
            Kind::Kill => {
                program.kill();
                self.killed(number);
            }
            Kind::Restart => {
                let code = program.terminate(SOON).await;
                self.truth.note(format!("subscriber {number} ended with {code:?}"));
                if code != Some(0) {
                    self.killed(number);
                }
            }
            other => panic!("{other:?} is nothing for a subscriber"),
        }
        sleep(fault.length).await;
        self.truth.oracle().ended(number);
        program.start_again();
    }

    async fn on_publisher(&self, fault: &Fault) {
        let chosen = usize::try_from(fault.chance % self.publishers.len() as u64).unwrap();
        let publisher = &self.publishers[chosen];
        let mut program = publisher.program.lock().await;
        let tell = |runs| self.truth.oracle().ledger.process(self.truth.now(), &publisher.id, runs);
        match fault.kind {
            Kind::Kill => program.kill(),
            Kind::Pause => program.signal(Signal::STOP),
            other => panic!("{other:?} is nothing for a publisher"),
        }
        tell(false);
        sleep(fault.length).await;
        tell(true);
        match fault.kind {
            Kind::Kill => program.start_again(),
            _ => program.signal(Signal::CONT),
        }
    }

    async fn on_ports(&self, fault: &Fault) {
        let chosen = usize::try_from(fault.chance % self.publishers.len() as u64).unwrap();
        let publisher = &self.publishers[chosen];
        let mut ports = publisher.ports.lock().await;
        let number = usize::try_from((fault.chance >> 8) % ports.len() as u64).unwrap();
        let tell = |up| {
            let name = format!("{}.{number}", publisher.id);
            self.truth.oracle().ledger.component(self.truth.now(), &publisher.id, &name, up);
        };
        ports[number].close().await;
        tell(false);
        sleep(fault.length).await;
        ports[number].reopen();
        tell(true);
    }

    /// Cuts subscribers off from Redis; what it returns leads them on again.
    fn cuts_off(&self, numbers: &[usize]) -> At {
        let since = self.truth.now();
        let mut cut_off = self.cut_off.lock().unwrap();
        numbers.iter().for_each(|number| cut_off[*number].push(CutOff { since, until: None }));
        since
    }

    fn leads_on(&self, numbers: &[usize], since: At) {
        let now = self.truth.now();
        let mut cut_off = self.cut_off.lock().unwrap();
        for number in numbers {
            let this = cut_off[*number].iter_mut().filter(|cut_off| cut_off.since == since);
            this.for_each(|cut_off| cut_off.until = Some(now));
        }
    }

    /// A subscriber goes without having stored all that it held, perhaps.
    fn killed(&self, number: usize) {
        let now = self.truth.now();
        let cut_off = self.cut_off.lock().unwrap();
        let lasts = |cut_off: &&CutOff| cut_off.until.is_none_or(|until| now < until + NOTICED);
        if let Some(since) = cut_off[number].iter().filter(lasts).map(|cut_off| cut_off.since).min() {
            // What came just before may have been held as well.
            self.truth.oracle().ledger.killed_cut_off(since.saturating_sub(NOTICED));
        }
    }
}

async fn on_path(path: &Proxy, fault: &Fault) {
    let both = |toxics: Toxics| path.set_both(toxics);
    match fault.kind {
        Kind::Latency => both(Toxics::latency(Duration::from_millis(200), Duration::from_millis(100))),
        Kind::Stall => both(Toxics::stall()),
        Kind::BlackHole => both(Toxics::swallow()),
        Kind::BlackHoleUp => path.set(Direction::Upstream, Toxics::swallow()),
        Kind::BlackHoleDown => path.set(Direction::Downstream, Toxics::swallow()),
        Kind::Bandwidth => both(Toxics::bandwidth(SLOW)),
        Kind::Slices => both(Toxics::slicer(3, Duration::ZERO)),
        Kind::Refuse => {
            path.refuse().await;
            path.reset();
        }
        Kind::Cut => {
            path.set_new(Direction::Downstream, Toxics::reset_at(fault.chance % 4000));
            path.reset();
        }
        Kind::HalfOpen => {
            path.half_open(Side::Client);
            return;
        }
        Kind::Resets => {
            let end = Instant::now() + fault.length;
            while Instant::now() < end {
                path.reset();
                sleep(Duration::from_millis(700)).await;
            }
            return;
        }
        other => panic!("{other:?} is nothing for a path"),
    }
    sleep(fault.length).await;
    path.clear();
}
