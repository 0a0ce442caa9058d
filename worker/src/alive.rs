//! The sign of life of a worker: the file `alive` in its work folder, written again at every turn of the
//! conversation with the coordinator, for probes to look at its age. It says that the worker works, not that
//! its coordinator does: a worker waits for one that is away. May import tokio.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use espalier_runtime::logging::millis;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A probe that looks at the file's age allows many of these.
const EVERY: Duration = Duration::from_secs(10);
const FILE: &str = "alive";

/// Where it is, and when it is due.
#[derive(Debug)]
pub(crate) struct Alive {
    path: PathBuf,
    next: Instant,
    /// A file system that hangs must not hold up the conversation, nor get one write after the other.
    writing: Option<JoinHandle<()>>,
}

impl Alive {
    pub(crate) fn new(work_dir: &Path) -> Self {
        Self {
            path: work_dir.join(FILE),
            next: Instant::now(),
            writing: None,
        }
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Writes the file, if it is due.
    pub(crate) fn beat(&mut self) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        if self
            .writing
            .as_ref()
            .is_some_and(|task| !task.is_finished())
        {
            return;
        }
        let path = self.path.clone();
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&path) {
                tracing::warn!(path = %path.display(), %error, wait_ms = millis(EVERY),
                    "the sign of life cannot be written; a probe may take this worker for dead");
            }
        }));
    }
}

/// The time of change is what counts; the content is for people.
fn write(path: &Path) -> io::Result<()> {
    fs::write(path, format!("{}\n", std::process::id()))
}

/// Removes what an earlier instance left: it would speak for this one while it still joins.
pub(crate) fn forget(work_dir: &Path) -> io::Result<()> {
    match fs::remove_file(work_dir.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_sign_of_life_is_written_again_when_it_is_due_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut alive = Alive::new(folder.path());
        alive.beat();
        alive.writing.take().unwrap().await.unwrap();
        fs::remove_file(&path).unwrap();
        alive.beat();
        assert!(alive.writing.is_none(), "not due yet");
        tokio::time::advance(EVERY).await;
        alive.beat();
        alive.writing.take().unwrap().await.unwrap();
        assert!(path.exists());
    }

    #[test]
    fn the_sign_of_an_earlier_instance_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        forget(folder.path()).unwrap();
        write(&folder.path().join(FILE)).unwrap();
        forget(folder.path()).unwrap();
        assert!(!folder.path().join(FILE).exists());
    }
}
