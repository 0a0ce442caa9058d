//! Changes one setting in the text of a spec, and leaves all else as its author wrote it, comments too. The result
//! is a text again: whether it is a spec, its reader says.

use super::yaml::{self, Kind, Node, Place, Text};

/// Why a setting cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text, or the value, is not YAML.
    #[error("{0}")]
    NotYaml(String),
    /// The key leads nowhere, or to what cannot be changed in its place.
    #[error("{key}: {problem}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// The text with another value under a key: one of the spec's own (`searcher`), or a path into what stands under it
/// (`budget.trials`). What is not there is added.
///
/// # Errors
/// [`EditError`]
pub fn set(text: &str, key: &str, value: &str) -> Result<String, EditError> {
    let value = value.trim();
    let wrong = |problem: &str| EditError::Key {
        key: key.to_owned(),
        problem: problem.to_owned(),
    };
    if value.contains('\n') {
        return Err(wrong(
            "the value is more than one line; write it as {…} or […]",
        ));
    }
    if yaml::parse(value, Text::Spec).is_err() {
        return Err(wrong("the value is not YAML"));
    }
    let steps: Vec<&str> = key.split('.').collect();
    let is_word = |step: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        !step.is_empty() && step.bytes().all(letter)
    };
    if !steps.iter().all(|step| is_word(step)) {
        return Err(wrong(
            "a key is words with points between them, as `budget.trials`",
        ));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root =
        yaml::parse(text, Text::Spec).map_err(|trouble| EditError::NotYaml(trouble.message))?;
    let Kind::Map(entries) = &root.kind else {
        return Err(wrong("the spec is no map"));
    };
    if is_flow(text, &root) {
        return Err(wrong(
            "the spec is written as one {…}; write a line for each key",
        ));
    }
    let found = entries.iter().position(|(known, _)| known.text == steps[0]);
    let Some(found) = found else {
        let (first, rest) = (steps[0], &steps[1..]);
        return Ok(appended(text, &format!("{first}: {}", nested(rest, value))));
    };
    if steps.len() > 1 {
        return within(text, &entries[found].1, &steps[1..], value).ok_or_else(|| {
            let first = steps[0];
            wrong(&format!(
                "there is no single value that could be changed in its place; give all of `{first}`"
            ))
        });
    }
    let from = offset(text, entries[found].0.place);
    let next = entries
        .get(found + 1)
        .map(|(key, _)| offset(text, key.place));
    let until = own_end(text, from, next.unwrap_or(text.len()));
    Ok(format!(
        "{}{}: {value}\n{}",
        &text[..from],
        steps[0],
        &text[until..]
    ))
}

/// `{a: {b: value}}` for the steps a, b.
fn nested(steps: &[&str], value: &str) -> String {
    match steps {
        [] => value.to_owned(),
        [first, rest @ ..] => format!("{{{first}: {}}}", nested(rest, value)),
    }
}

fn appended(text: &str, line: &str) -> String {
    let gap = if text.ends_with('\n') || text.is_empty() {
        ""
    } else {
        "\n"
    };
    format!("{text}{gap}{line}\n")
}

/// Changes or adds what is at the end of the steps.
fn within(text: &str, node: &Node<'_>, steps: &[&str], value: &str) -> Option<String> {
    let Kind::Map(entries) = &node.kind else {
        return None;
    };
    let (first, rest) = steps.split_first()?;
    let found = entries.iter().find(|(known, _)| known.text == *first);
    match (found, rest) {
        (Some((_, part)), []) => {
            let Kind::Scalar {
                text: written,
                plain: true,
            } = &part.kind
            else {
                return None;
            };
            let from = offset(text, part.place);
            let rest = text[from..].strip_prefix(written.as_ref())?;
            Some(format!("{}{value}{rest}", &text[..from]))
        }
        (Some((_, part)), rest) => within(text, part, rest, value),
        (None, rest) => {
            let setting = format!("{first}: {}", nested(rest, value));
            if is_flow(text, node) {
                let from = offset(text, node.place) + 1;
                let comma = if entries.is_empty() { "" } else { ", " };
                return Some(format!(
                    "{}{setting}{comma}{}",
                    &text[..from],
                    &text[from..]
                ));
            }
            let (key, _) = entries.first()?;
            let from = offset(text, key.place);
            let indent = " ".repeat((key.place.column as usize).saturating_sub(1));
            Some(format!(
                "{}{setting}\n{indent}{}",
                &text[..from],
                &text[from..]
            ))
        }
    }
}

