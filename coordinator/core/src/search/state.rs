//! The state of a search: what decisions need, and no more. Closed trials keep a few dozen bytes here; their
//! candidates and measurements are read from the journal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use espalier_common::ids::{AttemptNumber, Digest, SearchId, TrialNumber, WorkerId};
use espalier_common::job::{Checkpoint, JobKind};
use espalier_common::metrics::{Measurement, Metrics, Objective};

use super::definition::Definition;
use super::event::{Event, FinishReason, PauseReason, Prepared};
use super::faults::Faults;
use super::limits::Limits;
use super::live::Live;

/// Where a search stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Jobs are proposed and leased.
    Running,
    /// No job is leased; running attempts go on.
    Paused(PauseReason),
    /// No further trial starts; the best is tested.
    Finishing(FinishReason),
    /// Nothing more happens.
    Finished(FinishReason),
}

impl Phase {
    /// The phase's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused(_) => "paused",
            Self::Finishing(_) => "finishing",
            Self::Finished(_) => "finished",
        }
    }
}

/// The state of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialState {
    /// Waits for a worker.
    Queued,
    /// An attempt holds its lease.
    Running,
    /// It has a score.
    Completed,
    /// It failed for good.
    Failed,
    /// It was refused before training.
    Infeasible,
    /// It was given up without a fault of its own.
    Cancelled,
}

impl TrialState {
    /// Whether the trial may still get a score.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }

    /// The state's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Infeasible => "infeasible",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A trial, open or closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its state.
    pub state: TrialState,
    /// The highest fencing number given out; 0 before the first lease.
    pub attempts: u32,
    /// The attempt that completed it, or whose failure was its end.
    pub ended_by: Option<AttemptNumber>,
    /// Its score.
    pub score: Option<f64>,
}

/// What only an open trial needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenTrial {
    /// When it was proposed or taken up again, Unix milliseconds.
    pub(super) since_ms: u64,
    /// Results of attempts before this one are refused: they are of before the trial was taken up again.
    pub(super) first: AttemptNumber,
    pub(super) proposal: Box<Prepared>,
    pub(super) faults: Faults,
    /// What a stale completion is judged by; of the latest attempts only.
    pub(super) attempts: BTreeMap<AttemptNumber, AttemptRecord>,
}

/// The most attempts of a trial that are remembered: hand-backs cost nothing, so there may be any number.
const REMEMBERED_ATTEMPTS: usize = 16;

/// What is kept of an attempt while its trial is open.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AttemptRecord {
    /// Its last measurement.
    pub(super) last: Option<Measurement>,
    /// Seconds of it that count as compute already.
    pub(super) counted_seconds: f64,
}

impl OpenTrial {
    /// A trial that was proposed, or is taken up again after so many attempts.
    pub(super) fn new(proposal: Box<Prepared>, attempts: u32, since_ms: u64) -> Self {
        Self {
            since_ms,
            first: AttemptNumber(attempts.saturating_add(1)),
            proposal,
            faults: Faults::default(),
            attempts: BTreeMap::new(),
        }
    }

    /// The record of an attempt; the oldest one makes room for a new one.
    pub(super) fn record_mut(&mut self, attempt: AttemptNumber) -> &mut AttemptRecord {
        if self.attempts.len() >= REMEMBERED_ATTEMPTS && !self.attempts.contains_key(&attempt) {
            self.attempts.pop_first();
        }
        self.attempts.entry(attempt).or_default()
    }
}

/// What a live lease is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivePhase {
    /// Its job runs.
    Running,
    /// Its job is complete; the weights are on their way.
    Uploading,
}

/// A lease that is held.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveAttempt {
    /// The attempt's fencing number.
    pub attempt: AttemptNumber,
    /// The worker's instance.
    pub worker: WorkerId,
    /// What it runs.
    pub job: JobKind,
    /// Whether it goes on from a checkpoint.
    pub resumed: bool,
    /// What the lease is held for.
    pub phase: LivePhase,
    /// The highest message number taken from it.
    pub reported: u32,
    /// The step of its last measurement.
    pub step: u32,
    /// When it began, Unix milliseconds; later by the time for which no coordinator ran.
    pub since_ms: u64,
}

