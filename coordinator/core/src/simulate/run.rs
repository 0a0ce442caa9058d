//! One simulated search.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use espalier_common::failure::{Failure, FailureDomain, FailureKind};
use espalier_common::ids::{SearchId, TrialNumber, WorkerId};
use espalier_common::job::{Abilities, JobKind, LeasedJob};
use espalier_common::labels::Labels;
use espalier_common::table::{Answer, FailureCost, Table};
use uuid::Uuid;

use super::best::test_metric;
use super::cluster::Cluster;
use super::observer::{Observer, Work};
use crate::dispatch::{Demand, Offer, Retry, pick};
use crate::search::{
    Command, Completion, Counts, Definition, Effect, Event, FinishReason, PauseReason, Phase,
    Rejection, Reply, Search, WaitingRetry, step,
};
use crate::searcher::{Proposer, Shared};

/// Microseconds in a second: fine enough that workers of different speeds do not end together.
const MICROS: f64 = 1e6;
/// The longest job, in seconds: ten thousand years, so that sums of times stay numbers.
const MAX_SECONDS: f64 = 3e11;

/// A trial that has ended, well or by its own fault: what counts against a budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The trial.
    pub trial: TrialNumber,
    /// Seconds since the search began.
    pub seconds: f64,
    /// Its score; absent when it failed.
    pub score: Option<f64>,
    /// The metric `test_` and the objective's name, where the table has it.
    pub test: Option<f64>,
}

/// A simulated search.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Every evaluation, in the order in which they ended.
    pub evaluations: Vec<Evaluation>,
    /// How it ended.
    pub ended: Ended,
    /// Trials and proposals.
    pub counts: Counts,
    /// Attempts that were lost with their worker.
    pub lost: u32,
    /// Seconds from the beginning to the end.
    pub seconds: f64,
    /// The share of that time that the workers were busy.
    pub busy: f64,
    /// Why the first trial that failed did.
    pub failure: Option<String>,
}

/// How a simulated search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As a search ends.
    Finished(FinishReason),
    /// It was paused, and nobody would resume it.
    Paused(PauseReason),
    /// It neither ended nor went on.
    Stuck,
    /// Whoever looked on ended it.
    Interrupted,
}

/// What the workers of a search do.
struct Busy {
    job: LeasedJob,
    /// When it began, in microseconds.
    since: u64,
    ending: Ending,
}

enum Ending {
    Done(Answer),
    Failed(Failure),
    Lost,
}

/// Runs a search of `definition` with another seed on a table and a cluster. Searches that differ in nothing
/// but their seeds and searchers may have one `shared`. `observer` looks on.
///
/// # Errors
/// [`Rejection`] when the state machine refuses what the simulator does: a fault of ours.
pub fn simulate(
    definition: &Definition,
    table: &Table,
    cluster: &Cluster,
    seed: u64,
    shared: &Arc<Shared>,
    observer: &mut dyn Observer,
) -> Result<Run, Rejection> {
    let mut definition = definition.clone();
    definition.spec.seed = seed;
    let proposer = |definition: &Arc<Definition>| Proposer::sharing(definition, shared);
    Simulator::new(definition, table, cluster, observer, proposer).run()
}

struct Simulator<'t> {
    definition: Arc<Definition>,
    table: &'t Table,
    /// How long candidates take that have no result; absent without a table.
    failure_cost: Option<FailureCost>,
    cluster: &'t Cluster,
    observer: &'t mut dyn Observer,
    search: Search,
    proposer: Proposer,
    /// Microseconds since the search began.
    now: u64,
    /// The workers that wait, the one that waits longest first.
    waiting: Vec<Offer>,
    /// How many times the table's time each worker takes.
    factors: Vec<f64>,
    busy: BTreeMap<WorkerId, Busy>,
    /// When each busy worker ends; of equal times the lease that was given first.
    endings: BinaryHeap<Reverse<(u64, u64, WorkerId)>>,
    leases: u64,
    evaluations: Vec<Evaluation>,
    lost: u32,
    busy_micros: u64,
    test_metric: String,
    failure: Option<String>,
    interrupted: bool,
}

impl<'t> Simulator<'t> {
    fn new(
        definition: Definition,
        table: &'t Table,
        cluster: &'t Cluster,
        observer: &'t mut dyn Observer,
        proposer: impl FnOnce(&Arc<Definition>) -> Proposer,
    ) -> Self {
        let test_metric = test_metric(&definition.spec.objective);
        let factors = cluster.factors(definition.spec.seed);
        let evaluator = definition.evaluator().to_owned();
        let labels = definition.spec.worker.labels.clone();
        let offer = |number| {
            let worker = WorkerId(Uuid::from_u128(number));
            offer(worker, evaluator.clone(), labels.clone())
        };
        let id = SearchId(Uuid::from_u128(1));
        let columns = definition.spec.evaluator.table();
        let failure_cost = columns.map(|columns| FailureCost::of(columns, table));
        let definition = Arc::new(definition);
        Self {
            failure_cost,
            search: Search::new(id, Arc::clone(&definition), 0),
            proposer: proposer(&definition),
            definition,
            table,
            cluster,
            observer,
            now: 0,
            waiting: (0..factors.len() as u128).map(offer).collect(),
            factors,
            busy: BTreeMap::new(),
            endings: BinaryHeap::new(),
            leases: 0,
            evaluations: Vec::new(),
            lost: 0,
            busy_micros: 0,
            test_metric,
            failure: None,
            interrupted: false,
        }
    }

