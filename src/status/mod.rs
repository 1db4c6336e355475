//! The fleet as one subscriber sees it, asked through its API, for people at a terminal and for scripts.
//!
//! - `client`: asks. `answer`: what is understood of the answer. `table`: how it is told.

mod answer;
mod client;
mod table;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::page::{Query, Standing};

pub use answer::Fleet;
pub use client::{Client, Config, StatusError};
pub use table::render;

/// Pages that are asked for at most: of a hundred publishers each.
const PAGES_MAX: usize = 1_000;

/// What a fleet comes to, for a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything is up.
    Up,
    /// Something is unknown, and nothing is known to be down.
    Unknown,
    /// Something is down or silent.
    Down,
}

/// What is asked of a subscriber.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Part of a name.
    pub search: String,
    /// Publishers of these states; of all, where none is named.
    pub states: Vec<Standing>,
}

/// A whole answer: as it came, and as it is understood.
#[derive(Clone, Debug)]
pub struct Answer {
    /// All pages as one, in the API's form.
    pub json: Value,
    /// What is understood of it.
    pub fleet: Fleet,
}

/// Asks for all pages, within one deadline.
///
/// # Errors
/// The subscriber could not be asked, or gave no answer that can be used.
pub async fn ask(client: &Client, question: &Question, limit: Duration) -> Result<Answer, StatusError> {
    let end = Instant::now() + limit;
    let late = StatusError::Deadline { url: client.url().to_owned(), limit };
    timeout_at(end, all_pages(client, question)).await.unwrap_or(Err(late))
}

async fn all_pages(client: &Client, question: &Question) -> Result<Answer, StatusError> {
    let (search, standings) = (question.search.clone(), question.states.clone());
    let query = Query { search, standings, page: 1, ..Query::default() };
    let mut json = client.get(&query.of_page(1)).await?;
    let pages = json["pages"].as_u64().and_then(|pages| usize::try_from(pages).ok()).unwrap_or(1);
    for page in 2..=pages.min(PAGES_MAX) {
        let mut next = client.get(&query.of_page(page)).await?;
        let (Some(all), Some(more)) = (json["publishers"].as_array_mut(), next["publishers"].as_array_mut())
        else {
            break;
        };
        // The fleet may have moved on between two pages: nobody is told twice.
        more.retain(|one| !all.iter().any(|known| known["id"] == one["id"]));
        all.append(more);
    }
    if let Some(fields) = json.as_object_mut() {
        // It is one page now.
        fields.insert("page".to_owned(), json!(1));
        fields.insert("pages".to_owned(), json!(1));
    }
    let fleet = Fleet::read(&json).map_err(StatusError::NotOurs)?;
    Ok(Answer { json, fleet })
}
