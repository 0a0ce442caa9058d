//! The pure half of the coordinator: searchers, the search state machine, the dispatcher's choice, and
//! the simulator that runs them with modelled workers.
//! Synchronous and deterministic: time, ids and randomness are arguments; nothing here knows a clock, an
//! executor or a socket. May import `espalier-common` only.

pub mod clock;
pub mod dispatch;
pub mod features;
pub mod search;
pub mod searcher;
pub mod simulate;
