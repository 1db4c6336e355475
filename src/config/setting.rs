//! What a setting is: the columns of the table in [`super::settings`].

use std::time::Duration;

/// The group under which `--help` lists a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// The process itself.
    Process,
    /// The broker.
    RabbitMq,
    /// The broker's management API.
    Management,
    /// The store.
    Redis,
    /// What the publisher checks and sends.
    Checks,
    /// What the publisher is told on its own machine.
    Local,
    /// What the subscriber makes of it.
    Publishers,
    /// Whose heartbeats they are.
    Authenticity,
    /// Bounds.
    Limits,
    /// The exposition.
    Web,
    /// Which subscriber is asked for the fleet.
    Status,
    /// Logs.
    Logging,
    /// What leaves by OTLP.
    OpenTelemetry,
}

impl Heading {
    /// The text of the heading.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "Process",
            Self::RabbitMq => "RabbitMQ",
            Self::Management => "RabbitMQ management API",
            Self::Redis => "Redis",
            Self::Checks => "Checks and heartbeats",
            Self::Local => "Local API of the publisher",
            Self::Publishers => "Publishers, as the subscriber judges them",
            Self::Authenticity => "Authentic heartbeats",
            Self::Limits => "Limits",
            Self::Web => "Web",
            Self::Status => "Asking a subscriber",
            Self::Logging => "Logging",
            Self::OpenTelemetry => "OpenTelemetry",
        }
    }
}

/// The subcommands that read a setting, as a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u16);

impl Scopes {
    /// None of them: the setting chooses among them.
    pub const ROOT: Self = Self(0);
    /// `heartbeat publisher`.
    pub const PUBLISHER: Self = Self(1);
    /// `heartbeat subscriber`.
    pub const SUBSCRIBER: Self = Self(1 << 1);
    /// `heartbeat standalone`.
    pub const STANDALONE: Self = Self(1 << 2);
    /// `heartbeat forget`.
    pub const FORGET: Self = Self(1 << 3);
    /// `heartbeat healthcheck`.
    pub const HEALTHCHECK: Self = Self(1 << 4);
    /// `heartbeat keys`.
    pub const KEYS: Self = Self(1 << 5);
    /// `heartbeat doctor`, besides what the role reads that it looks after.
    pub const DOCTOR: Self = Self(1 << 6);
    /// `heartbeat maintenance`.
    pub const MAINTENANCE: Self = Self(1 << 9);
    /// `heartbeat status`.
    pub const STATUS: Self = Self(1 << 7);
    /// `heartbeat tap`.
    pub const TAP: Self = Self(1 << 8);
    /// Every role.
    pub const ROLES: Self = Self::PUBLISHER.and(Self::SUBSCRIBER).and(Self::STANDALONE);

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets have a subcommand in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a setting's text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text; the word stands for it in `--help`.
    Text(&'static str),
    /// Text that must not be empty when it is set: an empty value is an error, and not "unset".
    Required(&'static str),
    /// A host name or address.
    Host,
    /// A file.
    File,
    /// `true` or `false`.
    Boolean,
    /// A whole number within a range, both ends included.
    Number(u64, u64),
    /// A number of bytes within a range, both ends included.
    Bytes(u64, u64),
    /// A duration within a range, both ends included.
    Time(Duration, Duration),
    /// Entries separated by commas; a flag may be given several times instead.
    List(&'static str),
    /// A secret: a variable or a file, and never a flag.
    Secret,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The flag without its dashes; the variable follows from it by [`variable_of`].
    pub flag: &'static str,
    /// A second flag of the same meaning.
    pub alias: Option<&'static str>,
    /// The variable.
    pub variable: &'static str,
    /// The value of a setting that is not set; empty where that means "none".
    pub default: &'static str,
    /// What the value is derived from where nothing sets it and `default` is empty.
    pub derived: &'static str,
    /// What its text must be.
    pub kind: Kind,
    /// A value that would be right; empty: the default is one.
    pub example: &'static str,
    /// One or two sentences.
    pub help: &'static str,
    /// Where `--help` lists it.
    pub heading: Heading,
    /// The subcommands that read it.
    pub scopes: Scopes,
    /// Whoever sets it relies on being protected by it, so that a name that is nearly its own ends the start.
    pub protects: bool,
    /// The setting that counts where this one, for a part of the same, is not set; `--help` leaves it to that.
    pub general: Option<&'static Setting>,
}

impl Setting {
    /// A setting without alias or derived default; the table adds the variable.
    pub(crate) const fn new(
        flag: &'static str,
        (heading, scopes): (Heading, Scopes),
        kind: Kind,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            flag,
            alias: None,
            variable: "",
            default,
            derived: "",
            kind,
            example: "",
            help,
            heading,
            scopes,
            protects: false,
            general: None,
        }
    }

    /// A setting that goes before another one, for a part of what that is for.
    pub(crate) const fn part_of(general: &'static Self, flag: &'static str, help: &'static str) -> Self {
        let place = (general.heading, general.scopes);
        let part = Self::new(flag, place, general.kind, "", help).derived_from(general.variable);
        Self { general: Some(general), protects: general.protects, ..part }
    }

    /// What it forbids must not happen because its name was misspelt.
    pub(crate) const fn that_protects(self) -> Self {
        Self { protects: true, ..self }
    }

    /// Names the variable.
    pub(crate) const fn in_variable(self, variable: &'static str) -> Self {
        Self { variable, ..self }
    }

    /// Adds a second flag.
    pub(crate) const fn or_flag(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    /// Says what the default is derived from.
    pub(crate) const fn derived_from(self, derived: &'static str) -> Self {
        Self { derived, ..self }
    }

    /// Gives a value that would be right.
    pub(crate) const fn such_as(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    /// Whether its value must never be shown.
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret)
    }

    /// Whether an empty value is an error.
    pub fn must_not_be_empty(&self) -> bool {
        matches!(self.kind, Kind::Required(_))
    }

    /// The variable that names a file with the secret.
    pub fn file_variable(&self) -> Option<String> {
        self.is_secret().then(|| format!("{}_FILE", self.variable))
    }

    /// Its name in messages: `RABBITMQ_HOST (--rabbitmq.host)`.
    pub fn title(&self) -> String {
        if self.is_secret() {
            self.variable.to_owned()
        } else {
            format!("{} (--{})", self.variable, self.flag)
        }
    }

    /// A line that would be right: `RABBITMQ_PORT=5672`.
    pub fn example_line(&self) -> String {
        format!("{}={}", self.variable, self.right_value())
    }

    fn right_value(&self) -> &'static str {
        match (self.example, self.default, self.general) {
            ("", "", Some(general)) => general.right_value(),
            ("", ..) if self.is_secret() => "...",
            ("", default, _) => default,
            (example, ..) => example,
        }
    }
}

/// The variable that goes with a flag: upper case, dots and hyphens as underscores.
pub fn variable_of(flag: &str) -> String {
    flag.chars().map(|c| if matches!(c, '.' | '-') { '_' } else { c.to_ascii_uppercase() }).collect()
}
