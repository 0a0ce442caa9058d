//! The service that users and tools call.

use std::num::NonZeroUsize;

use espalier_common::ids::{ClusterId, SearchId, TrialNumber};
use espalier_common::spec::WarmStart;
use espalier_core::search::{Command, Definition, Steer, TrialState};
use espalier_proto::v1::search_service_server::SearchService;
use espalier_proto::{digest_from_wire, uuid_from_wire, uuid_to_wire, v1};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::artifacts::{self, Pieces};
use super::caller::said_by;
use super::convert::{cluster_to_wire, status_to_wire, trial_to_wire};
use super::datasets::{self, dataset_to_wire};
use super::logs;
use super::looks_back;
use super::watch::{self, Changes};
use crate::actors::{
    CallError, DispatcherHandle, NewSearch, SearchHandle, Searches, WorkerNames, earlier,
};
use crate::artifacts::ArtifactStore;
use crate::datasets::StoredDatasets;
use crate::journal::{JournalReader, MAX_PAGE_BYTES, States, TrialRow};
use crate::logs::LogBook;

/// The most searches or trials on one page.
const MAX_PAGE: u32 = 1_000;
/// The page when the client does not say.
const DEFAULT_PAGE: u32 = 100;
/// The most best trials of one answer.
const MAX_BEST: u32 = 100;

/// What a trial may be.
const STATES: [TrialState; 6] = [
    TrialState::Queued,
    TrialState::Running,
    TrialState::Completed,
    TrialState::Failed,
    TrialState::Infeasible,
    TrialState::Cancelled,
];

/// The search service.
#[derive(Clone)]
pub(crate) struct SearchApi {
    pub(crate) searches: Searches,
    pub(crate) dispatcher: DispatcherHandle,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) datasets: StoredDatasets,
    pub(crate) reader: JournalReader,
    pub(crate) names: WorkerNames,
    pub(crate) book: LogBook,
    pub(crate) cluster: ClusterId,
    /// Whether specs with an inline `command:` are taken: only `espalier run` does, for its own workers.
    pub(crate) allow_inline_commands: bool,
}

impl SearchApi {
    /// Carries out what a user wants of a search.
    pub(super) async fn steer(
        &self,
        search: &SearchHandle,
        steer: Steer,
        by: Option<String>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        search.command(Command::Steer { steer, by }).await?;
        self.status(search).await
    }

    pub(super) async fn status(
        &self,
        search: &SearchHandle,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let status = search.status().await?;
        Ok(Response::new(status_to_wire(&status)))
    }

    /// With what the earlier search found that the new one begins with, unless an earlier call has created it.
    async fn after_an_earlier_search(
        &self,
        id: SearchId,
        definition: Definition,
    ) -> Result<Definition, CallError> {
        let Some(WarmStart::Search(name)) = &definition.spec.warm_start else {
            return Ok(definition);
        };
        if self.searches.get(id).is_some() {
            return Ok(definition);
        }
        let from = self.searches.find(name)?.profile().id;
        let reader = self.reader.clone();
        let found = tokio::task::spawn_blocking(move || {
            let known = earlier(
                &reader,
                from,
                TrialNumber(u32::MAX),
                &definition,
                "warm_start.search",
            )?;
            Ok(definition.with_known(known))
        });
        found
            .await
            .map_err(|error| CallError::Internal(error.to_string()))?
    }

    fn trials(&self, rows: Vec<TrialRow>) -> Result<Vec<v1::Trial>, CallError> {
        rows.into_iter()
            .map(|row| trial_to_wire(row, &self.names))
            .collect()
    }
}

/// The id of a new search: the client's, or one made here when it gave none.
pub(super) fn new_id(bytes: &[u8]) -> Result<SearchId, CallError> {
    if bytes.is_empty() {
        return Ok(SearchId(Uuid::new_v4()));
    }
    let id = uuid_from_wire("id", bytes)?;
    if id.is_nil() {
        return Err(CallError::Invalid("id: must not be all zeros".to_owned()));
    }
    Ok(SearchId(id))
}

fn page_size(asked: u32) -> usize {
    let size = if asked == 0 { DEFAULT_PAGE } else { asked };
    size.min(MAX_PAGE) as usize
}

