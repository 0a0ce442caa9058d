//! Tables and status texts for people.

use std::collections::HashMap;
use std::fmt::Write as _;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use espalier_common::candidate::Candidate;
use espalier_proto::v1;

use super::words::{best_score, clean, duration, metric_value, quantity, seconds, utc};
use super::{short_decisions, short_id, uuid_text};

/// Characters of a text from outside (a reason, decisions) when no terminal's width bounds the table.
const LONG_TEXT: usize = 120;
/// Characters of a candidate's decisions.
const DECISIONS: usize = 240;
/// Columns of a terminal below which a table is not fitted to it: its numbers alone need more, and a
/// terminal of no known size says 0.
const NARROWEST: u16 = 80;
/// Characters of a name.
const NAME: usize = 40;
/// Before the reason why a search that runs has no more slots: all may be well with it.
const COULD_RUN_MORE: &str = "could run more: ";
/// Rows of workers' jobs that are spelled out.
const HELD: usize = 8;

/// A table without frames: easy to read, and to take apart with awk.
pub(in crate::cli) fn table(width: Option<u16>, header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .force_no_tty()
        .load_style(presets::NOTHING)
        .set_header(header.iter().map(|&title| title.to_owned()));
    if let Some(width) = width.filter(|&width| width >= NARROWEST) {
        table
            .set_width(width)
            .set_content_arrangement(ContentArrangement::Dynamic);
        // The last column holds the long texts: it alone is broken into lines.
        for index in 0..header.len() - 1 {
            if let Some(column) = table.column_mut(index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
    for &index in right {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 1));
    }
    table
}

/// Its text.
pub(in crate::cli) fn finish(table: &Table) -> String {
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

fn optional<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// All searches.
pub(in crate::cli) fn searches_table(searches: &[v1::SearchStatus], width: Option<u16>) -> String {
    let header = [
        "ID",
        "NAME",
        "PHASE",
        "TRIALS",
        "RUNNING",
        "FAILED",
        "BEST",
        "CREATED (UTC)",
    ];
    let mut table = table(width, &header, &[3, 4, 5]);
    for search in searches {
        let counts = search.counts.unwrap_or_default();
        table.add_row([
            short_id(&search.id),
            clean(&search.name, NAME),
            search.phase.clone(),
            trials_of(search),
            counts.running.to_string(),
            counts.failed.to_string(),
            best_score(search).unwrap_or_else(|| "-".to_owned()),
            utc(search.created_ms),
        ]);
    }
    finish(&table)
}

/// Ended trials of the budget, which counts none that was reused: `12/24`.
fn trials_of(search: &v1::SearchStatus) -> String {
    let counts = search.counts.unwrap_or_default();
    let ended = charged(&counts);
    match search.budget.unwrap_or_default().trials {
        Some(budget) => format!("{ended}/{budget}"),
        None => ended.to_string(),
    }
}

/// Trials that ended and that a budget counts.
pub(in crate::cli) fn charged(counts: &v1::Counts) -> u32 {
    let ended = counts.completed.saturating_add(counts.failed);
    ended.saturating_sub(counts.reused)
}

/// One search, a line for each thing to know.
pub(in crate::cli) fn status_text(status: &v1::SearchStatus, waiting: Option<&str>) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{key:<10} {value}");
    };
    line("search", &clean(&status.name, LONG_TEXT));
    line("id", &uuid_text(&status.id));
    line("phase", &phase_text(status));
    // Of a paused search the phase says why.
    let waiting = waiting.filter(|waiting| !phase_text(status).starts_with(*waiting));
    if let Some(waiting) = waiting {
        let running = status.counts.is_some_and(|counts| counts.running > 0);
        let more = if running { COULD_RUN_MORE } else { "" };
        line(
            "waiting",
            &format!("{more}{}", clean(waiting, LONG_TEXT * 4)),
        );
    }
    line("trials", &counts_text(status));
    if let Some(best) = best_score(status) {
        line("best", &best);
    }
    if !status.test_metrics.is_empty() {
        line("test", &metrics_text(&status.test_metrics));
    }
    if !status.best_weights.is_empty() {
        line("weights", &clean(&status.best_weights, LONG_TEXT));
    }
    line("budget", &budget_text(status));
    if let Some(share) = share_text(status) {
        line("share", &share);
    }
    line(
        "by",
        &format!(
            "searcher {}, evaluator {}",
            clean(&status.searcher, NAME),
            clean(&status.evaluator, NAME)
        ),
    );
    line(
        "time",
        &format!(
            "{} running, {} of compute",
            duration(status.elapsed_ms),
            seconds(status.compute_seconds)
        ),
    );
    line("created", &format!("{} UTC", utc(status.created_ms)));
    text
}

/// The phase and its reason.
pub(in crate::cli) fn phase_text(status: &v1::SearchStatus) -> String {
    let reason = clean(&status.reason, LONG_TEXT * 4);
    if reason.is_empty() {
        status.phase.clone()
    } else if reason.starts_with(&status.phase) {
        // `paused by the user` says both.
        reason
    } else {
        format!("{}: {reason}", status.phase)
    }
}

