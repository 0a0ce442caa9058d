//! `espalier simulate`: many searches on a table of results, in virtual time, and what they say of searchers.
//! May import the core's simulator, the reader of specs, plotters and csv.

mod contenders;
mod curve;
mod differences;
mod evaluations;
mod file;
mod plot;
mod report;
mod scale;
mod summary;
mod text;
mod work;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use espalier_common::spec::WarmStart;
use espalier_core::search::Definition;
use espalier_core::simulate::{Cluster, Optimum, optimum};
use espalier_runtime::{Shutdown, spawn_named};

use self::contenders::Contender;
use self::curve::Curve;
use self::report::{Report, Setting};
use self::work::{Finished, Interrupt};
use super::args::SimulateArgs;
use super::error::{CliError, say};
use super::output::stdout;
use super::spec_file::SpecFile;

/// The most evaluations of all searches together: what is kept of each takes some fifty bytes.
const MAX_EVALUATIONS: u64 = 20_000_000;

/// `espalier simulate`.
pub(super) async fn simulate(args: SimulateArgs) -> Result<(), CliError> {
    let shutdown = Shutdown::on_signals()
        .map_err(|error| CliError::Failed(format!("cannot handle signals: {error}")))?;
    let interrupt: Interrupt = Arc::default();
    let asked = Arc::clone(&interrupt);
    spawn_named("interrupt", async move {
        shutdown.requested().await;
        say("ending: what is done is told; once more ends at once");
        asked.store(true, Ordering::Relaxed);
    });
    let worked = tokio::task::spawn_blocking(move || run(&args, &interrupt));
    worked
        .await
        .map_err(|error| CliError::Failed(format!("the simulation failed: {error}")))?
}

fn run(args: &SimulateArgs, interrupt: &AtomicBool) -> Result<(), CliError> {
    let plan = Plan::of(args)?;
    check_files(args, &plan)?;
    let finished = work::run(&plan, args.threads, interrupt)?;
    let asked = plan.searches();
    if finished.is_empty() {
        return Err(CliError::Interrupted(format!(
            "interrupted before any of {asked} searches had ended"
        )));
    }
    let done = finished.len();
    let curves = curves(&plan, finished);
    let report = Report::of(&plan.setting(), &curves);
    write_files(args, &plan, &curves, &report)?;
    let mut out = stdout();
    if args.output.json() {
        out.json(&report)?;
    } else {
        out.text(&text::text(&report))?;
    }
    out.flush()?;
    if done < asked {
        return Err(CliError::Interrupted(format!(
            "interrupted: {done} of {asked} searches had ended; what is told is of those"
        )));
    }
    report.sound().map_err(CliError::Failed)
}

/// Whether the files can be written, each to a place of its own.
fn check_files(args: &SimulateArgs, plan: &Plan) -> Result<(), CliError> {
    let table = plan.definition.table.as_ref();
    let table = table.map(|table| args.data.data_root.join(&table.path));
    let mut taken = vec![("the spec", args.spec.clone())];
    taken.extend(table.map(|table| ("the table", table)));
    for (option, whose, path) in [
        ("--csv", "the file of --csv", &args.csv),
        ("--svg", "the file of --svg", &args.svg),
    ] {
        let Some(path) = path else {
            continue;
        };
        file::check(path)?;
        if let Some((what, _)) = taken.iter().find(|(_, other)| file::same(path, other)) {
            return Err(CliError::Usage(format!(
                "{option} {}: that is {what}, which would be overwritten; name another file",
                path.display()
            )));
        }
        taken.push((whose, path.clone()));
    }
    Ok(())
}

/// Each contender's searches.
type Curves = Vec<Vec<Curve>>;

fn curves(plan: &Plan, finished: Vec<Finished>) -> Curves {
    let mut all: Curves = plan.contenders.iter().map(|_| Vec::new()).collect();
    for one in finished {
        let objective = &plan.definition.spec.objective;
        if let Some(curves) = all.get_mut(one.contender) {
            curves.push(Curve::of(one, objective, plan.optimum));
        }
    }
    all
}

fn write_files(
    args: &SimulateArgs,
    plan: &Plan,
    curves: &Curves,
    report: &Report,
) -> Result<(), CliError> {
    if let Some(path) = &args.csv {
        file::write(path, |to| evaluations::write(to, plan, curves))?;
    }
    if let Some(path) = &args.svg {
        let drawn = plot::svg(report, plan.trials, curves).map_err(CliError::Failed)?;
        file::write(path, |to| to.write_all(drawn.as_bytes()))?;
    }
    Ok(())
}

