//! The one who opens the file and then has it written: again until it can be opened, while everything else goes on.

use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value};
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::file::{InUse, NotOpened, StateFile};
use super::recalled::{Clock, Recalled};
use super::writer::{Disk, RETRY_MAX, Writer};
use crate::backoff::Backoff;
use crate::heartbeat::PublisherId;

/// The log's words for a file that is tried again.
const UNREAD: &str = "The state file cannot be read yet; until it can be, nothing is written in its place";

/// The log's words for a file that is not.
const LEFT_ALONE: &str = "The state file is left alone; what is told will not outlive this process";

/// Likewise for a system that does not say which run of the machine it is, as one that hides `/proc/sys`.
const UNNAMED: &str = "/proc/sys/kernel/random/boot_id cannot be read; after a restart, moments in the state file go by the wall clock";

/// Opens the file, and has what is remembered written.
pub(super) struct Keeper {
    pub(super) path: PathBuf,
    pub(super) publisher: PublisherId,
    pub(super) found: watch::Sender<Option<Recalled>>,
    /// Tells the start that the file is another's; dropped, that it need not wait.
    pub(super) start: Option<oneshot::Sender<InUse>>,
    pub(super) writer: Writer,
}

impl Keeper {
    /// Runs until `stop`, and a little longer where something is not written by then.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        // Where it ends before it is open, the file stays as it was.
        let file = tokio::select! {
            biased;
            file = self.open() => file,
            () = stop.cancelled() => None,
        };
        if let Some(file) = file {
            self.writer.run(file, stop).await;
        }
    }

    /// The file, to be written, once all that it held is taken over: some of it was promised to outlive a process.
    async fn open(&mut self) -> Option<StateFile> {
        if !Clock::now().names_its_run() {
            warn!("{UNNAMED}");
        }
        let mut backoff = Backoff::new(RETRY_MAX);
        loop {
            let (path, publisher) = (self.path.clone(), self.publisher.clone());
            let opening = spawn_blocking(move || StateFile::open(path, publisher));
            let opened = self.writer.answer(opening, UNREAD).await;
            let why = match opened.unwrap_or_else(|lost| Err(NotOpened::Failed(lost))) {
                Ok((file, recalled)) => {
                    self.writer.goes_on();
                    let mut found = self.found.subscribe();
                    self.found.send_replace(Some(recalled));
                    self.start = None;
                    found.wait_for(Option::is_none).await.ok()?;
                    return Some(file);
                }
                Err(NotOpened::InUse(in_use)) => {
                    let why = in_use.to_string();
                    if self.start.take().is_some_and(|start| start.send(in_use).is_ok()) {
                        return None;
                    }
                    why
                }
                Err(NotOpened::NotOurs(why)) => {
                    self.writer.fails(LEFT_ALONE, why);
                    return None;
                }
                Err(NotOpened::Failed(error)) => error.to_string(),
            };
            self.writer.fails(UNREAD, why);
            sleep(backoff.next_wait()).await;
        }
    }
}

impl Disk for StateFile {
    fn write(&mut self, subjects: &Map<String, Value>) -> io::Result<()> {
        Self::write(self, subjects)
    }
}
