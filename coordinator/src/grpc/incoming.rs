//! What a client sends as a stream of messages, bounded in its pauses and as a whole: each part prolongs a lease or
//! holds a place. May import the actors' errors, futures, tokio and tonic's status.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::time::{Instant, timeout};
use tonic::Status;

use crate::actors::CallError;

/// The longest pause: far longer than a slow network takes for a part.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The slowest network, over the whole of what is sent. Workers give one that is slower than four times as much up
/// by themselves.
const LEAST_BYTES_PER_SECOND: u64 = 16 * 1024;
/// What a stream may take whatever its size.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// Messages of one stream.
pub(super) struct Incoming<S> {
    parts: S,
    /// What it brings, for people.
    what: &'static str,
    began: Instant,
    /// Bytes that came.
    brought: u64,
}

impl<T, S: Stream<Item = Result<T, Status>> + Unpin> Incoming<S> {
    /// A stream that begins now.
    pub(super) fn new(what: &'static str, parts: S) -> Self {
        Self {
            parts,
            what,
            began: Instant::now(),
            brought: 0,
        }
    }

    /// The last message brought this. What comes counts, and not what was announced; a part without any would keep the
    /// stream, and the lease of an upload, going for ever.
    pub(super) fn came(&mut self, data: &[u8]) -> Result<(), CallError> {
        if data.is_empty() {
            let message = "a message without data: every part brings some".to_owned();
            return Err(CallError::Invalid(message));
        }
        self.brought = self.brought.saturating_add(data.len() as u64);
        Ok(())
    }

    /// The next message; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<T>, Status> {
        let what = self.what;
        let longest = MARGIN + Duration::from_secs(self.brought / LEAST_BYTES_PER_SECOND);
        if self.began.elapsed() > longest {
            let message = format!(
                "the {what} brings less than {LEAST_BYTES_PER_SECOND} bytes a second; send it again over a faster \
                 network"
            );
            return Err(Status::deadline_exceeded(message));
        }
        match timeout(LONGEST_PAUSE, self.parts.next()).await {
            Ok(part) => part.transpose(),
            Err(_) => {
                let seconds = LONGEST_PAUSE.as_secs();
                let message =
                    format!("nothing of the {what} has come for {seconds} s; send it again");
                Err(Status::deadline_exceeded(message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tonic::Code;

    use super::*;

    /// One part after each such pause, for ever.
    fn every(pause: Duration) -> impl Stream<Item = Result<u8, Status>> + Unpin {
        Box::pin(stream::unfold((), move |()| async move {
            tokio::time::sleep(pause).await;
            Some((Ok(7), ()))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_a_long_pause_and_when_it_is_too_slow_as_a_whole() {
        let mut silent = Incoming::new("upload", every(LONGEST_PAUSE * 2));
        let status = silent.next().await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert!(
            status.message().contains("nothing of the upload"),
            "{status}"
        );

        let began = Instant::now();
        let mut slow = Incoming::new("upload", every(LONGEST_PAUSE / 2));
        slow.came(&vec![0; 100 * LEAST_BYTES_PER_SECOND as usize])
            .unwrap();
        let status = loop {
            match slow.next().await {
                Ok(_) => slow.came(&[7]).unwrap(),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        let took = began.elapsed();
        let longest = MARGIN + Duration::from_secs(100);
        assert!(
            took >= longest && took <= longest + LONGEST_PAUSE,
            "{took:?}"
        );
        slow.brought = u64::MAX;
        assert_eq!(slow.next().await.unwrap(), Some(7));
        slow.came(&[]).unwrap_err();
    }

    #[tokio::test]
    async fn what_is_sent_comes_as_it_is() {
        let parts = stream::iter([Ok(1), Ok(2), Err(Status::cancelled("gone"))]);
        let mut incoming = Incoming::new("push", parts);
        assert_eq!(incoming.next().await.unwrap(), Some(1));
        assert_eq!(incoming.next().await.unwrap(), Some(2));
        assert_eq!(incoming.next().await.unwrap_err().code(), Code::Cancelled);
        assert_eq!(incoming.next().await.unwrap(), None);
    }
}
