//! What every Espalier process needs at run time: logging, an orderly shutdown, tasks that never die in
//! silence, configuration in layers, TLS with join tokens, traces, and one policy for trying again. May import
//! tokio, tracing, clap, rustls and opentelemetry; nothing of Espalier.

pub mod backoff;
pub mod config;
pub mod ending;
#[cfg(test)]
mod fuzz;
pub mod logging;
pub mod secrets;
pub mod shutdown;
mod spawn;
pub mod tls;
pub mod traces;

pub use shutdown::Shutdown;
pub use spawn::{spawn_critical, spawn_named};
