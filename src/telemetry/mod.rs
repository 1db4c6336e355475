//! What the program says about itself: its log, its own metrics, its errors as text.

mod chain;
mod line;
pub mod log;
mod process;
pub mod registry;
mod stderr;

pub use chain::Chain;
pub(crate) use line::is_dangerous;
