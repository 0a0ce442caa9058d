//! What every Espalier process needs at run time: logging, an orderly shutdown, tasks that never die in
//! silence, configuration in layers, and one policy for trying again. May import tokio, tracing and clap;
//! nothing of Espalier.

pub mod backoff;
pub mod config;
pub mod logging;
pub mod shutdown;
mod spawn;

pub use shutdown::Shutdown;
pub use spawn::{spawn_critical, spawn_named};
