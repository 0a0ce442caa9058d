//! The tasks that own the coordinator's state, each reached through a cheap handle over a private channel:
//! one for every search, one for the workers and their leases. May import the core, the journal and
//! tokio; gRPC comes no further than [`crate::grpc`].

mod cluster;
mod create;
mod dispatcher;
mod error;
mod recovery;
mod reuse;
mod search;
mod searcher;
mod searches;
mod warm_start;

pub(crate) use cluster::{ClusterEvent, ClusterLog, Learned, WorkerNames};
pub(crate) use create::{NewSearch, bounded};
pub(crate) use dispatcher::{
    ClusterStatus, Dispatcher, DispatcherHandle, Home, Registration, Settings, WorkerStatus,
};
pub(crate) use error::CallError;
pub(crate) use recovery::recover;
pub(crate) use search::{
    Context, Retry, SearchHandle, SearchStatus, SearchTally, TrialChange, reused_from,
};
pub(crate) use searches::Searches;
pub(crate) use warm_start::{banned, earlier};
