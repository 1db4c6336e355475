//! The program's stages: TLS, command line, configuration, log, role. Each has its exit code.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use heartbeat_bridge::cli::{
    self, Command, EXIT_USAGE, Invocation, KeysCommand, MaintenanceCommand, StatusCommand,
};
use heartbeat_bridge::config::{
    self, Config, LogConfig, LogLevel, Problems, ProcessEnvironment, Role, RoleConfig, Warning,
};
use heartbeat_bridge::otlp::Otlp;
use heartbeat_bridge::role::Asked;
use heartbeat_bridge::status::Question;
use heartbeat_bridge::telemetry::{Chain, log, visible};
use heartbeat_bridge::terminal::Terminal;
use heartbeat_bridge::{health, role, tls};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Where the system gives huge pages to all who do not object, each thread would keep some that it hardly uses.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    open_as_many_files_as_allowed();
    tls::install_provider();
    let mut out = output();
    let code = match cli::parse_args(std::env::args_os()) {
        Ok(invocation) => {
            let code = run(&invocation, &mut out);
            // By its code others ask whether a role is well, and not whether there is room for a word.
            if let Command::Healthcheck { .. } = invocation.command {
                return ExitCode::from(code);
            }
            code
        }
        Err(exit) if exit.code == 0 => {
            out.text(&exit.text);
            role::EXIT_OK
        }
        Err(exit) => {
            notes().text(&exit.text);
            exit.code
        }
    };
    // An answer that did not arrive is none, whatever it says.
    ExitCode::from(out.finish().map_or_else(|error| failed(&error, role::EXIT_FAILURE), |()| code))
}

/// Shells and service managers hold a process to 1024 files unless it asks for what it is allowed, for the sake of
/// `select(2)`, which nothing here uses. Each check and each connection is one.
fn open_as_many_files_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn run(invocation: &Invocation, out: &mut Terminal) -> u8 {
    let done = match &invocation.command {
        Command::Run(role) => run_role(*role, invocation, out),
        Command::Check { role, once } => check(*role, *once, invocation, out),
        Command::Doctor { role } => doctor(*role, invocation, out),
        Command::Drill { down_for, silent_for } => drill(*down_for, *silent_for, invocation, out),
        Command::Status(command) => status(command, invocation, out),
        Command::Tap { count, json } => tap(*count, *json, invocation, out),
        Command::Forget { publisher, clock_set_back } => forget(publisher, *clock_set_back, invocation, out),
        Command::Keys(command) => keys(*command, invocation, out),
        Command::Maintenance(command) => maintenance(command, invocation, out),
        Command::Healthcheck { role, ready } => {
            config::health_file(*role, &invocation.flags, &ProcessEnvironment)
                .map(|file| healthcheck(&file, *role, *ready, out))
        }
        Command::Completions(shell) => {
            out.text(&cli::completions(*shell));
            Ok(role::EXIT_OK)
        }
        Command::Manual { of, folder } => Ok(manual(of, folder.as_deref(), out)),
    };
    done.unwrap_or_else(|problems| unusable(&problems))
}

/// Says what is wrong with the configuration. Returns the exit code for it.
fn unusable(problems: &Problems) -> u8 {
    notes().text(&problems.to_string());
    EXIT_USAGE
}

fn run_role(named: Option<Role>, invocation: &Invocation, out: &mut Terminal) -> Result<u8, Problems> {
    if invocation.check_only {
        return check(named, false, invocation, out);
    }
    let (config, mut warnings) = load(named, invocation)?;
    warnings.extend(config.hears_no_job());
    let otlp = Otlp::new(config.process.otlp.clone(), role::identity(&config));
    init_log(config.process.log, otlp.log_layer(config.process.log.level.as_str()), &warnings);
    let code = role::run(config, otlp);
    log::flush();
    Ok(code)
}

/// Reads the configuration of a role; without one, of that which the mode names.
fn load(named: Option<Role>, invocation: &Invocation) -> Result<(Config, Vec<Warning>), Problems> {
    let source = ProcessEnvironment;
    let (role, of_mode) = match named {
        Some(role) => (role, None),
        None => config::mode(&invocation.flags, &source),
    };
    let (config, mut warnings) = config::load(role, &invocation.flags, &source)?;
    warnings.extend(of_mode);
    Ok((config, warnings))
}

fn check(
    named: Option<Role>,
    once: bool,
    invocation: &Invocation,
    out: &mut Terminal,
) -> Result<u8, Problems> {
    let (config, mut warnings) = load(named, invocation)?;
    // A single round waits for no job.
    warnings.extend(config.hears_no_job().filter(|_| !once));
    warn_of(&warnings);
    if once {
        init_log_of_command(config.process.log);
        let code = role::check(config, out);
        log::flush();
        return code;
    }
    let nothing = if config.checks_nothing() { ", and checks nothing" } else { "" };
    out.line(&format!("configuration is valid{nothing}"));
    Ok(role::EXIT_OK)
}

fn doctor(named: Option<Role>, invocation: &Invocation, out: &mut Terminal) -> Result<u8, Problems> {
    let role = named.unwrap_or_else(|| config::mode(&invocation.flags, &ProcessEnvironment).0);
    let (config, warnings) = config::load_doctor(role, &invocation.flags, &ProcessEnvironment)?;
    warn_of(&warnings);
    init_log_of_command(config.log);
    let code = role::doctor(config, out);
    log::flush();
    Ok(code)
}

