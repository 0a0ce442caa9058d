//! The decisions of a candidate on one line.

use std::collections::BTreeMap;

use espalier_common::candidate::{Candidate, Value};

/// The decisions as `times=2 stem.kernel=5 learning_rate=0.031`, each path cut to the shortest ending that
/// no other path of the candidate shares, the line cut to `most` characters.
pub(in crate::cli) fn short_decisions(candidate: &Candidate, most: usize) -> String {
    let paths: Vec<&str> = candidate.0.keys().map(|path| path.0.as_str()).collect();
    let names = short_names(&paths);
    let line = names
        .into_iter()
        .zip(candidate.0.values())
        .map(|(name, value)| format!("{name}={}", short_value(value)))
        .collect::<Vec<_>>()
        .join(" ");
    super::clean(&line, most)
}

/// The parts of a path but `choice`, which is in every path through one: `narrow=pooled` says it all.
fn components(path: &str) -> Vec<&str> {
    path.split('.').filter(|&part| part != "choice").collect()
}

/// For each path its shortest ending that is unlike those of all others. Counted once per length, so the
/// work is in the number of parts and not in its square.
fn short_names(full: &[&str]) -> Vec<String> {
    let paths: Vec<Vec<&str>> = full.iter().map(|path| components(path)).collect();
    let ending = |path: &[&str], length: usize| path[path.len().saturating_sub(length)..].join(".");
    let longest = paths.iter().map(Vec::len).max().unwrap_or(0);
    let mut names: Vec<Option<String>> = vec![None; paths.len()];
    for length in 1..=longest {
        let mut shared: BTreeMap<String, u32> = BTreeMap::new();
        for path in &paths {
            *shared.entry(ending(path, length)).or_default() += 1;
        }
        for (path, name) in paths.iter().zip(&mut names) {
            let candidate = ending(path, length);
            if name.is_none() && !candidate.is_empty() && shared.get(&candidate) == Some(&1) {
                *name = Some(candidate);
            }
        }
        if names.iter().all(Option::is_some) {
            break;
        }
    }
    names
        .into_iter()
        .zip(full)
        .map(|(name, &path)| name.unwrap_or_else(|| path.to_owned()))
        .collect()
}

fn short_value(value: &Value) -> String {
    match value {
        Value::Real(value) => {
            let size = value.abs();
            if *value == 0.0 || (1e-3..1e4).contains(&size) {
                // Three digits, without zeros at the end.
                let digits = 2_i32.saturating_sub(size.max(1e-9).log10().floor() as i32);
                let text = format!("{value:.*}", usize::try_from(digits).unwrap_or(0));
                if text.contains('.') {
                    text.trim_end_matches('0').trim_end_matches('.').to_owned()
                } else {
                    text
                }
            } else {
                format!("{value:.2e}")
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(json: &str) -> Candidate {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn paths_are_cut_to_the_shortest_ending_that_tells_them_apart() {
        let candidate = candidate(
            r#"{"network.body#1[0].choice": "separable",
                "network.body#1[0].choice.separable[0].kernel": 5,
                "network.body.times": 1,
                "network.narrow.choice": "pooled",
                "network.stem.channels": 24,
                "network.stem.kernel": 3,
                "network[11].optional": false,
                "network[2].choice": "silu",
                "training.optimizer.sgd.learning_rate": 0.031234567}"#,
        );
        assert_eq!(
            short_decisions(&candidate, 200),
            "body#1[0]=separable separable[0].kernel=5 times=1 narrow=pooled channels=24 stem.kernel=3 \
             optional=false network[2]=silu learning_rate=0.0312"
        );
    }

    #[test]
    fn a_path_that_ends_another_is_written_in_full() {
        let candidate = candidate(r#"{"rate": 1, "a.rate": 2, "choice": "x"}"#);
        assert_eq!(short_decisions(&candidate, 200), "a.rate=2 choice=x rate=1");
    }

    #[test]
    fn real_values_have_three_digits() {
        let text = |value| short_value(&Value::Real(value));
        assert_eq!(text(0.25), "0.25");
        assert_eq!(text(0.012345), "0.0123");
        assert_eq!(text(123.456), "123");
        assert_eq!(text(0.0), "0");
        assert_eq!(text(0.000_012_34), "1.23e-5");
        assert_eq!(text(-0.5), "-0.5");
        assert_eq!(text(100.0), "100");
    }

    #[test]
    fn a_long_line_is_cut() {
        let candidate = candidate(r#"{"first": "one", "second": "two"}"#);
        assert_eq!(short_decisions(&candidate, 12), "first=one s…");
    }
}