fn states(words: &[String]) -> Result<States, CallError> {
    if words.is_empty() {
        return Ok(States::ANY);
    }
    words
        .iter()
        .map(|word| {
            let named = STATES.into_iter().find(|state| state.name() == word);
            named.ok_or_else(|| {
                let known: Vec<&str> = STATES.iter().map(|state| state.name()).collect();
                CallError::Invalid(format!(
                    "states: {:?} is none of {}",
                    word.chars().take(40).collect::<String>(),
                    known.join(", ")
                ))
            })
        })
        .collect()
}

#[tonic::async_trait]
impl SearchService for SearchApi {
    type WatchStream = Changes;
    type LogsStream = logs::Lines;
    type DownloadStream = Pieces<v1::DownloadReply>;

    async fn create(
        &self,
        request: Request<v1::CreateRequest>,
    ) -> Result<Response<v1::CreateReply>, Status> {
        let request = request.into_inner();
        let id = new_id(&request.id)?;
        let new = NewSearch {
            text: request.spec,
            file: request.file,
            dataset: request.dataset_json,
            table: request.table_json,
            warm_start: request.warm_start_json,
        };
        let inline = self.allow_inline_commands;
        // Reading a spec and building a hundred candidates takes too long for a task that others wait for.
        let definition = tokio::task::spawn_blocking(move || new.check(inline))
            .await
            .map_err(|error| CallError::Internal(error.to_string()))??;
        let definition = self.after_an_earlier_search(id, definition).await?;
        let search = self.searches.create(id, definition, Vec::new()).await?;
        let status = search.status().await?;
        Ok(Response::new(v1::CreateReply {
            status: Some(status_to_wire(&status)),
        }))
    }

