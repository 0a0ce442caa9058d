//! Where a value lies in its domain: a range as shares of the way from its low end to its high one, on its
//! own scale, which is how searchers compare and spread numbers. May import the other words of this crate.

use super::domain::{Domain, Scale};
use crate::candidate::Value;

impl Domain {
    /// Whether this is a range: its values have an order and a distance.
    #[must_use]
    pub fn is_range(&self) -> bool {
        matches!(self, Self::Integer { .. } | Self::Real { .. })
    }

    /// Where `value` lies between the ends of a range, on its scale, from 0 to 1. `None` for a choice and
    /// for a value that is no number. A range with a single value has it in the middle.
    #[must_use]
    pub fn share(&self, value: &Value) -> Option<f64> {
        let (low, high, scale) = self.ends()?;
        let number = match *value {
            Value::Integer(number) => number as f64,
            Value::Real(number) => number,
            Value::Boolean(_) | Value::Text(_) => return None,
        };
        let share = match scale {
            Scale::Log if low > 0.0 => (number / low).ln() / (high / low).ln(),
            Scale::Log | Scale::Linear => (number - low) / (high - low),
        };
        Some(if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.5
        })
    }

    /// The member of a range that is nearest to `share` of the way from its low end to its high one, on its
    /// scale. The first value of a choice, which has no such way.
    #[must_use]
    pub fn at(&self, share: f64) -> Value {
        let Some((low, high, scale)) = self.ends() else {
            return self.first();
        };
        let share = if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.5
        };
        let number = match scale {
            // The logarithm and its inverse would miss the ends by a rounding.
            _ if share <= 0.0 => low,
            _ if share >= 1.0 => high,
            Scale::Log if low > 0.0 => (low.ln() + (high.ln() - low.ln()) * share).exp(),
            Scale::Log | Scale::Linear => low + (high - low) * share,
        };
        let number = number.max(low).min(high);
        let step = match *self {
            Self::Integer { step, .. } => Some(step.max(1) as f64),
            Self::Real { step, .. } => step,
            _ => None,
        };
        let Some(step) = step else {
            return Value::Real(number);
        };
        // A float cast saturates, and NaN becomes 0.
        let index = ((number - low) / step).round() as u64;
        let last = self.count().unwrap_or(1).saturating_sub(1);
        self.nth(index.min(last)).unwrap_or_else(|| self.first())
    }

    fn ends(&self) -> Option<(f64, f64, Scale)> {
        match *self {
            Self::Integer {
                low, high, scale, ..
            } => Some((low as f64, high as f64, scale)),
            Self::Real {
                low, high, scale, ..
            } => Some((low, high, scale)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_leads_to_the_value_it_came_from() {
        let whole = |low, high, step, scale| Domain::Integer {
            low,
            high,
            step,
            scale,
        };
        let real = |low, high, step, scale| Domain::Real {
            low,
            high,
            scale,
            step,
        };
        for domain in [
            whole(1, 6, 1, Scale::Linear),
            whole(8, 64, 8, Scale::Log),
            real(0.0, 0.4, Some(0.1), Scale::Linear),
            real(0.1, 0.3, Some(0.1), Scale::Log),
        ] {
            for index in 0..domain.count().unwrap() {
                let value = domain.nth(index).unwrap();
                let share = domain.share(&value).unwrap();
                assert!((0.0..=1.0).contains(&share));
                assert_eq!(domain.at(share), value, "{domain:?}");
            }
        }
        let rate = real(1e-4, 1.0, None, Scale::Log);
        assert_eq!(rate.at(0.0), Value::Real(1e-4));
        assert_eq!(rate.at(1.0), Value::Real(1.0));
        let middle = rate.share(&Value::Real(1e-2)).unwrap();
        assert!((middle - 0.5).abs() < 1e-12);
    }

    #[test]
    fn what_has_no_way_from_end_to_end_gives_a_member_all_the_same() {
        let choice = Domain::Choice(vec![Value::Integer(3), Value::Integer(1)]);
        assert_eq!(choice.share(&Value::Integer(1)), None);
        assert_eq!(choice.at(0.7), Value::Integer(3));
        let single = Domain::Integer {
            low: 2,
            high: 2,
            step: 1,
            scale: Scale::Log,
        };
        assert_eq!(single.share(&Value::Integer(2)), Some(0.5));
        assert_eq!(single.at(f64::NAN), Value::Integer(2));
        let damaged = Domain::Real {
            low: f64::NAN,
            high: -1.0,
            scale: Scale::Log,
            step: Some(0.0),
        };
        let _ = (damaged.at(0.3), damaged.share(&Value::Real(0.0)));
    }
}
