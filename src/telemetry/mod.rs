//! What the program says about itself: its log, its own metrics, its errors as text.

mod chain;
mod line;
pub mod log;
mod process;
pub mod registry;
mod stderr;
mod visible;

pub use chain::Chain;
pub(crate) use line::is_dangerous;
pub use visible::{visible, visible_json};
