//! What a family of metrics is, whatever it is written as.

/// What sort of family it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyType {
    /// Goes up and down.
    Gauge,
    /// Only grows, from nothing at a moment; its samples end in `_total`.
    Counter(Since),
    /// Facts as labels, always 1; its samples end in `_info`.
    Info,
}

/// When a counter began to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// When the publisher was first heard of: what is counted about it, on all replicas.
    FirstReceived,
    /// When the publisher's process began, by its own clock: what it counts itself.
    ProcessStart,
}

/// A family, named once, without the suffix of its type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: FamilyType,
    /// The unit, which the name must end in.
    pub(super) unit: Option<&'static str>,
    /// One sentence, without newlines and backslashes, since it is written as it is.
    pub(super) help: &'static str,
}

impl Family {
    /// What the names of its samples end in.
    pub(super) fn suffix(&self) -> &'static str {
        match self.kind {
            FamilyType::Gauge => "",
            FamilyType::Counter(_) => "_total",
            FamilyType::Info => "_info",
        }
    }
}

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Whole(u64),
    /// Thousandths: what times are kept in, written without going through floating point.
    Thousandths(i64),
    Real(f64),
}

impl From<bool> for Number {
    fn from(yes: bool) -> Self {
        Self::Whole(yes.into())
    }
}
