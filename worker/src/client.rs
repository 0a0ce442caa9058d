//! The coordinator as this worker calls it: one HTTP/2 connection that comes back by itself, a time limit
//! on every call, and which answers mean "try again". May import proto and tonic.

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use backon::Retryable as _;
use espalier_proto::v1::worker_service_client::WorkerServiceClient;
use espalier_proto::{MAX_MESSAGE_BYTES, v1};
use espalier_runtime::backoff;
use espalier_runtime::logging::millis;
use espalier_runtime::tls::ClientTls;
use futures::Stream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

use crate::membership::{Membership, Refused, retry_after};

/// A call that is not a long poll is answered within a few fsyncs; this is a coordinator in trouble.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// What a long poll may take above the time it waits.
const POLL_MARGIN: Duration = Duration::from_secs(10);
/// Finds a dead connection while a long poll is quiet: a router between may have dropped it silently.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(10);
/// So often a coordinator that answers may refuse one call for a reason that could pass, before that is
/// taken for its last word: ten to twenty seconds. A coordinator that is away is waited for without limit.
pub(crate) const MOST_REFUSALS: u32 = 8;
/// Tries between two warnings about one call: about a minute once the waits have grown.
const WARN_EVERY: u64 = 10;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

type Service = WorkerServiceClient<Channel>;

/// The coordinator. Cheap to clone; connects at the first call and again whenever that is needed.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    url: String,
    /// Replaced by whoever has got a new certificate; calls under way go on over the old connection.
    service: Arc<RwLock<Service>>,
    /// None without TLS.
    membership: Option<Arc<Membership>>,
}

impl Client {
    /// A client of the coordinator at a checked URL, over TLS when this worker is a member.
    pub(crate) fn new(
        url: &str,
        member: Option<(Arc<Membership>, &ClientTls)>,
    ) -> Result<Self, tonic::transport::Error> {
        let tls = member.as_ref().map(|(_, tls)| *tls);
        let service = Arc::new(RwLock::new(service(url, tls)?));
        Ok(Self {
            url: url.to_owned(),
            service,
            membership: member.map(|(membership, _)| membership),
        })
    }

    fn service(&self) -> Service {
        let service = self.service.read().unwrap_or_else(PoisonError::into_inner);
        service.clone()
    }

    /// Gets a new certificate, since the coordinator does not take the present one or it is time to; answers
    /// when the next one is due.
    pub(crate) async fn identify_again(&self) -> Result<Duration, Refused> {
        let Some(membership) = &self.membership else {
            let reason = "this worker has no token; give it one (--token-file, ESPALIER_TOKEN)";
            return Err(Refused::Final(reason.to_owned()));
        };
        let given = membership.identify().await?;
        let fresh = service(&self.url, Some(&given.tls));
        let fresh = fresh.map_err(|error| Refused::Final(error.to_string()))?;
        let mut service = self.service.write().unwrap_or_else(PoisonError::into_inner);
        *service = fresh;
        Ok(given.renew_after)
    }

    /// See `WorkerService.Register`.
    pub(crate) async fn register(
        &self,
        request: v1::RegisterRequest,
    ) -> Result<v1::RegisterReply, Status> {
        within(CALL_LIMIT, self.service().register(request)).await
    }

    /// See `WorkerService.Lease`.
    pub(crate) async fn lease(&self, request: v1::LeaseRequest) -> Result<v1::LeaseReply, Status> {
        let limit = Duration::from_millis(request.wait_ms) + POLL_MARGIN;
        within(limit, self.service().lease(request)).await
    }

    /// See `WorkerService.Renew`.
    pub(crate) async fn renew(&self, request: v1::RenewRequest) -> Result<v1::RenewReply, Status> {
        within(CALL_LIMIT, self.service().renew(request)).await
    }

    /// See `WorkerService.Report`.
    pub(crate) async fn report(
        &self,
        request: v1::ReportRequest,
    ) -> Result<v1::ReportReply, Status> {
        within(CALL_LIMIT, self.service().report(request)).await
    }

    /// See `WorkerService.Complete`.
    pub(crate) async fn complete(
        &self,
        request: v1::CompleteRequest,
    ) -> Result<v1::CompleteReply, Status> {
        within(CALL_LIMIT, self.service().complete(request)).await
    }

    /// See `WorkerService.Fail`.
    pub(crate) async fn fail(&self, request: v1::FailRequest) -> Result<v1::FailReply, Status> {
        within(CALL_LIMIT, self.service().fail(request)).await
    }

    /// See `WorkerService.Release`.
    pub(crate) async fn release(
        &self,
        request: v1::ReleaseRequest,
    ) -> Result<v1::ReleaseReply, Status> {
        within(CALL_LIMIT, self.service().release(request)).await
    }

    /// See `WorkerService.Log`.
    pub(crate) async fn log(&self, request: v1::LogRequest) -> Result<v1::LogReply, Status> {
        within(CALL_LIMIT, self.service().log(request)).await
    }

    /// See `WorkerService.Leave`; `limit` is what is left of the worker's time to end.
    pub(crate) async fn leave(
        &self,
        request: v1::LeaveRequest,
        limit: Duration,
    ) -> Result<v1::LeaveReply, Status> {
        within(limit, self.service().leave(request)).await
    }