    async fn fork(
        &self,
        request: Request<v1::ForkRequest>,
    ) -> Result<Response<v1::CreateReply>, Status> {
        self.fork_search(request).await
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let search = self.searches.find(&request.into_inner().search)?;
        self.status(&search).await
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListReply>, Status> {
        let request = request.into_inner();
        let from = match request.page_token.as_str() {
            "" => 0,
            token => token
                .parse::<NonZeroUsize>()
                .map(NonZeroUsize::get)
                .map_err(|_| {
                    CallError::Invalid("page_token: not one that a listing gave out".to_owned())
                })?,
        };
        let page = self.searches.page(from, page_size(request.page_size));
        let (mut searches, mut bytes) = (Vec::with_capacity(page.len()), 0);
        for search in &page {
            let status = status_to_wire(&search.status().await?);
            bytes += status.encoded_len();
            if !searches.is_empty() && bytes > MAX_PAGE_BYTES {
                break;
            }
            searches.push(status);
        }
        let next = from.saturating_add(searches.len());
        let more = next < self.searches.len();
        Ok(Response::new(v1::ListReply {
            searches,
            next_page_token: if more {
                next.to_string()
            } else {
                String::new()
            },
        }))
    }

    async fn pause(
        &self,
        request: Request<v1::PauseRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let (by, request) = said_by(request)?;
        let search = self.searches.find(&request.search)?;
        self.steer(&search, Steer::Pause, by).await
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let (by, request) = said_by(request)?;
        let search = self.searches.find(&request.search)?;
        self.steer(&search, Steer::Resume, by).await
    }

    async fn stop(
        &self,
        request: Request<v1::StopRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let (by, request) = said_by(request)?;
        let search = self.searches.find(&request.search)?;
        self.steer(&search, Steer::Stop, by).await
    }

    async fn set_limits(
        &self,
        request: Request<v1::SetLimitsRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        self.change_limits(request).await
    }

    async fn enqueue(
        &self,
        request: Request<v1::EnqueueRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        self.enqueue_candidate(request).await
    }

    async fn ban(
        &self,
        request: Request<v1::BanRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        self.ban_candidate(request).await
    }

    async fn pin(
        &self,
        request: Request<v1::PinRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let (by, request) = said_by(request)?;
        let search = self.searches.find(&request.search)?;
        let steer = Steer::Pin(TrialNumber(request.trial));
        self.steer(&search, steer, by).await
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::SearchStatus>, Status> {
        let (by, request) = said_by(request)?;
        let search = self.searches.find(&request.search)?;
        let steer = Steer::Cancel(TrialNumber(request.trial));
        self.steer(&search, steer, by).await
    }

    async fn retry(
        &self,
        request: Request<v1::RetryRequest>,
    ) -> Result<Response<v1::RetryReply>, Status> {
        self.retry_trials(request).await
    }

    async fn list_failures(
        &self,
        request: Request<v1::ListFailuresRequest>,
    ) -> Result<Response<v1::ListFailuresReply>, Status> {
        let search = self.searches.find(&request.into_inner().search)?;
        let read = looks_back::failures(&self.reader, search.profile().id, &self.names);
        Ok(Response::new(read.await?))
    }

    async fn list_wishes(
        &self,
        request: Request<v1::ListWishesRequest>,
    ) -> Result<Response<v1::ListWishesReply>, Status> {
        let search = self.searches.find(&request.into_inner().search)?;
        let read = looks_back::wishes(&self.reader, search.profile().id);
        Ok(Response::new(read.await?))
    }

    async fn list_trials(
        &self,
        request: Request<v1::ListTrialsRequest>,
    ) -> Result<Response<v1::ListTrialsReply>, Status> {
        let request = request.into_inner();
        let search = self.searches.find(&request.search)?.profile().id;
        let (after, states) = (TrialNumber(request.after), states(&request.states)?);
        let size = page_size(request.page_size);
        let read = move |reader: &JournalReader| reader.trials(search, after, size, states);
        let page = self.reader.read(read).await.map_err(CallError::from)?;
        Ok(Response::new(v1::ListTrialsReply {
            trials: self.trials(page.trials)?,
            more: page.more,
        }))
    }

    async fn best(
        &self,
        request: Request<v1::BestRequest>,
    ) -> Result<Response<v1::BestReply>, Status> {
        let request = request.into_inner();
        let search = self.searches.find(&request.search)?.profile().id;
        let count = request.count.clamp(1, MAX_BEST) as usize;
        let read = move |reader: &JournalReader| reader.best(search, count);
        let rows = self.reader.read(read).await.map_err(CallError::from)?;
        let trials = self.trials(rows)?;
        Ok(Response::new(v1::BestReply { trials }))
    }

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let search = self.searches.find(&request.into_inner().search)?;
        Ok(Response::new(watch::watch(search, self.names.clone())))
    }

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let lines = logs::show(self.book.clone(), &self.searches, &self.names, request).await?;
        Ok(Response::new(lines))
    }

    async fn get_cluster(
        &self,
        _request: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::ClusterStatus>, Status> {
        let status = self.dispatcher.list().await?;
        let cluster = uuid_to_wire(self.cluster.0);
        Ok(Response::new(cluster_to_wire(cluster, status)))
    }

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let digest = digest_from_wire("digest", &request.into_inner().digest)?;
        let file = self.artifacts.open_artifact(&digest).await;
        let (file, _) = file.map_err(CallError::from)?;
        let wrap = |data| v1::DownloadReply { data };
        Ok(Response::new(artifacts::pieces(file, wrap)))
    }

    async fn push_dataset(
        &self,
        request: Request<Streaming<v1::PushDatasetRequest>>,
    ) -> Result<Response<v1::StoredDataset>, Status> {
        let pushed = datasets::push(self, request.into_inner()).await?;
        Ok(Response::new(pushed))
    }

    async fn list_datasets(
        &self,
        _request: Request<v1::ListDatasetsRequest>,
    ) -> Result<Response<v1::ListDatasetsReply>, Status> {
        let all = self.datasets.beginning("");
        let datasets = all.into_iter().map(dataset_to_wire).collect();
        Ok(Response::new(v1::ListDatasetsReply { datasets }))
    }

    async fn remove_dataset(
        &self,
        request: Request<v1::RemoveDatasetRequest>,
    ) -> Result<Response<v1::StoredDataset>, Status> {
        let removed = datasets::remove(self, &request.into_inner().fingerprint).await?;
        Ok(Response::new(removed))
    }
}
