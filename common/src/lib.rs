//! The words of Espalier as types: what a search, a space, a candidate, a network, a job and a
//! failure are. Pure: no I/O, no clock, no tokio, no tonic, no tch. Every other crate may import
//! this one; it imports none of them.

pub mod build;
pub mod candidate;
pub mod dataset;
pub mod evaluator;
pub mod failure;
pub mod ids;
pub mod job;
pub mod known;
pub mod labels;
pub mod metrics;
pub mod network;
pub mod observation;
pub mod presets;
pub mod recipe;
pub mod space;
pub mod spec;
pub mod table;
