//! gRPC: the three services, each handler a conversion, a call of a handle and a conversion back, and the
//! one place that makes a status of an error. May import everything of the coordinator; nothing imports it
//! but [`crate::server`].

mod access;
mod artifacts;
mod caller;
mod convert;
mod datasets;
mod fork;
mod incoming;
mod logs;
mod looks_back;
mod searches;
mod status;
mod steering;
mod watch;
mod workers;

pub(crate) use access::{AccessApi, NewToken};
pub(crate) use searches::SearchApi;
pub(crate) use workers::WorkerApi;
