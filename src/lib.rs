//! Heartbeat sees into a network that cannot be reached. This page is the map of its source.
//!
//! # From above
//!
//! Inside a secluded network a *publisher* checks *components*: hosts, consumers, queues. What it finds, up,
//! down or unknown with a reason, it sends as a *heartbeat*, a full snapshot, through RabbitMQ. Outside,
//! *subscribers* keep the latest state of every publisher in Redis and show it to Prometheus. The program
//! `heartbeat` is both, and [`role`] is where each is put together.
//!
//! # The way of a heartbeat
//!
//! ```text
//! publisher::round ─▶ check ─▶ publisher::track ─▶ heartbeat::wire ─▶ amqp::publish ─▶ RabbitMQ
//!                                                                                        │
//!        store (compare and set, change log) ◀─ state::apply ◀─ subscriber::ingest ◀─ amqp::consume
//!          │                                                          └─▶ amqp::acks, once it is stored
//!          ├─▶ subscriber::follow ─▶ subscriber::replica ─▶ state::snapshot ─▶ exposition, page ─┬▶ http
//!          └─▶ subscriber::tell (spans, records) ───────────────────────────────────────────────┴▶ otlp
//! ```
//!
//! 1. A round of checks asks every component side by side; each check has a deadline and always an outcome.
//! 2. The publisher tracks what turned, and sends a snapshot on the beat, and at once when something turned.
//! 3. A subscriber decides what a message does to the record of its publisher. It writes the record only if
//!    nobody else did meanwhile, in one step with the change log, and then acknowledges.
//! 4. Every subscriber follows the change log, so that all show the same. Whether a publisher is fresh is
//!    computed when somebody asks.
//!
//! # Modules, in reading order
//!
//! - [`heartbeat`]: the domain, and the message as bytes.
//! - [`signing`]: who signed a message, and whose keys count.
//! - [`state`]: what is kept of a publisher, what a message does to it, and what silence means.
//! - [`store`]: where that survives: Redis, or memory.
//! - [`amqp`]: RabbitMQ, with connections that are built anew for ever.
//! - [`check`]: how components are asked.
//! - [`doctor`]: what is wrong on the way to a broker and a store.
//! - [`publisher`]: rounds, turns and beats.
//! - [`tap`]: heartbeats as they pass, for people.
//! - [`subscriber`]: messages into the store, the store into a view.
//! - [`exposition`]: the view as text for Prometheus, and as metrics for OTLP.
//! - [`page`]: the view for people and their scripts: pages, JSON, badges.
//! - [`http`]: the server that hands it out.
//! - [`status`]: what a terminal shows of it, asked from there.
//! - [`otlp`]: metrics, traces and log records to a collector.
//! - [`telemetry`]: the program's own log and metrics.
//! - [`config`] and [`cli`]: the table of settings, the files, the command line.
//! - [`role`]: from a configuration to running tasks and back to an exit code.
//! - Small ones: [`clock`], [`backoff`], [`dial`], [`health`], [`tls`], [`secret`], [`reading`], [`watched`], [`trace`],
//!   [`terminal`], [`build_info`].
//!
//! # What there is not
//!
//! `tests/architecture.rs` holds these:
//!
//! - Imports go one way: no module uses one that uses it. Only `main` uses [`role`].
//! - [`heartbeat`] and [`state`] never wait, never read a clock, and know no peer: `now` is a parameter.
//! - A scrape does no network I/O: [`exposition`], [`page`] and [`subscriber::replica`] hold no store and no broker.
//! - lapin is named under `amqp` alone, and fred under `store/redis` alone. HTTP servers are known under `http` alone.
//! - OTLP's messages are named under [`otlp`] and `exposition/otlp` alone.
//! - Only [`config`] reads the environment.
//! - There is no channel without a bound.
//! - Only `main` prints, and hands its stream down to commands that answer whoever called them; everything else logs.

pub mod amqp;
pub mod backoff;
pub mod build_info;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dial;
pub mod doctor;
pub mod exposition;
pub mod health;
pub mod heartbeat;
pub mod http;
pub mod otlp;
pub mod page;
pub mod publisher;
pub mod reading;
pub mod role;
pub mod secret;
pub mod signing;
pub mod state;
pub mod status;
pub mod store;
pub mod subscriber;
pub mod tap;
pub mod telemetry;
pub mod terminal;
pub mod tls;
pub mod trace;
pub mod watched;
