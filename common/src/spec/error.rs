//! What is wrong with a spec, and where.

use std::fmt;

/// One mistake in a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The file, as its reader named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// Where in the spec, e.g. `network[1].repeat.times`; empty for the document itself.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The known word nearest to the one that is wrong.
    pub suggestion: Option<String>,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(word) = &self.suggestion {
            write!(f, "; did you mean {word:?}?")?;
        }
        Ok(())
    }
}

/// Every mistake that was found in a spec, in the order of its lines; at least one. Displayed one per
/// line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecErrors(pub Vec<SpecError>);

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

/// The known word nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<String> {
    // A longer word is no misspelling of a known one, and the distance costs time with its length.
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        // A third of the letters may differ, and one always: `lr` is not `relu`.
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_misspelt_word_finds_its_neighbour_and_another_word_none() {
        let known = ["times", "block", "shared"];
        assert_eq!(nearest("tims", known).as_deref(), Some("times"));
        assert_eq!(nearest("BLOCK", known).as_deref(), Some("block"));
        assert_eq!(nearest("kernel", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
