//! The directory of searches: finds one by id, by the beginning of its id, or by name, and creates new
//! ones. May import the core and the journal.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use espalier_common::ids::SearchId;
use espalier_core::search::{Definition, Event, Prepared};
use espalier_runtime::spawn_named;
use tokio::task::JoinSet;

use super::error::CallError;
use super::recovery::Recovered;
use super::search::{Context, SearchHandle, SearchTally};
use crate::clock;
use crate::journal::{Batch, Listing, Record, StreamId, rows};

/// The most searches that one name may stand for in an error message.
const SHOWN_MATCHES: usize = 10;
/// The most searches of one coordinator, which all lie in memory.
const MAX_SEARCHES: usize = 10_000;

/// The searches there are. Searches are only ever added, so the lock is held for a lookup at most.
#[derive(Default)]
struct Directory {
    by_id: HashMap<SearchId, SearchHandle>,
    /// In the order in which they were created.
    order: Vec<SearchHandle>,
}

/// Finds and creates searches. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Searches {
    directory: Arc<RwLock<Directory>>,
    context: Context,
    /// One search is created at a time, so that a repeated call finds what the first one made.
    creating: Arc<tokio::sync::Mutex<()>>,
    tasks: Arc<tokio::sync::Mutex<JoinSet<()>>>,
}

