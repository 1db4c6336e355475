//! Past one machine: quorum queues, several nodes of RabbitMQ, Redis with replicas, Sentinels and as a cluster.
#![allow(unreachable_pub, reason = "as in the rest of the harness")]

mod quorum;