/// One search on one line, after a command has changed it.
pub(in crate::cli) fn status_line(status: &v1::SearchStatus) -> String {
    format!(
        "{} {}: {}, {} trials{}",
        short_id(&status.id),
        clean(&status.name, NAME),
        phase_text(status),
        trials_of(status),
        best_score(status)
            .map(|best| format!(", best {best}"))
            .unwrap_or_default()
    )
}

/// The trials by state.
pub(in crate::cli) fn counts_text(status: &v1::SearchStatus) -> String {
    let counts = status.counts.unwrap_or_default();
    let parts = [
        (counts.completed, "completed"),
        (counts.failed, "failed"),
        (counts.running, "running"),
        (counts.queued, "queued"),
        (counts.cancelled, "cancelled"),
        (counts.infeasible, "infeasible"),
    ];
    let mut text = parts
        .into_iter()
        .filter(|&(count, word)| count > 0 || word == "completed")
        .map(|(count, word)| match counts.reused {
            reused if reused > 0 && word == "completed" => {
                format!("{count} {word} ({reused} reused)")
            }
            _ => format!("{count} {word}"),
        })
        .collect::<Vec<_>>()
        .join(", ");
    let plural = |count| if count == 1 { "" } else { "s" };
    let (attempts, duplicates) = (counts.attempts, counts.duplicates);
    let _ = write!(text, "; {attempts} attempt{}", plural(attempts));
    if duplicates > 0 {
        let _ = write!(
            text,
            ", {duplicates} duplicate{} proposed",
            plural(duplicates)
        );
    }
    text
}

