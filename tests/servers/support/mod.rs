//! What the tests stand on: real servers that can be stopped, killed and paused, the real program, strange TCP
//! peers, and readers of what they say. Reading order: `process`, `rabbitmq`, `vhost`, `redis`, `program`, and `proxy`, which may
//! stand between them; then `v1` and `v2`, who speak to it, and `bridge` and `watch`, which put all together. `otlp` is what the program exports to; `prometheus` and
//! `alertmanager` run what is `shipped`.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "a harness offers more than one caller calls")]

pub mod alertmanager;
pub mod bridge;
pub mod certificates;
pub mod field;
pub mod http;
pub mod name_server;
pub mod nginx;
pub mod otlp;
pub mod ports;
pub mod postgresql;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod promql;
pub mod proxy;
pub mod rabbitmq;
pub mod rabbitmq_api;
pub mod rabbitmq_cluster;
pub mod redis;
pub mod redis_cluster;
pub mod redis_sentinels;
pub mod resp;
pub mod scrape;
pub mod shipped;
pub mod signed;
pub mod tcp;
pub mod v1;
pub mod v2;
pub mod vhost;
pub mod wait;
pub mod watch;