fn status(command: &StatusCommand, invocation: &Invocation, out: &mut Terminal) -> Result<u8, Problems> {
    let (config, warnings) = config::load_status(&invocation.flags, &ProcessEnvironment)?;
    warn_of(&warnings);
    init_log_of_command(LogConfig::default());
    let StatusCommand { search, states, json, watch } = command.clone();
    let asked = Asked { question: Question { search, states }, json, every: watch };
    let told = role::status(&config, &asked, out);
    Ok(told.unwrap_or_else(|error| failed(&error, role::EXIT_NOT_ASKED)))
}

fn tap(count: Option<u64>, json: bool, invocation: &Invocation, out: &mut Terminal) -> Result<u8, Problems> {
    let (config, warnings) = config::load_tap(&invocation.flags, &ProcessEnvironment)?;
    warn_of(&warnings);
    init_log_of_command(config.log);
    let told = role::tap(&config, count, json, out, &mut notes());
    let code = told.unwrap_or_else(|error| failed(&error, role::EXIT_FAILURE));
    log::flush();
    Ok(code)
}

fn warn_of(warnings: &[Warning]) {
    for warning in warnings {
        notes().line(&format!("warning: {warning}"));
    }
}

/// Where every command writes its answer to whoever called it.
fn output() -> Terminal {
    let out = std::io::stdout();
    let is_screen = out.is_terminal();
    Terminal::new(Box::new(out), is_screen, config::allows_colours(&ProcessEnvironment))
}

/// Where they say what is beside the answer. Where nobody takes that, nobody can be told so.
fn notes() -> Terminal {
    Terminal::new(Box::new(std::io::stderr()), false, false)
}

/// Says why a command did not do what it was asked for. Returns its exit code.
fn failed(error: &(dyn std::error::Error + 'static), code: u8) -> u8 {
    // What others said may be in it.
    let told = Chain(error).to_string();
    let lines: Vec<_> = told.lines().map(visible).collect();
    notes().line(&format!("heartbeat: {}", lines.join("\n")));
    code
}

/// A command says itself what it finds. Whoever asks for all of the log sees it, too.
fn init_log_of_command(config: LogConfig) {
    let level = if config.level == LogLevel::Debug { LogLevel::Debug } else { LogLevel::Error };
    init_log(LogConfig { level, ..config }, None, &[]);
}

fn drill(
    down_for: Duration,
    silent_for: Duration,
    invocation: &Invocation,
    out: &mut Terminal,
) -> Result<u8, Problems> {
    let (config, warnings) = load(Some(Role::Publisher), invocation)?;
    warn_of(&warnings);
    init_log_of_command(config.process.log);
    let RoleConfig::Publisher(config) = config.role else { return Ok(role::EXIT_FAILURE) };
    let code = role::drill(*config, down_for, silent_for, out);
    log::flush();
    Ok(code)
}

fn forget(
    publisher: &str,
    clock_set_back: bool,
    invocation: &Invocation,
    out: &mut Terminal,
) -> Result<u8, Problems> {
    let (config, warnings) = config::load_forget(&invocation.flags, &ProcessEnvironment)?;
    warn_of(&warnings);
    init_log_of_command(config.log);
    let code = role::forget(&config, publisher, clock_set_back, out)
        .unwrap_or_else(|error| failed(&error, role::EXIT_FAILURE));
    log::flush();
    Ok(code)
}

fn maintenance(
    command: &MaintenanceCommand,
    invocation: &Invocation,
    out: &mut Terminal,
) -> Result<u8, Problems> {
    let (config, warnings) = config::load_local(&invocation.flags, &ProcessEnvironment)?;
    warn_of(&warnings);
    let done = role::maintenance(&config, command, out);
    Ok(done.unwrap_or_else(|error| failed(&error, error.code())))
}

fn keys(command: KeysCommand, invocation: &Invocation, out: &mut Terminal) -> Result<u8, Problems> {
    let (config, warnings) = config::load_keys(&invocation.flags, &ProcessEnvironment)?;
    warn_of(&warnings);
    Ok(match role::keys(command, &config) {
        Ok(said) => {
            out.line(&said.line);
            notes().line(&said.notes);
            role::EXIT_OK
        }
        Err(error) => failed(&error, role::EXIT_FAILURE),
    })
}

/// Sets the log up, to where it goes beside stderr too, and says what is odd about the configuration.
fn init_log(config: LogConfig, beside: Option<log::Beside>, warnings: &[Warning]) {
    if let Err(error) = log::init(config.level.as_str(), config.format, beside) {
        notes().line(&format!("heartbeat: the log cannot be set up: {error}"));
    }
    for warning in warnings {
        warn!(setting = warning.name, reason = warning.text, "Odd setting");
    }
}

fn manual(of: &[String], folder: Option<&Path>, out: &mut Terminal) -> u8 {
    if let Some(folder) = folder {
        return match cli::write_pages(folder) {
            Ok(()) => role::EXIT_OK,
            Err(error) => {
                notes().line(&format!(
                    "heartbeat: the pages cannot be written to {}: {error}",
                    folder.display()
                ));
                role::EXIT_FAILURE
            }
        };
    }
    match cli::page(of) {
        Some(page) => {
            out.text(&page.text);
            role::EXIT_OK
        }
        None => {
            notes().line(&format!("heartbeat: there is no command {}", of.join(" ")));
            EXIT_USAGE
        }
    }
}

fn healthcheck(file: &Path, role: Option<Role>, ready: bool, out: &mut Terminal) -> u8 {
    match health::file::check(file, role.map(Role::as_str), ready) {
        Ok(()) => {
            out.line("healthy");
            role::EXIT_OK
        }
        Err(error) => {
            notes().line(&format!("unhealthy: {}", Chain(&error)));
            role::EXIT_FAILURE
        }
    }
}
