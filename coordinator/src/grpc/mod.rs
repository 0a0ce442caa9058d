//! gRPC: the two services, each handler a conversion, a call of a handle and a conversion back, and the
//! one place that makes a status of an error. May import everything of the coordinator; nothing imports it
//! but [`crate::server`].

mod artifacts;
mod convert;
mod searches;
mod status;
mod watch;
mod workers;

pub(crate) use searches::SearchApi;
pub(crate) use workers::WorkerApi;