    /// See `WorkerService.UploadArtifact`.
    pub(crate) async fn upload(
        &self,
        pieces: impl Stream<Item = v1::UploadArtifactRequest> + Send + 'static,
        limit: Duration,
    ) -> Result<v1::UploadArtifactReply, Status> {
        within(limit, self.service().upload_artifact(pieces)).await
    }

    /// See `WorkerService.FindDataset`.
    pub(crate) async fn find_dataset(
        &self,
        request: v1::FindDatasetRequest,
    ) -> Result<v1::StoredDataset, Status> {
        within(CALL_LIMIT, self.service().find_dataset(request)).await
    }

    /// See `WorkerService.DownloadArtifact`. The limit is on the beginning only.
    pub(crate) async fn download(
        &self,
        request: v1::DownloadArtifactRequest,
    ) -> Result<Streaming<v1::DownloadArtifactReply>, Status> {
        within(CALL_LIMIT, self.service().download_artifact(request)).await
    }
}

fn service(url: &str, tls: Option<&ClientTls>) -> Result<Service, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_LIMIT)
        .keep_alive_while_idle(true);
    let channel = match tls {
        Some(tls) => endpoint.connect_with_connector_lazy(tls.connector()),
        None => endpoint.connect_lazy(),
    };
    Ok(WorkerServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES))
}

/// Renews a member's certificate well before its end, for as long as the worker runs.
pub(crate) async fn keep_certificate(client: Client, first: Duration) {
    let mut due = first;
    loop {
        tokio::time::sleep(due).await;
        due = match client.identify_again().await {
            Ok(renew_after) => renew_after,
            // The present one is good for a while yet; when it is not, the session ends the worker.
            Err(reason) => {
                tracing::warn!(?reason, "the certificate cannot be renewed yet");
                retry_after(first)
            }
        };
    }
}

/// The answer of a call, or `DeadlineExceeded` after `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "no answer within {} ms",
            limit.as_millis()
        ))),
    }
}

/// Whether the same call may go well later: the coordinator is away, starting, overloaded, or the
/// connection broke. Everything else is its last word.
pub(crate) fn is_transient(status: &Status) -> bool {
    is_away(status)
        || matches!(
            status.code(),
            // Who is not known any more may be so again with a new certificate.
            Code::Unauthenticated
                | Code::Internal
                | Code::Unknown
                | Code::Aborted
                | Code::ResourceExhausted
        )
}

/// Whether nobody answered. The other transient codes come from a coordinator that is there, save for a
/// connection that breaks in the middle of a call.
fn is_away(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
    )
}

/// Counts the refusals of one call.
#[derive(Debug, Default)]
pub(crate) struct Refusals(u32);

impl Refusals {
    /// Whether to try once more after this answer.
    pub(crate) fn allow(&mut self, status: &Status) -> bool {
        if is_transient(status) && !is_away(status) {
            self.0 += 1;
        }
        is_transient(status) && self.0 < MOST_REFUSALS
    }
}

/// Repeats a call while its answer is transient, but see [`MOST_REFUSALS`].
pub(crate) async fn persistently<T, F>(
    what: &'static str,
    call: impl FnMut() -> F,
) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut refusals = Refusals::default();
    retry(what, call, |status| refusals.allow(status)).await
}

/// Repeats a call while its answer is transient, without limit; but who is not known needs a certificate first.
pub(crate) async fn for_ever<T, F>(what: &'static str, call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let again = |status: &Status| is_transient(status) && status.code() != Code::Unauthenticated;
    retry(what, call, again).await
}

async fn retry<T, F>(
    what: &'static str,
    call: impl FnMut() -> F,
    again: impl FnMut(&Status) -> bool,
) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut tries = 0_u64;
    call.retry(backoff::policy())
        .when(again)
        .notify(|status: &Status, wait: Duration| {
            let wait_ms = millis(wait);
            // Not every time: while the coordinator is away, every attempt held would say so.
            if tries.is_multiple_of(WARN_EVERY) {
                tracing::warn!(call = what, %status, wait_ms, tries, "not delivered; trying again until it is");
            } else {
                tracing::debug!(call = what, %status, wait_ms, tries, "trying again");
            }
            tries += 1;
        })
        .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_until_its_answer_is_final() {
        let calls = Cell::new(0);
        let answer: Result<(), _> = persistently("test", || {
            calls.set(calls.get() + 1);
            let status = match calls.get() {
                1..=5 => Status::unavailable("away"),
                _ => Status::failed_precondition("stale"),
            };
            async { Err(status) }
        })
        .await;
        assert_eq!(answer.unwrap_err().code(), Code::FailedPrecondition);
        assert_eq!(calls.get(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_coordinator_that_is_away_is_waited_for_and_one_that_refuses_is_not_asked_for_ever() {
        let calls = Cell::new(0);
        let answer: Result<(), _> = persistently("test", || {
            calls.set(calls.get() + 1);
            let status = match calls.get() {
                1..=500 => Status::unavailable("away"),
                _ => Status::internal("cannot decode"),
            };
            async { Err(status) }
        })
        .await;
        assert_eq!(answer.unwrap_err().code(), Code::Internal);
        assert_eq!(calls.get(), 500 + MOST_REFUSALS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_ends_at_its_limit() {
        let silent = std::future::pending::<Result<Response<()>, Status>>();
        let status = within(Duration::from_secs(1), silent).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(is_transient(&status));
    }
}
