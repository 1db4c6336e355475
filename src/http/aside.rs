//! Work that nobody should wait for: on a thread of its own, which leaves the processor to whoever else wants it.

use std::thread;

use tokio::sync::oneshot;

/// How much nicer the thread is than the rest: where all want to compute, it gets a quarter of what another does. So a
/// scrape takes four times as long at worst, and heartbeats hardly wait for it.
const NICER: i32 = 6;

/// The most that a thread can be.
const NICEST: i32 = 19;

/// Why work was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotDone {
    #[error("no thread for it")]
    Thread(#[from] std::io::Error),
    #[error("its thread panicked")]
    Panicked(#[from] oneshot::error::RecvError),
}

/// Has work done aside. It is not stopped where nobody waits any more.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotDone> {
    let (done, result) = oneshot::channel();
    let work = move || {
        give_way();
        let _ = done.send(work());
    };
    thread::Builder::new().name("scrape".into()).spawn(work)?;
    Ok(result.await?)
}

/// Of this thread alone, as it is on Linux; elsewhere it would be of the whole process. Where it may not, the work is done
/// all the same.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Ok(nice) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, (nice + NICER).min(NICEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_done_by_a_nicer_thread_and_by_no_other() {
        let here = || rustix::process::getpriority_process(None).unwrap();
        let before = here();
        assert_eq!(aside(here).await.unwrap(), (before + NICER).min(NICEST));
        assert_eq!(here(), before);
    }

    #[tokio::test]
    async fn work_that_panics_is_told_of() {
        let done: Result<(), NotDone> = aside(|| panic!("on purpose")).await;
        assert!(matches!(done, Err(NotDone::Panicked(_))), "{done:?}");
    }
}
