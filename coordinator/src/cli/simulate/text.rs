//! The report for people: tables, and differences in sentences. May import the tables of the other commands.

use std::fmt::Write as _;

use super::super::output::table_width;
use super::super::render::{clean, finish, metric_value, seconds, table};
use super::differences::Difference;
use super::report::{CheckpointReport, Comparison, Report, SearcherReport, TargetReport};
use super::summary::{Ends, Summary};

/// Characters of a name or a path.
const NAME: usize = 60;
/// Characters of a reason.
const REASON: usize = 400;

pub(super) fn text(report: &Report) -> String {
    let mut text = heading(report);
    text.push_str(&validation(report));
    if report.table.best_test.is_some() {
        text.push_str(&test(report));
    }
    text.push_str(&targets(report));
    text.push_str(&work(report));
    text.push_str(&sentences(report));
    text.push_str(&remarks(report));
    text
}

fn plural(count: impl Into<u64>, word: &str) -> String {
    let end = if word.ends_with("ch") { "es" } else { "s" };
    match count.into() {
        1 => format!("1 {word}"),
        count => format!("{count} {word}{end}"),
    }
}

fn heading(report: &Report) -> String {
    let cluster = &report.cluster;
    let mut workers = plural(cluster.workers, "worker");
    if cluster.speed_spread > 1.0 {
        let _ = write!(
            workers,
            ", the slowest {} times as slow as the fastest",
            cluster.speed_spread
        );
    }
    if cluster.failure_rate > 0.0 {
        let _ = write!(
            workers,
            ", {} of attempts lost",
            percent(cluster.failure_rate)
        );
    }
    let seeds = match report.seeds {
        1 => format!("seed {}", report.first_seed),
        seeds => format!("{seeds} seeds from {}", report.first_seed),
    };
    let metric = clean(&report.metric, NAME);
    let best = metric_value(report.table.best_score);
    let test = report.table.best_test.map_or_else(String::new, |test| {
        format!(", the best {} {}", report.test_metric(), metric_value(test))
    });
    let notes = report.notes.iter();
    let notes: String = notes
        .map(|note| format!("{:<10} {}\n", "note", clean(note, REASON)))
        .collect();
    format!(
        "{:<10} {}: {}, {workers}, {seeds}\n{:<10} {}, {}; the best {metric} {best}{test}\n{notes}",
        "search",
        clean(&report.search, NAME),
        plural(report.trials, "trial"),
        "table",
        clean(&report.table.path, NAME),
        plural(report.table.rows, "row"),
    )
}

/// Rows for each checkpoint and searcher.
fn by_checkpoint(
    report: &Report,
    header: &[&str],
    row: impl Fn(&CheckpointReport) -> Vec<String>,
) -> String {
    let right: Vec<usize> = (2..header.len()).chain([0]).collect();
    let mut all = table(table_width(), header, &right);
    let checkpoints = report
        .searchers
        .first()
        .map_or(0, |one| one.checkpoints.len());
    for place in 0..checkpoints {
        for (number, one) in report.searchers.iter().enumerate() {
            let Some(checkpoint) = one.checkpoints.get(place) else {
                continue;
            };
            // Said once for all searchers.
            let after = match number {
                0 => checkpoint.evaluations.to_string(),
                _ => String::new(),
            };
            let mut cells = vec![after, clean(&one.searcher, NAME)];
            cells.extend(row(checkpoint));
            all.add_row(cells);
        }
    }
    finish(&all)
}

fn validation(report: &Report) -> String {
    let best = format!("BEST {}", clean(&report.metric, NAME).to_uppercase());
    let header = ["AFTER", "SEARCHER", &best, "REGRET", "MEAN REGRET"];
    let rows = by_checkpoint(report, &header, |at| {
        vec![
            quartiles(&at.best, or_none(metric_value)),
            quartiles(&at.regret, or_none(number)),
            with_interval(at.regret.mean, at.regret.mean_interval, or_none(number)),
        ]
    });
    format!(
        "\nThe best so far, and its regret: how far it is from the best of the table; median (quartiles), \
         mean (95% interval)\n\n{rows}"
    )
}