    fn run(mut self) -> Result<Run, Rejection> {
        loop {
            if !self.observer.goes_on(self.evaluations.len()) {
                self.interrupted = true;
                break;
            }
            self.ask()?;
            self.lease()?;
            if matches!(self.search.phase(), Phase::Finished(_)) {
                break;
            }
            let Some(&Reverse((at, _, worker))) = self.endings.peek() else {
                break;
            };
            if let Some(end) = self.end_of_time().filter(|&end| end < at) {
                self.now = end;
                self.step(Command::CheckTime)?;
                continue;
            }
            self.endings.pop();
            self.now = at;
            if let Some(busy) = self.busy.remove(&worker) {
                self.end(worker, busy)?;
            }
        }
        Ok(self.result())
    }

    /// When the budget of time is used up.
    fn end_of_time(&self) -> Option<u64> {
        let budget = self.search.limits().budget.time_ms?;
        if !matches!(self.search.phase(), Phase::Running) {
            return None;
        }
        let left = budget.saturating_sub(self.search.elapsed_ms(self.now_ms()));
        // Rounded up to whole milliseconds, which the state machine counts in.
        Some((self.now_ms() + left) * 1_000)
    }

    fn now_ms(&self) -> u64 {
        self.now / 1_000
    }

    /// Asks for as many proposals as workers wait, and none ahead: every proposal knows all that has come.
    fn ask(&mut self) -> Result<(), Rejection> {
        let slots = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        let wanted = slots.min(self.search.free_parallel());
        while self.search.proposals_wanted() > 0 && self.search.queued() < wanted {
            self.observer.begins(Work::Ask);
            let answer = self.proposer.ask(self.search.next_ask());
            self.observer.ends(Work::Ask);
            self.step(answer.into())?;
        }
        Ok(())
    }

    fn lease(&mut self) -> Result<(), Rejection> {
        let waiting = self.search.waiting();
        let nothing = waiting.training == 0 && waiting.retries.is_empty();
        if nothing || self.waiting.is_empty() {
            return Ok(());
        }
        let demand = Demand {
            search: self.search.id(),
            training: waiting.training,
            test: false,
            retries: waiting.retries.iter().map(retry).collect(),
            running: self.search.running(),
            parallel: self.search.limits().parallel,
            weight: 1,
            labels: self.definition.spec.worker.labels.clone(),
            evaluator: self.definition.evaluator().to_owned(),
            dataset: self.definition.needs(),
        };
        for grant in pick(&self.waiting, &[demand]) {
            let command = Command::LeaseJobs {
                worker: grant.worker,
                slots: grant.slots,
                can_test: false,
                can_resume: false,
                retries: grant.retries,
            };
            if let Reply::Leased(jobs) = self.step(command)? {
                jobs.into_iter()
                    .for_each(|job| self.begin(grant.worker, job));
            }
        }
        let busy = &self.busy;
        self.waiting
            .retain(|offer| !busy.contains_key(&offer.worker));
        Ok(())
    }

    /// How many times the table's time a worker takes, in whichever of its instances.
    fn factor(&self, worker: WorkerId) -> f64 {
        let machine = worker.0.as_u128() % self.factors.len().max(1) as u128;
        // Fewer than 2^32 of them.
        self.factors.get(machine as usize).copied().unwrap_or(1.0)
    }

    /// How long a candidate trains that comes to nothing. What is wrong with the search itself shows at once.
    fn seconds_of(&self, failure: &Failure, job: &LeasedJob) -> f64 {
        match (&self.failure_cost, &job.table) {
            (Some(cost), Some(table)) if failure.domain == FailureDomain::Candidate => {
                cost.seconds(table, self.table, &job.job)
            }
            _ => 0.0,
        }
    }

    fn begin(&mut self, worker: WorkerId, job: LeasedJob) {
        let looked_up = match &job.table {
            Some(table) => table.answer(self.table, &job.job, &job.objective),
            // A search without a table is not simulated; should one come here, it says so.
            None => Err(no_table()),
        };
        let seconds = match &looked_up {
            Ok(answer) => answer.seconds,
            Err(failure) => self.seconds_of(failure, &job),
        };
        let seconds = (seconds * self.factor(worker)).clamp(0.0, MAX_SECONDS);
        let lost = self
            .cluster
            .lost(self.definition.spec.seed, job.trial, job.attempt);
        let ending = match (lost, looked_up) {
            // Whatever takes time may be lost before it shows how it ends.
            (Some(_), _) if seconds > 0.0 => Ending::Lost,
            (_, Ok(mut answer)) => {
                answer.seconds = seconds;
                Ending::Done(answer)
            }
            (_, Err(failure)) => Ending::Failed(failure),
        };
        let micros = (seconds * lost.unwrap_or(1.0) * MICROS).round() as u64;
        self.leases += 1;
        let at = self.now.saturating_add(micros);
        self.endings.push(Reverse((at, self.leases, worker)));
        let since = self.now;
        self.busy.insert(worker, Busy { job, since, ending });
    }

