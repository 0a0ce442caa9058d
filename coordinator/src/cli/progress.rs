//! How a search goes, while it goes: a progress bar on a terminal, lines elsewhere, both on stderr, or
//! JSON lines on stdout. May import indicatif and the wire types.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::time::Duration;

use espalier_proto::v1;
use indicatif::{ProgressBar, ProgressStyle};

use super::error::{CliError, say};
use super::output::stdout;
use super::render::{SearchView, UpdateView, best_score, charged, clean, metric_value, phase_text};

/// How often the bar's clock moves.
const TICK: Duration = Duration::from_millis(500);
/// Trials of one message that get a line each; a fast search would flood a log with them.
const LINES_A_MESSAGE: usize = 20;
/// The longest time that the clock shows: a hundred years, so that no message overflows it.
const LONGEST_MS: u64 = 100 * 365 * 24 * 60 * 60 * 1_000;
/// Characters of a reason in a line.
const REASON: usize = 300;

/// Shows the progress of one search.
pub(super) struct Progress {
    shape: Shape,
    /// The best score shown, so that only improvements get a line above the bar.
    best: Option<f64>,
    phase: String,
    notice: String,
}

enum Shape {
    Bar(ProgressBar),
    Lines,
    Json,
}

impl Progress {
    /// For people: a bar if stderr is a terminal, else lines.
    pub(super) fn for_people() -> Self {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::no_length();
            bar.set_style(ProgressStyle::default_spinner());
            bar.set_message("asking the coordinator");
            bar.enable_steady_tick(TICK);
            Self::new(Shape::Bar(bar))
        } else {
            Self::new(Shape::Lines)
        }
    }

    /// For machines: every message a line of JSON on stdout.
    pub(super) fn for_machines() -> Self {
        Self::new(Shape::Json)
    }

    fn new(shape: Shape) -> Self {
        Self {
            shape,
            best: None,
            phase: String::new(),
            notice: String::new(),
        }
    }

    /// Takes a message of the watched search.
    pub(super) fn update(&mut self, reply: &v1::WatchReply) -> Result<(), CliError> {
        if let Shape::Json = self.shape {
            let mut out = stdout();
            out.json_line(&UpdateView::from(reply))?;
            return out.flush();
        }
        let Some(status) = &reply.status else {
            return Ok(());
        };
        if self.phase.is_empty() {
            self.show_phase(status);
        }
        self.show_trials(reply, status);
        // A new phase comes after the trials that led to it.
        self.show_phase(status);
        self.best = status.best_score;
        if let Shape::Bar(bar) = &self.shape {
            move_bar(bar, status);
        }
        Ok(())
    }

    fn show_phase(&mut self, status: &v1::SearchStatus) {
        if status.phase == self.phase {
            return;
        }
        self.phase.clone_from(&status.phase);
        self.line(&format!(
            "search {}: {}",
            clean(&status.name, REASON),
            phase_text(status)
        ));
    }

    fn show_trials(&self, reply: &v1::WatchReply, status: &v1::SearchStatus) {
        // Of several changes of one trial the last one says most: the trial failed, not only its attempt.
        let mut seen = BTreeSet::new();
        let mut ended: Vec<_> = reply
            .changes
            .iter()
            .rev()
            .filter(|change| self.is_worth_a_line(change, status) && seen.insert(change.trial))
            .collect();
        ended.reverse();
        for change in ended.iter().take(LINES_A_MESSAGE) {
            self.line(&change_line(change, status));
        }
        if let Some(more) = ended.len().checked_sub(LINES_A_MESSAGE + 1) {
            self.line(&format!("and {} trials more", more + 1));
        }
    }

    /// Lines tell of every trial that ended; above a bar stand only new best ones and failures.
    fn is_worth_a_line(&self, change: &v1::TrialChange, status: &v1::SearchStatus) -> bool {
        match change.state.as_str() {
            "failed" => true,
            // Without a score it is not the trial that is told of, but its test or its weights.
            "completed" if change.score.is_some() => match self.shape {
                Shape::Bar(_) => {
                    status.best_trial == Some(change.trial) && self.best != status.best_score
                }
                Shape::Lines | Shape::Json => true,
            },
            _ => false,
        }
    }

    /// Says something once, above the bar or as a line; the same again is not repeated.
    pub(super) fn notice(&mut self, text: &str) {
        if self.notice != text {
            text.clone_into(&mut self.notice);
            self.line(text);
        }
    }

    /// What was said no longer holds: should it come back, it is said again.
    pub(super) fn clear_notice(&mut self) {
        self.notice.clear();
    }

    fn line(&self, text: &str) {
        match &self.shape {
            Shape::Bar(bar) => bar.suspend(|| say(text)),
            Shape::Lines | Shape::Json => say(text),
        }
    }

    /// The search has ended: takes the bar away; for machines its last line.
    pub(super) fn finish(&mut self, status: &v1::SearchStatus) -> Result<(), CliError> {
        match &self.shape {
            Shape::Bar(bar) => bar.finish_and_clear(),
            Shape::Lines => {}
            Shape::Json => {
                let mut out = stdout();
                out.json_line(&SearchView::new(status, None))?;
                out.flush()?;
            }
        }
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shape::Bar(bar) = &self.shape {
            bar.finish_and_clear();
        }
    }
}

