//! The search state machine: `decide` validates a command and answers with events, `apply` folds an event
//! into the state and never fails, `follow_up` says what the new state implies. The coordinator, the tests
//! and the simulator run the same three, through [`step`].

mod apply;
mod checkpoints;
mod command;
mod complete;
mod decide;
mod definition;
mod event;
mod expectation;
mod fail;
mod faults;
mod follow_up;
mod jobs;
mod limits;
mod live;
mod reuse;
mod state;
mod steer;
mod time;
mod waiting;
mod weights;

pub use command::{Command, Completion, Drop as DropReason, Rejection, Reply, WeightsAnswer};
pub use definition::{Definition, Forked, INLINE_EVALUATOR};
pub use event::{
    Effect, Event, FinishReason, PauseReason, Prepared, Refusal, Refused, ReleaseReason,
};
pub use limits::{Limits, LimitsChange};
pub use reuse::{StoredResult, TrialOf, result_key};
pub use state::{Best, Counts, LiveAttempt, LivePhase, Phase, Search, Trial, TrialState};
pub(crate) use steer::NO_ASK;
pub use steer::Steer;
pub use waiting::{WaitingJobs, WaitingRetry};

/// What one command came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What happened, to be made durable before anything else is done about it.
    pub events: Vec<Event>,
    /// What must be done once the events are durable.
    pub effects: Vec<Effect>,
    /// The answer, to be given once the events are durable.
    pub reply: Reply,
}

/// Decides a command, applies what follows from it, and says what must be done.
///
/// # Errors
/// [`Rejection`] when the command is refused; the search is then as it was.
pub fn step(search: &mut Search, command: Command, now_ms: u64) -> Result<Step, Rejection> {
    let decide::Decision { mut events, reply } = decide::decide(search, command, now_ms)?;
    let mut effects = Vec::new();
    for event in &events {
        effects.extend(search.apply(event, now_ms));
    }
    while let Some(event) = follow_up::follow_up(search, now_ms) {
        effects.extend(search.apply(&event, now_ms));
        events.push(event);
    }
    Ok(Step {
        events,
        effects,
        reply,
    })
}
