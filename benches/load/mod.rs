//! Heartbeats as publishers send them: so many publishers, so many components each, so large a share of them changing
//! from one heartbeat to the next; into a queue at once ([`backlog`]), or one by one at a rate of their own ([`open_loop`]).

pub mod backlog;
pub mod fleet;
pub mod open_loop;
