//! The values a decision may take. Every operation is total: a domain that was damaged in storage gives
//! poor values, never a panic.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::candidate::Value;

/// How the values of a range are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Equal differences are equally far.
    #[default]
    Linear,
    /// Equal ratios are equally far; both ends are positive.
    Log,
}

/// The values a decision may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Domain {
    /// One of these, all different, at least one.
    Choice(Vec<Value>),
    /// One of these, all different, at least one, some more likely to be sampled than others.
    Weighted {
        /// The values.
        values: Vec<Value>,
        /// The weight of each, more than 0.
        weights: Vec<f64>,
    },
    /// Whole numbers `low`, `low + step`, … up to `high`, ends included.
    Integer {
        /// The smallest.
        low: i64,
        /// The largest.
        high: i64,
        /// The distance between neighbours, at least 1.
        step: i64,
        /// How they are spread when sampled.
        scale: Scale,
    },
    /// Real numbers from `low` to `high`, ends included.
    Real {
        /// The smallest.
        low: f64,
        /// The largest.
        high: f64,
        /// How they are spread when sampled.
        scale: Scale,
        /// The distance between neighbours; absent: every number between the ends.
        step: Option<f64>,
    },
}

/// Share of mutations of a numeric value that step to a near one; the others jump anywhere, so that no
/// value is far from any other.
const NEAR: f64 = 0.7;
/// Standard deviation of a near step of a continuous value, as a share of its range.
const NEAR_DEVIATION: f64 = 0.1;
/// From this many values on, a near step of a range may skip some.
const LONG_RANGE: u64 = 16;

impl Domain {
    /// The values of a choice.
    #[must_use]
    pub fn values(&self) -> Option<&[Value]> {
        match self {
            Self::Choice(values) | Self::Weighted { values, .. } => Some(values),
            Self::Integer { .. } | Self::Real { .. } => None,
        }
    }

