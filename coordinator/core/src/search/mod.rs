//! The search state machine: `decide` validates a command and answers with events, `apply` folds an event
//! into the state and never fails, `follow_up` says what the new state implies. The coordinator, the tests
//! and the simulator run the same three.

mod command;
mod definition;
mod event;

pub use command::{Command, Completion, Drop as DropReason, Rejection, Reply, WeightsAnswer};
pub use definition::Definition;
pub use event::{Effect, Event, FinishReason, PauseReason, Prepared, Refusal, Refused, ReleaseReason};