    /// A worker's job ends, and the worker waits again.
    fn end(&mut self, worker: WorkerId, busy: Busy) -> Result<(), Rejection> {
        let Busy { job, since, ending } = busy;
        self.busy_micros += self.now - since;
        let (trial, attempt) = (job.trial, job.attempt);
        let mut test = None;
        let command = match ending {
            Ending::Done(answer) => {
                let last = answer.measurements.last();
                test = last.and_then(|last| last.metrics.get(&self.test_metric));
                Command::CompleteJob {
                    worker,
                    trial,
                    attempt,
                    completion: Completion {
                        measurements: answer.measurements,
                        seconds: answer.seconds,
                        ..Completion::default()
                    },
                }
            }
            Ending::Failed(failure) => Command::FailJob {
                trial,
                attempt,
                failure,
            },
            Ending::Lost => {
                self.lost += 1;
                Command::ExpireLease { trial, attempt }
            }
        };
        let back = match command {
            // Started again, it is another instance of the same machine.
            Command::ExpireLease { .. } => WorkerId(Uuid::from_u128(
                worker.0.as_u128() + self.factors.len() as u128,
            )),
            _ => worker,
        };
        let labels = self.definition.spec.worker.labels.clone();
        self.waiting.push(offer(back, job.evaluator, labels));
        // Of a trial that was cancelled meanwhile nothing is taken any more.
        if self
            .search
            .live()
            .get(&trial)
            .is_none_or(|live| live.attempt != attempt)
        {
            return Ok(());
        }
        self.step_of(command, test)
    }

    fn step(&mut self, command: Command) -> Result<Reply, Rejection> {
        let now_ms = self.now_ms();
        let outcome = step(&mut self.search, command, now_ms)?;
        for event in &outcome.events {
            self.proposer.recorded(event);
            self.note(event);
        }
        for effect in &outcome.effects {
            if let Effect::Tell(observation) = effect {
                self.observer.begins(Work::Tell);
                self.proposer.tell(observation);
                self.observer.ends(Work::Tell);
            }
        }
        Ok(outcome.reply)
    }

    fn step_of(&mut self, command: Command, test: Option<f64>) -> Result<(), Rejection> {
        let before = self.evaluations.len();
        self.step(command)?;
        if let Some(evaluation) = self.evaluations.get_mut(before) {
            evaluation.test = test;
        }
        Ok(())
    }

    fn note(&mut self, event: &Event) {
        let (trial, score) = match event {
            Event::TrialCompleted { trial, score, .. } => (*trial, Some(*score)),
            Event::TrialFailed { trial, failure } => {
                self.failure.get_or_insert_with(|| failure.message.clone());
                (*trial, None)
            }
            _ => return,
        };
        self.evaluations.push(Evaluation {
            trial,
            seconds: self.now as f64 / MICROS,
            score,
            test: None,
        });
    }

    fn result(self) -> Run {
        let running: u64 = self.busy.values().map(|busy| self.now - busy.since).sum();
        let available = self.now as f64 * self.factors.len() as f64;
        let busy = (self.busy_micros + running) as f64;
        Run {
            seed: self.definition.spec.seed,
            evaluations: self.evaluations,
            ended: match self.search.phase() {
                _ if self.interrupted => Ended::Interrupted,
                Phase::Finished(reason) => Ended::Finished(reason.clone()),
                Phase::Paused(reason) => Ended::Paused(reason.clone()),
                Phase::Running | Phase::Finishing(_) => Ended::Stuck,
            },
            counts: self.search.counts(),
            lost: self.lost,
            seconds: self.now as f64 / MICROS,
            busy: if available > 0.0 {
                busy / available
            } else {
                0.0
            },
            failure: self.failure,
        }
    }
}

/// A worker of the simulated cluster: they are as the search wants them.
fn offer(worker: WorkerId, evaluator: String, labels: Labels) -> Offer {
    Offer {
        worker,
        slots: 1,
        unasked: 0,
        evaluators: BTreeMap::from([(evaluator, Abilities::of([JobKind::Train]))]),
        missing: BTreeSet::new(),
        labels,
        resting: false,
    }
}

/// Attempts are lost with their worker only, and that comes back as another instance: some worker on which a
/// trial did not fail is always there.
fn retry(waiting: &WaitingRetry) -> Retry {
    Retry {
        trial: waiting.trial,
        test: waiting.test,
        failed_on: waiting.failed_on.clone(),
        elsewhere: true,
        rested: true,
    }
}

fn no_table() -> Failure {
    Failure::new(
        FailureDomain::User,
        FailureKind::Unsupported,
        "only a search whose evaluator is a table can be simulated",
    )
}
