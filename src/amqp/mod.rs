//! RabbitMQ: the only user of lapin.
//!
//! lapin's own recovery is off, since it can hang for ever without a word. Here a session is
//! built, used until anything at all goes wrong with it, and built anew: [`connection`] opens
//! one, [`topology`] makes exchange, queue and binding, [`publish`] sends with confirms,
//! [`consume`] takes deliveries, and [`acks`] says which of them may be let go.
//! [`probe`] asks what changes nothing, and [`tap`] gets a copy of what passes.

pub mod acks;
pub mod connection;
pub mod consume;
mod consumer;
mod delivery;
mod error;
mod inspect;
mod nodes;
pub mod probe;
pub mod publish;
mod queues;
mod said;
mod send;
pub mod tap;
mod topology;

pub use connection::{Config, Mechanism};
pub use error::{AmqpError, REASONS};
pub use nodes::{Node, Nodes};
pub use topology::{PUBLISHER_HEADER, QueueType};
