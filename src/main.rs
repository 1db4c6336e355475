//! The program's stages: TLS, command line, configuration, log, role. Each has its exit code.

use std::error::Error;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use heartbeat_bridge::cli::{
    self, Command, EXIT_USAGE, Invocation, KeysCommand, MaintenanceCommand, StatusCommand,
};
use heartbeat_bridge::config::{
    self, Config, LogConfig, LogLevel, Problem, Problems, ProcessEnvironment, Role, Warning,
};
use heartbeat_bridge::otlp::Otlp;
use heartbeat_bridge::role::Asked;
use heartbeat_bridge::status::Question;
use heartbeat_bridge::telemetry::{Chain, log};
use heartbeat_bridge::terminal::{Painted, Terminal};
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
    let mut console = Console::new();
    let code = match cli::parse_args(std::env::args_os()) {
        Ok(invocation) => {
            let code = run(&invocation, &mut console).unwrap_or_else(|problems| {
                console.notes.text(&problems.to_string());
                EXIT_USAGE
            });
            log::flush();
            if invocation.command.answers_by_code_alone() {
                return ExitCode::from(code);
            }
            code
        }
        Err(exit) if exit.code == 0 => {
            console.out.text(&exit.text);
            role::EXIT_OK
        }
        Err(exit) => {
            console.notes.text(&exit.text);
            exit.code
        }
    };
    ExitCode::from(console.finish(code))
}

/// Shells and service managers hold a process to 1024 files unless it asks for what it is allowed, for the sake of
/// `select(2)`, which nothing here uses. Each check and each connection is one.
fn open_as_many_files_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Where the program speaks to whoever called it.
struct Console {
    /// Every command's answer.
    out: Terminal,
    /// What is beside the answer. Where nobody takes that, nobody can be told so.
    notes: Terminal,
}

impl Console {
    fn new() -> Self {
        let out = std::io::stdout();
        let is_screen = out.is_terminal();
        let colours = config::allows_colours(&ProcessEnvironment);
        Self {
            out: Terminal::new(Box::new(out), is_screen, colours),
            notes: Terminal::new(Box::new(std::io::stderr()), false, false),
        }
    }

    /// Says what is odd about a configuration, and hands it on.
    fn warned<T>(&mut self, loaded: Result<(T, Vec<Warning>), Problems>) -> Result<T, Problems> {
        let (config, warnings) = loaded?;
        for warning in warnings {
            self.notes.line(format!("warning: {warning}"));
        }
        Ok(config)
    }