/// Where what belongs to a key ends: blank lines and comments before the next key are that one's.
fn own_end(text: &str, from: usize, next: usize) -> usize {
    let mut end = from;
    let mut at = from;
    for line in text[from..next].split_inclusive('\n') {
        at += line.len();
        let content = line.trim();
        if !content.is_empty() && !content.starts_with('#') {
            end = at;
        }
    }
    end
}

fn is_flow(text: &str, node: &Node<'_>) -> bool {
    text[offset(text, node.place)..].starts_with('{')
}

/// The byte at a place.
fn offset(text: &str, place: Place) -> usize {
    let mut before = 0;
    let lines = text.split_inclusive('\n');
    for (number, line) in (1_u32..).zip(lines) {
        if number == place.line {
            let columns = place.column.saturating_sub(1) as usize;
            let within = line.char_indices().nth(columns);
            return before + within.map_or(line.len(), |(byte, _)| byte);
        }
        before += line.len();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "\
# A search.
name: some   # its name
hyperparameters:
  x: {range: [0.0, 1.0]}   # one
  y: {choice: [1, 2]}

# What proposes.
searcher:
  evolution:
    population: 10
budget: {trials: 24, time: 10m}
";

    #[test]
    fn a_setting_is_changed_in_its_place_and_the_rest_stays_as_it_was() {
        let changed = set(SPEC, "searcher", "bayesian").unwrap();
        let (before, after) = SPEC.split_at(SPEC.find("searcher:").unwrap());
        let rest = &after[after.find("budget").unwrap()..];
        assert_eq!(changed, format!("{before}searcher: bayesian\n{rest}"));
        let changed = set(SPEC, "budget.trials", "200").unwrap();
        assert_eq!(changed, SPEC.replace("trials: 24", "trials: 200"));
        let changed = set(SPEC, "searcher.evolution.population", "5").unwrap();
        assert_eq!(changed, SPEC.replace("population: 10", "population: 5"));
        let changed = set(SPEC, "name", "other").unwrap();
        assert_eq!(changed, SPEC.replace("some   # its name", "other"));
    }

    #[test]
    fn a_setting_that_is_not_there_is_added() {
        assert_eq!(set(SPEC, "seed", "7").unwrap(), format!("{SPEC}seed: 7\n"));
        let changed = set(SPEC, "budget.patience", "9").unwrap();
        assert_eq!(changed, SPEC.replace("{trials", "{patience: 9, trials"));
        let changed = set(SPEC, "searcher.evolution.tournament", "3").unwrap();
        let both = "    tournament: 3\n    population: 10";
        assert_eq!(changed, SPEC.replace("    population: 10", both));
        let changed = set(SPEC, "training.optimizer.sgd.learning_rate", "0.1").unwrap();
        let added = "training: {optimizer: {sgd: {learning_rate: 0.1}}}\n";
        assert_eq!(changed, format!("{SPEC}{added}"));
    }

    #[test]
    fn what_cannot_be_changed_in_its_place_says_so() {
        for (key, value, words) in [
            ("budget.trials", "[1", "not YAML"),
            ("budget.trials", "1\nname: x", "more than one line"),
            ("budget..trials", "1", "words with points"),
            (
                "hyperparameters.x.range",
                "[0.0, 2.0]",
                "give all of `hyperparameters`",
            ),
            ("name.first", "x", "give all of `name`"),
        ] {
            let error = set(SPEC, key, value).unwrap_err().to_string();
            assert!(error.contains(words), "{key}: {error}");
        }
        assert!(
            set("{name: x}", "name", "y")
                .unwrap_err()
                .to_string()
                .contains("one {…}")
        );
        assert!(set("- a", "name", "y").is_err() && set("a: [", "name", "y").is_err());
    }
}
