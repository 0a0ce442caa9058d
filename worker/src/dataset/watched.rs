//! Reading data away from the tasks that serve calls, with an end to waiting: a network file system that
//! does not answer blocks its reader for ever, and nothing can end that thread. May import data, tokio.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use espalier_data::{DataError, Pulse};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// Reads data.
#[derive(Debug)]
pub(super) struct Watched {
    silence: Duration,
    /// Threads that were given up. While one of them hangs, nothing else is tried with the same data: each
    /// try would cost another thread.
    hung: Mutex<BTreeMap<String, AbortHandle>>,
}

impl Watched {
    pub(super) fn new(silence: Duration) -> Self {
        Self {
            silence,
            hung: Mutex::default(),
        }
    }

    fn hung(&self) -> MutexGuard<'_, BTreeMap<String, AbortHandle>> {
        // Nothing under the lock can panic half way.
        self.hung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a thread still hangs that was to read these data.
    fn hangs(&self, key: &str) -> bool {
        let mut hung = self.hung();
        hung.retain(|_, thread| !thread.is_finished());
        hung.contains_key(key)
    }

    /// Does `work`, which reads the data that `key` names, below `path`.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        key: &str,
        path: PathBuf,
        work: impl FnOnce(&Pulse) -> Result<T, DataError> + Send + 'static,
    ) -> Result<T, DataError> {
        let hung = DataError::Hung {
            path: path.clone(),
            seconds: self.silence.as_secs(),
        };
        if self.hangs(key) {
            return Err(hung);
        }
        let pulse = Pulse::default();
        let beating = pulse.clone();
        let mut thread = tokio::task::spawn_blocking(move || work(&beating));
        loop {
            let before = pulse.count();
            match timeout(self.silence, &mut thread).await {
                Ok(Ok(done)) => return done,
                Ok(Err(panic)) => {
                    let why = format!("reading it panicked: {panic}");
                    return Err(DataError::BadFile { path, why });
                }
                Err(_) if pulse.count() > before => {}
                Err(_) => {
                    let thread = thread.abort_handle();
                    self.hung().insert(key.to_owned(), thread);
                    return Err(hung);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_hangs_is_given_up_and_not_begun_again_while_it_hangs() {
        let watched = Watched::new(Duration::from_millis(50));
        let (release, released) = mpsc::channel::<()>();
        let hang = move |_: &Pulse| {
            let _ = released.recv();
            Ok(1)
        };
        let error = watched.run("a", "here".into(), hang).await.unwrap_err();
        assert!(error.to_string().contains("no progress"), "{error}");
        let error = watched.run("a", "here".into(), |_| Ok(2)).await;
        assert!(matches!(error, Err(DataError::Hung { .. })));
        // Other data are no part of it.
        let other = watched.run("b", "there".into(), |_| Ok(3)).await;
        assert_eq!(other.unwrap(), 3);
        drop(release);
        while watched.run("a", "here".into(), |_| Ok(4)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
