//! The table of settings as flags, and as what stands below them in `--help`.

use clap::{Arg, ArgAction, ValueHint};

use crate::config::settings;
use crate::config::{Kind, Scopes, Setting};

const PARTS_NOTES: &str = "\
Each setting of OTEL_EXPORTER_OTLP_* that is for every signal is there for one alone too, and goes before it \
then: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT (--otel.exporter-otlp-traces-endpoint), and so on, with METRICS or \
LOGS in the place of TRACES. Times of OTEL_* are bare numbers of milliseconds.\n\n";

const SETTINGS_NOTES: &str = "\
A flag goes before its variable; an empty value counts as unset. A duration is a number of seconds, or \
a number and a unit (500ms, 90s, 5m, 7days).";

/// `--config.check`.
pub(super) fn check_arg() -> Arg {
    Arg::new("config.check")
        .long("config.check")
        .action(ArgAction::SetTrue)
        .help("Validate the configuration with the files that it names, and exit: 0 valid, 64 not")
}

/// The flags of a command, all but what is for a part of something.
pub(super) fn setting_args(scope: Scopes) -> impl Iterator<Item = Arg> {
    let of_scope = settings::ALL.iter().filter(move |setting| setting.scopes.meets(scope));
    // The same nine settings three times over would drown the rest; the notes tell how they are named.
    of_scope
        .filter(|setting| !setting.is_secret())
        .map(|setting| setting_arg(setting).hide(setting.general.is_some()))
}

/// All flags, not listed: for commands whose role is known only when they are read.
pub(super) fn hidden_setting_args() -> impl Iterator<Item = Arg> {
    settings::ALL.iter().filter(|setting| !setting.is_secret()).map(|setting| setting_arg(setting).hide(true))
}

/// One flag.
pub(super) fn setting_arg(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(value_name(setting))
        .help(setting_help(setting))
        .help_heading(setting.heading.as_str());
    let arg = match setting.alias {
        Some(alias) => arg.visible_alias(alias),
        None => arg,
    };
    match setting.kind {
        // A bare flag means true; a value must cling to it, or it would swallow what follows.
        Kind::Boolean => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::List(_) => arg.action(ArgAction::Append),
        Kind::File => arg.value_hint(ValueHint::FilePath),
        _ => arg,
    }
}

fn value_name(setting: &Setting) -> &'static str {
    match setting.kind {
        Kind::Text(name) | Kind::Required(name) | Kind::List(name) => name,
        Kind::Host => "HOST",
        Kind::File => "FILE",
        Kind::Boolean => "BOOL",
        Kind::Number(1, 65_535) if setting.flag.ends_with("port") => "PORT",
        Kind::Number(..) => "NUMBER",
        Kind::Bytes(..) => "BYTES",
        Kind::Time(..) => "DURATION",
        Kind::Secret => "SECRET",
    }
}

fn setting_help(setting: &Setting) -> String {
    let default = match (setting.default, setting.kind) {
        ("", _) if setting.derived.is_empty() => String::new(),
        ("", _) => format!(" [default: {}]", setting.derived),
        (number, Kind::Time(..)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            format!(" [default: {number}s]")
        }
        (default, _) => format!(" [default: {default}]"),
    };
    // On a line of its own, so that the eye finds it.
    format!("{}\n[env: {}]{default}", setting.help, setting.variable)
}

/// What stands below the flags: how values are written, and the settings that are no flags.
pub(super) fn settings_notes(scope: Scopes) -> String {
    let of_scope = || settings::ALL.iter().copied().filter(|setting| setting.scopes.meets(scope));
    let mut text = String::new();
    if of_scope().any(Setting::is_secret) {
        text.push_str("Secrets (variables only, never flags):\n");
    }
    for setting in of_scope().filter(|setting| setting.is_secret() && setting.general.is_none()) {
        let default = if setting.default.is_empty() { "none" } else { setting.default };
        let variable = setting.variable;
        text.push_str(&format!("  {variable}\n          {} [default: {default}]\n", setting.help));
        text.push_str(&format!("  {variable}_FILE\n          A file that holds it, instead\n"));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    if of_scope().any(|setting| setting.general.is_some()) {
        text.push_str(PARTS_NOTES);
    }
    text.push_str(SETTINGS_NOTES);
    text
}
