//! The coordinator as the commands see it: one method a call, every wait bounded, every refusal an exit
//! code. May import tonic and the wire types.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use espalier_common::ids::Digest;
use espalier_proto::v1::access_service_client::AccessServiceClient;
use espalier_proto::v1::search_service_client::SearchServiceClient;
use espalier_proto::{MAX_MESSAGE_BYTES, v1};
use futures::Stream;
use tokio::io::AsyncWriteExt as _;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::contexts::Target;
use super::credentials::Credentials;
use super::dataset::push_limit;
use super::error::{CliError, is_untrusted, reason_of};

/// A coordinator on another continent answers a connection within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer may have to wait for a disk that is slow to sync, and for other users' long listings.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A watched coordinator that vanishes without closing the connection is noticed within twice this.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Between two looks at whether a starting coordinator answers.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Rows of one page: the most that the coordinator gives.
const PAGE: u32 = 1_000;
/// Times that a creation is tried again when the coordinator goes away in the middle of it.
const CREATE_RETRIES: u32 = 4;

type Calls = InterceptedService<Channel, Credentials>;

/// A connection to a coordinator. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    service: SearchServiceClient<Calls>,
    access: AccessServiceClient<Calls>,
    health: HealthClient<Channel>,
    address: String,
}

impl Client {
    /// Connects.
    pub(super) async fn connect(target: &Target) -> Result<Self, CliError> {
        let address = target.url.as_str();
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|error| CliError::Usage(format!("--address {address}: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let connected = match &target.secured {
            Some(secured) => {
                let connector = secured.tls.connector();
                endpoint.connect_with_connector(connector).await
            }
            None => endpoint.connect().await,
        };
        let channel = connected.map_err(|error| match is_untrusted(&error) {
            true => CliError::Refused(format!("{address}: {}", reason_of(&error))),
            false => CliError::Unreachable {
                address: address.to_owned(),
                reason: reason_of(&error),
            },
        })?;
        let bearer = target
            .secured
            .as_ref()
            .map(|secured| secured.bearer.clone());
        let health = HealthClient::new(channel.clone());
        let calls = InterceptedService::new(channel, Credentials::of(bearer));
        Ok(Self {
            service: SearchServiceClient::new(calls.clone())
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            access: AccessServiceClient::new(calls).max_decoding_message_size(MAX_MESSAGE_BYTES),
            health,
            address: address.to_owned(),
        })
    }

    /// Whether the coordinator says that it takes calls. Everyone may ask, so no token is sent.
    pub(super) async fn is_serving(&self) -> Result<bool, CliError> {
        let mut health = self.health.clone();
        // No name: the coordinator as a whole.
        let request = HealthCheckRequest::default();
        let reply = self.call(health.check(request)).await?;
        Ok(reply.status() == ServingStatus::Serving)
    }

    /// Who the coordinator takes this program's user for.
    pub(super) async fn who_am_i(&self) -> Result<v1::WhoAmIReply, CliError> {
        let mut access = self.access.clone();
        self.call(access.who_am_i(v1::WhoAmIRequest {})).await
    }

    /// Makes a token.
    pub(super) async fn create_token(
        &self,
        request: v1::CreateTokenRequest,
    ) -> Result<v1::CreateTokenReply, CliError> {
        let mut access = self.access.clone();
        self.call(access.create_token(request)).await
    }

    /// Every token.
    pub(super) async fn list_tokens(&self) -> Result<Vec<v1::Token>, CliError> {
        let mut access = self.access.clone();
        let reply = self
            .call(access.list_tokens(v1::ListTokensRequest {}))
            .await?;
        Ok(reply.tokens)
    }

    /// Ends a token.
    pub(super) async fn revoke_token(&self, id: &str) -> Result<v1::Token, CliError> {
        let id = id.to_owned();
        let mut access = self.access.clone();
        let reply = self
            .call(access.revoke_token(v1::RevokeTokenRequest { id }))
            .await?;
        reply.token.ok_or_else(|| self.broken("an empty reply"))
    }

    /// Connects to a coordinator that is starting, as soon as it answers.
    pub(super) async fn when_ready(address: &str) -> Self {
        loop {
            if let Ok(client) = Self::connect(&Target::plain(address)).await
                && client.cluster().await.is_ok()
            {
                return client;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Where it is connected to.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Creates a search. The id in the request makes it safe to try again.
    pub(super) async fn create(
        &self,
        request: v1::CreateRequest,
    ) -> Result<v1::SearchStatus, CliError> {
        let mut waits = espalier_runtime::backoff::Waits::default();
        let mut tries = 0;
        loop {
            let mut service = self.service.clone();
            match self.call(service.create(request.clone())).await {
                Err(CliError::Unreachable { .. }) if tries < CREATE_RETRIES => {
                    tries += 1;
                    tokio::time::sleep(waits.next_wait()).await;
                }
                // Also of a search that the spec wants to begin with.
                Err(CliError::Usage(message) | CliError::NotFound(message)) => {
                    return Err(CliError::Spec(message));
                }
                Err(error) => return Err(error),
                Ok(reply) => {
                    return reply.status.ok_or_else(|| self.broken("an empty reply"));
                }
            }
        }
    }

    /// One search.
    pub(super) async fn get(&self, search: &str) -> Result<v1::SearchStatus, CliError> {
        let search = search.to_owned();
        self.call(self.service.clone().get(v1::GetRequest { search }))
            .await
    }

    /// All searches.
    pub(super) async fn list(&self) -> Result<Vec<v1::SearchStatus>, CliError> {
        let mut searches = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListRequest {
                page_size: PAGE,
                page_token: page_token.clone(),
            };
            let reply = self.call(self.service.clone().list(request)).await?;
            searches.extend(reply.searches);
            if reply.next_page_token.is_empty() {
                return Ok(searches);
            }
            if reply.next_page_token == page_token {
                return Err(self.broken("the same page of searches twice"));
            }
            page_token = reply.next_page_token;
        }
    }

    /// Leases no further job of a search.
    pub(super) async fn pause(&self, search: &str) -> Result<v1::SearchStatus, CliError> {
        let search = search.to_owned();
        self.call(self.service.clone().pause(v1::PauseRequest { search }))
            .await
    }

    /// Leases jobs of a search again.
    pub(super) async fn resume(&self, search: &str) -> Result<v1::SearchStatus, CliError> {
        let search = search.to_owned();
        self.call(self.service.clone().resume(v1::ResumeRequest { search }))
            .await
    }

    /// Ends a search.
    pub(super) async fn stop(&self, search: &str) -> Result<v1::SearchStatus, CliError> {
        let search = search.to_owned();
        self.call(self.service.clone().stop(v1::StopRequest { search }))
            .await
    }

    /// Changes what bounds a search.
    pub(super) async fn set_limits(
        &self,
        request: v1::SetLimitsRequest,
    ) -> Result<v1::SearchStatus, CliError> {
        self.call(self.service.clone().set_limits(request)).await
    }

    /// Proposes a candidate.
    pub(super) async fn enqueue(
        &self,
        request: v1::EnqueueRequest,
    ) -> Result<v1::SearchStatus, CliError> {
        self.call(self.service.clone().enqueue(request)).await
    }

    /// Keeps a candidate from being tried.
    pub(super) async fn ban(&self, request: v1::BanRequest) -> Result<v1::SearchStatus, CliError> {
        self.call(self.service.clone().ban(request)).await
    }

    /// Runs a queued trial next.
    pub(super) async fn pin(&self, search: &str, trial: u32) -> Result<v1::SearchStatus, CliError> {
        let search = search.to_owned();
        let request = v1::PinRequest { search, trial };
        self.call(self.service.clone().pin(request)).await
    }

    /// Gives a trial up.
    pub(super) async fn cancel(
        &self,
        search: &str,
        trial: u32,
    ) -> Result<v1::SearchStatus, CliError> {
        let search = search.to_owned();
        let request = v1::CancelRequest { search, trial };
        self.call(self.service.clone().cancel(request)).await
    }

    /// Tries trials again; answers with how many wait, and how many stay as they are since they are banned.
    pub(super) async fn retry(
        &self,
        request: v1::RetryRequest,
    ) -> Result<(v1::SearchStatus, usize, usize), CliError> {
        let reply = self.call(self.service.clone().retry(request)).await?;
        let status = reply.status.ok_or_else(|| self.broken("an empty reply"))?;
        Ok((status, reply.trials.len(), reply.banned.len()))
    }

    /// Begins a search with what another one found.
    pub(super) async fn fork(
        &self,
        request: v1::ForkRequest,
    ) -> Result<v1::SearchStatus, CliError> {
        match self.call(self.service.clone().fork(request)).await {
            Ok(reply) => reply.status.ok_or_else(|| self.broken("an empty reply")),
            Err(error) => Err(error),
        }
    }

    /// Why attempts failed.
    pub(super) async fn failures(&self, search: &str) -> Result<v1::ListFailuresReply, CliError> {
        let search = search.to_owned();
        let request = v1::ListFailuresRequest { search };
        self.call(self.service.clone().list_failures(request)).await
    }

    /// Who wanted what of a search.
    pub(super) async fn wishes(&self, search: &str) -> Result<Vec<v1::Wish>, CliError> {
        let search = search.to_owned();
        let request = v1::ListWishesRequest { search };
        let reply = self.call(self.service.clone().list_wishes(request)).await?;
        Ok(reply.wishes)
    }

    /// The page of trials after a number, at most `limit` of them, and whether there are more.
    pub(super) async fn trials(
        &self,
        search: &str,
        after: u32,
        limit: u32,
        states: &[String],
    ) -> Result<(Vec<v1::Trial>, bool), CliError> {
        let request = v1::ListTrialsRequest {
            search: search.to_owned(),
            after,
            page_size: limit.min(PAGE),
            states: states.to_vec(),
        };
        let reply = self.call(self.service.clone().list_trials(request)).await?;
        let ascending = reply.trials.iter().try_fold(after, |last, trial| {
            (trial.number > last).then_some(trial.number)
        });
        if ascending.is_none() || (reply.more && reply.trials.is_empty()) {
            return Err(self.broken("a page of trials that leads nowhere"));
        }
        Ok((reply.trials, reply.more))
    }

    /// The best trials.
    pub(super) async fn best(&self, search: &str, count: u32) -> Result<Vec<v1::Trial>, CliError> {
        let request = v1::BestRequest {
            search: search.to_owned(),
            count,
        };
        let reply = self.call(self.service.clone().best(request)).await?;
        Ok(reply.trials)
    }

    /// Workers and waiting searches.
    pub(super) async fn cluster(&self) -> Result<v1::ClusterStatus, CliError> {
        let mut service = self.service.clone();
        self.call(service.get_cluster(v1::GetClusterRequest {}))
            .await
    }

    /// Sends a data set of so many bytes.
    pub(super) async fn push_dataset(
        &self,
        messages: impl Stream<Item = v1::PushDatasetRequest> + Send + 'static,
        bytes: u64,
    ) -> Result<v1::StoredDataset, CliError> {
        let mut service = self.service.clone();
        let push = service.push_dataset(messages);
        match tokio::time::timeout(push_limit(bytes), push).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(self.refused(&status)),
            Err(_) => Err(self.silent()),
        }
    }

    /// The data sets that the coordinator keeps.
    pub(super) async fn list_datasets(&self) -> Result<Vec<v1::StoredDataset>, CliError> {
        let mut service = self.service.clone();
        let reply = self
            .call(service.list_datasets(v1::ListDatasetsRequest {}))
            .await?;
        Ok(reply.datasets)
    }

    /// Ends the keeping of a data set.
    pub(super) async fn remove_dataset(&self, text: &str) -> Result<v1::StoredDataset, CliError> {
        let fingerprint = text.to_owned();
        let mut service = self.service.clone();
        self.call(service.remove_dataset(v1::RemoveDatasetRequest { fingerprint }))
            .await
    }

    /// The changes of a search from now on.
    pub(super) async fn watch(&self, search: &str) -> Result<Streaming<v1::WatchReply>, CliError> {
        let search = search.to_owned();
        self.call(self.service.clone().watch(v1::WatchRequest { search }))
            .await
    }

    /// Lines of the log.
    pub(super) async fn logs(
        &self,
        request: v1::LogsRequest,
    ) -> Result<Streaming<v1::LogsReply>, CliError> {
        self.call(self.service.clone().logs(request)).await
    }

    /// Fetches an artifact into a file, which is there only if all of it came and its digest is right.
    pub(super) async fn download(&self, digest: &Digest, path: &Path) -> Result<u64, CliError> {
        let request = v1::DownloadRequest {
            digest: digest.to_string(),
        };
        let stream = self.call(self.service.clone().download(request)).await?;
        let part = path.with_extension("part");
        let size = self.receive(stream, digest, &part).await?;
        tokio::fs::rename(&part, path)
            .await
            .map_err(|error| CliError::io("write", path, &error))?;
        Ok(size)
    }

    async fn receive(
        &self,
        mut stream: Streaming<v1::DownloadReply>,
        digest: &Digest,
        part: &Path,
    ) -> Result<u64, CliError> {
        let unwritable = |error| CliError::io("write", part, &error);
        let mut file = tokio::fs::File::create(part).await.map_err(unwritable)?;
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        while let Some(piece) = self.next(&mut stream).await? {
            hasher.update(&piece.data);
            size += piece.data.len() as u64;
            file.write_all(&piece.data).await.map_err(unwritable)?;
        }
        file.sync_all().await.map_err(unwritable)?;
        if Digest(*hasher.finalize().as_bytes()) != *digest {
            return Err(CliError::Failed(format!(
                "what the coordinator sent as artifact {} has another digest: {} bytes came; its copy is \
                 damaged, or the transfer was",
                digest.short(),
                size
            )));
        }
        Ok(size)
    }

    /// The next message of a stream that never pauses for long.
    async fn next<T>(&self, stream: &mut Streaming<T>) -> Result<Option<T>, CliError> {
        match tokio::time::timeout(CALL_TIMEOUT, stream.message()).await {
            Ok(message) => message.map_err(|status| self.refused(&status)),
            Err(_) => Err(self.silent()),
        }
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CliError> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.refused(&status)),
            Err(_) => Err(self.silent()),
        }
    }

    /// What a status from the coordinator means.
    pub(super) fn refused(&self, status: &Status) -> CliError {
        CliError::from_status(&self.address, status)
    }

    fn silent(&self) -> CliError {
        CliError::Unreachable {
            address: self.address.clone(),
            reason: format!("no answer within {} s", CALL_TIMEOUT.as_secs()),
        }
    }

    fn broken(&self, what: &str) -> CliError {
        CliError::Failed(format!(
            "the coordinator at {} sent {what}; check that it and this program are of one version",
            self.address
        ))
    }
}