    /// Says why a command did not do what it was asked for. Returns its exit code.
    fn failed(&mut self, error: &(dyn Error + 'static), code: u8) -> u8 {
        let told = format!("heartbeat: {}", Chain(error));
        self.notes.line(Painted::lines(told.lines()));
        code
    }

    /// The exit code: an answer that did not arrive is none, whatever it says.
    fn finish(&mut self, code: u8) -> u8 {
        match self.out.finish() {
            Ok(()) => code,
            Err(error) => self.failed(&error, role::EXIT_FAILURE),
        }
    }
}

fn run(invocation: &Invocation, console: &mut Console) -> Result<u8, Problems> {
    match &invocation.command {
        Command::Run(role) if invocation.check_only => check(*role, false, invocation, console),
        Command::Run(role) => run_role(*role, invocation, console),
        Command::Check { role, once } => check(*role, *once, invocation, console),
        Command::Doctor { role } => doctor(*role, invocation, console),
        Command::Drill { down_for, silent_for } => drill(*down_for, *silent_for, invocation, console),
        Command::Status(command) => status(command, invocation, console),
        Command::Tap { count, json } => tap(*count, *json, invocation, console),
        Command::Forget { publisher, clock_set_back } => {
            forget(publisher, *clock_set_back, invocation, console)
        }
        Command::Keys(command) => keys(*command, invocation, console),
        Command::Maintenance(command) => maintenance(command, invocation, console),
        Command::Healthcheck { role, ready } => healthcheck(*role, *ready, invocation, console),
        Command::Completions(shell) => {
            console.out.text(&cli::completions(*shell));
            Ok(role::EXIT_OK)
        }
        Command::Manual { of, folder } => Ok(manual(of, folder.as_deref(), console)),
    }
}

fn run_role(named: Option<Role>, invocation: &Invocation, console: &mut Console) -> Result<u8, Problems> {
    let (config, mut warnings) = load(named, invocation)?;
    warnings.extend(config.hears_no_job());
    let otlp = Otlp::new(config.process.otlp.clone(), role::identity(&config));
    init_log(config.process.log, otlp.log_layer(config.process.log.level.as_str()), console);
    for warning in warnings {
        warn!(setting = warning.name, reason = warning.text, "Odd setting");
    }
    Ok(role::run(config, otlp))
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

/// Sets the log up, to where it goes beside stderr too.
fn init_log(config: LogConfig, beside: Option<log::Beside>, console: &mut Console) {
    if let Err(error) = log::init(config.level.as_str(), config.format, beside) {
        console.notes.line(format!("heartbeat: the log cannot be set up: {error}"));
    }
}

/// A command says itself what it finds. Whoever asks for all of the log sees it, too.
fn init_log_of_command(config: LogConfig, console: &mut Console) {
    let level = if config.level == LogLevel::Debug { LogLevel::Debug } else { LogLevel::Error };
    init_log(LogConfig { level, ..config }, None, console);
}

/// For the files of a configuration that is to be checked: a disk that does not answer is what is wrong with it.
const FILES_TIME: Duration = Duration::from_secs(10);

/// What `load` gives, on a thread that is left to itself where it takes too long.
fn in_time<T: Send + 'static>(
    load: impl FnOnce() -> Result<T, Problems> + Send + 'static,
) -> Result<T, Problems> {
    let (done, loaded) = mpsc::sync_channel(1);
    let work = move || drop(done.send(load()));
    let begun = thread::Builder::new().name("file".into()).spawn(work);
    let why = match begun.map(|_| loaded.recv_timeout(FILES_TIME)) {
        Ok(Ok(loaded)) => return loaded,
        Ok(Err(RecvTimeoutError::Timeout)) => {
            format!("the disk of one of them has not answered for {} s", FILES_TIME.as_secs())
        }
        Ok(Err(RecvTimeoutError::Disconnected)) => "the thread that read them has panicked".into(),
        Err(error) => format!("no thread can be begun to read them: {error}"),
    };
    let mut problems = Problems::default();
    problems.push(Problem {
        name: "the files that are set".into(),
        value: None,
        why,
        example: String::new(),
    });
    Err(problems)
}

fn check(
    named: Option<Role>,
    once: bool,
    invocation: &Invocation,
    console: &mut Console,
) -> Result<u8, Problems> {
    let asked = invocation.clone();
    let (config, mut warnings) = in_time(move || load(named, &asked))?;
    // A single round waits for no job.
    warnings.extend(config.hears_no_job().filter(|_| !once));
    let config = console.warned(Ok((config, warnings)))?;
    if once {
        init_log_of_command(config.process.log, console);
        return role::check(config, &mut console.out);
    }
    let nothing = if config.checks_nothing() { ", and checks nothing" } else { "" };
    console.out.line(format!("configuration is valid{nothing}"));
    Ok(role::EXIT_OK)
}

fn doctor(named: Option<Role>, invocation: &Invocation, console: &mut Console) -> Result<u8, Problems> {
    let role = named.unwrap_or_else(|| config::mode(&invocation.flags, &ProcessEnvironment).0);
    let flags = invocation.flags.clone();
    let config = console.warned(in_time(move || config::load_doctor(role, &flags, &ProcessEnvironment)))?;
    init_log_of_command(config.log, console);
    Ok(role::doctor(config, &mut console.out))
}

fn drill(
    down_for: Duration,
    silent_for: Duration,
    invocation: &Invocation,
    console: &mut Console,
) -> Result<u8, Problems> {
    let config = console.warned(config::load_drill(&invocation.flags, &ProcessEnvironment))?;
    init_log_of_command(config.log, console);
    Ok(role::drill(config, down_for, silent_for, &mut console.out))
}

fn status(command: &StatusCommand, invocation: &Invocation, console: &mut Console) -> Result<u8, Problems> {
    let config = console.warned(config::load_status(&invocation.flags, &ProcessEnvironment))?;
    init_log_of_command(LogConfig::default(), console);
    let StatusCommand { search, states, json, watch } = command.clone();
    let asked = Asked { question: Question { search, states }, json, every: watch };
    let told = role::status(&config, &asked, &mut console.out);
    Ok(told.unwrap_or_else(|error| console.failed(&error, role::EXIT_NOT_ASKED)))
}

fn tap(
    count: Option<u64>,
    json: bool,
    invocation: &Invocation,
    console: &mut Console,
) -> Result<u8, Problems> {
    let config = console.warned(config::load_tap(&invocation.flags, &ProcessEnvironment))?;
    init_log_of_command(config.log, console);
    let told = role::tap(&config, count, json, &mut console.out, &mut console.notes);
    Ok(told.unwrap_or_else(|error| console.failed(&error, role::EXIT_FAILURE)))
}

fn forget(
    publisher: &str,
    clock_set_back: bool,
    invocation: &Invocation,
    console: &mut Console,
) -> Result<u8, Problems> {
    let config = console.warned(config::load_forget(&invocation.flags, &ProcessEnvironment))?;
    init_log_of_command(config.log, console);
    let forgotten = role::forget(&config, publisher, clock_set_back, &mut console.out);
    Ok(forgotten.unwrap_or_else(|error| console.failed(&error, role::EXIT_FAILURE)))
}

fn keys(command: KeysCommand, invocation: &Invocation, console: &mut Console) -> Result<u8, Problems> {
    let config = console.warned(config::load_keys(&invocation.flags, &ProcessEnvironment))?;
    Ok(match role::keys(command, &config) {
        Ok(said) => {
            // It goes into a file, and has to be there what it is here.
            console.out.text(&format!("{}\n", said.line));
            console.notes.line(Painted::lines(said.notes.lines()));
            role::EXIT_OK
        }
        Err(error) => console.failed(&error, role::EXIT_FAILURE),
    })
}

fn maintenance(
    command: &MaintenanceCommand,
    invocation: &Invocation,
    console: &mut Console,
) -> Result<u8, Problems> {
    let config = console.warned(config::load_local(&invocation.flags, &ProcessEnvironment))?;
    let done = role::maintenance(&config, command, &mut console.out);
    Ok(done.unwrap_or_else(|error| console.failed(&error, error.code())))
}

fn healthcheck(
    role: Option<Role>,
    ready: bool,
    invocation: &Invocation,
    console: &mut Console,
) -> Result<u8, Problems> {
    let file = config::health_file(role, &invocation.flags, &ProcessEnvironment)?;
    Ok(match health::file::check(&file, role.map(Role::as_str), ready) {
        Ok(()) => {
            console.out.line("healthy");
            role::EXIT_OK
        }
        Err(error) => console.failed(&error, role::EXIT_FAILURE),
    })
}

fn manual(of: &[String], folder: Option<&Path>, console: &mut Console) -> u8 {
    if let Some(folder) = folder {
        return match cli::write_pages(folder) {
            Ok(()) => role::EXIT_OK,
            Err(error) => {
                let folder = folder.display();
                console.notes.line(format!("heartbeat: the pages cannot be written to {folder}: {error}"));
                role::EXIT_FAILURE
            }
        };
    }
    match cli::page(of) {
        Some(page) => {
            console.out.text(&page.text);
            role::EXIT_OK
        }
        None => {
            console.notes.line(format!("heartbeat: there is no command {}", of.join(" ")));
            EXIT_USAGE
        }
    }
}
