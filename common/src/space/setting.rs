//! Scalars of a space: fixed, left to a decision, or named. May import the other words of this crate.

use serde::{Deserialize, Serialize};

use super::domain::Domain;
use crate::candidate::Value;

/// A scalar that is fixed, left to a decision, or what a name stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting<T> {
    /// Always this.
    Fixed(T),
    /// One of these.
    Decide(Domain),
    /// What the parameter or tie of this name is: `$name` in the spec.
    Named(String),
}

impl<T> Setting<T> {
    /// The domain, when this is a decision.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Decide(domain) => Some(domain),
            Self::Fixed(_) | Self::Named(_) => None,
        }
    }

    /// The value, when it is fixed.
    #[must_use]
    pub fn fixed(&self) -> Option<&T> {
        match self {
            Self::Fixed(value) => Some(value),
            Self::Decide(_) | Self::Named(_) => None,
        }
    }
}

/// What the value of a decision becomes in a layer or recipe.
pub trait Scalar: Clone {
    /// The scalar that a value means; `None` when it means none.
    fn from_value(value: &Value) -> Option<Self>;
    /// What stands in when a damaged space gives a value of the wrong kind.
    fn fallback() -> Self;
}

impl Scalar for u64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(number) => Self::try_from(*number).ok(),
            _ => None,
        }
    }
    fn fallback() -> Self {
        1
    }
}

impl Scalar for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::Real(number) => Some(number),
            Value::Integer(number) => Some(number as Self),
            _ => None,
        }
    }
    fn fallback() -> Self {
        0.0
    }
}

impl Scalar for bool {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }
    fn fallback() -> Self {
        false
    }
}

impl Scalar for Value {
    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
    fn fallback() -> Self {
        Self::Boolean(false)
    }
}
