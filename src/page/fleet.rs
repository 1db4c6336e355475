//! Every publisher with its standing, worst first; a page of those that are asked for.

use super::Query;
use crate::heartbeat::{Outcome, Timestamp};
use crate::state::snapshot::{ComponentView, PublisherView, Snapshot};

/// Publishers on a page: what a browser lays out in a blink, and a person reads.
const PUBLISHERS_PER_PAGE: usize = 100;

/// Components on a page, after which it ends with the publisher that has them: a page is some megabytes at most.
const COMPONENTS_PER_PAGE: usize = 2_500;

/// How a publisher is, in one word; worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing was heard in time: how its components are, nobody knows.
    Silent,
    /// It is heard, and something is down.
    Down,
    /// It is heard, nothing is down, and something could not be checked.
    Unknown,
    /// This replica cannot judge.
    Unjudged,
    /// It is heard, and everything is up.
    Up,
}

impl Standing {
    /// Every one, worst first.
    pub const ALL: [Self; 5] = [Self::Silent, Self::Down, Self::Unknown, Self::Unjudged, Self::Up];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Unjudged => "unjudged",
            Self::Up => "up",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == word)
    }

    /// Of a publisher with these components.
    pub fn of(publisher: &PublisherView, counts: Counts) -> Self {
        match publisher.up {
            Some(false) => Self::Silent,
            None => Self::Unjudged,
            Some(true) if counts.down > 0 => Self::Down,
            Some(true) if counts.unknown > 0 => Self::Unknown,
            Some(true) if counts.unjudged > 0 => Self::Unjudged,
            Some(true) => Self::Up,
        }
    }
}

/// Components by their outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Found up.
    pub up: usize,
    /// Found down.
    pub down: usize,
    /// Could not be checked, or were not heard of in time.
    pub unknown: usize,
    /// This replica has no verdict.
    pub unjudged: usize,
}

impl Counts {
    fn of(publisher: &PublisherView) -> Self {
        let mut counts = Self::default();
        for component in publisher.components() {
            *match component.outcome {
                Some(Outcome::Up) => &mut counts.up,
                Some(Outcome::Down) => &mut counts.down,
                Some(Outcome::Unknown) => &mut counts.unknown,
                None => &mut counts.unjudged,
            } += 1;
        }
        counts
    }

    /// All of them.
    pub fn all(self) -> usize {
        self.up + self.down + self.unknown + self.unjudged
    }
}

/// A publisher, judged.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// What is known of it.
    pub view: &'a PublisherView,
    /// How it is.
    pub standing: Standing,
    /// Its components.
    pub counts: Counts,
}

impl<'a> Judged<'a> {
    /// Judges one.
    pub fn of(view: &'a PublisherView) -> Self {
        let counts = Counts::of(view);
        Self { view, standing: Standing::of(view, counts), counts }
    }

    /// Its components, those first that are down, then unknown, then by key.
    pub fn components(&self) -> Vec<ComponentView<'a>> {
        let mut components: Vec<ComponentView<'a>> = self.view.components().collect();
        components.sort_by_key(|component| severity(component.outcome));
        components
    }

    /// A time of the publisher's clock by the store's, as far as it is known how they differ; never later than now.
    pub fn by_the_store(&self, at: Timestamp, now: Timestamp) -> Timestamp {
        let offset = self.view.clock_offset_ms.unwrap_or(0);
        at.plus_ms(offset.saturating_neg()).min(now)
    }

    /// How many of its components are in maintenance by a window of their own.
    pub fn in_maintenance(&self) -> usize {
        if self.view.maintenance.of_publisher().is_some() {
            return 0;
        }
        self.view.components().filter(|component| component.maintenance.is_some()).count()
    }

    /// Whether nobody is called, however it is: it is in maintenance, or whatever is not up of it is.
    pub fn is_excused(&self) -> bool {
        let is_odd = |component: &ComponentView<'_>| component.outcome != Some(Outcome::Up);
        let heard = matches!(self.standing, Standing::Down | Standing::Unknown);
        let all_known = || self.view.components().filter(is_odd).all(|one| one.maintenance.is_some());
        self.view.maintenance.of_publisher().is_some() || (heard && all_known())
    }

    /// Where it stands in the list: what calls somebody, then what calls nobody as it is in maintenance, then what is up.
    fn rank(&self) -> (u8, Standing) {
        let calls = match (self.standing, self.view.maintenance.of_publisher()) {
            (Standing::Up, _) => 2,
            (_, Some(_)) => 1,
            (_, None) => 0,
        };
        (calls, self.standing)
    }

    fn holds(&self, search: &str) -> bool {
        let found = |text: &str| text.to_lowercase().contains(search);
        found(self.view.id.as_str())
            || self.view.told.iter().any(|state| {
                let key = state.component.key;
                found(key.name) || found(key.queue) || state.component.target.is_some_and(found)
            })
    }
}

fn severity(outcome: Option<Outcome>) -> u8 {
    match outcome {
        Some(Outcome::Down) => 0,
        Some(Outcome::Unknown) => 1,
        None => 2,
        Some(Outcome::Up) => 3,
    }
}

/// Where each page begins; there is at least one.
fn page_starts(found: &[Judged<'_>]) -> Vec<usize> {
    let mut starts = vec![0];
    let (mut publishers, mut components) = (0, 0);
    for (at, judged) in found.iter().enumerate() {
        if publishers == PUBLISHERS_PER_PAGE || components >= COMPONENTS_PER_PAGE {
            starts.push(at);
            (publishers, components) = (0, 0);
        }
        publishers += 1;
        components += judged.counts.all();
    }
    starts
}

/// What a query finds.
#[derive(Debug)]
pub struct Fleet<'a> {
    /// What it was found in.
    pub snapshot: &'a Snapshot,
    /// All publishers, by standing, whatever was asked for.
    pub totals: [(Standing, usize); 5],
    /// How many were found.
    pub found: usize,
    /// Those on this page, worst first, then by id.
    pub page: Vec<Judged<'a>>,
    /// Which page this is, from 1.
    pub number: usize,
    /// How many there are, at least one.
    pub pages: usize,
}

impl<'a> Fleet<'a> {
    /// Finds what is asked for. A page behind the last is the last.
    pub fn find(snapshot: &'a Snapshot, query: &Query) -> Self {
        let mut totals = Standing::ALL.map(|standing| (standing, 0));
        let search = query.search.to_lowercase();
        let mut found: Vec<Judged<'a>> = Vec::new();
        for publisher in &snapshot.publishers {
            let judged = Judged::of(publisher);
            for (standing, total) in &mut totals {
                *total += usize::from(*standing == judged.standing);
            }
            if query.wants(judged.standing) && (search.is_empty() || judged.holds(&search)) {
                found.push(judged);
            }
        }
        // By id they are already.
        found.sort_by_key(Judged::rank);
        let starts = page_starts(&found);
        let number = query.page.clamp(1, starts.len());
        let start = starts.get(number - 1).copied().unwrap_or(0);
        let end = starts.get(number).copied().unwrap_or(found.len());
        let page = found.get(start..end).unwrap_or_default().to_vec();
        Self { snapshot, totals, found: found.len(), page, number, pages: starts.len() }
    }

    /// One publisher, by its id.
    pub fn one(snapshot: &'a Snapshot, id: &str) -> Option<Judged<'a>> {
        let found = snapshot.publishers.binary_search_by(|publisher| publisher.id.as_str().cmp(id));
        found.ok().and_then(|at| snapshot.publishers.get(at)).map(Judged::of)
    }
}
