//! The searchers that are compared: what `--searcher` says. May import the reader of specs.

use espalier_common::spec::{SearcherSpec, Spec, read_searcher};

use super::super::error::CliError;

/// What errors call the option's text.
const OPTION: &str = "--searcher";
/// The most searchers that one comparison holds: a plot of more cannot be read.
const MOST: usize = 20;

/// A searcher with the name that the report gives it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contender {
    pub(super) label: String,
    pub(super) searcher: SearcherSpec,
}

/// Reads the option; the spec's own searcher where it is not given.
pub(super) fn read(options: &[String], spec: &Spec) -> Result<Vec<Contender>, CliError> {
    let mut contenders: Vec<Contender> = Vec::new();
    for text in options.iter().flat_map(|option| split(option)) {
        if text.is_empty() {
            return Err(CliError::Usage(format!(
                "{OPTION}: there is nothing before or after a comma; name a searcher there"
            )));
        }
        let searcher =
            read_searcher(text, OPTION).map_err(|errors| CliError::Usage(one_line(&errors)))?;
        contenders.push(Contender {
            label: label(text),
            searcher,
        });
    }
    if contenders.is_empty() {
        contenders.push(Contender {
            label: spec.searcher.word().to_owned(),
            searcher: spec.searcher.clone(),
        });
    }
    check(&contenders, spec)?;
    check_improvement(&contenders, spec)?;
    Ok(contenders)
}

fn check(contenders: &[Contender], spec: &Spec) -> Result<(), CliError> {
    if contenders.len() > MOST {
        return Err(CliError::Usage(format!(
            "{OPTION}: at most {MOST} searchers are compared at one time"
        )));
    }
    for (place, one) in contenders.iter().enumerate() {
        if contenders[..place].contains(one) {
            return Err(CliError::Usage(format!(
                "{OPTION}: {} is there twice",
                one.label
            )));
        }
        if let SearcherSpec::Grid { points } = one.searcher
            && spec.space.grid(points).is_none()
        {
            return Err(CliError::Usage(format!(
                "{OPTION}: the grid with {points} points for each range has too many candidates in this \
                 space; write {{grid: {{points: N}}}} with fewer, or leave it out"
            )));
        }
    }
    Ok(())
}

/// Searchers are compared under one budget: none may leave a part of it out.
fn check_improvement(contenders: &[Contender], spec: &Spec) -> Result<(), CliError> {
    if spec.budget.expected_improvement.is_none() {
        return Ok(());
    }
    let cannot = |one: &&Contender| !one.searcher.expects_improvements();
    let Some(one) = contenders.iter().find(cannot) else {
        return Ok(());
    };
    Err(CliError::Usage(format!(
        "{OPTION}: `{}` has no model that says what a further trial would bring, so the spec's \
         `budget.expected_improvement` cannot end its searches; compare bayesian searchers only, or take it out of \
         the spec (`patience` is there for every searcher)",
        one.label
    )))
}

/// The parts between commas that stand in no bracket and no quote.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut begin, mut depth, mut quote) = (0, 0_usize, None);
    for (place, letter) in text.char_indices() {
        match (letter, quote) {
            (_, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(letter),
            ('{' | '[', None) => depth += 1,
            ('}' | ']', None) => depth = depth.saturating_sub(1),
            (',', None) if depth == 0 => {
                parts.push(&text[begin..place]);
                begin = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts.into_iter().map(str::trim).collect()
}

/// What was written, on one line and without the brackets of a map: `evolution: {population: 20}`.
fn label(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let inner = line
        .strip_prefix('{')
        .and_then(|inner| inner.strip_suffix('}'));
    inner.map_or(line.clone(), |inner| inner.trim().to_owned())
}

fn one_line(errors: &impl std::fmt::Display) -> String {
    let lines: Vec<String> = errors.to_string().lines().map(str::to_owned).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_of_brackets_and_quotes_separate_nothing() {
        assert_eq!(
            split("random, {evolution: {population: 20, tournament: 5}},grid"),
            [
                "random",
                "{evolution: {population: 20, tournament: 5}}",
                "grid"
            ]
        );
        assert_eq!(
            split("{bayesian: {kernel: 'a,}'}}"),
            ["{bayesian: {kernel: 'a,}'}}"]
        );
        assert_eq!(split(""), [""]);
    }

    #[test]
    fn a_searcher_with_options_is_called_by_them() {
        assert_eq!(label("random"), "random");
        assert_eq!(
            label("{evolution:  {population: 20}}"),
            "evolution: {population: 20}"
        );
    }
}
