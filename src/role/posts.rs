//! What can be posted where.

use http::StatusCode;

use crate::http::{Deed, PostHandler, Said};
use crate::publisher::reload::Reloads;

/// What a publisher does for whoever sees its exposition.
pub(super) fn exposed(reloads: Reloads) -> PostHandler {
    std::sync::Arc::new(move |path: &str| match path {
        "/-/reload" => Some(reload(reloads.clone())),
        _ => None,
    })
}

fn reload(reloads: Reloads) -> Deed {
    Box::new(move |_| {
        Box::pin(async move {
            match reloads.ask().await {
                Ok(outcome) => Said::done(format!("OK: {outcome}")),
                Err(why) => Said::not(StatusCode::INTERNAL_SERVER_ERROR, format!("Not reloaded: {why}")),
            }
        })
    })
}