    /// The number of values, or `None` when there is one for every real number of an interval.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Choice(values) | Self::Weighted { values, .. } => Some(values.len() as u64),
            &Self::Integer {
                low, high, step, ..
            } => {
                let steps = high.abs_diff(low) / step.max(1).unsigned_abs();
                Some(if low > high {
                    1
                } else {
                    steps.saturating_add(1)
                })
            }
            &Self::Real { low, high, .. }
                if low.partial_cmp(&high) != Some(std::cmp::Ordering::Less) =>
            {
                Some(1)
            }
            &Self::Real {
                low, high, step, ..
            } => step.map(|step| {
                // A float cast saturates, and NaN becomes 0.
                let steps = ((high - low) / step + 1e-9).floor() as u64;
                steps.saturating_add(1)
            }),
        }
    }

    /// The logarithm to base 10 of the number of values; 0 for a continuous one, which is counted apart.
    #[must_use]
    pub fn log10_size(&self) -> f64 {
        self.count()
            .map_or(0.0, |count| (count.max(1) as f64).log10())
    }

    /// Whether more than one value can be taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.count().is_none_or(|count| count > 1)
    }

    /// The value at `index` in order; `None` past the end, and for a continuous domain.
    #[must_use]
    pub fn nth(&self, index: u64) -> Option<Value> {
        if index >= self.count()? {
            return None;
        }
        Some(match self {
            Self::Choice(values) | Self::Weighted { values, .. } => {
                values.get(usize::try_from(index).ok()?)?.clone()
            }
            &Self::Integer { low, step, .. } => {
                let offset = i64::try_from(index).ok()?.checked_mul(step.max(1))?;
                Value::Integer(low.checked_add(offset)?)
            }
            &Self::Real {
                low, high, step, ..
            } => Value::Real(grid(low, high, step.unwrap_or(0.0), index)),
        })
    }

    /// The largest number among the values; negative infinity when none is a number.
    #[must_use]
    pub fn largest(&self) -> f64 {
        match self {
            Self::Choice(values) | Self::Weighted { values, .. } => values
                .iter()
                .filter_map(real)
                .fold(f64::NEG_INFINITY, f64::max),
            &Self::Integer { high, .. } => high as f64,
            &Self::Real { high, .. } => high,
        }
    }

    /// The first value: the low end of a range. Never fails, not even for a damaged domain.
    #[must_use]
    pub fn first(&self) -> Value {
        match self {
            Self::Choice(values) | Self::Weighted { values, .. } => {
                values.first().cloned().unwrap_or(Value::Boolean(false))
            }
            &Self::Integer { low, .. } => Value::Integer(low),
            &Self::Real { low, .. } => Value::Real(low),
        }
    }

    /// The member of the domain that `value` means: a whole number counts as a real one, and a real one
    /// within rounding of a grid point as that point. `None` when it is not a member.
    #[must_use]
    pub fn canonical(&self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Self::Choice(values) | Self::Weighted { values, .. }, _) => values
                .iter()
                .find(|&member| {
                    member == value || (real(member).is_some() && real(member) == real(value))
                })
                .cloned(),
            (
                &Self::Integer {
                    low, high, step, ..
                },
                &Value::Integer(number),
            ) => {
                let on_grid = number.abs_diff(low) % step.max(1).unsigned_abs() == 0;
                (low <= number && number <= high && on_grid).then_some(Value::Integer(number))
            }
            (
                &Self::Real {
                    low, high, step, ..
                },
                _,
            ) => {
                let number = real(value).filter(|number| low <= *number && *number <= high)?;
                let Some(step) = step else {
                    return Some(Value::Real(number));
                };
                let point = grid(low, high, step, ((number - low) / step).round() as u64);
                ((point - number).abs() <= step.abs() * 1e-6).then_some(Value::Real(point))
            }
            _ => None,
        }
    }

    /// `value` as a member, or the first one when it is none.
    pub(super) fn admitted(&self, value: Value) -> Value {
        // Almost every value comes from the domain itself.
        if self.values().is_some_and(|values| values.contains(&value)) {
            return value;
        }
        self.canonical(&value).unwrap_or_else(|| self.first())
    }

    /// Whether `value` is a member.
    #[must_use]
    pub fn contains(&self, value: &Value) -> bool {
        self.canonical(value).is_some()
    }

    /// A member at random, spread as the scale or the weights say.
    pub fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> Value {
        match *self {
            Self::Weighted {
                ref values,
                ref weights,
            } => weighted(values, weights, rng).unwrap_or_else(|| self.first()),
            Self::Integer {
                low,
                high,
                step,
                scale: Scale::Log,
            } if low > 0 && high > low => {
                // Half a unit beyond each end, so that rounding gives the ends their full share.
                let number = between(
                    low as f64 - 0.5,
                    high as f64 + 0.5,
                    Scale::Log,
                    rng.random(),
                );
                let index = ((number - low as f64) / step.max(1) as f64)
                    .round()
                    .max(0.0) as u64;
                let last = self.count().unwrap_or(1).saturating_sub(1);
                self.nth(index.min(last)).unwrap_or_else(|| self.first())
            }
            Self::Real {
                low,
                high,
                scale,
                step,
            } => {
                let Some(step) = step else {
                    return Value::Real(between(low, high, scale, rng.random()));
                };
                match scale {
                    Scale::Linear => self.sample_index(rng),
                    Scale::Log => {
                        let number = between(low, high, scale, rng.random());
                        let index = ((number - low) / step).round() as u64;
                        Value::Real(grid(low, high, step, index))
                    }
                }
            }
            _ => self.sample_index(rng),
        }
    }

    /// A member other than `value` (when there is one): mostly a near one of a range, any other one of
    /// a choice.
    pub fn neighbour<R: Rng + ?Sized>(&self, value: &Value, rng: &mut R) -> Value {
        let Some(count) = self.count() else {
            return self.real_neighbour(value, rng);
        };
        if count < 2 {
            return self.first();
        }
        let Some(index) = self.index_of(value) else {
            return self.sample(rng);
        };
        let near = self.values().is_none() && rng.random::<f64>() < NEAR;
        let other = if near {
            self.near_index(index, count, rng)
        } else {
            // One of the count - 1 others: skip the present one.
            let other = rng.random_range(0..count - 1);
            if other >= index { other + 1 } else { other }
        };
        self.nth(other).unwrap_or_else(|| self.first())
    }

    /// Another index near `index` of a range: the next one of a short range, and one within the spread of
    /// a near step of a long one, where single steps would lead nowhere.
    fn near_index<R: Rng + ?Sized>(&self, index: u64, count: u64, rng: &mut R) -> u64 {
        let (low, high, step, scale) = match *self {
            Self::Integer {
                low,
                high,
                step,
                scale,
            } => (low as f64, high as f64, step as f64, scale),
            Self::Real {
                low,
                high,
                step,
                scale,
            } => (low, high, step.unwrap_or(0.0), scale),
            Self::Choice(_) | Self::Weighted { .. } => return index,
        };
        if count > LONG_RANGE {
            let present = low + step * index as f64;
            let share = share_of(present, low, high, scale) + NEAR_DEVIATION * normal(rng);
            let number = between(low, high, scale, reflected(share));
            let other = (((number - low) / step).round() as u64).min(count - 1);
            if other != index {
                return other;
            }
        }
        let up = index == 0 || (index + 1 < count && rng.random::<bool>());
        if up { index + 1 } else { index - 1 }
    }

    fn sample_index<R: Rng + ?Sized>(&self, rng: &mut R) -> Value {
        let count = self.count().unwrap_or(1).max(1);
        self.nth(rng.random_range(0..count))
            .unwrap_or_else(|| self.first())
    }

    fn index_of(&self, value: &Value) -> Option<u64> {
        let member = self.canonical(value)?;
        match self {
            Self::Choice(values) | Self::Weighted { values, .. } => values
                .iter()
                .position(|other| *other == member)
                .map(|index| index as u64),
            &Self::Integer { low, step, .. } => match member {
                Value::Integer(number) => Some(number.abs_diff(low) / step.max(1).unsigned_abs()),
                _ => None,
            },
            &Self::Real { low, step, .. } => real(&member)
                .zip(step)
                .map(|(number, step)| ((number - low) / step).round() as u64),
        }
    }

    fn real_neighbour<R: Rng + ?Sized>(&self, value: &Value, rng: &mut R) -> Value {
        let &Self::Real {
            low, high, scale, ..
        } = self
        else {
            return self.first();
        };
        let present = real(value).unwrap_or(low);
        let share = share_of(present, low, high, scale);
        // The chance that even one draw repeats a 53-bit number is nil; the bound is for damaged ends.
        for _ in 0..8 {
            let other = if rng.random::<f64>() < NEAR {
                between(
                    low,
                    high,
                    scale,
                    reflected(share + NEAR_DEVIATION * normal(rng)),
                )
            } else {
                between(low, high, scale, rng.random())
            };
            if other != present {
                return Value::Real(other);
            }
        }
        Value::Real(if present == low { high } else { low })
    }
}

