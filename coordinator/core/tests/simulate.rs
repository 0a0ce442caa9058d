//! Simulated searches: the state machine, the proposer and the dispatcher with modelled workers.

// Helpers stand outside of `#[test]` functions: a failure in them is to fail the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use espalier_common::ids::Digest;
use espalier_common::spec::Spec;
use espalier_common::table::{Table, TableBuilder, TableInfo};
use espalier_core::search::{Definition, FinishReason, PauseReason};
use espalier_core::simulate::{
    Among, Cluster, Ended, Observer, Optimum, Run, Work, optimum, simulate,
};
use support::definition;

/// 6 x 6 candidates.
const SPEC: &str = "
name: grid
hyperparameters: {x: {range: [0, 5]}, y: {range: [0, 5]}}
evaluator:
  table:
    path: t.csv
    decisions: {x: x, y: y}
    metrics: {accuracy: {1: early, 3: late}, test_accuracy: test}
    cost: {column: s}
objectives: [{maximize: accuracy}]
";

/// A row for every pair but those in `without`: accuracy x + y, 10 seconds, more with x.
fn table(definition: &Definition, without: &[(u32, u32)]) -> Table {
    let columns = definition.spec.evaluator.table().unwrap();
    let header = ["x", "y", "early", "late", "test", "s"];
    let mut builder = TableBuilder::new(columns, header).unwrap();
    for x in 0..6_u32 {
        for y in (0..6).filter(|y| !without.contains(&(x, *y))) {
            let row = [x, y, x, x + y, x * y, 10 + x].map(|number| number.to_string());
            builder.row(1, row.iter().map(String::as_str)).unwrap();
        }
    }
    builder.finish().unwrap()
}

fn of(budget: &str) -> Arc<Definition> {
    let mut definition = definition(&format!("{SPEC}{budget}\n"));
    Arc::make_mut(&mut definition).table = Some(TableInfo {
        path: "t.csv".to_owned(),
        fingerprint: Digest::of(b"t"),
        rows: 36,
    });
    definition
}

fn run(definition: &Definition, table: &Table, cluster: &Cluster, seed: u64) -> Run {
    simulate(definition, table, cluster, seed, &Arc::default(), &mut ()).unwrap()
}

/// Counts what the searcher does.
#[derive(Default)]
struct Counting {
    asks: u32,
    tells: u32,
    working: Option<Work>,
    most: Option<usize>,
}

impl Observer for Counting {
    fn begins(&mut self, work: Work) {
        assert_eq!(self.working.replace(work), None);
    }

    fn ends(&mut self, work: Work) {
        assert_eq!(self.working.take(), Some(work));
        match work {
            Work::Ask => self.asks += 1,
            Work::Tell => self.tells += 1,
        }
    }

    fn goes_on(&mut self, evaluations: usize) -> bool {
        self.most.is_none_or(|most| evaluations < most)
    }
}

/// The best score and the best test metric.
fn best_of(spec: &Spec, table: &Table) -> Option<(f64, Option<f64>)> {
    let columns = spec.evaluator.table().unwrap();
    optimum(spec, None, columns, table).map(|Optimum { score, test, .. }| (score, test))
}

#[test]
fn one_worker_takes_as_long_as_the_table_says_and_equal_seeds_give_equal_runs() {
    let definition = of("budget: {trials: 20}");
    let table = table(&definition, &[]);
    let cluster = Cluster::default();
    let first = run(&definition, &table, &cluster, 1);
    assert_eq!(first.ended, Ended::Finished(FinishReason::Trials));
    assert_eq!((first.evaluations.len(), first.counts.completed), (20, 20));
    assert_eq!(first.busy, 1.0);
    assert!(
        (200.0..=300.0).contains(&first.seconds),
        "{}",
        first.seconds
    );
    assert_eq!(first, run(&definition, &table, &cluster, 1));
    assert_ne!(
        first.evaluations,
        run(&definition, &table, &cluster, 2).evaluations
    );
    let last = first.evaluations.last().unwrap();
    assert_eq!(last.seconds, first.seconds);
    assert!(last.score.is_some() && last.test.is_some());
}

#[test]
fn many_workers_end_sooner_and_never_more_run_than_the_spec_allows() {
    let definition = of("budget: {trials: 30}");
    let table = table(&definition, &[]);
    let alone = run(&definition, &table, &Cluster::default(), 1);
    let eight = Cluster {
        workers: 8,
        ..Cluster::default()
    };
    let together = run(&definition, &table, &eight, 1);
    assert!(
        together.seconds < alone.seconds / 5.0,
        "{} {}",
        together.seconds,
        alone.seconds
    );
    assert_eq!(together.evaluations.len(), 30);
    let bounded = of("budget: {trials: 30}\nparallel: 2");
    let bounded = run(&bounded, &table, &eight, 1);
    assert!(bounded.seconds > alone.seconds / 2.5, "{}", bounded.seconds);
    assert!(bounded.busy < 0.3, "{}", bounded.busy);
}