fn test(report: &Report) -> String {
    let metric = clean(&report.test_metric(), NAME).to_uppercase();
    let header = [
        "AFTER",
        "SEARCHER",
        &metric,
        "TEST REGRET",
        "MEAN TEST REGRET",
    ];
    let rows = by_checkpoint(report, &header, |at| {
        let (Some(test), Some(regret)) = (&at.test, &at.test_regret) else {
            return Vec::new();
        };
        vec![
            quartiles(test, or_none(metric_value)),
            quartiles(regret, or_none(number)),
            with_interval(regret.mean, regret.mean_interval, or_none(number)),
        ]
    });
    format!("\nOn test, the same candidates: the best on validation\n\n{rows}")
}

fn targets(report: &Report) -> String {
    let header = [
        "REGRET",
        "SEARCHER",
        "REACHED BY",
        "EVALUATIONS",
        "MEDIAN, 95%",
        "TIME",
    ];
    let mut all = table(table_width(), &header, &[0, 2, 3, 4, 5]);
    let count = report.searchers.first().map_or(0, |one| one.targets.len());
    for place in 0..count {
        for (number, one) in report.searchers.iter().enumerate() {
            let Some(target) = one.targets.get(place) else {
                continue;
            };
            let heading = match number {
                0 => target_text(target.regret),
                _ => String::new(),
            };
            all.add_row(target_row(report, one, target, heading));
        }
    }
    format!(
        "\nUntil the regret is as small: evaluations and virtual time, median (quartiles); `>` and `never` \
         where a search ended before\n\n{}",
        finish(&all)
    )
}

fn target_row(
    report: &Report,
    one: &SearcherReport,
    target: &TargetReport,
    heading: String,
) -> Vec<String> {
    let most = report.trials;
    let count = |value: f64| {
        if value.is_finite() {
            number(value)
        } else {
            format!(">{most}")
        }
    };
    let time = |value: f64| {
        if value.is_finite() {
            seconds(value)
        } else {
            "never".to_owned()
        }
    };
    let interval = target.evaluations.median_interval;
    vec![
        heading,
        clean(&one.searcher, NAME),
        percent(target.reached),
        quartiles(&target.evaluations, count),
        interval.map_or_else(
            || "-".to_owned(),
            |Ends { low, high }| match low.is_infinite() {
                true => count(low),
                false => format!("{}–{}", count(low), count(high)),
            },
        ),
        quartiles(&target.seconds, time),
    ]
}

fn target_text(regret: f64) -> String {
    match regret {
        0.0 => "0".to_owned(),
        regret => format!("≤ {}", number(regret)),
    }
}

fn work(report: &Report) -> String {
    let header = [
        "SEARCHER",
        "EVALUATIONS",
        "FAILED",
        "INFEASIBLE",
        "DUPLICATES",
        "LOST",
        "BUSY",
        "TIME",
        "ASK+TELL P50",
        "P99",
    ];
    let right: Vec<usize> = (1..header.len()).collect();
    let mut all = table(table_width(), &header, &right);
    for one in &report.searchers {
        let think = one.thinking_ms;
        let milliseconds =
            |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.3} ms"));
        all.add_row([
            clean(&one.searcher, NAME),
            number(one.evaluations.mean),
            number(one.failed.mean),
            number(one.infeasible.mean),
            number(one.duplicates.mean),
            number(one.lost_attempts.mean),
            percent(one.busy.mean),
            quartiles(&one.seconds, seconds),
            milliseconds(think.map(|think| think.p50)),
            milliseconds(think.map(|think| think.p99)),
        ]);
    }
    format!(
        "\nOf a search: means, the share of the time that workers were busy, virtual time; and the searcher's \
         own time on this machine\n\n{}",
        finish(&all)
    )
}

/// Which searchers differ: after the last checkpoint, and until each target.
fn sentences(report: &Report) -> String {
    let last = report.comparisons.iter().filter_map(|one| one.after).max();
    let mut text = String::new();
    for comparison in &report.comparisons {
        let respect = match (comparison.after, comparison.until) {
            (Some(at), _) if Some(at) == last => format!("By the regret after {at} evaluations"),
            (None, Some(target)) => {
                format!(
                    "By the evaluations until the regret is {}",
                    target_text(target)
                )
            }
            _ => continue,
        };
        let names: Vec<String> = report
            .searchers
            .iter()
            .map(|one| clean(&one.searcher, NAME))
            .collect();
        let lines = differences_text(comparison, &names);
        let _ = write!(text, "\n{respect}:\n{lines}");
    }
    if !text.is_empty() {
        text.push_str(
            "\n(p: the probability of such a difference by chance, Mann-Whitney, corrected by Holm for all pairs; \
             %: of pairs of searches)\n",
        );
    }
    text
}