/// One of `values`, each as likely as its weight says. A weight that is missing counts as 0.
fn weighted<R: Rng + ?Sized>(values: &[Value], weights: &[f64], rng: &mut R) -> Option<Value> {
    let pairs = || values.iter().zip(weights);
    let mut left = rng.random::<f64>() * pairs().map(|(_, weight)| weight).sum::<f64>();
    for (value, weight) in pairs() {
        left -= weight;
        if left < 0.0 {
            return Some(value.clone());
        }
    }
    // Rounding of the sum, or weights that are no numbers.
    pairs().next_back().map(|(value, _)| value.clone())
}

/// The number a value stands for.
fn real(value: &Value) -> Option<f64> {
    match *value {
        Value::Integer(number) => Some(number as f64),
        Value::Real(number) if number.is_finite() => Some(number),
        _ => None,
    }
}

/// Point `index` of a grid from `low`, rounded to 12 digits so that 3 steps of 0.1 read 0.3.
fn grid(low: f64, high: f64, step: f64, index: u64) -> f64 {
    let number = low + step * index as f64;
    let tidy = format!("{number:.11e}").parse().unwrap_or(number);
    tidy.max(low).min(high)
}

/// The number at `share` (0 to 1) of the way from `low` to `high`.
fn between(low: f64, high: f64, scale: Scale, share: f64) -> f64 {
    let number = if scale == Scale::Log && low > 0.0 {
        (low.ln() + (high.ln() - low.ln()) * share).exp()
    } else {
        low + (high - low) * share
    };
    number.max(low).min(high)
}

fn share_of(number: f64, low: f64, high: f64, scale: Scale) -> f64 {
    let share = if scale == Scale::Log && low > 0.0 && number > 0.0 {
        (number.ln() - low.ln()) / (high.ln() - low.ln())
    } else {
        (number - low) / (high - low)
    };
    if share.is_finite() { share } else { 0.5 }
}

/// Folds a number back into [0, 1]: a step over an end comes back by as much as it went over.
fn reflected(share: f64) -> f64 {
    let folded = share.rem_euclid(2.0);
    if folded > 1.0 { 2.0 - folded } else { folded }
}

/// A standard normal number (Box–Muller).
fn normal<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    // 1 - u lies in (0, 1], where the logarithm is finite.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
#[path = "domain_tests.rs"]
mod tests;