/// The best trial so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// The trial.
    pub trial: TrialNumber,
    /// Its score.
    pub score: f64,
    /// What was tried.
    pub proposal: Box<Prepared>,
    /// Digest of its weights, when its attempt left any.
    pub weights: Option<Digest>,
    /// Whether they are in the artifact store.
    pub stored: bool,
}

/// How many trials and proposals of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Trials that were accepted as work.
    pub accepted: u32,
    /// Trials leased at least once: what the budget counts.
    pub leased: u32,
    /// Trials with a score.
    pub completed: u32,
    /// Trials among those with a score that got it from another search: the budget does not count them.
    pub reused: u32,
    /// Trials that failed for good.
    pub failed: u32,
    /// Proposals refused before training.
    pub infeasible: u32,
    /// Trials given up.
    pub cancelled: u32,
    /// Proposals seen before.
    pub duplicates: u32,
    /// Leases of any job.
    pub attempts: u32,
}

impl Counts {
    /// Trials of all kinds: the number of the last one.
    #[must_use]
    pub fn trials(&self) -> u32 {
        self.accepted.saturating_add(self.infeasible)
    }
}

/// Different trials in a row whose attempts failed in the same way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RepeatedFailure {
    pub(super) key: String,
    pub(super) trials: BTreeSet<TrialNumber>,
}

/// The state of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    pub(super) id: SearchId,
    pub(super) definition: Arc<Definition>,
    pub(super) phase: Phase,
    /// What its spec says, or what users have changed that to.
    pub(super) limits: Limits,
    /// Who steered it last, and who paused or stopped it.
    pub(super) steered_by: Option<String>,
    pub(super) phase_by: Option<String>,
    pub(super) counts: Counts,
    /// Trials that were cancelled before they were leased: the budget does not count them.
    pub(super) uncharged: u32,
    pub(super) trials: Vec<Trial>,
    pub(super) queue: VecDeque<TrialNumber>,
    pub(super) open: BTreeMap<TrialNumber, OpenTrial>,
    /// Of trials that were broken off and may be gone on with.
    pub(super) checkpoints: BTreeMap<TrialNumber, Checkpoint>,
    /// At most one live lease a trial.
    pub(super) live: Live,
    pub(super) identities: BTreeMap<Digest, TrialNumber>,
    pub(super) best: Option<Best>,
    pub(super) completed_since_best: u32,
    /// Proposals in a row of which less is expected than the budget asks for.
    pub(super) small_improvements: u32,
    pub(super) repeated: RepeatedFailure,
    /// Of the work that ends a search (training the best again, its test).
    pub(super) final_faults: Faults,
    pub(super) test_metrics: Option<Metrics>,
    pub(super) shortfall: Option<String>,
    pub(super) proposals_ended: Option<String>,
    pub(super) next_ask: u64,
    pub(super) compute_seconds: f64,
    /// Running time that counts against the budget, up to `running_since`.
    pub(super) elapsed_ms: u64,
    pub(super) running_since: Option<u64>,
    pub(super) created_ms: u64,
    pub(super) updated_ms: u64,
    /// Of the last event. Earlier than `updated_ms` when the machine's clock was set back before a start.
    pub(super) last_ms: u64,
    pub(super) events: u64,
}

impl Search {
    /// The state after the first event of a search's stream; `None` when that is another event.
    #[must_use]
    pub fn from_first_event(id: SearchId, event: &Event, time_ms: u64) -> Option<Self> {
        let Event::SearchCreated { definition } = event else {
            return None;
        };
        let definition = Arc::new(definition.as_ref().clone());
        Some(Self::new(id, definition, time_ms))
    }

    /// The state of a search that was just created.
    #[must_use]
    pub fn new(id: SearchId, definition: Arc<Definition>, time_ms: u64) -> Self {
        Self {
            id,
            limits: Limits::of(&definition.spec),
            definition,
            phase: Phase::Running,
            steered_by: None,
            phase_by: None,
            counts: Counts::default(),
            uncharged: 0,
            trials: Vec::new(),
            queue: VecDeque::new(),
            open: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            live: Live::default(),
            identities: BTreeMap::new(),
            best: None,
            completed_since_best: 0,
            small_improvements: 0,
            repeated: RepeatedFailure::default(),
            final_faults: Faults::default(),
            test_metrics: None,
            shortfall: None,
            proposals_ended: None,
            next_ask: 1,
            compute_seconds: 0.0,
            elapsed_ms: 0,
            running_since: None,
            created_ms: time_ms,
            updated_ms: time_ms,
            last_ms: time_ms,
            events: 1,
        }
    }