/// What is to be simulated.
struct Plan {
    definition: Definition,
    rows: u64,
    table: espalier_common::table::Table,
    contenders: Vec<Contender>,
    cluster: Cluster,
    optimum: Optimum,
    seeds: u32,
    trials: u32,
    checkpoints: Vec<u32>,
    targets: Vec<f64>,
    /// What of the spec means nothing in a simulation.
    notes: Vec<String>,
}

impl Plan {
    fn of(args: &SimulateArgs) -> Result<Self, CliError> {
        let file = if args.searcher.is_empty() {
            SpecFile::load(&args.spec, &args.data.data_root)?
        } else {
            SpecFile::load_without_searcher(&args.spec, &args.data.data_root)?
        };
        let wrong = |what: String| CliError::Spec(format!("{}: {what}", args.spec.display()));
        let mut spec = file.spec;
        let (Some(columns), Some((info, table))) = (spec.evaluator.table().cloned(), file.table)
        else {
            return Err(wrong(
                "evaluator: only a search whose evaluator is a table of results can be simulated, since \
                 nothing is trained; see `evaluator: {table: ...}` in the description of specs"
                    .to_owned(),
            ));
        };
        if matches!(spec.warm_start, Some(WarmStart::Search(_))) {
            return Err(wrong(
                "warm_start.search: a simulation asks no coordinator for earlier searches; give `candidates` or `csv`"
                    .to_owned(),
            ));
        }
        let rows = info.rows;
        let budget = args.trials.or(spec.budget.trials);
        // A table has no more to say than it has rows.
        let trials = budget.unwrap_or_else(|| u32::try_from(rows).unwrap_or(u32::MAX));
        spec.budget.trials = Some(trials);
        let contenders = contenders::read(&args.searcher, &spec)?;
        let searches = contenders.len() as u64 * u64::from(args.seeds);
        let evaluations = searches * u64::from(trials);
        if evaluations > MAX_EVALUATIONS {
            return Err(CliError::Usage(format!(
                "{searches} searches of {trials} trials are {evaluations} evaluations; at most \
                 {MAX_EVALUATIONS} can be reported on: give fewer --seeds, --trials or searchers"
            )));
        }
        let mut notes = Vec::new();
        if spec.budget.deadline_ms.take().is_some() {
            notes.push(
                "budget.deadline is a time of day and ends no simulated search, whose clock is virtual; `time` would"
                    .to_owned(),
            );
        }
        let checkpoints = checkpoints(&args.checkpoints, trials)?;
        let best = optimum(&spec, file.dataset.as_ref(), &columns, &table);
        let optimum = best.ok_or_else(|| {
            wrong(
                "evaluator.table: it has no score for any candidate of the space that can be built and keeps the \
                 constraints"
                    .to_owned(),
            )
        })?;
        Ok(Self {
            definition: Definition::new(spec, file.text, file.dataset, Some(info))
                .with_known(file.known),
            rows,
            table,
            contenders,
            cluster: Cluster {
                workers: args.workers,
                speed_spread: args.speed_spread,
                failure_rate: args.failure_rate,
            },
            optimum,
            seeds: args.seeds,
            trials,
            checkpoints,
            targets: args.target.clone(),
            notes,
        })
    }

    fn searches(&self) -> usize {
        self.contenders.len() * self.seeds as usize
    }

    fn setting(&self) -> Setting<'_> {
        let spec = &self.definition.spec;
        let path = spec.evaluator.table().map(|table| table.path.as_str());
        Setting {
            name: &spec.name,
            table: path.unwrap_or_default(),
            rows: self.rows,
            objective: &spec.objective,
            optimum: self.optimum,
            notes: &self.notes,
            labels: self
                .contenders
                .iter()
                .map(|one| one.label.as_str())
                .collect(),
            cluster: self.cluster,
            seed: spec.seed,
            seeds: self.seeds,
            trials: self.trials,
            checkpoints: &self.checkpoints,
            targets: &self.targets,
        }
    }
}

/// Those asked for, in order; else up to five in steps of about two, the last one the budget.
fn checkpoints(asked: &[u32], trials: u32) -> Result<Vec<u32>, CliError> {
    if let Some(late) = asked.iter().find(|&&at| at > trials) {
        return Err(CliError::Usage(format!(
            "--checkpoints {late}: a search has {trials} trials only; --trials N gives it more"
        )));
    }
    let mut all: Vec<u32> = if asked.is_empty() {
        let decades = (0..9).map(|power| 10_u32.pow(power));
        let steps = decades.flat_map(|ten| [ten, 2 * ten, 5 * ten]);
        let before: Vec<u32> = steps.take_while(|&at| at < trials).collect();
        let latest = before.len().saturating_sub(4);
        before.into_iter().skip(latest).chain([trials]).collect()
    } else {
        asked.to_vec()
    };
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
