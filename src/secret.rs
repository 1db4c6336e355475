//! A value that is never shown, and where it comes from.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::reading::{LastGood, Reading, Unread, bounded};

/// What stands where a secret would.
const REDACTED: &str = "<redacted>";

/// Longest secret that is read from a file, in bytes; a file that is longer is another file.
pub const FILE_BYTES_MAX: usize = 64 << 10;

/// A password. `Debug` and `Display` are redacted, so that no log line, error or printed
/// configuration can give it away; only [`Secret::expose`] does.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The one that a file holds now. Waits for the disk that it lies on, however long that takes: see [`SecretFile`].
    ///
    /// # Errors
    /// Where it holds none.
    pub fn in_file(path: &Path) -> Result<Self, SecretFileError> {
        in_file(path)
    }

    /// The secret itself, for the peer that asks for it and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Why a file gives no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It is not there, cannot be opened, or is longer than any secret.
    #[error("the file cannot be read")]
    Read(#[source] io::Error),
    /// It is not known what it holds.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// It holds something else than text.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// It holds nothing.
    #[error("the file is empty")]
    Empty,
    /// It holds more than a secret.
    #[error("the file has more than one line; it is to hold the secret alone")]
    Lines,
}

/// A file that holds a secret, for whoever needs it as it is now and can do without where there is none. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SecretFile(Arc<(PathBuf, Reading<InFile>)>);

/// What a file holds, for any number of readers.
type InFile = Result<Secret, Arc<SecretFileError>>;

impl SecretFile {
    /// At this path. It is not read yet.
    pub fn new(path: PathBuf) -> Self {
        Self(Arc::new((path, Reading::default())))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.0
    }

    /// What it holds now, within so long: see [`Reading::within`].
    ///
    /// # Errors
    /// Where it holds none.
    pub async fn read(&self, time: Duration) -> Result<Secret, Arc<SecretFileError>> {
        let path = self.0.0.clone();
        let read = self.0.1.within(time, move || in_file(&path).map_err(Arc::new)).await;
        read.unwrap_or_else(|error| Err(Arc::new(error.into())))
    }
}

/// Where something secret comes from: given once and for all, or a file that is read anew whenever it is needed, so that one
/// that was rotated counts at the next connection. Cheap to clone.
#[derive(Clone)]
pub struct Source<T>(Arc<Origin<T>>);

/// Where a secret comes from.
pub type SecretSource = Source<Secret>;

enum Origin<T> {
    Given(T),
    File { path: PathBuf, last: Arc<LastGood<T>> },
}

impl<T: Clone + PartialEq + Send + Sync + 'static> Source<T> {
    /// One that never changes.
    pub fn given(value: T) -> Self {
        Self(Arc::new(Origin::Given(value)))
    }

    /// What it gives now; while its file gives nothing that can be used, the last that it gave. It may wait for a disk.
    pub fn read(&self) -> T {
        match &*self.0 {
            Origin::Given(value) => value.clone(),
            Origin::File { last, .. } => {
                last.read_here();
                last.last()
            }
        }
    }

    /// As [`Source::read`], where others wait: see [`LastGood::now`].
    pub async fn read_aside(&self) -> T {
        match &*self.0 {
            Origin::Given(value) => value.clone(),
            Origin::File { last, .. } => last.now().await,
        }
    }

    /// What is made of the secret in a file that gave `value` a moment ago.
    fn in_file(
        path: PathBuf,
        value: T,
        parse: impl Fn(Secret) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let file = path.clone();
        let read = move |_: &T| in_file(&file).map_err(|error| told(&error)).and_then(&parse);
        let last = LastGood::new("secret", path.display(), value, read, |_| {});
        Self(Arc::new(Origin::File { path, last }))
    }
}

impl SecretSource {
    /// One in a file.
    ///
    /// # Errors
    /// Where the file gives none now.
    pub fn file(path: PathBuf) -> Result<Self, SecretFileError> {
        let secret = in_file(&path)?;
        Ok(Self::in_file(path, secret, Ok))
    }

    /// Where that comes from which is made of the secret.
    ///
    /// # Errors
    /// Why nothing can be made of it now. It holds nothing of the secret, as `parse` has it.
    pub fn parsed<T: Clone + PartialEq + Send + Sync + 'static>(
        self,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Source<T>, String> {
        Ok(match &*self.0 {
            Origin::Given(secret) => Source::given(parse(secret.expose())?),
            Origin::File { path, last } => {
                let value = parse(last.last().expose())?;
                Source::in_file(path.clone(), value, move |secret| parse(secret.expose()))
            }
        })
    }
}

impl Default for SecretSource {
    fn default() -> Self {
        Self::given(Secret::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Origin::Given(value) => value.fmt(f),
            Origin::File { path, .. } => write!(f, "{REDACTED}, in {}", path.display()),
        }
    }
}

