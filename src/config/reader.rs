//! Looks settings up, and gathers what is wrong with them instead of stopping at the first.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::parse::{self, Why};
use super::problem::{Problem, Problems, Warning};
use super::setting::{Kind, Scopes, Setting};
use super::source::Source;
use crate::secret::{Secret, SecretFileError, SecretSource};
use crate::tls::TlsError;

/// Flags as they were given, by [`Setting::flag`].
pub type Flags = BTreeMap<&'static str, String>;

/// What bytes that are no UTF-8 were turned into by the source.
const NOT_UTF8: char = '\u{fffd}';

/// Reads settings of one subcommand: from its flag, else from its variable, else its default.
///
/// A setting that the subcommand does not have is not looked at: its default holds, and a
/// variable meant for another role is nobody's problem. After a problem the default holds too,
/// so that the rest can still be looked at; nothing of it is handed out.
pub(crate) struct Reader<'a> {
    scope: Scopes,
    flags: &'a Flags,
    pub(crate) source: &'a dyn Source,
    pub(crate) problems: Problems,
    pub(crate) warnings: Vec<Warning>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(scope: Scopes, flags: &'a Flags, source: &'a dyn Source) -> Self {
        Self { scope, flags, source, problems: Problems::default(), warnings: Vec::new() }
    }

    /// A reader of the same settings that has found nothing yet.
    pub(crate) fn apart(&self) -> Self {
        Self::new(self.scope, self.flags, self.source)
    }

    /// Takes over what another reader found, each once.
    pub(crate) fn join_once(&mut self, other: Self) {
        for problem in other.problems.iter() {
            if !self.problems.iter().any(|known| known == problem) {
                self.problems.push(problem.clone());
            }
        }
        for warning in other.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    /// Ends the reading: `value` counts only when there was no problem.
    pub(crate) fn finish<T>(self, value: T) -> Result<(T, Vec<Warning>), Problems> {
        if self.problems.is_empty() {
            Ok((value, self.warnings))
        } else {
            Err(self.problems.beside(self.warnings))
        }
    }

    /// The text of the setting's flag or variable; an empty one counts as unset.
    fn text_given(&self, setting: &Setting) -> Option<String> {
        if !self.reads(setting) {
            return None;
        }
        let flag = self.flags.get(setting.flag).filter(|value| !value.is_empty()).cloned();
        flag.or_else(|| self.variable(setting.variable))
    }

    /// Whether somebody set it, a secret's file included.
    pub(crate) fn is_given(&self, setting: &Setting) -> bool {
        self.text_given(setting).is_some() || self.file_given(setting).is_some()
    }

    /// The file that is named for a secret.
    fn file_given(&self, setting: &Setting) -> Option<String> {
        self.variable(&setting.file_variable().filter(|_| self.reads(setting))?)
    }

    /// A variable, whoever reads it; an empty one counts as unset.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.source.get(name).filter(|value| !value.is_empty())
    }

    /// Whether the subcommand has it.
    pub(crate) fn reads(&self, setting: &Setting) -> bool {
        self.scope.meets(setting.scopes)
    }

    /// Whether its flag was given, even in vain.
    pub(crate) fn has_flag(&self, setting: &Setting) -> bool {
        self.flags.contains_key(setting.flag)
    }

    /// Notes that a setting cannot be used.
    pub(crate) fn problem(&mut self, setting: &Setting, value: Option<String>, why: impl Into<Why>) {
        let value = value.filter(|_| !setting.is_secret());
        let (name, example) = (setting.title(), setting.example_line());
        self.problems.push(Problem { name, value, why: why.into(), example });
    }

    /// Notes what the operator should know about a setting.
    pub(crate) fn warn(&mut self, setting: &Setting, text: impl Into<String>) {
        self.warnings.push(Warning::new(setting.title(), text));
    }

    /// The setting as `parse` understands it, when it was given and can be understood.
    pub(crate) fn given<T>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, Why>,
    ) -> Option<T> {
        let text = self.text_given(setting)?;
        let parsed = if text.contains(NOT_UTF8) { Err("it is not UTF-8".into()) } else { parse(&text) };
        parsed.map_err(|why| self.problem(setting, Some(text), why)).ok()
    }

    /// The setting as `parse` understands it, or its default.
    pub(crate) fn read<T: Default>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, Why>,
    ) -> T {
        // Every default parses (a test reads them all), so `T::default` is never what is returned.
        let default = setting.general.unwrap_or(setting).default;
        self.given(setting, &parse).unwrap_or_else(|| parse(default).unwrap_or_default())
    }

    /// A name that may be unset, and not empty.
    pub(crate) fn required(&mut self, setting: &Setting) -> String {
        let flag = self.flags.get(setting.flag).cloned();
        if flag.or_else(|| self.source.get(setting.variable)).is_some_and(|value| value.is_empty()) {
            self.problem(
                setting,
                Some(String::new()),
                "it is empty, and must not be; unset it for the default",
            );
        }
        self.read(setting, parse::amqp_name)
    }

    /// A number, a size or a count within the bounds of the table.
    pub(crate) fn number<T: TryFrom<u64> + Default>(&mut self, setting: &Setting) -> T {
        self.read(setting, |text| {
            let number = match setting.kind {
                Kind::Bytes(min, max) => parse::bytes(text, min, max),
                Kind::Number(min, max) => parse::whole_number(text, min, max),
                _ => parse::whole_number(text, 0, u64::MAX),
            }?;
            T::try_from(number).map_err(|_| "it is too large for this machine".into())
        })
    }

    /// A duration within the bounds of the table; `None` when it is not given.
    pub(crate) fn time_given(&mut self, setting: &Setting) -> Option<Duration> {
        self.given(setting, |text| parse_time(setting, text))
    }

    /// A duration within the bounds of the table.
    pub(crate) fn time(&mut self, setting: &Setting) -> Duration {
        self.read(setting, |text| parse_time(setting, text))
    }

    /// A switch.
    pub(crate) fn switch(&mut self, setting: &Setting) -> bool {
        self.read(setting, parse::boolean)
    }

    /// The path of a file that is set; whether it can be read is for its user to say.
    pub(crate) fn path(&mut self, setting: &Setting) -> Option<PathBuf> {
        self.given(setting, |text| Ok(PathBuf::from(text)))
    }

    /// A secret from its variable or from the file that `<NAME>_FILE` names.
    pub(crate) fn secret(&mut self, setting: &Setting) -> Option<SecretSource> {
        let default =
            (!setting.default.is_empty()).then(|| SecretSource::given(Secret::new(setting.default)));
        let given = self.given(setting, |text| Ok(text.to_owned()));
        let Some(path) = self.file_given(setting) else {
            return given.map(|text| SecretSource::given(Secret::new(text))).or(default);
        };
        let file_variable = setting.file_variable().unwrap_or_default();
        if given.is_some() {
            self.problem(setting, None, format!("it is set, and so is {file_variable}; keep one of them"));
            return default;
        }
        match SecretSource::file(PathBuf::from(&path)) {
            Ok(secret) => Some(secret),
            Err(error) => {
                let why = why_no_secret(&error);
                let example =
                    format!("{file_variable}=/run/secrets/{}", setting.variable.to_ascii_lowercase());
                self.problems.push(Problem { name: file_variable, value: Some(path), why, example });
                default
            }
        }
    }
}

