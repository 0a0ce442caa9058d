//! What a run prints at its end.

use std::path::{Path, PathBuf};

use espalier_proto::v1;
use serde::Serialize;

use super::super::render::{
    SearchView, TrialView, best_table, clean, counts_text, duration, metrics_text, seconds,
};
use super::super::weights::Saved;

/// Everything that is told.
pub(super) struct Summary {
    pub(super) status: v1::SearchStatus,
    pub(super) best: Vec<v1::Trial>,
    pub(super) saved: Option<Saved>,
    pub(super) folder: PathBuf,
    pub(super) logs: PathBuf,
    pub(super) duration_ms: u64,
}

/// The JSON form of it. Its keys are stable.
#[derive(Serialize)]
pub(super) struct SummaryView<'a> {
    search: SearchView,
    best: Vec<TrialView>,
    folder: &'a Path,
    logs: &'a Path,
    weights: Option<&'a Path>,
    candidate: Option<&'a Path>,
    duration_ms: u64,
}

impl Summary {
    /// For machines.
    pub(super) fn view(&self) -> SummaryView<'_> {
        SummaryView {
            search: SearchView::new(&self.status, None),
            best: self.best.iter().map(TrialView::from).collect(),
            folder: &self.folder,
            logs: &self.logs,
            weights: self
                .saved
                .as_ref()
                .and_then(|saved| saved.weights.as_deref()),
            candidate: self.saved.as_ref().map(|saved| saved.candidate.as_path()),
            duration_ms: self.duration_ms,
        }
    }

    /// For people.
    pub(super) fn text(&self, width: Option<u16>) -> String {
        let status = &self.status;
        let mut lines = Vec::new();
        if !self.best.is_empty() {
            lines.push(best_table(&self.best, &status.metric, width));
            lines.push("\n".to_owned());
        }
        let mut line = |key: &str, value: String| lines.push(format!("{key:<10} {value}\n"));
        if let Some(best) = self.best.first() {
            line("test", self.test_text(best.number));
        }
        if let Some(saved) = &self.saved {
            match &saved.weights {
                Some(weights) => line("weights", weights.display().to_string()),
                None => line("weights", "none: the evaluator left none".to_owned()),
            }
            line("candidate", saved.candidate.display().to_string());
        }
        line("logs", self.logs.display().to_string());
        line("trials", counts_text(status));
        line("ended", clean(&status.reason, 500));
        line(
            "time",
            format!(
                "{}, {} of compute",
                duration(self.duration_ms),
                seconds(status.compute_seconds)
            ),
        );
        lines.concat()
    }

    fn test_text(&self, trial: u32) -> String {
        if self.status.test_metrics.is_empty() {
            return "not measured".to_owned();
        }
        format!(
            "{} (trial {trial}, on the test split)",
            metrics_text(&self.status.test_metrics)
        )
    }
}
