//! Faults, one by one, by the peer that they befall: docs/faults.md names the test of each. Every fault shows by a
//! signal of its own, nothing is lost by it, nothing false is shown meanwhile, and it ends without hands.

mod amqp;
mod checks;
mod host;
mod http;
mod line;
mod messages;
mod publisher;
mod redis;
mod stage;
