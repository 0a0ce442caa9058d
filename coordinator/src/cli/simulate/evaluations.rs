//! Every evaluation as a row of a CSV file. May import csv.

use std::io::Write;

use super::{Curves, Plan};

const HEADER: [&str; 11] = [
    "searcher",
    "seed",
    "evaluation",
    "trial",
    "seconds",
    "score",
    "best",
    "regret",
    "test",
    "test_of_best",
    "test_regret",
];

/// Writes them searcher by searcher, seed by seed, in the order in which they ended. Empty: there is none.
pub(super) fn write(to: &mut dyn Write, plan: &Plan, curves: &Curves) -> std::io::Result<()> {
    let mut out = csv::Writer::from_writer(to);
    out.write_record(HEADER)?;
    for (contender, curves) in plan.contenders.iter().zip(curves) {
        for curve in curves {
            let seed = curve.run.seed.to_string();
            let rows = curve.run.evaluations.iter().zip(curve.points());
            for (number, (evaluation, point)) in (1..).zip(rows) {
                out.write_record([
                    contender.label.clone(),
                    seed.clone(),
                    u64::to_string(&number),
                    evaluation.trial.to_string(),
                    evaluation.seconds.to_string(),
                    cell(evaluation.score),
                    cell(Some(point.best)),
                    cell(Some(point.regret)),
                    cell(evaluation.test),
                    cell(Some(point.test)),
                    cell(Some(point.test_regret)),
                ])?;
            }
        }
    }
    out.flush()
}

fn cell(value: Option<f64>) -> String {
    let value = value.filter(|value| value.is_finite());
    value.map_or_else(String::new, |value| value.to_string())
}
