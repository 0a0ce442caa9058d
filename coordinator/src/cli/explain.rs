//! `espalier explain`: where a trial came from, what was expected of it, and what came. May import the words of
//! proposals and the view.

use espalier_common::candidate::Candidate;
use espalier_common::observation::{Origin, Rank};
use espalier_proto::v1;
use espalier_view::diff::Diff;
use serde::Serialize;

use super::args::ExplainArgs;
use super::client::Client;
use super::error::CliError;
use super::output::stdout;
use super::render::{TrialView, clean, metric_value, uuid_text};

/// Characters of a text from outside.
const LONG_TEXT: usize = 500;

/// What is told. Its JSON is what `--output json` prints; keys are a promise to scripts.
#[derive(Debug, Serialize)]
struct Report {
    search: String,
    metric: String,
    trial: TrialView,
    searcher: String,
    method: String,
    parents: Vec<Parent>,
    mutated: Option<String>,
    predicted: Option<Predicted>,
    /// What the searcher weighed it by; the probability for the policies.
    acquisition: Option<f64>,
    probability: Option<f64>,
    expected_improvement: Option<f64>,
    rank: Option<Rank>,
}

/// A trial that it was made from, and what differs.
#[derive(Debug, Serialize)]
struct Parent {
    trial: u32,
    score: Option<f64>,
    /// From the parent (`a`) to this trial (`b`).
    diff: Option<Diff>,
}

/// In the metric, whichever way is better.
#[derive(Debug, Serialize)]
struct Predicted {
    mean: f64,
    deviation: f64,
    /// The score less the mean.
    error: Option<f64>,
    /// The same, in deviations.
    deviations: Option<f64>,
}

/// `espalier explain`.
pub(super) async fn explain(client: &Client, args: &ExplainArgs) -> Result<(), CliError> {
    let status = client.get(&args.search).await?;
    let trial = trial_of(client, &status, args.trial).await?;
    let origin = origin_of(&trial)?;
    let mut parents = Vec::with_capacity(origin.parents.len());
    for parent in &origin.parents {
        // 0 stands for a candidate that the search began with and that is no trial.
        if parent.0 > 0 {
            parents.push(trial_of(client, &status, parent.0).await?);
        }
    }
    let report = Report::of(&status, &trial, origin, &parents);
    let mut out = stdout();
    if args.output.json() {
        out.json(&report)?;
    } else {
        out.text(&text(&report, &trial))?;
    }
    out.flush()
}

async fn trial_of(
    client: &Client,
    status: &v1::SearchStatus,
    number: u32,
) -> Result<v1::Trial, CliError> {
    let search = uuid_text(&status.id);
    let before = number.saturating_sub(1);
    let (mut page, _) = client.trials(&search, before, 1, &[]).await?;
    match page.pop() {
        Some(trial) if trial.number == number => Ok(trial),
        _ => Err(CliError::NotFound(format!(
            "search {} has no trial {number}; `espalier trials` lists those there are",
            clean(&status.name, LONG_TEXT)
        ))),
    }
}

fn origin_of(trial: &v1::Trial) -> Result<Origin, CliError> {
    serde_json::from_str(&trial.origin_json).map_err(|error| {
        CliError::Failed(format!(
            "what the coordinator says of trial {}'s origin is not understood ({error}); it may be of a newer \
             version",
            trial.number
        ))
    })
}

fn candidate_of(trial: &v1::Trial) -> Option<Candidate> {
    serde_json::from_str(&trial.candidate_json).ok()
}

impl Report {
    fn of(
        status: &v1::SearchStatus,
        trial: &v1::Trial,
        origin: Origin,
        parents: &[v1::Trial],
    ) -> Self {
        let is_policy = matches!(origin.searcher.as_str(), "reinforce" | "ppo");
        let own = candidate_of(trial);
        let parent = |parent: &v1::Trial| Parent {
            trial: parent.number,
            score: parent.score,
            diff: candidate_of(parent)
                .zip(own.as_ref())
                .map(|(parent, own)| Diff::of(&parent, own)),
        };
        Self {
            search: uuid_text(&status.id),
            metric: status.metric.clone(),
            trial: TrialView::from(trial),
            parents: parents.iter().map(parent).collect(),
            mutated: origin.mutated.map(|path| path.to_string()),
            predicted: origin
                .predicted
                .map(|(mean, deviation)| Predicted::of(status, trial, mean, deviation)),
            acquisition: origin.acquisition.filter(|_| !is_policy),
            probability: origin.acquisition.filter(|_| is_policy),
            expected_improvement: origin.improvement,
            rank: origin.rank,
            searcher: origin.searcher,
            method: origin.method,
        }
    }
}

impl Predicted {
    /// From a utility, of which more is better.
    fn of(status: &v1::SearchStatus, trial: &v1::Trial, mean: f64, deviation: f64) -> Self {
        let mean = if status.direction == "minimize" {
            -mean
        } else {
            mean
        };
        let error = trial.score.map(|score| score - mean);
        Self {
            mean,
            deviation,
            error,
            deviations: error
                .map(|error| error / deviation)
                .filter(|deviations| deviations.is_finite()),
        }
    }
}

