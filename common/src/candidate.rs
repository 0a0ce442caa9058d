//! A candidate: one full assignment of the active decisions of a space.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a decision: block names or indices, e.g. `network.body#2[0].choice.plain[0].kernel`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecisionPath(pub String);

// Lets a path that is still being put together be looked up without a copy of it.
impl std::borrow::Borrow<str> for DecisionPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DecisionPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The value a decision takes. In JSON a bare number, text or boolean.
#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A truth value (`optional`, a flag).
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A real number; always finite.
    Real(f64),
    /// A name: of an alternative, of an activation, …
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// One full assignment of the active decisions. A decision whose branch is not taken is absent, never
/// imputed. In JSON an object from path to value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Candidate(pub BTreeMap<DecisionPath, Value>);

impl Candidate {
    /// The value at `path`, if that decision is active.
    #[must_use]
    pub fn get(&self, path: &DecisionPath) -> Option<&Value> {
        self.0.get(path)
    }
}