fn differences_text(comparison: &Comparison, names: &[String]) -> String {
    let all = &comparison.differences;
    if all.iter().all(|one| one.p.is_none()) {
        return "  too few searches to say whether searchers differ; at least 8 --seeds are needed\n"
            .to_owned();
    }
    let mut text = String::new();
    for (place, name) in names.iter().enumerate() {
        let beaten = all
            .iter()
            .filter(|one| one.better == place && one.is_significant());
        let beaten: Vec<String> = beaten.map(|one| beaten_text(one, names)).collect();
        if !beaten.is_empty() {
            let _ = writeln!(text, "  {name} is better than {}", list(&beaten, "and"));
        }
    }
    for (place, name) in names.iter().enumerate() {
        let open = all
            .iter()
            .filter(|one| one.better == place && !one.is_significant());
        let open: Vec<String> = open
            .map(|one| {
                let p = one
                    .p
                    .map_or_else(String::new, |p| format!(" ({})", p_text(p)));
                format!("{}{p}", names[one.worse])
            })
            .collect();
        if !open.is_empty() {
            let others = list(&open, "or");
            let _ = writeln!(text, "  no difference is shown between {name} and {others}");
        }
    }
    text
}

fn beaten_text(one: &Difference, names: &[String]) -> String {
    let p = one
        .p
        .map_or_else(String::new, |p| format!("{}, ", p_text(p)));
    format!("{} ({p}{})", names[one.worse], percent(one.wins))
}

fn p_text(p: f64) -> String {
    if p < 0.001 {
        "p < 0.001".to_owned()
    } else {
        format!("p = {p:.3}")
    }
}

fn list(parts: &[String], word: &str) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} {word} {last}", before.join(", ")),
    }
}

/// What was out of the ordinary.
fn remarks(report: &Report) -> String {
    let mut text = String::new();
    for one in &report.searchers {
        let name = clean(&one.searcher, NAME);
        let usual = "the budget of trials is used up";
        for (how, count) in one.ended.iter().filter(|(how, _)| how.as_str() != usual) {
            let searches = plural(*count as u64, "search");
            let _ = writeln!(
                text,
                "{name}: {searches} ended early: {}",
                clean(how, REASON)
            );
        }
        if let Some(why) = &one.first_failure {
            let _ = writeln!(
                text,
                "{name}: {} failed; the first: {}",
                plural(
                    (one.failed.mean * one.searches as f64).round() as u64,
                    "evaluation"
                ),
                clean(why, REASON)
            );
        }
    }
    if text.is_empty() {
        text
    } else {
        format!("\n{text}")
    }
}

/// A median with its quartiles; infinite ones, which there are not, as `show` has it, said once where all are.
fn quartiles(summary: &Summary, show: impl Fn(f64) -> String) -> String {
    let Summary {
        median,
        lower_quartile: low,
        upper_quartile: high,
        ..
    } = *summary;
    if median.is_nan() || low.is_infinite() {
        return show(f64::INFINITY);
    }
    format!("{} ({}–{})", show(median), show(low), show(high))
}

fn with_interval(value: f64, ends: Option<Ends>, show: impl Fn(f64) -> String) -> String {
    match ends {
        Some(Ends { low, high }) => format!("{} ({}–{})", show(value), show(low), show(high)),
        None => show(value),
    }
}

/// A number that there may be none of yet.
fn or_none(show: impl Fn(f64) -> String) -> impl Fn(f64) -> String {
    move |value| {
        if value.is_finite() {
            show(value)
        } else {
            "none".to_owned()
        }
    }
}

fn percent(share: f64) -> String {
    format!("{}%", number((share * 1_000.0).round() / 10.0))
}

/// Three digits that count, without an exponent where that is short: 12.3, 0.583, 0.0021.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if !(1e-4..1e7).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = (2 - size.log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.583_44, "0.583"),
            (0.0021, "0.0021"),
            (12.345, "12.3"),
            (200.0, "200"),
            (12_345.6, "12346"),
            (99.94, "99.9"),
            (1.5e-7, "1.50e-7"),
            (f64::INFINITY, "-"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(percent(0.1234), "12.3%");
        assert_eq!(percent(1.0), "100%");
    }

    #[test]
    fn lists_are_read_aloud() {
        let parts = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        assert_eq!(list(&parts, "and"), "a, b and c");
        assert_eq!(list(&parts[..1], "or"), "a");
    }
}