/// What became of a trial, on one line.
fn change_line(change: &v1::TrialChange, status: &v1::SearchStatus) -> String {
    let counts = status.counts.unwrap_or_default();
    let of = match status.budget.unwrap_or_default().trials {
        Some(budget) => format!("{} of {budget}", charged(&counts)),
        None => format!("{} trials", counts.completed + counts.failed),
    };
    match change.score {
        Some(score) if change.state == "completed" => {
            let best = if status.best_trial == Some(change.trial) {
                ", the best so far".to_owned()
            } else {
                best_score(status)
                    .map(|best| format!(", best {best}"))
                    .unwrap_or_default()
            };
            // Why it has a score without having run: it was reused.
            let how = match change.reason.as_str() {
                "" => String::new(),
                reason => format!(" ({})", clean(reason, REASON)),
            };
            format!(
                "trial {}: {} {}{how}{best}, {of}",
                change.trial,
                clean(&status.metric, REASON),
                metric_value(score)
            )
        }
        _ => format!(
            "trial {} {}: {}",
            change.trial,
            change.state,
            clean(&change.reason, REASON)
        ),
    }
}

/// The bar follows the budget of trials, or that of time when there is no other.
fn move_bar(bar: &ProgressBar, status: &v1::SearchStatus) {
    let counts = status.counts.unwrap_or_default();
    let budget = status.budget.unwrap_or_default();
    let ended = charged(&counts);
    let (length, position, numbers) = match (budget.trials, budget.time_ms) {
        (Some(trials), _) => (u64::from(trials), u64::from(ended), "{pos}/{len}"),
        (None, Some(time_ms)) => (time_ms, status.elapsed_ms, "{percent}%"),
        (None, None) => (0, 0, "{pos}"),
    };
    let template =
        format!("{{spinner}} {{prefix}} [{{bar:24}}] {numbers} {{elapsed}} {{wide_msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("=> "));
    }
    // The clock goes on between two messages; each one sets it right.
    bar.set_elapsed(Duration::from_millis(status.elapsed_ms.min(LONGEST_MS)));
    bar.set_length(length);
    bar.set_position(position.min(length));
    bar.set_prefix(clean(&status.name, 40));
    bar.set_message(message(status));
}

/// What stands right of the bar.
fn message(status: &v1::SearchStatus) -> String {
    let counts = status.counts.unwrap_or_default();
    let mut parts = Vec::new();
    if let Some(best) = best_score(status) {
        parts.push(format!("best {best}"));
    }
    parts.push(match status.phase.as_str() {
        "running" => format!("{} running", counts.running),
        phase => phase.to_owned(),
    });
    if counts.failed > 0 {
        parts.push(format!("{} failed", counts.failed));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> v1::SearchStatus {
        v1::SearchStatus {
            name: "demo".to_owned(),
            phase: "running".to_owned(),
            counts: Some(v1::Counts {
                completed: 4,
                failed: 1,
                running: 2,
                ..Default::default()
            }),
            budget: Some(v1::Budget {
                trials: Some(24),
                ..Default::default()
            }),
            metric: "accuracy".to_owned(),
            best_score: Some(0.9012),
            best_trial: Some(3),
            elapsed_ms: 61_000,
            ..Default::default()
        }
    }

    fn change(trial: u32, state: &str, score: Option<f64>) -> v1::TrialChange {
        v1::TrialChange {
            trial,
            state: state.to_owned(),
            score,
            reason: "out of\nmemory".to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_line_tells_of_a_trial_its_score_and_the_best() {
        let status = status();
        let completed = |trial, score, reason: &str| v1::TrialChange {
            reason: reason.to_owned(),
            ..change(trial, "completed", Some(score))
        };
        assert_eq!(
            change_line(&completed(5, 0.87, ""), &status),
            "trial 5: accuracy 0.8700, best accuracy 0.9012 (trial 3), 5 of 24"
        );
        assert_eq!(
            change_line(
                &completed(3, 0.9012, "reused: trial 7 of search a"),
                &status
            ),
            "trial 3: accuracy 0.9012 (reused: trial 7 of search a), the best so far, 5 of 24"
        );
        assert_eq!(
            change_line(&change(6, "failed", None), &status),
            "trial 6 failed: out of memory"
        );
    }

    #[test]
    fn lines_tell_of_ended_trials_and_a_bar_of_new_best_ones_and_failures() {
        let status = status();
        let lines = Progress::new(Shape::Lines);
        let bar = Progress::new(Shape::Bar(ProgressBar::hidden()));
        let worth = |progress: &Progress, trial, state: &str| {
            progress.is_worth_a_line(&change(trial, state, Some(0.9)), &status)
        };
        assert!(!lines.is_worth_a_line(&change(3, "completed", None), &status));
        assert!(worth(&lines, 5, "completed") && worth(&lines, 3, "completed"));
        assert!(!worth(&bar, 5, "completed") && worth(&bar, 3, "completed"));
        assert!(worth(&lines, 5, "failed") && worth(&bar, 5, "failed"));
        assert!(!worth(&lines, 5, "running") && !worth(&bar, 5, "queued"));
    }

    #[test]
    fn the_bar_follows_the_budget() {
        let bar = ProgressBar::hidden();
        let mut status = status();
        move_bar(&bar, &status);
        assert_eq!((bar.position(), bar.length()), (5, Some(24)));
        assert_eq!(
            bar.message(),
            "best accuracy 0.9012 (trial 3), 2 running, 1 failed"
        );
        status.budget = Some(v1::Budget {
            time_ms: Some(60_000),
            ..Default::default()
        });
        move_bar(&bar, &status);
        assert_eq!((bar.position(), bar.length()), (60_000, Some(60_000)));
    }
}
