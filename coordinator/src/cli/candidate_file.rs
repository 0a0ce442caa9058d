//! Candidates on disk: `candidate.json` of a run, the output of `sample` and of `trials`, or decisions alone.
//! What is in such a file is looked at as closely as a spec. May import the words of the space and serde.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use espalier_common::candidate::Candidate;
use espalier_common::network::Network;
use serde_json::Value;

use super::error::CliError;

/// The largest file of candidates that is read: a hundred thousand of them.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Stands for standard input.
const STDIN: &str = "-";

/// A candidate from a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CandidateFile {
    /// What the user called it.
    pub(super) name: String,
    /// What it decides.
    pub(super) decisions: Candidate,
    /// Its network, if the file holds that.
    pub(super) network: Option<Network>,
    /// The search that it is of, if the file says so.
    pub(super) search: Option<String>,
    /// Its number in that search or sample.
    pub(super) number: Option<u64>,
    /// Parameters of its network, as the file says.
    pub(super) parameters: Option<u64>,
    /// MACs of its network, as the file says.
    pub(super) macs: Option<u64>,
    /// Identity of its network, as the file says.
    pub(super) network_id: Option<String>,
}

/// Which candidate of which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    file: PathBuf,
    number: Option<u64>,
    name: String,
}

impl Place {
    /// Whether a user who writes this means a candidate rather than a spec.
    pub(super) fn is_meant(text: &str) -> bool {
        let place = Self::of(text);
        place.is_stdin() || place.file.extension().is_some_and(|end| end == "json")
    }

    /// `FILE`, `FILE#NUMBER`, `-` or `-#NUMBER`.
    pub(super) fn of(text: &str) -> Self {
        let numbered = text
            .rsplit_once('#')
            .and_then(|(file, number)| Some((file, number.parse().ok()?)));
        // A file may have a name like that.
        match numbered {
            Some((file, number)) if !Path::new(text).exists() => Self {
                file: PathBuf::from(file),
                number: Some(number),
                name: text.to_owned(),
            },
            _ => Self {
                file: PathBuf::from(text),
                number: None,
                name: text.to_owned(),
            },
        }
    }

    /// Whether it is read from standard input.
    pub(super) fn is_stdin(&self) -> bool {
        self.file == Path::new(STDIN)
    }
}

/// Reads the candidates at some places, each file once.
pub(super) fn load(places: &[Place]) -> Result<Vec<CandidateFile>, CliError> {
    let mut read: Vec<(&Path, Value)> = Vec::new();
    let mut candidates = Vec::with_capacity(places.len());
    for place in places {
        let known = read.iter().position(|(file, _)| *file == place.file);
        let index = match known {
            Some(index) => index,
            None => {
                read.push((&place.file, read_json(place)?));
                read.len() - 1
            }
        };
        candidates.push(candidate(&read[index].1, place)?);
    }
    Ok(candidates)
}

fn wrong(place: &Place, problem: impl std::fmt::Display) -> CliError {
    let file = if place.is_stdin() {
        "stdin".to_owned()
    } else {
        place.file.display().to_string()
    };
    CliError::Spec(format!("{file}: {problem}"))
}

fn read_json(place: &Place) -> Result<Value, CliError> {
    let unreadable =
        |error: std::io::Error| wrong(place, format!("cannot read the candidate: {error}"));
    let mut bytes = Vec::new();
    if place.is_stdin() {
        std::io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(&place.file).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)
    }
    .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(wrong(place, format!("it is larger than {MAX_BYTES} bytes")));
    }
    // The error has line and column.
    serde_json::from_slice(&bytes).map_err(|error| wrong(place, format!("it is no JSON: {error}")))
}

/// The candidate that is meant, in whatever a file holds.
fn candidate(file: &Value, place: &Place) -> Result<CandidateFile, CliError> {
    let entry = match file {
        Value::Array(entries) => numbered(entries, place)?,
        one => match place.number {
            Some(number) if number_of(trial_in(one)) != Some(number) => {
                return Err(wrong(
                    place,
                    format!("it holds one candidate; leave out the #{number}"),
                ));
            }
            _ => one,
        },
    };
    let trial = trial_in(entry);
    let decisions = match trial.get("decisions") {
        Some(decisions) => decisions,
        // Decisions alone: paths and values.
        None => trial,
    };
    let decisions: Candidate = serde_json::from_value(decisions.clone()).map_err(|error| {
        wrong(
            place,
            format!(
                "it holds no candidate ({error}); candidates are candidate.json of a run, and what `sample` and `trials` print with --output json"
            ),
        )
    })?;
    let network = match entry.pointer("/built/network") {
        None | Some(Value::Null) => None,
        Some(network) => Some(read_network(network, place)?),
    };
    let count = |key: &str| trial.get(key).and_then(Value::as_u64);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    Ok(CandidateFile {
        name: place.name.clone(),
        decisions,
        search: text(entry.pointer("/search/name")),
        number: number_of(trial),
        parameters: count("parameters"),
        macs: count("macs"),
        network_id: text(trial.get("network_id")),
        network,
    })
}