impl Searches {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            directory: Arc::default(),
            context,
            creating: Arc::default(),
            tasks: Arc::default(),
        }
    }

    /// Starts a search whose events are durable.
    ///
    /// # Errors
    /// Its thread cannot be started.
    pub(crate) async fn open(&self, recovered: Recovered) -> std::io::Result<SearchHandle> {
        let (handle, task) = self.context.start(recovered)?;
        self.tasks.lock().await.spawn(async move {
            // A panic was logged, and stops the coordinator, where it happened.
            let _ = task.await;
        });
        let mut directory = self
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        directory.by_id.insert(handle.profile().id, handle.clone());
        directory.order.push(handle.clone());
        Ok(handle)
    }

    /// Creates a search in which these candidates are banned, or finds the one that an earlier call with this id has
    /// created.
    ///
    /// # Errors
    /// The id is that of a search with another definition; the journal cannot be written.
    pub(crate) async fn create(
        &self,
        id: SearchId,
        definition: Definition,
        bans: Vec<Prepared>,
    ) -> Result<SearchHandle, CallError> {
        let searches = self.clone();
        // In a task of its own: a caller that goes away drops its call, and a search whose first event is
        // durable and whose actor was never started would be a ghost until the next start.
        let creating = async move { searches.create_undisturbed(id, definition, bans).await };
        spawn_named("create a search", creating)
            .await
            .unwrap_or_else(|error| Err(CallError::Internal(error.to_string())))
    }

    /// Creates a search; must not be dropped half way.
    async fn create_undisturbed(
        &self,
        id: SearchId,
        definition: Definition,
        bans: Vec<Prepared>,
    ) -> Result<SearchHandle, CallError> {
        let _one_at_a_time = self.creating.lock().await;
        if let Some(existing) = self.get(id) {
            return if existing.profile().definition.is_submitted_as(&definition) {
                Ok(existing)
            } else {
                Err(CallError::OtherSearchExists(id))
            };
        }
        if self.len() >= MAX_SEARCHES {
            let message =
                format!("this coordinator has {MAX_SEARCHES} searches, the most it takes");
            return Err(CallError::TooMany(message));
        }
        let recovered = self.commit_first(id, definition, bans).await?;
        tracing::info!(search = %id, name = recovered.search.definition().spec.name, to = "running", "search created");
        self.open(recovered).await.map_err(|error| {
            CallError::Internal(format!("the new search cannot be started: {error}"))
        })
    }

    /// Makes the first event of a search durable, and the bans that it begins with, in one commit.
    async fn commit_first(
        &self,
        id: SearchId,
        definition: Definition,
        bans: Vec<Prepared>,
    ) -> Result<Recovered, CallError> {
        let listing = Listing::of(&definition);
        let event = Event::SearchCreated {
            definition: Box::new(definition),
        };
        let time_ms = clock::now_ms();
        let broken = |error: &dyn std::fmt::Display| {
            CallError::Internal(format!("the new search cannot be recorded: {error}"))
        };
        let record = |event: &Event| {
            let body = serde_json::to_string(event).map_err(|error| broken(&error))?;
            let rows = rows(&listing, event);
            Ok::<Record, CallError>(Record { body, rows })
        };
        let mut records = vec![record(&event)?];
        let mut recovered =
            Recovered::begin(id, &event, time_ms).map_err(|error| broken(&error))?;
        recovered.is_new = true;
        for proposal in bans {
            if let Some(event) = recovered.search.banned_before(proposal) {
                records.push(record(&event)?);
                recovered.apply(&event, time_ms);
            }
        }
        let batch = Batch {
            stream: StreamId::Search(id),
            time_ms,
            records,
            after: None,
        };
        let committed = self.context.journal.commit(batch).await;
        committed.map_err(|_| CallError::Stopping)?;
        Ok(recovered)
    }

    /// The search with this id.
    pub(crate) fn get(&self, id: SearchId) -> Option<SearchHandle> {
        self.read().by_id.get(&id).cloned()
    }

    /// The search with this id, for messages that carry one.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn require(&self, id: SearchId) -> Result<SearchHandle, CallError> {
        self.get(id)
            .ok_or_else(|| CallError::UnknownSearch(id.to_string()))
    }

    /// The search that `name` means: an id, the beginning of one, or a name.
    ///
    /// # Errors
    /// None, or more than one.
    pub(crate) fn find(&self, name: &str) -> Result<SearchHandle, CallError> {
        let unknown = || CallError::UnknownSearch(name.chars().take(80).collect());
        if let Ok(id) = name.parse() {
            return self.get(id).ok_or_else(unknown);
        }
        if name.is_empty() {
            return Err(unknown());
        }
        let directory = self.read();
        let lowercase = name.to_ascii_lowercase();
        let named = |handle: &&SearchHandle| handle.profile().name == name;
        let begins = |handle: &&SearchHandle| {
            let id = handle.profile().id.to_string();
            id.starts_with(&lowercase) || id.replace('-', "").starts_with(&lowercase)
        };
        let mut matches: Vec<&SearchHandle> = directory.order.iter().filter(named).collect();
        if matches.is_empty() {
            matches = directory.order.iter().filter(begins).collect();
        }
        match matches.as_slice() {
            [] => Err(unknown()),
            [one] => Ok((*one).clone()),
            several => {
                let shown = several.iter().rev().take(SHOWN_MATCHES);
                let describe = |handle: &&SearchHandle| {
                    format!("{} ({})", handle.profile().id, handle.profile().name)
                };
                Err(CallError::AmbiguousSearch {
                    name: name.chars().take(80).collect(),
                    matches: shown.map(describe).collect(),
                })
            }
        }
    }

    /// Searches in the order in which they were created, from the `from`th on.
    pub(crate) fn page(&self, from: usize, count: usize) -> Vec<SearchHandle> {
        let directory = self.read();
        directory
            .order
            .iter()
            .skip(from)
            .take(count)
            .cloned()
            .collect()
    }

    /// What each search adds up to, and the requests that wait for it.
    pub(crate) fn tallies(&self) -> Vec<(SearchTally, usize)> {
        let directory = self.read();
        let searches = directory.order.iter();
        searches
            .map(|handle| (handle.tally(), handle.queued()))
            .collect()
    }

    /// How many searches there are.
    pub(crate) fn len(&self) -> usize {
        self.read().order.len()
    }

    /// Waits until what is being created is there and every actor has ended, but not for longer than
    /// `patience`.
    pub(crate) async fn join(&self, patience: Duration) {
        let ended = tokio::time::timeout(patience, async {
            let _nothing_is_created = self.creating.lock().await;
            let mut tasks = self.tasks.lock().await;
            while tasks.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::warn!("some searches are still busy at the end");
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Directory> {
        // Nothing under the lock can panic half way.
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use espalier_runtime::Shutdown;
    use futures::FutureExt as _;
    use uuid::Uuid;

    use super::super::cluster::{ClusterLog, Learned};
    use super::super::create::NewSearch;
    use super::super::dispatcher::{Dispatcher, Settings};
    use super::*;
    use crate::artifacts::ArtifactStore;
    use crate::journal::{Journal, JournalHandle};
    use crate::metrics::AskTimes;

    const SPEC: &str = "\
name: tiny
hyperparameters: {x: {range: [0.0, 1.0]}}
evaluator: mine
objectives: [{minimize: loss}]
budget: {trials: 3}
";

    fn definition() -> Definition {
        let new = NewSearch {
            text: SPEC.to_owned(),
            file: "spec.yaml".to_owned(),
            dataset: String::new(),
            table: String::new(),
            warm_start: String::new(),
        };
        new.check(false).unwrap()
    }

    fn searches(folder: &Path, journal: &JournalHandle, shutdown: &Shutdown) -> Searches {
        let settings = Settings {
            lease_ttl: Duration::from_secs(30),
        };
        let log = ClusterLog::new(journal.clone(), Learned::default());
        let (dispatcher, _) = Dispatcher::start(settings, log, shutdown);
        Searches::new(Context {
            journal: journal.clone(),
            dispatcher,
            artifacts: ArtifactStore::open(&folder.join("artifacts"), 1).unwrap(),
            ask_times: AskTimes::default(),
            names: crate::actors::WorkerNames::default(),
            shutdown: shutdown.clone(),
        })
    }

    #[tokio::test]
    async fn a_search_whose_creator_has_gone_is_there_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap().start().unwrap();
        let shutdown = Shutdown::new();
        let searches = searches(folder.path(), &journal, &shutdown);
        let id = SearchId(Uuid::from_u128(7));
        // Polled once, which is as far as the journal's queue, and dropped: the caller has gone.
        let answer = searches.create(id, definition(), Vec::new()).now_or_never();
        assert!(answer.is_none(), "nothing is durable that early");
        let there = async {
            while searches.get(id).is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let there = tokio::time::timeout(Duration::from_secs(10), there).await;
        let streams = journal.reader().streams().unwrap();
        assert_eq!(streams, [StreamId::Search(id)], "it was to be durable");
        there.expect("the journal has a search that nobody finds");
        // The same call again finds it rather than writing a second first event.
        searches.create(id, definition(), Vec::new()).await.unwrap();
        shutdown.request();
        searches.join(Duration::from_secs(5)).await;
        journal.close().await;
    }
}
