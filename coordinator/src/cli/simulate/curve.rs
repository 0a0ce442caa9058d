//! One search as a curve: the best so far after each evaluation. May import the core's simulator.

use espalier_common::metrics::Objective;
use espalier_core::simulate::{Optimum, Run};

use super::work::Finished;

/// A search with its curve.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) run: Run,
    /// Milliseconds of each ask, with the tells before it.
    pub(super) thinking_ms: Vec<f32>,
    points: Vec<Point>,
}

/// The best so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Its score.
    pub(super) best: f64,
    /// How far that is from the best of the table.
    pub(super) regret: f64,
    /// The test metric of the same candidate.
    pub(super) test: f64,
    /// How far that is from the best of the table, in the test metric.
    pub(super) test_regret: f64,
}

/// Before anything has a score.
const NOTHING: Point = Point {
    best: f64::NAN,
    regret: f64::INFINITY,
    test: f64::NAN,
    test_regret: f64::INFINITY,
};

impl Curve {
    pub(super) fn of(finished: Finished, objective: &Objective, optimum: Optimum) -> Self {
        let from = |best: f64, value: f64| {
            // Rounding may leave less than nothing.
            (objective.utility(best) - objective.utility(value)).max(0.0)
        };
        let mut now = NOTHING;
        let evaluations = finished.run.evaluations.iter();
        let points = evaluations.map(|evaluation| {
            let score = evaluation
                .score
                .filter(|&score| now.best.is_nan() || objective.better(score, now.best));
            if let Some(best) = score {
                let test = evaluation.test.zip(optimum.test);
                now = Point {
                    best,
                    regret: from(optimum.score, best),
                    test: test.map_or(f64::NAN, |(test, _)| test),
                    test_regret: test.map_or(f64::INFINITY, |(test, most)| from(most, test)),
                };
            }
            now
        });
        Self {
            points: points.collect(),
            thinking_ms: finished.thinking_ms,
            run: finished.run,
        }
    }

    /// The best after so many evaluations; of a search that has ended before, its last.
    pub(super) fn after(&self, evaluations: u32) -> Point {
        let last = self.points.len().min(evaluations as usize);
        let last = last.checked_sub(1).and_then(|last| self.points.get(last));
        last.copied().unwrap_or(NOTHING)
    }

    /// After each evaluation.
    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }

    /// After how many evaluations, and seconds, the regret was at most so much; infinite where it never was.
    pub(super) fn reached(&self, regret: f64) -> (f64, f64) {
        let place = self.points.iter().position(|point| point.regret <= regret);
        let ended = place.and_then(|place| self.run.evaluations.get(place));
        match (place, ended) {
            (Some(place), Some(ended)) => ((place + 1) as f64, ended.seconds),
            _ => (f64::INFINITY, f64::INFINITY),
        }
    }
}