    /// The search's id.
    #[must_use]
    pub fn id(&self) -> SearchId {
        self.id
    }

    /// What defines the search.
    #[must_use]
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// Where the search stands.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Who paused or stopped it, when a user did and it is known.
    #[must_use]
    pub fn phase_by(&self) -> Option<&str> {
        self.phase_by.as_deref()
    }

    /// How many trials and proposals of each kind.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A trial by number.
    #[must_use]
    pub fn trial(&self, number: TrialNumber) -> Option<&Trial> {
        self.trials.get((number.0 as usize).checked_sub(1)?)
    }

    /// Every trial with its number, in order.
    pub fn trials(&self) -> impl Iterator<Item = (TrialNumber, &Trial)> {
        (1..).map(TrialNumber).zip(&self.trials)
    }

    /// The open trials, and when each was proposed or taken up again, Unix milliseconds.
    pub fn open_since(&self) -> impl Iterator<Item = (TrialNumber, u64)> {
        self.open
            .iter()
            .map(|(trial, open)| (*trial, open.since_ms))
    }

    /// The leases that are held.
    #[must_use]
    pub fn live(&self) -> &BTreeMap<TrialNumber, LiveAttempt> {
        &self.live
    }

    /// The best trial so far.
    #[must_use]
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }

    /// Metrics of the best on the test split, once it was tested.
    #[must_use]
    pub fn test_metrics(&self) -> Option<&Metrics> {
        self.test_metrics.as_ref()
    }

    /// What could not be done at the end of the search, and why.
    #[must_use]
    pub fn shortfall(&self) -> Option<&str> {
        self.shortfall.as_deref()
    }

    /// Trials that wait for a worker.
    #[must_use]
    pub fn queued(&self) -> u32 {
        count(self.queue.len())
    }

    /// Attempts whose training job runs.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.live.running()
    }

    /// How many more attempts `parallel` allows.
    #[must_use]
    pub fn free_parallel(&self) -> u32 {
        self.limits
            .parallel
            .map_or(u32::MAX, |limit| limit.saturating_sub(self.running()))
    }

    /// How many more proposals the budget has room for; 0 when none are wanted any more.
    #[must_use]
    pub fn proposals_wanted(&self) -> u32 {
        let ended = self.proposals_ended.is_some() || self.expects_too_little();
        if self.phase != Phase::Running || ended {
            return 0;
        }
        let trials = self.limits.budget.trials;
        trials.map_or(u32::MAX, |trials| trials.saturating_sub(self.charged()))
    }

    /// Whether the search may ever ask its searcher for something again.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused(_))
    }

    /// The number the next ask gets. Asks that were never answered do not use a number up.
    #[must_use]
    pub fn next_ask(&self) -> u64 {
        self.next_ask
    }

    /// Seconds of compute: those that completed attempts spent in evaluators, and the time for which the other
    /// attempts were held.
    #[must_use]
    pub fn compute_seconds(&self) -> f64 {
        self.compute_seconds
    }

    /// Times of the first and the last event, Unix milliseconds.
    #[must_use]
    pub fn times_ms(&self) -> (u64, u64) {
        (self.created_ms, self.updated_ms)
    }

    /// Events so far: the sequence number of the last one.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    pub(super) fn objective(&self) -> &Objective {
        &self.definition.spec.objective
    }

    /// Whether a trial with this score becomes the best. Of equal scores the lower number is the better one,
    /// as in every listing.
    pub(super) fn is_better(&self, trial: TrialNumber, score: f64) -> bool {
        self.best.as_ref().is_none_or(|best| {
            let ties = self.objective().utility(score) == self.objective().utility(best.score);
            self.objective().better(score, best.score) || (ties && trial < best.trial)
        })
    }
}

pub(super) fn count(length: usize) -> u32 {
    // Trials are numbered in 32 bits, so no collection of them is longer.
    u32::try_from(length).unwrap_or(u32::MAX)
}
