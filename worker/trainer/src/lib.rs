//! The built-in evaluator: trains networks with libtorch, and speaks the evaluator protocol. The only
//! crate that links libtorch. May import `espalier-common`, `espalier-data` and `tch`; no tokio, no tonic.
//!
//! The way of a job: [`serve`] reads it, [`job`] checks it, [`lower`] turns the network into libtorch
//! calls, [`train`] and [`measure`] run it over the data that [`feed`] gives, [`weights`] keeps the result.
//!
//! The same job gives the same metrics, bit for bit, on the same machine with the same number of threads
//! on the CPU. On CUDA some kernels of libtorch add in no fixed order, and the last digits may differ.
//!
//! A process that has trained hundreds of different networks holds up to about 1 GB: libtorch keeps the
//! last 1,024 kernels it made for their shapes. `ONEDNN_PRIMITIVE_CACHE_CAPACITY` in the worker's
//! environment sets another number, at the price of making kernels again.

pub mod checkpoint;
pub mod device;
pub mod error;
pub mod feed;
mod inbox;
pub mod job;
pub mod lower;
pub mod measure;
pub mod optimizer;
mod outbox;
pub mod parameters;
pub mod schedule;
mod serve;
mod tensor_file;
pub mod train;
pub mod weights;

pub use serve::serve;

/// Name and version, as `ready` and `--version` tell them.
pub const DESCRIPTION: &str = concat!(
    "espalier-trainer ",
    env!("CARGO_PKG_VERSION"),
    ", libtorch ",
    env!("ESPALIER_LIBTORCH_VERSION")
);
