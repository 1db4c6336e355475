//! The latest state of every publisher, and the decisions about it.
//!
//! Pure: `now` is always a parameter, nothing waits, nothing reads a clock. In reading order:
//! [`record`] is what is kept of a publisher, [`components`] how its components are held, [`seldom`] what few have, [`revision`] what its forms are told apart by,
//! [`apply()`] what a message does to it, [`change`] what of that is worth telling, [`recent`] what of it is remembered,
//! [`sequence`] which numbers came, [`elsewhere`] which may be with others,
//! [`join`] what two forms of a record know together, [`live`] whether a delivery speaks of now, [`hearing`] what would have been heard,
//! [`freshness`] what silence means, [`verdict`] what it means for components, [`maintenance`] when it calls nobody, [`view`] all records together, [`shard`] a part of
//! them, [`moment`] what they say when somebody asks, and [`snapshot`] what expositions see of that.

pub mod apply;
pub mod change;
pub mod components;
pub mod elsewhere;
pub mod freshness;
mod hash;
pub mod hearing;
pub mod join;
mod legacy;
pub mod live;
pub mod maintenance;
pub mod moment;
pub mod recent;
pub mod record;
pub mod revision;
pub mod seldom;
pub mod sequence;
pub mod shard;
pub mod snapshot;
pub mod verdict;
pub mod view;

pub use apply::{Effect, Receipt, apply, is_delayed, may_be_replayed};
pub use moment::Moment;
pub use record::{GRACE_BEATS, GRACE_MIN, Record};
pub use snapshot::Snapshot;
pub use view::{Policy, View};

#[cfg(test)]
mod tests;
