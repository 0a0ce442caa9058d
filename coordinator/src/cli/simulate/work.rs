//! The work: searches on threads, with progress on a terminal. May import the core's simulator and indicatif.

use std::io::IsTerminal as _;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use espalier_core::search::Definition;
use espalier_core::searcher::Shared;
use espalier_core::simulate::{Ended, Observer, Run, Work, simulate};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::error::CliError;
use super::Plan;

/// Whether the user wants an end.
pub(super) type Interrupt = Arc<AtomicBool>;

/// How often the clock on the progress line moves.
const TICK: Duration = Duration::from_millis(500);

/// A search that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    /// The place of its searcher.
    pub(super) contender: usize,
    pub(super) run: Run,
    /// Milliseconds of each ask, with the tells before it.
    pub(super) thinking_ms: Vec<f32>,
}

/// Runs all searches, or those that end before an interrupt. They come in the order of their searchers and
/// seeds, however many threads there are.
pub(super) fn run(
    plan: &Plan,
    threads: Option<u32>,
    interrupt: &AtomicBool,
) -> Result<Vec<Finished>, CliError> {
    let bar = progress(plan);
    let definitions: Vec<Definition> = plan
        .contenders
        .iter()
        .map(|one| {
            let mut definition = plan.definition.clone();
            definition.spec.searcher = one.searcher.clone();
            definition
        })
        .collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(plan.searches()));
    let shared = Arc::default();
    let work = || -> Result<(), CliError> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= plan.searches() || interrupt.load(Ordering::Relaxed) {
                return Ok(());
            }
            // Seed after seed, so that an interrupt leaves each searcher about as many searches.
            let (seed, contender) = (number / definitions.len(), number % definitions.len());
            let mut watch = Watch::new(interrupt, &bar);
            let run = one(plan, &definitions[contender], seed, &shared, &mut watch)?;
            watch.complete(plan.trials);
            if run.ended == Ended::Interrupted {
                return Ok(());
            }
            let thinking_ms = watch.thinking_ms;
            let finished = Finished {
                contender,
                run,
                thinking_ms,
            };
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((contender, seed, finished));
        }
    };
    let threads = threads.map_or_else(cores, |threads| threads as usize);
    std::thread::scope(|scope| {
        let threads = threads.clamp(1, plan.searches());
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        // A panic is passed on; it is a fault of ours, and no result would be right.
        let ended = handles.into_iter().map(|handle| {
            handle
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ended.collect::<Result<Vec<()>, CliError>>()
    })?;
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|&(contender, seed, _)| (contender, seed));
    Ok(done.into_iter().map(|(_, _, finished)| finished).collect())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn one(
    plan: &Plan,
    definition: &Definition,
    seed: usize,
    shared: &Arc<Shared>,
    watch: &mut Watch<'_>,
) -> Result<Run, CliError> {
    let seed = definition.spec.seed.wrapping_add(seed as u64);
    simulate(definition, &plan.table, &plan.cluster, seed, shared, watch).map_err(|rejection| {
        CliError::Failed(format!(
            "searcher {}, seed {seed}: the state machine refused the simulator: {rejection}",
            definition.spec.searcher.word()
        ))
    })
}

/// Looks on while a search runs.
struct Watch<'a> {
    interrupt: &'a AtomicBool,
    bar: &'a ProgressBar,
    evaluations: usize,
    begun: Option<Instant>,
    /// Of the ask to come: what its tells have taken.
    spent: Duration,
    thinking_ms: Vec<f32>,
}

impl<'a> Watch<'a> {
    fn new(interrupt: &'a AtomicBool, bar: &'a ProgressBar) -> Self {
        Self {
            interrupt,
            bar,
            evaluations: 0,
            begun: None,
            spent: Duration::ZERO,
            thinking_ms: Vec::new(),
        }
    }

    /// A search that ended early leaves nothing to do.
    fn complete(&self, trials: u32) {
        let left = (trials as usize).saturating_sub(self.evaluations);
        self.bar.inc(left as u64);
    }
}

impl Observer for Watch<'_> {
    fn begins(&mut self, _: Work) {
        self.begun = Some(Instant::now());
    }

    fn ends(&mut self, work: Work) {
        self.spent += self.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        if work == Work::Ask {
            self.thinking_ms.push(self.spent.as_secs_f32() * 1e3);
            self.spent = Duration::ZERO;
        }
    }

    fn goes_on(&mut self, evaluations: usize) -> bool {
        if evaluations > self.evaluations {
            self.bar.inc((evaluations - self.evaluations) as u64);
            self.evaluations = evaluations;
        }
        !self.interrupt.load(Ordering::Relaxed)
    }
}

/// A line on a terminal, and nothing elsewhere.
fn progress(plan: &Plan) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let total = plan.searches() as u64 * u64::from(plan.trials);
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let template =
        "{spinner} {prefix} [{bar:24}] {human_pos}/{human_len} evaluations {elapsed}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(format!("{} searches", plan.searches()));
    bar.enable_steady_tick(TICK);
    bar
}
