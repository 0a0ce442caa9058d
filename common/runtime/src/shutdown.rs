//! Ending in order: the first SIGTERM or SIGINT asks every part to finish, a second one ends the process
//! at once. May import tokio and tokio-util.

use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit status after a second signal: 128 + SIGINT, as shells report an interrupted program.
const EXIT_INTERRUPTED: i32 = 130;

/// A request to end that every part of a process can see. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    failure: Arc<OnceLock<String>>,
}

impl Shutdown {
    /// One that only [`Shutdown::request`] triggers: for tests and for parts inside a process.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that the first SIGTERM or SIGINT triggers; the second one exits with status 130.
    ///
    /// # Errors
    /// The operating system does not let the process handle signals.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let watched = shutdown.clone();
        crate::spawn_named("signals", async move {
            let name = first_of(&mut terminate, &mut interrupt).await;
            tracing::info!(
                signal = name,
                "ending in order; a second signal ends at once"
            );
            watched.request();
            let name = first_of(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "second signal: ending at once");
            std::process::exit(EXIT_INTERRUPTED);
        });
        Ok(shutdown)
    }

    /// Asks every part to end. Asking again changes nothing.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Asks every part to end because something went wrong that the process cannot live with; `main`
    /// finds the first such reason in [`Shutdown::failure`].
    pub fn fail(&self, reason: impl Into<String>) {
        // A later reason is a consequence of the first one more often than not.
        let _ = self.failure.set(reason.into());
        self.token.cancel();
    }

    /// Why the process must end with an error, if it must.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Whether the end has been asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the end is asked for.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// The token behind it, for parts that end by themselves too (`child_token`).
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}

async fn first_of(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_every_clone_and_the_first_failure_is_kept() {
        let shutdown = Shutdown::new();
        let clone = shutdown.clone();
        assert!(!clone.is_requested());
        shutdown.fail("the disk is full");
        shutdown.fail("the journal ended");
        clone.requested().await;
        assert_eq!(clone.failure(), Some("the disk is full"));
    }

    #[tokio::test]
    async fn a_plain_request_is_no_failure() {
        let shutdown = Shutdown::new();
        shutdown.request();
        assert!(shutdown.is_requested());
        assert_eq!(shutdown.failure(), None);
    }
}
