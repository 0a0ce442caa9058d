//! A CSV file of candidates that a search begins with. What is in it is looked at as closely as a spec. May import
//! the reader of specs and csv.

use std::path::Path;

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::known::{Known, MAX_KNOWN};
use espalier_common::spec::Spec;

use super::error::CliError;

/// The largest file that is read.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The column of scores may have this name, or that of the objective's metric.
const SCORE: &str = "score";

/// Reads the file: a column for each decision, one for the score, a row for each candidate. Empty cells are
/// decisions that are not active, and an empty score is a candidate to be tried first.
pub(super) fn read(path: &Path, spec: &Spec) -> Result<Vec<Known>, CliError> {
    let wrong =
        |problem: String| CliError::Spec(format!("{}: warm_start.csv: {problem}", path.display()));
    let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size > MAX_BYTES {
        return Err(wrong(format!(
            "it has {size} bytes; at most {MAX_BYTES} are read"
        )));
    }
    parse(file, spec).map_err(wrong)
}

fn parse(text: impl std::io::Read, spec: &Spec) -> Result<Vec<Known>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let metric = spec.objective.metric.as_str();
    let is_score = |name: &str| name == SCORE || name == metric;
    if header.iter().filter(|name| is_score(name)).count() > 1 {
        return Err(format!(
            "line 1: more than one column for the score ({SCORE}, {metric})"
        ));
    }
    let mut all = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        if all.len() >= MAX_KNOWN {
            return Err(format!("line {line}: more than {MAX_KNOWN} candidates"));
        }
        let mut known = Known {
            decisions: Candidate::default(),
            score: None,
        };
        for (name, cell) in header.iter().zip(&record) {
            if cell.is_empty() {
                continue;
            }
            if is_score(name) {
                let score = cell
                    .parse()
                    .map_err(|_| format!("line {line}, column {name}: {cell:?} is no number"))?;
                known.score = Some(score);
            } else {
                known
                    .decisions
                    .0
                    .insert(DecisionPath(name.to_owned()), value(cell));
            }
        }
        let known = known.of_space(&spec.space);
        all.push(known.map_err(|problem| format!("line {line}: {problem}"))?);
    }
    if all.is_empty() {
        return Err("it has no candidate".to_owned());
    }
    Ok(all)
}

/// What a cell means; the decision knows whether it is one of its values.
fn value(cell: &str) -> Value {
    let real = || {
        cell.parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Value::Real)
    };
    match cell {
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        _ => (cell.parse().ok().map(Value::Integer))
            .or_else(real)
            .unwrap_or_else(|| Value::Text(cell.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Known>, String> {
        let spec = "name: x\nhyperparameters: {a: {choice: [1, 2]}, b: {range: [0.0, 1.0]}, c: {choice: [true, false]}}\n\
                    evaluator: mine\nobjectives: [{minimize: loss}]\nbudget: {trials: 1}\n";
        let spec = espalier_common::spec::read(spec, "x.yaml").unwrap();
        parse(text.as_bytes(), &spec)
    }

    const HEADER: &str = "hyperparameters.a, hyperparameters.b, hyperparameters.c, loss\n";

    #[test]
    fn rows_with_and_without_a_score_are_read() {
        let found = parsed(&format!("{HEADER}1, 0.5, true, 0.25\n2, 1, false,\n")).unwrap();
        assert_eq!([found[0].score, found[1].score], [Some(0.25), None]);
        let path = DecisionPath("hyperparameters.b".to_owned());
        assert_eq!(found[1].decisions.get(&path), Some(&Value::Real(1.0)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_decision() {
        let wrong =
            |row: &str| parsed(&format!("{HEADER}1, 0.5, true, 0.25\n{row}\n")).unwrap_err();
        assert_eq!(
            wrong("3, 0.5, true, 1"),
            "line 3: the decision hyperparameters.a cannot be 3"
        );
        assert_eq!(
            wrong("1, , true, 1"),
            "line 3: the decision hyperparameters.b has no value"
        );
        assert_eq!(
            wrong("1, 0.5, true, x"),
            "line 3, column loss: \"x\" is no number"
        );
        assert_eq!(
            wrong("1, 0.5, true, NaN"),
            "line 3: its score is not a finite number"
        );
        assert!(wrong("1, 0.5").contains("line: 3"), "{}", wrong("1, 0.5"));
        assert!(
            parsed("nonsense\n1\n")
                .unwrap_err()
                .contains("hyperparameters.a has no value")
        );
        assert!(parsed(HEADER).unwrap_err().contains("no candidate"));
        let twice = parsed("loss,score\n1,1\n").unwrap_err();
        assert!(twice.contains("more than one column"), "{twice}");
    }
}