fn budget_text(status: &v1::SearchStatus) -> String {
    let budget = status.budget.unwrap_or_default();
    let parts = [
        budget.trials.map(|trials| format!("{trials} trials")),
        budget.time_ms.map(duration),
        budget
            .target
            .map(|target| format!("target {} {}", status.metric, metric_value(target))),
        budget
            .patience
            .map(|patience| format!("patience {patience}")),
        budget
            .compute_ms
            .map(|compute| format!("{} of compute", duration(compute))),
        budget
            .expected_improvement
            .map(|least| format!("expected improvement {}", metric_value(least))),
        budget
            .deadline_ms
            .map(|deadline| format!("until {} UTC", utc(deadline))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How much of the workers it may have, when that is not all.
fn share_text(status: &v1::SearchStatus) -> Option<String> {
    let parallel = status.parallel;
    let parallel = parallel.map(|limit| format!("at most {limit} at one time"));
    let weight = Some(status.weight).filter(|weight| *weight > 1);
    let weight = weight.map(|weight| format!("weight {weight}"));
    let parts: Vec<String> = parallel.into_iter().chain(weight).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Why attempts failed.
pub(in crate::cli) fn failures_table(groups: &[v1::FailureGroup], width: Option<u16>) -> String {
    let header = [
        "ATTEMPTS",
        "FAULT OF",
        "KIND",
        "TRIALS",
        "WORKERS",
        "LAST (UTC)",
        "LAST LINE",
    ];
    let mut table = table(width, &header, &[0]);
    for group in groups {
        table.add_row([
            group.attempts.to_string(),
            clean(&group.domain, NAME),
            clean(&group.kind, NAME),
            some_of(group.trials.iter(), group.trial_count as usize),
            some_of(
                group.workers.iter().map(|name| clean(name, NAME)),
                group.workers.len(),
            ),
            utc(group.last_ms),
            clean(&group.last_line, LONG_TEXT),
        ]);
    }
    finish(&table)
}

/// The first few of a list, and how many more there are.
fn some_of(items: impl Iterator<Item = impl ToString>, count: usize) -> String {
    let shown: Vec<String> = items.take(HELD).map(|item| item.to_string()).collect();
    let more = count.saturating_sub(shown.len());
    let mut text = shown.join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// Who changed what, and when.
pub(in crate::cli) fn wishes_table(wishes: &[v1::Wish], width: Option<u16>) -> String {
    let mut table = table(width, &["TIME (UTC)", "WHO", "WHAT"], &[]);
    for wish in wishes {
        let by = if wish.by.is_empty() {
            "-".to_owned()
        } else {
            clean(&wish.by, LONG_TEXT)
        };
        table.add_row([utc(wish.time_ms), by, clean(&wish.wish, LONG_TEXT)]);
    }
    finish(&table)
}

/// Metrics as `accuracy 0.8812, loss 0.3312`.
pub(in crate::cli) fn metrics_text(metrics: &[v1::Metric]) -> String {
    metrics
        .iter()
        .map(|metric| {
            format!(
                "{} {}",
                clean(&metric.name, NAME),
                metric_value(metric.value)
            )
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// Trials of any state.
pub(in crate::cli) fn trials_table(trials: &[v1::Trial], width: Option<u16>) -> String {
    let header = [
        "TRIAL",
        "STATE",
        "SCORE",
        "STEP",
        "PARAMETERS",
        "MACS",
        "TIME",
        "ATTEMPTS",
        "WORKER",
        "DECISIONS OR REASON",
    ];
    let mut table = table(width, &header, &[0, 2, 3, 4, 5, 6, 7]);
    for trial in trials {
        let last = if trial.reason.is_empty() {
            decisions(trial)
        } else {
            clean(&trial.reason, LONG_TEXT)
        };
        table.add_row([
            trial.number.to_string(),
            trial.state.clone(),
            optional(trial.score, metric_value),
            trial.step.to_string(),
            optional(trial.parameters, quantity),
            optional(trial.macs, quantity),
            seconds(trial.seconds),
            trial.attempts.to_string(),
            clean(&trial.worker, NAME),
            last,
        ]);
    }
    finish(&table)
}

/// The best trials, the best first; `metric` heads the column of scores.
pub(in crate::cli) fn best_table(trials: &[v1::Trial], metric: &str, width: Option<u16>) -> String {
    let metric = format!("VALIDATION {}", clean(metric, NAME).to_uppercase());
    let header = ["RANK", "TRIAL", &metric, "PARAMETERS", "MACS", "DECISIONS"];
    let mut table = table(width, &header, &[0, 1, 2, 3, 4]);
    for (rank, trial) in (1_u32..).zip(trials) {
        table.add_row([
            rank.to_string(),
            trial.number.to_string(),
            optional(trial.score, metric_value),
            optional(trial.parameters, quantity),
            optional(trial.macs, quantity),
            decisions(trial),
        ]);
    }
    finish(&table)
}

fn decisions(trial: &v1::Trial) -> String {
    match serde_json::from_str::<Candidate>(&trial.candidate_json) {
        Ok(candidate) => short_decisions(&candidate, DECISIONS),
        Err(_) => clean(&trial.candidate_json, LONG_TEXT),
    }
}

/// The cluster: workers, then why searches wait. `name` gives the name of a search.
pub(in crate::cli) fn cluster_text(
    cluster: &v1::ClusterStatus,
    name: impl Fn(&[u8]) -> Option<String>,
    width: Option<u16>,
) -> String {
    let named = |id: &[u8]| match name(id) {
        Some(name) => clean(&name, NAME),
        None => short_id(id),
    };
    let mut text = format!(
        "cluster {}, coordinator {}: {}, {} of {} slots busy\n",
        short_id(&cluster.cluster),
        clean(&cluster.version, NAME),
        workers_text(cluster.workers.len()),
        cluster.busy,
        cluster.slots
    );
    if !cluster.workers.is_empty() {
        let header = [
            "WORKER",
            "DEVICE",
            "SLOTS",
            "SEEN",
            "RUNS",
            "EVALUATORS",
            "LABELS",
            "LACKS DATA",
        ];
        let mut table = table(width, &header, &[]);
        for worker in &cluster.workers {
            table.add_row([
                clean(&worker.name, NAME),
                clean(&worker.device, NAME),
                format!("{}/{}", worker.held.len(), worker.slots),
                format!("{} ago", duration(worker.last_seen_ms_ago)),
                held_text(&worker.held, &named),
                clean(&worker.evaluators.join(", "), LONG_TEXT),
                labels_text(&worker.labels),
                missing_text(&worker.missing_datasets),
            ]);
        }
        text.push('\n');
        text.push_str(&finish(&table));
    }
    for waiting in &cluster.waiting {
        let mut held = cluster.workers.iter().flat_map(|worker| &worker.held);
        let waits = if held.any(|attempt| attempt.search == waiting.search) {
            COULD_RUN_MORE
        } else {
            "waits: "
        };
        let reason = clean(&waiting.reason, LONG_TEXT * 4);
        let _ = writeln!(text, "\n{} {waits}{reason}", named(&waiting.search));
    }
    text
}

fn workers_text(count: usize) -> String {
    match count {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    }
}

fn held_text(held: &[v1::Attempt], named: &impl Fn(&[u8]) -> String) -> String {
    if held.is_empty() {
        return "-".to_owned();
    }
    let mut parts: Vec<String> = held
        .iter()
        .take(HELD)
        .map(|attempt| format!("{} #{}", named(&attempt.search), attempt.trial))
        .collect();
    if held.len() > HELD {
        parts.push(format!("and {} more", held.len() - HELD));
    }
    parts.join(", ")
}

fn labels_text(labels: &HashMap<String, String>) -> String {
    if labels.is_empty() {
        return "-".to_owned();
    }
    let mut pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.sort();
    clean(&pairs.join(", "), LONG_TEXT)
}

fn missing_text(fingerprints: &[String]) -> String {
    if fingerprints.is_empty() {
        return "-".to_owned();
    }
    fingerprints
        .iter()
        .map(|fingerprint| fingerprint.chars().take(12).collect())
        .collect::<Vec<String>>()
        .join(", ")
}
