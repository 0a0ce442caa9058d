//! Labels: what an operator says of a worker, and a spec asks of one. Names with one value each.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The most labels of one worker or spec.
pub(crate) const MAX_LABELS: usize = 64;
/// The longest name or value, in bytes.
const MAX_BYTES: usize = 64;

/// Why a label is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The name or the value has a form that labels do not have.
    #[error("label {name:?}: {text:?} must have 1 to 64 letters, digits, `.`, `_`, `-` or `/`")]
    Form {
        /// The label's name.
        name: String,
        /// What is wrong.
        text: String,
    },
    /// It has a value already.
    #[error("label {name:?} has two values, {first:?} and {second:?}")]
    Twice {
        /// The label's name.
        name: String,
        /// Its value.
        first: String,
        /// The other one.
        second: String,
    },
    /// There are too many.
    #[error("more than 64 labels")]
    TooMany,
}

/// Labels with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Adds one.
    ///
    /// # Errors
    /// [`LabelError`]; nothing has changed.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), LabelError> {
        if let Some(text) = [name, value].into_iter().find(|text| !is_word(text)) {
            let cut = |text: &str| text.chars().take(MAX_BYTES).collect();
            return Err(LabelError::Form {
                name: cut(name),
                text: cut(text),
            });
        }
        match self.0.get(name) {
            Some(first) if first != value => Err(LabelError::Twice {
                name: name.to_owned(),
                first: first.clone(),
                second: value.to_owned(),
            }),
            Some(_) => Ok(()),
            None if self.0.len() >= MAX_LABELS => Err(LabelError::TooMany),
            None => {
                self.0.insert(name.to_owned(), value.to_owned());
                Ok(())
            }
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether all of `wanted` are among these.
    #[must_use]
    pub fn meet(&self, wanted: &Self) -> bool {
        let mut wanted = wanted.0.iter();
        wanted.all(|(name, value)| self.0.get(name) == Some(value))
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

fn is_word(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    !text.is_empty() && text.len() <= MAX_BYTES && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let mut labels = Labels::default();
        for (name, value) in pairs {
            labels.add(name, value).unwrap();
        }
        labels
    }

    #[test]
    fn a_worker_with_more_labels_than_are_asked_for_will_do() {
        let worker = labels(&[("gpu", "h100"), ("zone", "eu-1")]);
        assert!(worker.meet(&Labels::default()));
        assert!(worker.meet(&labels(&[("gpu", "h100")])));
        assert!(!worker.meet(&labels(&[("gpu", "a100")])));
        assert!(!worker.meet(&labels(&[("gpu", "h100"), ("disk", "nvme")])));
        assert_eq!(worker.to_string(), "gpu=h100, zone=eu-1");
    }

    #[test]
    fn labels_are_bounded_words_with_one_value_each() {
        let mut some = labels(&[("gpu", "h100")]);
        for (name, value) in [
            ("", "x"),
            ("gpu", ""),
            ("a b", "x"),
            ("a", "x\n"),
            ("a", &"x".repeat(65)),
        ] {
            assert!(
                matches!(some.add(name, value), Err(LabelError::Form { .. })),
                "{name:?}={value:?}"
            );
        }
        assert!(matches!(
            some.add("gpu", "a100"),
            Err(LabelError::Twice { .. })
        ));
        some.add("gpu", "h100").unwrap();
        for number in 1..MAX_LABELS {
            some.add(&format!("l{number}"), "x").unwrap();
        }
        assert_eq!(some.add("one-more", "x"), Err(LabelError::TooMany));
    }
}