fn text(report: &Report, trial: &v1::Trial) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut line = |key: &str, value: String| lines.push(format!("{key:<12} {value}"));
    let metric = clean(&report.metric, LONG_TEXT);
    let came = match trial.score {
        Some(score) => format!(", {metric} {}", metric_value(score)),
        None => String::new(),
    };
    let state = clean(&trial.state, LONG_TEXT);
    line("trial", format!("{}: {state}{came}", trial.number));
    if !trial.reason.is_empty() {
        line("reason", clean(&trial.reason, LONG_TEXT));
    }
    let (searcher, method) = (&report.searcher, &report.method);
    let by = if searcher == method {
        searcher.clone()
    } else {
        format!("{searcher}: {method}")
    };
    line("by", clean(&by, LONG_TEXT));
    if let Some(predicted) = &report.predicted {
        line("predicted", predicted_text(predicted, &metric));
    }
    if let Some(improvement) = report.expected_improvement {
        let text = format!(
            "the best of what looks good is better than the best {metric} so far by {} in the mean",
            metric_value(improvement)
        );
        line("expected", text);
    }
    if let Some(acquisition) = report.acquisition {
        line("acquisition", metric_value(acquisition));
    }
    if let Some(probability) = report.probability {
        line("probability", metric_value(probability));
    }
    if let Some(Rank { place, among }) = report.rank {
        line("rank", format!("{place} of {among} that were considered"));
    }
    for parent in &report.parents {
        lines.extend(parent_text(parent, report.mutated.as_deref(), &metric));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// `accuracy 0.8950 ± 0.0042; what came is 1.5 deviations above`.
fn predicted_text(predicted: &Predicted, metric: &str) -> String {
    let Predicted {
        mean, deviation, ..
    } = predicted;
    let mut text = format!(
        "{metric} {} ± {}",
        metric_value(*mean),
        metric_value(*deviation)
    );
    if let (Some(error), Some(deviations)) = (predicted.error, predicted.deviations) {
        let side = if error < 0.0 { "below" } else { "above" };
        text.push_str(&format!(
            "; what came is {:.1} deviations {side}",
            deviations.abs()
        ));
    }
    text
}

fn parent_text(parent: &Parent, mutated: Option<&str>, metric: &str) -> Vec<String> {
    let score = parent
        .score
        .map(|score| format!(", {metric} {}", metric_value(score)))
        .unwrap_or_default();
    let mut lines = vec![format!("{:<12} trial {}{score}", "parent", parent.trial)];
    let Some(diff) = &parent.diff else {
        return lines;
    };
    let mark = |path: &str| {
        if Some(path) == mutated {
            "  (mutated)"
        } else {
            ""
        }
    };
    let changed = diff.changed.iter().map(|(path, change)| {
        let path = path.to_string();
        format!("{path}  {} → {}{}", change.a, change.b, mark(&path))
    });
    let lost = diff
        .only_a
        .iter()
        .map(|(path, value)| format!("{path}  {value} → not active"));
    let gained = diff
        .only_b
        .iter()
        .map(|(path, value)| format!("{path}  not active → {value}"));
    // What a file holds must not command the terminal.
    let entries = changed.chain(lost).chain(gained);
    lines.extend(entries.map(|entry| format!("  {}", clean(&entry, LONG_TEXT))));
    if diff.is_empty() {
        lines.push("  no decision differs".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::render::samples::{completed, running};
    use super::*;

    fn report(trial: &v1::Trial, origin: &str, parents: &[v1::Trial]) -> Report {
        let trial = v1::Trial {
            origin_json: origin.to_owned(),
            ..trial.clone()
        };
        let origin = origin_of(&trial).unwrap();
        Report::of(&running(), &trial, origin, parents)
    }

    fn child() -> v1::Trial {
        v1::Trial {
            candidate_json: r#"{"network[0].channels":64,"network[1].body.times":2,"network[1].body#2.kernel":5}"#
                .to_owned(),
            ..completed(12, 0.9012)
        }
    }

    #[test]
    fn a_child_is_told_with_its_parent_and_what_changed() {
        let origin = r#"{"searcher":"evolution","method":"mutation","parents":[7],
                         "mutated":"network[0].channels"}"#;
        let report = report(&child(), origin, &[completed(7, 0.88)]);
        insta::assert_snapshot!(text(&report, &child()));
        insta::assert_json_snapshot!(report);
    }

    #[test]
    fn a_prediction_is_held_against_what_came() {
        let origin = r#"{"searcher":"bayesian","method":"expected improvement, best of 1200",
                         "predicted":[0.8951,0.0042],"acquisition":0.2121,"improvement":0.0031,
                         "rank":{"place":3,"among":1200}}"#;
        let report = report(&child(), origin, &[]);
        insta::assert_snapshot!(text(&report, &child()));
    }

    #[test]
    fn a_loss_is_predicted_as_a_loss_and_a_failed_trial_has_no_error() {
        let status = v1::SearchStatus {
            direction: "minimize".to_owned(),
            ..running()
        };
        let predicted = Predicted::of(&status, &completed(1, 0.25), -0.2, 0.1);
        assert_eq!((predicted.mean, predicted.error), (0.2, Some(0.25 - 0.2)));
        let failed = v1::Trial {
            score: None,
            ..completed(1, 0.0)
        };
        assert_eq!(Predicted::of(&status, &failed, -0.2, 0.1).error, None);
        assert_eq!(
            Predicted::of(&status, &completed(1, 0.25), -0.2, 0.0).deviations,
            None
        );
    }

    #[test]
    fn a_policy_tells_its_probability() {
        let origin = r#"{"searcher":"reinforce","method":"policy","acquisition":0.0000125}"#;
        let report = report(&child(), origin, &[]);
        insta::assert_snapshot!(text(&report, &child()));
        assert_eq!(
            (report.probability, report.acquisition),
            (Some(0.000_012_5), None)
        );
    }
}
