//! `heartbeat check --once`: one round of a publisher's checks, told as a table. Nothing is sent, and nothing is made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{EXIT_DOWN, EXIT_OK, EXIT_UNKNOWN, StartError, convert, standalone, with_runtime};
use crate::amqp::publish::Publisher;
use crate::config::targets::Targets;
use crate::config::{AmqpConfig, Config, EmitterConfig, Problem, Problems, Role, RoleConfig};
use crate::heartbeat::{Kind, Outcome, Reason};
use crate::publisher::{Found, Link, check_once};
use crate::terminal::{Cell, Painted, Style, Table, Terminal, counted, took};
use crate::tls::Expiry;

/// Longest wait for a connection to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// Makes one round of checks. Returns the exit code, by the worst that was found.
///
/// # Errors
/// The role checks nothing.
pub fn check(config: Config, terminal: &mut Terminal) -> Result<u8, Problems> {
    let (role, emitter, amqp, targets) = match config.role {
        RoleConfig::Publisher(mut config) => {
            let targets = config.emitter.targets.take().unwrap_or_default();
            (Role::Publisher, config.emitter, config.amqp, targets)
        }
        RoleConfig::Standalone(mut config) => {
            let targets = config.emitter.targets.take().unwrap_or_else(|| standalone::own_port(&config.web));
            (Role::Standalone, config.emitter, config.amqp, targets)
        }
        RoleConfig::Subscriber(_) => return Err(checks_nothing()),
    };
    Ok(with_runtime(Builder::new_current_thread(), async move {
        let jobs: Vec<Arc<str>> = targets.jobs.iter().map(|job| Arc::clone(&job.name)).collect();
        let found = round(emitter, &amqp, targets).await?;
        if !(found.is_empty() && jobs.is_empty()) {
            terminal.line(table(&found, &jobs, terminal));
            terminal.line("");
        }
        terminal.line(Painted::lines(summary(&found, jobs.len(), role)));
        Ok(exit_code(&found))
    }))
}

fn checks_nothing() -> Problems {
    let mut problems = Problems::default();
    problems.push(Problem {
        name: "--once".into(),
        value: None,
        why: "it makes a publisher's checks, and a subscriber has none".into(),
        example: "heartbeat check publisher --once".into(),
    });
    problems
}

async fn round(config: EmitterConfig, amqp: &AmqpConfig, targets: Targets) -> Result<Vec<Found>, StartError> {
    let expiry = Expiry::default();
    let management = match targets.queues.is_empty() {
        true => None,
        false => Some(convert::management(&config.management, &expiry)?),
    };
    let name = format!("heartbeat check {}", config.id);
    let (publisher, task) = Publisher::new(convert::looking_only(amqp, name, &expiry)?, config.check_timeout);
    let stop = CancellationToken::new();
    // Without a queue to look at, the broker is left alone.
    let task = management.is_some().then(|| tokio::spawn(task.run(stop.clone())));
    let EmitterConfig { check_timeout, check_concurrency, .. } = config;
    let found =
        check_once(targets, check_timeout, check_concurrency, management, Link::Amqp(publisher)).await;
    stop.cancel();
    if let Some(task) = task {
        let _ = timeout(GOODBYE, task).await;
    }
    Ok(found)
}

fn table(found: &[Found], jobs: &[Arc<str>], terminal: &Terminal) -> Painted {
    let mut table = Table::new(&["KIND", "COMPONENT", "AT", "OUTCOME", "REASON", "TOOK"]);
    for found in found {
        let key = &found.key;
        let at = match (&found.target, &key.kind) {
            (Some(target), _) => target.to_string(),
            (None, Kind::Consumer) => format!("queue {}", key.queue),
            (None, _) => String::new(),
        };
        table.push([
            key.kind.as_str().into(),
            (&key.name).into(),
            at.into(),
            outcome(found.verdict.outcome),
            found.verdict.reason.map_or("", Reason::as_str).into(),
            found.took.map(took).unwrap_or_default().into(),
        ]);
    }
    for job in jobs {
        let nothing = || Cell::from("");
        table.push(["job".into(), job.into(), nothing(), "waiting".into(), nothing(), nothing()]);
    }
    table.render(terminal)
}

/// An outcome as it is shown wherever there are colours.
fn outcome(outcome: Outcome) -> Cell {
    let style = match outcome {
        Outcome::Up => Style::Good,
        Outcome::Unknown => Style::Odd,
        Outcome::Down => Style::Bad,
    };
    Cell::new(style, outcome.as_str())
}

/// How many, and what the reasons mean: line by line.
fn summary(found: &[Found], jobs: usize, role: Role) -> Vec<String> {
    let count = |outcome| found.iter().filter(|found| found.verdict.outcome == outcome).count();
    let (up, unknown, down) = (count(Outcome::Up), count(Outcome::Unknown), count(Outcome::Down));
    let mut text = match (found.len(), jobs) {
        (0, 0) => "The file names nothing to check.".to_owned(),
        (0, _) => "Nothing was checked.".to_owned(),
        (components, _) => {
            let components = counted(components as u64, "component");
            format!("{components}: {up} up, {unknown} unknown, {down} down. Nothing was sent.")
        }
    };
    match jobs {
        0 => {}
        1 => text.push_str(" The job was not asked: it tells of itself, once the publisher runs."),
        _ => text.push_str(&format!(
            " {jobs} jobs were not asked: they tell of themselves, once the publisher runs."
        )),
    }
    let reasons: BTreeSet<Reason> = found.iter().filter_map(|found| found.verdict.reason).collect();
    let is_of_management = reasons.iter().any(|reason| is_of_management(*reason));
    let to_do = is_of_management.then(|| {
        let role = role.as_str();
        format!("`heartbeat doctor {role}` says what is wrong with the management API, and what to do.")
    });
    let meanings = reasons.iter().map(|reason| format!("{reason}: {}", reason.meaning()));
    let paragraphs = [vec![text], details(found), meanings.collect(), to_do.into_iter().collect()];
    let paragraphs: Vec<_> = paragraphs.into_iter().filter(|lines| !lines.is_empty()).collect();
    paragraphs.join(&String::new())
}

/// What is known of each beside the reason, on a line of its own.
fn details(found: &[Found]) -> Vec<String> {
    let told = found.iter().filter_map(|found| Some((&found.key, found.detail.as_deref()?)));
    told.map(|(key, detail)| format!("{} {}: {detail}", key.kind, key.name)).collect()
}

fn is_of_management(reason: Reason) -> bool {
    reason.as_str().starts_with("management_")
        || matches!(reason, Reason::ConsumersHidden | Reason::StatsDisabled)
}

fn exit_code(found: &[Found]) -> u8 {
    match found.iter().map(|found| found.verdict.outcome).max() {
        None | Some(Outcome::Up) => EXIT_OK,
        Some(Outcome::Unknown) => EXIT_UNKNOWN,
        Some(Outcome::Down) => EXIT_DOWN,
    }
}