#[test]
fn lost_attempts_are_tried_again_and_cost_time_and_no_evaluation_and_no_searcher_is_told() {
    let definition = of("budget: {trials: 30}\nattempts: 100");
    let table = table(&definition, &[]);
    let flaky = Cluster {
        failure_rate: 0.3,
        workers: 2,
        speed_spread: 3.0,
    };
    let mut watch = Counting::default();
    let run = simulate(&definition, &table, &flaky, 5, &Arc::default(), &mut watch).unwrap();
    assert_eq!(watch.tells, 30);
    assert!(run.lost > 0);
    assert_eq!(run.counts.attempts, 30 + run.lost);
    assert_eq!((run.evaluations.len(), run.counts.completed), (30, 30));
}

#[test]
fn a_trial_whose_attempts_are_all_lost_counts_as_a_failed_evaluation() {
    let definition = of("budget: {trials: 5}");
    let table = table(&definition, &[]);
    let dead = Cluster {
        failure_rate: 1.0,
        ..Cluster::default()
    };
    let run = run(&definition, &table, &dead, 5);
    assert_eq!(run.ended, Ended::Finished(FinishReason::Trials));
    assert_eq!((run.evaluations.len(), run.lost), (5, 15));
    assert!(
        run.evaluations
            .iter()
            .all(|evaluation| evaluation.score.is_none())
    );
}

#[test]
fn missing_rows_are_failed_evaluations_and_an_exhausted_space_ends_the_search() {
    let definition = of("budget: {trials: 100}");
    let missing = [(5, 5), (0, 0), (1, 3)];
    let table = table(&definition, &missing);
    let run = run(&definition, &table, &Cluster::default(), 1);
    assert!(
        matches!(run.ended, Ended::Finished(FinishReason::Exhausted(_))),
        "{:?}",
        run.ended
    );
    assert_eq!((run.counts.completed, run.counts.failed), (33, 3));
    let why = run.failure.unwrap();
    assert!(why.contains("no row for this candidate"), "{why}");
    let best = |spec: &Spec| best_of(spec, &table);
    assert_eq!(best(&definition.spec), Some((9.0, Some(20.0))));
}

#[test]
fn a_candidate_without_a_row_takes_the_mean_time_of_the_table() {
    let definition = of("budget: {trials: 36}");
    // The mean of the rest, where x = 5 takes 15 seconds, is 12 s.
    let missing: Vec<(u32, u32)> = (0..6).map(|y| (5, y)).collect();
    let table = table(&definition, &missing);
    let run = run(&definition, &table, &Cluster::default(), 1);
    assert_eq!((run.counts.completed, run.counts.failed), (30, 6));
    let mut before = 0.0;
    for evaluation in &run.evaluations {
        let took = evaluation.seconds - before;
        before = evaluation.seconds;
        match evaluation.score {
            None => assert!((took - 12.0).abs() < 1e-6, "{evaluation:?}"),
            Some(_) => assert!((9.9..=14.1).contains(&took), "{evaluation:?}"),
        }
    }
    assert!((run.seconds - 36.0 * 12.0).abs() < 1e-3, "{}", run.seconds);
    assert_eq!(run.busy, 1.0);
}

#[test]
fn targets_and_budgets_of_time_end_a_search_in_virtual_time() {
    let definition = of("budget: {trials: 36, target: {accuracy: 9}}");
    let table = table(&definition, &[]);
    let four = Cluster {
        workers: 4,
        ..Cluster::default()
    };
    let reached = run(&definition, &table, &four, 1);
    assert_eq!(reached.ended, Ended::Finished(FinishReason::Target));
    assert!(reached.evaluations.last().unwrap().score >= Some(9.0));
    let timed = of("budget: {time: 35s}");
    let timed = run(&timed, &table, &Cluster::default(), 1);
    assert_eq!(timed.ended, Ended::Finished(FinishReason::Time));
    // What runs when the time is up may end.
    assert!((35.0..50.0).contains(&timed.seconds), "{}", timed.seconds);
    assert!((3..=4).contains(&timed.evaluations.len()));
}

#[test]
fn a_job_that_the_table_cannot_do_pauses_the_search_and_says_so() {
    let mut definition = of("budget: {trials: 5}");
    let table = table(&definition, &[]);
    Arc::make_mut(&mut definition).table = None;
    let run = run(&definition, &table, &Cluster::default(), 1);
    let Ended::Paused(PauseReason::Failure(reason)) = run.ended else {
        panic!("{:?}", run.ended);
    };
    assert!(reason.contains("table"), "{reason}");
}