/// The same, or of the same file.
impl<T: PartialEq> PartialEq for Source<T> {
    fn eq(&self, other: &Self) -> bool {
        match (&*self.0, &*other.0) {
            (Origin::Given(one), Origin::Given(other)) => one == other,
            (Origin::File { path: one, .. }, Origin::File { path: other, .. }) => one == other,
            _ => false,
        }
    }
}

impl<T: Eq> Eq for Source<T> {}

/// With the system's words, where it has some.
fn told(error: &SecretFileError) -> String {
    match error {
        SecretFileError::Read(source) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

fn in_file(path: &Path) -> Result<Secret, SecretFileError> {
    let bytes = bounded(path, FILE_BYTES_MAX).map_err(SecretFileError::Read)?;
    let text = String::from_utf8(bytes).map_err(|_| SecretFileError::NotUtf8)?;
    // Editors and `echo` end the last line; a secret that ends so on purpose is not heard of.
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let secret = line.strip_suffix('\r').unwrap_or(line);
    if secret.is_empty() {
        Err(SecretFileError::Empty)
    } else if secret.contains(['\n', '\r']) {
        Err(SecretFileError::Lines)
    } else {
        Ok(Secret::new(secret))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::reading::READ_TIME;

    #[test]
    fn a_secret_is_redacted_however_it_is_printed() {
        let secret = Secret::new("canary");
        let printed = format!("{secret} {secret:?} {:#?} {:?}", Some(&secret), [&secret]);
        assert!(!printed.contains("canary"), "{printed}");
        assert_eq!(secret.expose(), "canary");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass");
        std::fs::write(&path, "canary").unwrap();
        let printed = format!("{:?} {:?}", SecretSource::given(secret), SecretSource::file(path).unwrap());
        assert!(!printed.contains("canary"), "{printed}");
    }

    #[test]
    fn a_file_is_read_anew_and_the_last_holds_while_it_gives_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass");
        assert!(matches!(SecretSource::file(path.clone()), Err(SecretFileError::Read(_))));
        std::fs::write(&path, "one\n").unwrap();
        let source = SecretSource::file(path.clone()).unwrap();
        assert_eq!(source.read().expose(), "one");
        std::fs::write(&path, "two\r\n").unwrap();
        assert_eq!(source.clone().read().expose(), "two");
        // A rotation writes in steps; and what has lines is another file.
        for none in ["", "\n", "three\nfour", "three\n\n", "user\r\nthree\r\n"] {
            std::fs::write(&path, none).unwrap();
            assert_eq!(source.read().expose(), "two", "{none:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(source.read().expose(), "two");
        std::fs::write(&path, "three").unwrap();
        assert_eq!(source.read().expose(), "three");
    }

    #[test]
    fn what_is_made_of_a_secret_holds_while_nothing_can_be_made_of_it() {
        let number = |text: &str| text.parse::<u32>().map_err(|_| "it holds no number".to_owned());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let source = |text: &str| {
            std::fs::write(&path, text).unwrap();
            SecretSource::file(path.clone()).unwrap()
        };
        assert_eq!(source("canary").parsed(number), Err("it holds no number".into()));
        let numbers = source("1").parsed(number).unwrap();
        for (text, wanted) in [("1", 1), ("canary", 1), ("", 1), ("2", 2)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(numbers.read(), wanted, "{text}");
        }
        assert_eq!(SecretSource::given(Secret::new("3")).parsed(number).unwrap().read(), 3);
    }

    /// A pipe gives nothing until somebody writes to it.
    #[tokio::test]
    async fn a_disk_that_hangs_leaves_the_last_and_keeps_waiting_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pass");
        std::fs::write(&path, "one").unwrap();
        let source = SecretSource::file(path.clone()).unwrap();
        assert_eq!(source.read_aside().await.expose(), "one");
        std::fs::remove_file(&path).unwrap();
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, pipe, rustix::fs::Mode::RWXU, 0).unwrap();
        let began = Instant::now();
        let asked: Vec<_> = (0..5)
            .map(|_| {
                let source = source.clone();
                tokio::spawn(async move { source.read_aside().await })
            })
            .collect();
        for asked in asked {
            assert_eq!(asked.await.unwrap().expose(), "one");
        }
        for _ in 0..40 {
            assert_eq!(source.read_aside().await.expose(), "one");
        }
        assert!(
            began.elapsed() < 20 * READ_TIME,
            "nobody waits for long, and once that it hangs is known, at all"
        );
        // One reader took what was written, and the next finds a file again.
        std::fs::write(&path, "two").unwrap();
        std::fs::write(folder.path().join("next"), "three").unwrap();
        std::fs::rename(folder.path().join("next"), &path).unwrap();
        // Who asks while that is read gets what was written.
        let third = async {
            while source.read_aside().await.expose() != "three" {
                tokio::task::yield_now().await;
            }
        };
        timeout(20 * READ_TIME, third).await.unwrap();
    }
}
