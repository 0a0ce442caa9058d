//! The search service as a test needs it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use espalier_proto::v1;
use espalier_proto::v1::search_service_client::SearchServiceClient;
use tonic::transport::Channel;

/// Asks until the answer is there.
///
/// # Errors
/// It is not there within `limit`.
pub async fn wait_until<T, F, A>(what: &str, limit: Duration, mut ask: F) -> Result<T>
where
    F: FnMut() -> A,
    A: Future<Output = Result<Option<T>>>,
{
    let start = Instant::now();
    loop {
        let last = ask().await;
        if let Ok(Some(answer)) = last {
            return Ok(answer);
        }
        if start.elapsed() > limit {
            bail!(
                "{what}: not within {limit:?}; the last answer was {:?}",
                last.err()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A client of the search service.
#[derive(Clone, Debug)]
pub struct Searches {
    client: SearchServiceClient<Channel>,
}

impl Searches {
    /// Connects when first used, and again after the coordinator was restarted.
    ///
    /// # Errors
    /// `address` is no URL.
    pub fn new(address: &str) -> Result<Self> {
        let channel = Channel::from_shared(address.to_owned())?.connect_lazy();
        Ok(Self {
            client: SearchServiceClient::new(channel),
        })
    }

    /// Creates a search; its id is the answer.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn create(&self, spec: &str, dataset_json: String) -> Result<String> {
        let id = uuid::Uuid::new_v4();
        self.create_as(id, spec, dataset_json).await?;
        Ok(id.to_string())
    }

    /// Creates a search with a given id; called again, it creates nothing.
    ///
    /// # Errors
    /// The coordinator's refusal, or that it cannot be reached.
    pub async fn create_as(&self, id: uuid::Uuid, spec: &str, dataset_json: String) -> Result<()> {
        let request = v1::CreateRequest {
            spec: spec.to_owned(),
            file: "test.yaml".to_owned(),
            dataset_json,
            table_json: String::new(),
            warm_start_json: String::new(),
            id: id.as_bytes().to_vec(),
        };
        self.client.clone().create(request).await?;
        Ok(())
    }

    /// Where a search stands.
    ///
    /// # Errors
    /// The coordinator's refusal, or that it cannot be reached.
    pub async fn status(&self, search: &str) -> Result<v1::SearchStatus> {
        let request = v1::GetRequest {
            search: search.to_owned(),
        };
        Ok(self.client.clone().get(request).await?.into_inner())
    }

    /// Ends a search.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn stop(&self, search: &str) -> Result<v1::SearchStatus> {
        let request = v1::StopRequest {
            search: search.to_owned(),
        };
        Ok(self.client.clone().stop(request).await?.into_inner())
    }

    /// Lets a paused search go on.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn resume(&self, search: &str) -> Result<v1::SearchStatus> {
        let request = v1::ResumeRequest {
            search: search.to_owned(),
        };
        Ok(self.client.clone().resume(request).await?.into_inner())
    }

    /// Every trial, page by page.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn trials(&self, search: &str) -> Result<Vec<v1::Trial>> {
        self.trials_by(search, 3).await // small, so that paging is tested on the way
    }

    /// Every trial, in pages of a size.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn trials_by(&self, search: &str, page_size: u32) -> Result<Vec<v1::Trial>> {
        let mut trials: Vec<v1::Trial> = Vec::new();
        loop {
            let request = v1::ListTrialsRequest {
                search: search.to_owned(),
                after: trials.last().map_or(0, |trial| trial.number),
                page_size,
                states: Vec::new(),
            };
            let reply = self.client.clone().list_trials(request).await?.into_inner();
            trials.extend(reply.trials);
            if !reply.more {
                return Ok(trials);
            }
        }
    }

    /// The workers and what they hold.
    ///
    /// # Errors
    /// That the coordinator cannot be reached.
    pub async fn cluster(&self) -> Result<v1::ClusterStatus> {
        Ok(self
            .client
            .clone()
            .get_cluster(v1::GetClusterRequest {})
            .await?
            .into_inner())
    }

    /// Waits for a search's end.
    ///
    /// # Errors
    /// It does not end within `limit`, or is paused by a failure.
    pub async fn finished(&self, search: &str, limit: Duration) -> Result<v1::SearchStatus> {
        let ended = wait_until("the search's end", limit, || async {
            let status = self.status(search).await?;
            Ok(matches!(status.phase.as_str(), "finished" | "paused").then_some(status))
        });
        let status = ended.await.with_context(|| format!("search {search}"))?;
        if status.phase == "paused" {
            bail!("the search is paused: {}", status.reason);
        }
        Ok(status)
    }

    /// Waits until `condition` holds of a search.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub async fn when(
        &self,
        search: &str,
        what: &str,
        limit: Duration,
        condition: impl Fn(&v1::SearchStatus) -> bool,
    ) -> Result<v1::SearchStatus> {
        wait_until(what, limit, || async {
            let status = self.status(search).await?;
            Ok(condition(&status).then_some(status))
        })
        .await
    }
}