fn read_network(network: &Value, place: &Place) -> Result<Network, CliError> {
    let network: Network = serde_json::from_value(network.clone())
        .map_err(|error| wrong(place, format!("built.network: {error}")))?;
    network
        .validate()
        .map_err(|error| wrong(place, format!("built.network: {error}")))?;
    Ok(network)
}

/// In candidate.json the trial stands beside the search; elsewhere it is all there is.
fn trial_in(entry: &Value) -> &Value {
    match entry.get("trial") {
        Some(trial @ Value::Object(_)) => trial,
        _ => entry,
    }
}

/// The number of a trial in its search, or of a candidate in its sample.
fn number_of(trial: &Value) -> Option<u64> {
    let number = |key| trial.get(key).and_then(Value::as_u64);
    number("trial").or_else(|| number("number"))
}

fn numbered<'v>(entries: &'v [Value], place: &Place) -> Result<&'v Value, CliError> {
    match (place.number, entries) {
        (_, []) => Err(wrong(place, "it holds no candidate")),
        (None, [only]) => Ok(only),
        (None, several) => {
            let example = number_of(trial_in(&several[0])).unwrap_or(1);
            Err(wrong(
                place,
                format!(
                    "it holds {} candidates; say which one: {}#{example}",
                    several.len(),
                    place.name
                ),
            ))
        }
        (Some(number), entries) => entries
            .iter()
            .find(|entry| number_of(trial_in(entry)) == Some(number))
            .ok_or_else(|| {
                wrong(
                    place,
                    format!(
                        "none of its {} candidates has number {number}",
                        entries.len()
                    ),
                )
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, place: &str) -> Result<CandidateFile, String> {
        candidate(&serde_json::from_str(json).unwrap(), &Place::of(place))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_a_candidate_is_read() {
        let alone = read(r#"{"network[0].kernel": 3}"#, "a.json").unwrap();
        assert_eq!(alone.decisions.0.len(), 1);
        let sample = r#"[{"number": 1, "decisions": {}, "parameters": 7},
                         {"number": 2, "decisions": {"x": "a"}, "macs": 9, "network_id": "ab"}]"#;
        let second = read(sample, "a.json#2").unwrap();
        assert_eq!((second.number, second.macs), (Some(2), Some(9)));
        assert_eq!(second.network_id.as_deref(), Some("ab"));
        let run = r#"{"search": {"name": "demo"}, "trial": {"trial": 4, "decisions": {"x": 1.5}},
                      "built": {"network": null}}"#;
        let best = read(run, "candidate.json").unwrap();
        assert_eq!(
            (best.search.as_deref(), best.number),
            (Some("demo"), Some(4))
        );
        let trials = r#"[{"trial": 11, "decisions": {}}]"#;
        assert_eq!(read(trials, "-").unwrap().number, Some(11));
    }

    #[test]
    fn what_is_no_candidate_is_told_in_a_sentence() {
        let two = r#"[{"trial": 5, "decisions": {}}, {"trial": 6, "decisions": {}}]"#;
        assert!(read(two, "t.json").unwrap_err().contains("t.json#5"));
        assert!(read(two, "t.json#7").unwrap_err().contains("number 7"));
        assert!(read("[]", "t.json").unwrap_err().contains("no candidate"));
        assert!(
            read("{\"a\": {}}", "t.json#3")
                .unwrap_err()
                .contains("leave out")
        );
        assert!(
            read(r#"{"decisions": [1]}"#, "t.json")
                .unwrap_err()
                .contains("candidate.json of a run")
        );
        assert!(read("3", "-").unwrap_err().starts_with("stdin: "));
        let network = r#"{"decisions": {}, "built": {"network": {"nodes": [], "output": 0}}}"#;
        assert!(
            read(network, "t.json")
                .unwrap_err()
                .contains("built.network: network")
        );
    }

    #[test]
    fn a_place_is_a_file_and_a_number() {
        assert!(
            Place::is_meant("a.json") && Place::is_meant("dir/a.json#3") && Place::is_meant("-#3")
        );
        assert!(!Place::is_meant("spec.yaml") && !Place::is_meant("a.json.yaml"));
        assert_eq!(Place::of("a#b.json").file, Path::new("a#b.json"));
        assert_eq!(Place::of("a#b.json#2").number, Some(2));
    }
}
