//! The directory of searches: finds one by id, by the beginning of its id, or by name, and creates new
//! ones. May import the core and the journal.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use espalier_common::ids::SearchId;
use espalier_core::search::{Definition, Event};
use tokio::task::JoinSet;

use super::error::CallError;
use super::recovery::Recovered;
use super::search::{Context, SearchHandle};
use crate::clock;
use crate::journal::{Batch, Record, StreamId, rows};

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

    /// Creates a search, or finds the one that an earlier call with this id has created.
    ///
    /// # Errors
    /// The id is that of a search with another definition; the journal cannot be written.
    pub(crate) async fn create(
        &self,
        id: SearchId,
        definition: Definition,
    ) -> Result<SearchHandle, CallError> {
        let _one_at_a_time = self.creating.lock().await;
        if let Some(existing) = self.get(id) {
            return if *existing.profile().definition == definition {
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
        let objective = definition.spec.objective.clone();
        let event = Event::SearchCreated {
            definition: Box::new(definition),
        };
        let time_ms = clock::now_ms();
        let broken = |error: &dyn std::fmt::Display| {
            CallError::Internal(format!("the new search cannot be started: {error}"))
        };
        let body = serde_json::to_string(&event).map_err(|error| broken(&error))?;
        let recovered = Recovered::begin(id, &event, time_ms).map_err(|error| broken(&error))?;
        let rows = rows(&objective, &event);
        let batch = Batch {
            stream: StreamId::Search(id),
            time_ms,
            records: vec![Record { body, rows }],
            after: None,
        };
        self.context
            .journal
            .commit(batch)
            .await
            .map_err(|_| CallError::Stopping)?;
        tracing::info!(search = %id, name = recovered.search.definition().spec.name, to = "running", "search created");
        self.open(recovered).await.map_err(|error| broken(&error))
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

    /// How many searches there are.
    pub(crate) fn len(&self) -> usize {
        self.read().order.len()
    }

    /// Waits until every actor has ended, but not for longer than `patience`.
    pub(crate) async fn join(&self, patience: Duration) {
        let mut tasks = self.tasks.lock().await;
        let ended = tokio::time::timeout(patience, async {
            while tasks.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::warn!(
                searches = tasks.len(),
                "some searches are still busy at the end"
            );
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Directory> {
        // Nothing under the lock can panic half way.
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
