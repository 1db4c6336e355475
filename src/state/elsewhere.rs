//! Heartbeats that are missing here and may be somewhere else: with another replica that has not stored them
//! yet, or with a stranger who took them. Nobody may call them lost before that is known.

use std::time::Duration;

use crate::heartbeat::Timestamp;

/// Who else may have what is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Elsewhere {
    /// Nobody.
    #[default]
    Nobody,
    /// Another replica, which may be slow: what it holds is stored soon, or comes back to the queue.
    Replica,
    /// Another replica, which cannot store it now, or the queue, behind a backlog. It will come.
    HeldBack,
    /// A stranger who shares the queue. Nobody will ever hear of it.
    Stranger,
}

/// What is missing is waited for at least so long, and less than twice as long: the broker takes back what a
/// replica that vanished held, and hands it to another, within half of it.
const WAITED: Duration = Duration::from_secs(60);

/// Numbers that are remembered as missing, in words of 64: 4,096, more than an hour of one a second.
const WORDS_MAX: usize = 64;

/// Numbers of one epoch that left the window unseen while somebody else may have had them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What is missing up to here may be elsewhere.
    pub doubted_to: u64,
    /// What is missing up to here may have gone to a stranger, and is never lost.
    pub stranger_to: u64,
    /// What is missing up to here has been so since `since`.
    pub waited_to: u64,
    /// By the store's clock.
    pub since: Timestamp,
    /// The number of the lowest bit.
    pub from: u64,
    /// Bit `i` of word `w` is set if `from + 64 w + i` is missing.
    pub words: Vec<u64>,
}

impl Missing {
    /// Nothing is missing yet.
    pub(super) fn new(at: Timestamp) -> Self {
        Self { doubted_to: 0, stranger_to: 0, waited_to: 0, since: at, from: 0, words: Vec::new() }
    }

    /// What was stored may be anything; this bounds it.
    pub fn bounded(mut self) -> Self {
        self.words.truncate(WORDS_MAX);
        self
    }

    /// Notes that what is missing up to `number` may be elsewhere.
    pub(super) fn doubt(&mut self, elsewhere: Elsewhere, number: u64, at: Timestamp) {
        match elsewhere {
            Elsewhere::Nobody => return,
            Elsewhere::Replica => {}
            Elsewhere::HeldBack => self.since = self.since.max(at),
            Elsewhere::Stranger => {
                // It may be one of us that cannot reach the store, and so is not known.
                self.since = self.since.max(at);
                self.stranger_to = self.stranger_to.max(number);
            }
        }
        self.doubted_to = self.doubted_to.max(number);
    }

    /// Gives up what was waited for long enough, and waits for what has left the window since; the lowest
    /// number in that is `kept_from`. Returns how many of those given up no stranger can have.
    pub(super) fn give_up(&mut self, at: Timestamp, kept_from: u64) -> u64 {
        if at < self.since.plus(WAITED) {
            return 0;
        }
        let mut lost = 0;
        for (index, word) in self.words.iter_mut().enumerate() {
            let lowest = self.from.saturating_add(64 * index as u64);
            let given_up = *word & up_to(self.waited_to, lowest);
            lost += u64::from((given_up & !up_to(self.stranger_to, lowest)).count_ones());
            *word &= !given_up;
        }
        self.waited_to = kept_from.saturating_sub(1);
        self.since = at;
        lost
    }

    /// Whether nothing is missing.
    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Remembers a number as missing; numbers come in ascending order. The lowest make room, and are then
    /// called neither lost nor seen: nobody knows.
    pub(super) fn add(&mut self, number: u64) {
        if self.words.is_empty() {
            self.from = number;
        }
        let Some(mut word) = self.word_of(number) else { return };
        if word >= WORDS_MAX {
            let over = word - WORDS_MAX + 1;
            self.words.drain(..over.min(self.words.len()));
            self.from = self.from.saturating_add(64 * over as u64);
            word = WORDS_MAX - 1;
        }
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << ((number - self.from) % 64);
    }

    /// Takes a number that came after all; says whether it was missing.
    pub(super) fn take(&mut self, number: u64) -> bool {
        let Some(word) = self.word_of(number).filter(|word| *word < self.words.len()) else { return false };
        let bit = 1 << ((number - self.from) % 64);
        let was_missing = self.words[word] & bit != 0;
        self.words[word] &= !bit;
        was_missing
    }

    fn word_of(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.from)? / 64).ok()
    }

    /// How far back is remembered.
    pub(super) const fn span() -> u64 {
        64 * WORDS_MAX as u64
    }
}

/// The bits of a word that begins at `lowest` which stand for numbers up to `number`.
fn up_to(number: u64, lowest: u64) -> u64 {
    match number.checked_sub(lowest) {
        None => 0,
        Some(above @ 0..=62) => (1 << (above + 1)) - 1,
        Some(_) => u64::MAX,
    }
}
