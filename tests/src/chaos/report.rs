//! What happened, as a table in Markdown. May import std.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::faults::Outcome;
use super::invariants::{Files, Totals};
use super::schedule::Fault;

#[derive(Clone, Debug, Default)]
struct Row {
    fired: u64,
    effects: BTreeMap<String, u64>,
    skipped: Option<String>,
    until_next: Vec<Duration>,
}

/// Faults, how often, and what came of them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    rows: BTreeMap<Fault, Row>,
    totals: Totals,
    files: Files,
    runs: u64,
    resumed: u64,
}

impl Report {
    /// Notes a fault, and how long after its end the next trial was completed.
    pub(super) fn note(&mut self, fault: Fault, outcome: Outcome, until_next: Duration) {
        let row = self.rows.entry(fault).or_default();
        match outcome {
            Outcome::Fired(effect) => {
                row.fired += 1;
                *row.effects.entry(effect).or_default() += 1;
                row.until_next.push(until_next);
            }
            Outcome::Skipped(reason) => row.skipped = Some(reason),
        }
    }

    /// Notes the end of a run in which everything held.
    pub(super) fn end_run(&mut self, totals: Totals, files: Files, resumed: u64) {
        self.runs += 1;
        self.resumed += resumed;
        self.sum(totals, files);
    }

    fn sum(&mut self, totals: Totals, files: Files) {
        self.totals.searches += totals.searches;
        self.totals.by_time += totals.by_time;
        self.totals.trials += totals.trials;
        self.totals.attempts += totals.attempts;
        self.files.weights += files.weights;
        self.files.checkpoints += files.checkpoints;
        self.files.again += files.again;
    }

    /// Adds another report.
    pub fn add(&mut self, other: &Self) {
        for (fault, row) in &other.rows {
            let own = self.rows.entry(*fault).or_default();
            own.fired += row.fired;
            own.until_next.extend(&row.until_next);
            for (effect, count) in &row.effects {
                *own.effects.entry(effect.clone()).or_default() += count;
            }
            if row.skipped.is_some() {
                own.skipped.clone_from(&row.skipped);
            }
        }
        self.runs += other.runs;
        self.resumed += other.resumed;
        self.sum(other.totals, other.files);
    }

    /// How often a fault took place.
    #[must_use]
    pub fn fired(&self, fault: Fault) -> u64 {
        self.rows.get(&fault).map_or(0, |row| row.fired)
    }

    /// Every kind of fault took place, but for those that this machine does not permit.
    ///
    /// # Errors
    /// The first that did not.
    pub fn complete(&self) -> Result<()> {
        for fault in Fault::all() {
            let skipped = self.rows.get(&fault).and_then(|row| row.skipped.as_ref());
            ensure!(
                self.fired(fault) > 0 || skipped.is_some(),
                "{fault} never took place"
            );
        }
        Ok(())
    }

    /// Over many runs, jobs were broken off and uploads cut off and made again, and budgets were of every kind.
    ///
    /// # Errors
    /// What never was.
    pub fn had_everything(&self) -> Result<()> {
        let Files {
            weights,
            checkpoints,
            again,
        } = self.files;
        ensure!(
            weights > 0 && checkpoints > 0 && again > 0,
            "uploads: {weights} of weights, {checkpoints} of checkpoints, {again} made again"
        );
        let by_time = self.totals.by_time;
        ensure!(by_time > 0, "no search had a budget of time or compute");
        Ok(())
    }

    /// The table, and the sums below it.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| fault | times | what came of it | next result after it: median | longest |\n\
             | --- | ---: | --- | ---: | ---: |\n",
        );
        for (fault, row) in &self.rows {
            let mut times = row.until_next.clone();
            times.sort_unstable();
            let seconds = |time: Option<&Duration>| {
                time.map_or_else(
                    || "-".to_owned(),
                    |time| format!("{:.1} s", time.as_secs_f64()),
                )
            };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {fault} | {} | {} | {} | {} |",
                row.fired,
                came_of(row),
                seconds(times.get(times.len() / 2)),
                seconds(times.last()),
            );
        }
        if self.runs == 0 {
            return text + "\nNo run has ended: nothing is shown yet.\n";
        }
        let faults: u64 = self.rows.values().map(|row| row.fired).sum();
        let Totals {
            searches,
            by_time,
            trials,
            attempts,
        } = self.totals;
        let _ = writeln!(
            text,
            "\n{} runs, {faults} faults; {searches} searches ({by_time} with a budget of time or compute) with {trials} \
             trials in {attempts} attempts; every trial once, no result lost, none twice, budgets of trials exact, \
             those of time and compute overshot by no more than what ran, no process left, replay without a \
             difference. Searches paused by failures and resumed: {}. Uploads: {} of weights, {} of checkpoints; \
             {} tries were cut off and made again. Kept at the end: the weights of every best, and no other file.",
            self.runs, self.resumed, self.files.weights, self.files.checkpoints, self.files.again
        );
        text
    }
}

fn came_of(row: &Row) -> String {
    let mut parts: Vec<String> = match row.effects.len() {
        1 => row.effects.keys().cloned().collect(),
        _ => row
            .effects
            .iter()
            .map(|(effect, count)| format!("{count} x {effect}"))
            .collect(),
    };
    parts.extend(row.skipped.iter().map(|why| format!("skipped: {why}")));
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_one_of_the_faults_is_not_complete_unless_it_was_skipped_with_a_reason() {
        let mut report = Report::default();
        for fault in Fault::all().filter(|fault| *fault != Fault::WorkerDiskFull) {
            report.note(fault, Outcome::Fired("ended".to_owned()), Duration::ZERO);
        }
        assert!(report.complete().is_err());
        let skipped = Outcome::Skipped("no disk".to_owned());
        report.note(Fault::WorkerDiskFull, skipped, Duration::ZERO);
        assert!(report.complete().is_ok());
        assert!(report.markdown().contains("skipped: no disk"));
    }

    #[test]
    fn the_sum_of_two_reports_counts_both() {
        let mut one = Report::default();
        let effect = || Outcome::Fired("ended".to_owned());
        one.note(Fault::WorkerKilled, effect(), Duration::from_secs(1));
        let mut two = one.clone();
        two.note(Fault::WorkerKilled, effect(), Duration::from_secs(9));
        one.add(&two);
        assert_eq!(one.fired(Fault::WorkerKilled), 3);
        assert!(
            one.markdown().contains("No run has ended"),
            "what was not checked is claimed"
        );
        one.end_run(Totals::default(), Files::default(), 0);
        let text = one.markdown();
        assert!(text.contains("1 runs, 3 faults"), "{text}");
        assert!(
            text.contains("| worker: kill -9 | 3 | ended | 1.0 s | 9.0 s |"),
            "{text}"
        );
    }
}
