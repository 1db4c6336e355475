//! The state for people and for their scripts: pages, JSON, badges.
//!
//! [`fleet`] is what all of them tell: each publisher with its standing, worst first, found by a [`Query`]. [`html`] makes
//! pages of it that work without JavaScript, [`json`] the answers of the API, [`badge`] a small picture. Pure, as the
//! exposition: nothing here waits, reads a clock or knows who asks.

mod ago;
pub mod badge;
mod events;
mod fleet;
pub mod html;
pub mod json;
mod query;
#[cfg(test)]
mod tests;
mod words;

pub use ago::ago;
pub use fleet::{Counts, Fleet, Standing};
pub use query::{Parameter, Query};
