//! Follows a search to its end over the watch stream, through restarts of the coordinator. Shared by
//! `watch`, `submit --watch` and `run`.

use std::time::Duration;

use espalier_proto::v1;
use espalier_runtime::Shutdown;
use espalier_runtime::backoff::Waits;
use espalier_runtime::logging::millis;
use tonic::Streaming;

use super::client::Client;
use super::error::CliError;
use super::progress::Progress;

/// How long nothing may run before the coordinator is asked why: longer than a worker takes to start.
const ASK_WHY_EVERY: Duration = Duration::from_secs(5);

/// What ends the following early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Only the end of the search.
    Finished,
    /// The end of the search, or a pause that somebody has to look into.
    FinishedOrPaused,
}

/// Follows the search with this id. Returns its last status.
///
/// # Errors
/// The search is gone, the output cannot be written, or the end was asked for.
pub(super) async fn follow(
    client: &Client,
    search: &str,
    until: Until,
    progress: &mut Progress,
    shutdown: &Shutdown,
) -> Result<v1::SearchStatus, CliError> {
    tokio::select! {
        result = follow_on(client, search, until, progress) => result,
        () = shutdown.requested() => Err(CliError::Interrupted(String::new())),
    }
}

async fn follow_on(
    client: &Client,
    search: &str,
    until: Until,
    progress: &mut Progress,
) -> Result<v1::SearchStatus, CliError> {
    let mut waits = Waits::default();
    loop {
        let lost = match client.watch(search).await {
            Ok(stream) => {
                waits.reset();
                progress.clear_notice();
                match follow_stream(client, stream, until, progress).await? {
                    Some(status) => {
                        progress.finish(&status)?;
                        return Ok(status);
                    }
                    None => "the connection was closed".to_owned(),
                }
            }
            Err(CliError::Unreachable { reason, .. }) => reason,
            Err(error) => return Err(error),
        };
        let wait = waits.next_wait();
        tracing::debug!(
            reason = lost,
            wait_ms = millis(wait),
            "lost the coordinator"
        );
        progress.notice(&format!(
            "the coordinator at {} is away; the search goes on when it is back, and so does this",
            client.address()
        ));
        tokio::time::sleep(wait).await;
    }
}

/// Follows one stream. `None`: it broke, and another one may go on.
async fn follow_stream(
    client: &Client,
    mut stream: Streaming<v1::WatchReply>,
    until: Until,
    progress: &mut Progress,
) -> Result<Option<v1::SearchStatus>, CliError> {
    let mut last = None::<v1::SearchStatus>;
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            () = tokio::time::sleep(ASK_WHY_EVERY), if is_idle(last.as_ref()) => {
                say_why(client, last.as_ref(), progress).await;
                continue;
            }
        };
        let reply = match message {
            Ok(Some(reply)) => reply,
            Ok(None) => return Ok(None),
            Err(status) => {
                return match client.refused(&status) {
                    CliError::Unreachable { .. } => Ok(None),
                    // What breaks in the middle of a stream is the connection; a refusal of the search
                    // itself comes with the next call, and ends it.
                    CliError::Failed(_) => Ok(None),
                    other => Err(other),
                };
            }
        };
        progress.update(&reply)?;
        if let Some(status) = reply.status {
            if !is_idle(Some(&status)) {
                progress.clear_notice();
            }
            let ends = status.phase == "finished"
                || (until == Until::FinishedOrPaused && status.phase == "paused");
            if ends {
                return Ok(Some(status));
            }
            last = Some(status);
        }
    }
}

/// Whether a search that should run does nothing.
fn is_idle(status: Option<&v1::SearchStatus>) -> bool {
    status.is_some_and(|status| {
        status.phase != "paused" && status.counts.unwrap_or_default().running == 0
    })
}

/// Says why the search waits, if the coordinator knows.
async fn say_why(client: &Client, status: Option<&v1::SearchStatus>, progress: &mut Progress) {
    let Some(status) = status else { return };
    // Not knowing why is no reason to stop following.
    let Ok(cluster) = client.cluster().await else {
        return;
    };
    let waiting = cluster
        .waiting
        .iter()
        .find(|waiting| waiting.search == status.id);
    if let Some(waiting) = waiting {
        progress.notice(&format!(
            "waiting: {}",
            super::render::clean(&waiting.reason, 500)
        ));
    }
}