fn parse_time(setting: &Setting, text: &str) -> Result<Duration, Why> {
    let (min, max) = match setting.kind {
        Kind::Time(min, max) => (min, max),
        _ => (Duration::ZERO, Duration::MAX),
    };
    parse::duration(text, min, max)
}

/// Why a file gives no secret, in words for the operator.
pub(super) fn why_no_secret(error: &SecretFileError) -> Why {
    match error {
        SecretFileError::Read(source) => why_unreadable(source),
        _ => error.to_string(),
    }
}

/// The file of TLS that is to blame, where one is, and why there can be no TLS, in words for the operator.
pub(super) fn why_no_tls(error: &TlsError) -> (Option<&Path>, Why) {
    match error {
        TlsError::Read { path, source, .. } => (Some(path), why_unreadable(source)),
        TlsError::Content { path, why, .. } => (Some(path), format!("the file {why}")),
        TlsError::Pair { key, source, .. } => {
            (Some(key), format!("the key and the client certificate cannot be used together: {source}"))
        }
        TlsError::NoSystemRoots => (None, "it is not set, and this system has no trusted roots".into()),
        TlsError::Unread(unread) => (None, unread.to_string()),
        TlsError::Provider(source) => (None, format!("there can be no TLS: {source}")),
    }
}

/// Why a file cannot be read, in words for the operator.
pub(crate) fn why_unreadable(error: &io::Error) -> Why {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "this user has no permission to read the file".into(),
        io::ErrorKind::IsADirectory => "it is a directory, not a file".into(),
        _ => format!("the file cannot be read: {error}"),
    }
}