#[test]
fn the_optimum_is_the_best_of_the_space_and_of_the_rows_where_that_is_too_large() {
    let definition = of("budget: {trials: 5}");
    let table = table(&definition, &[]);
    let best = |spec: &Spec| best_of(spec, &table);
    assert_eq!(best(&definition.spec), Some((10.0, Some(25.0))));
    let mut smaller = definition.spec.clone();
    let text = SPEC.replace("y: {range: [0, 5]}", "y: {range: [0, 2]}") + "budget: {trials: 5}";
    smaller.space = support::definition(&text).spec.space.clone();
    assert_eq!(best(&smaller), Some((7.0, Some(10.0))));
    smaller.objective.direction = espalier_common::metrics::Direction::Minimize;
    assert_eq!(best(&smaller), Some((0.0, Some(0.0))));
}

/// A convolution of eight widths and a score for each, better with every channel.
const NETWORK: &str = "
name: widths
network:
  - {conv: {name: stem, channels: {choice: [8, 16, 24, 32, 40, 48, 56, 64]}, kernel: 3}}
  - global_avg_pool
  - linear: {features: classes}
evaluator:
  table:
    path: t.csv
    decisions: {channels: network.stem.channels}
    metrics: {accuracy: late, test_accuracy: test}
    input: [1, 28, 28]
    classes: 10
objectives: [{maximize: accuracy}]
budget: {trials: 20}
";

/// Of a table with a row for every width up to `most`.
fn optimum_of_widths(text: &str, most: u32) -> Option<Optimum> {
    let spec = espalier_common::spec::read(text, "x.yaml").unwrap();
    let columns = spec.evaluator.table().unwrap();
    let mut builder = TableBuilder::new(columns, ["channels", "late", "test"]).unwrap();
    for channels in 8..=most {
        let row = [channels, channels, 100_000 - channels].map(|number| number.to_string());
        builder.row(1, row.iter().map(String::as_str)).unwrap();
    }
    let dataset = columns.described_data();
    optimum(&spec, dataset.as_ref(), columns, &builder.finish().unwrap())
}

#[test]
fn what_breaks_a_constraint_or_cannot_be_built_is_no_optimum() {
    let of = |score, test, of| {
        Some(Optimum {
            score,
            test: Some(test),
            of,
        })
    };
    assert_eq!(
        optimum_of_widths(NETWORK, 64),
        of(64.0, 99_992.0, Among::Feasible)
    );
    // A width w has 20 w + 10 parameters.
    let bounded =
        |bounds: &str| optimum_of_widths(&format!("{NETWORK}constraints: [{bounds}]\n"), 64);
    assert_eq!(
        bounded("{parameters: {at_most: 200}}"),
        of(8.0, 99_992.0, Among::Feasible)
    );
    assert_eq!(
        bounded("{parameters: {at_least: 500, at_most: 700}}"),
        of(32.0, 99_968.0, Among::Feasible)
    );
    assert_eq!(bounded("{parameters: {at_most: 1}}"), None);
    // A window of 29 pixels does not fit into 28.
    let wide = NETWORK.replace("kernel: 3", "kernel: 29, padding: 0");
    assert_eq!(optimum_of_widths(&wide, 64), None);
}

#[test]
fn where_candidates_are_too_many_to_be_built_the_optimum_is_that_of_all() {
    // Each is better than any before, and none keeps the constraint.
    let many = NETWORK.replace(
        "{choice: [8, 16, 24, 32, 40, 48, 56, 64]}",
        "{range: [8, 30000]}",
    );
    let bounded =
        |bounds: &str| optimum_of_widths(&format!("{many}constraints: [{bounds}]\n"), 30_000);
    let best = |found: Option<Optimum>| found.map(|best| (best.score, best.of));
    let none = bounded("{parameters: {at_most: 1}}");
    assert_eq!(best(none), Some((30_000.0, Among::Candidates)));
}

#[test]
fn whoever_looks_on_sees_every_ask_and_tell_and_may_end_the_search() {
    let definition = of("budget: {trials: 20}");
    let table = table(&definition, &[]);
    let cluster = Cluster::default();
    let watched = |observer: &mut Counting| {
        simulate(&definition, &table, &cluster, 1, &Arc::default(), observer).unwrap()
    };
    let mut all = Counting::default();
    let whole = watched(&mut all);
    assert_eq!((all.asks, all.tells), (20, 20));
    assert_eq!(whole, run(&definition, &table, &cluster, 1));
    let mut some = Counting {
        most: Some(7),
        ..Counting::default()
    };
    let part = watched(&mut some);
    assert_eq!(part.ended, Ended::Interrupted);
    assert_eq!(part.evaluations, whole.evaluations[..7]);
}
