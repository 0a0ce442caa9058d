//! Reads decisions: `{choice: [...]}` and `{range: [low, high], scale: ..., step: ...}`.

use super::reader::{At, Reader, named};
use super::scalar::Kind;
use super::words::{CHOICE_KEYS, RANGE_KEYS, SCALES, WEIGHT};
use crate::candidate::Value;
use crate::space::{Domain, Scalar, Scale};

/// The most alternatives of one choice.
pub(super) const MAX_ALTERNATIVES: usize = 1_000;
/// The most points of a range with a step: beyond that it is a continuous one in all but name.
const MAX_POINTS: f64 = 1e9;

/// What is said of a choice of one.
pub(super) const ONLY_ONE: &str =
    "this choice has one alternative only: there is nothing to decide";

impl Reader<'_> {
    /// The decision at `at`, a map, among scalars of `kind`.
    pub(super) fn domain(&mut self, at: &At<'_>, kind: Kind) -> Option<Domain> {
        let entries = at.entries().unwrap_or_default();
        let find = |word: &str| {
            entries
                .iter()
                .find_map(|(key, entry)| (key.text == word).then_some(entry))
        };
        let known: &[&str] = match (find("choice"), find("range")) {
            (Some(_), _) => &CHOICE_KEYS,
            (None, Some(_)) => &RANGE_KEYS,
            (None, None) => &[],
        };
        if known.is_empty() {
            let message =
                "a value is expected here, or a decision: {choice: [...]} or {range: [low, high]}";
            self.wrong(at, message);
            return None;
        }
        let mut clean = true;
        for (key, entry) in &entries {
            if !known.contains(&key.text.as_ref()) {
                self.unknown(key.place, &entry.path, &key.text, known.iter().copied());
                clean = false;
            }
        }
        let domain = match (find("choice"), find("range")) {
            (Some(choice), _) => {
                let domain = self.choice(choice, kind);
                match find("weights") {
                    None => domain,
                    Some(weights) => self.weighted(weights, domain?),
                }
            }
            (None, Some(range)) => self.range(range, find("scale"), find("step"), kind),
            (None, None) => None,
        };
        domain.filter(|_| clean)
    }

    /// Says how many alternatives a choice may have.
    pub(super) fn too_many(&mut self, at: &At<'_>, what: &str) {
        let given = at.len();
        self.wrong(
            at,
            format!("a choice has 1 to {MAX_ALTERNATIVES} {what}, this one {given}"),
        );
    }

    fn choice(&mut self, at: &At<'_>, kind: Kind) -> Option<Domain> {
        if at.len() > MAX_ALTERNATIVES {
            self.too_many(at, "values");
            return None;
        }
        let Some(items) = at.items() else {
            self.wrong(at, "a list of values is expected here, as [16, 32]");
            return None;
        };
        if let [_] = items.as_slice() {
            self.warn(at.place, &at.path, ONLY_ONE);
        }
        if items.is_empty() {
            self.too_many(at, "values");
            return None;
        }
        let mut values: Vec<Value> = Vec::with_capacity(items.len());
        for item in &items {
            if self.refuse_name(item, "a choice", kind) {
                return None;
            }
            let value = self.value(item, kind)?;
            // As a domain sees it, 1 and 1.0 are one.
            let same = |other: &Value| {
                *other == value || (real(other).is_some() && real(other) == real(&value))
            };
            if values.iter().any(same) {
                self.wrong(item, format!("{value} is given twice in this choice"));
                return None;
            }
            values.push(value);
        }
        Some(Domain::Choice(as_one_kind(values)))
    }

    /// Whether a `$name` stands inside a decision, which is refused: what can be taken is the same for all
    /// candidates, and what the name stands for may not be.
    fn refuse_name(&mut self, at: &At<'_>, what: &str, kind: Kind) -> bool {
        let Some(name) = named(at) else {
            return false;
        };
        let text = match kind {
            Kind::Any => format!(", or \"${name}\" in quotes for the text"),
            _ => String::new(),
        };
        self.wrong(
            at,
            format!(
                "a name cannot stand inside {what}; write the value itself{text}, or put the whole decision under \
                 `tie` and its name in its place"
            ),
        );
        true
    }

    /// The domain with `weights:`, a list of as many numbers.
    fn weighted(&mut self, at: &At<'_>, domain: Domain) -> Option<Domain> {
        let Domain::Choice(values) = domain else {
            return Some(domain);
        };
        let items = at.items().filter(|items| items.len() == values.len());
        let Some(items) = items else {
            self.wrong(
                at,
                format!(
                    "one weight for each of the {} values is expected here, as [3, 1]",
                    values.len()
                ),
            );
            return None;
        };
        let weights: Option<Vec<f64>> = items.iter().map(|item| self.weight(item)).collect();
        weights.map(|weights| Domain::Weighted { values, weights })
    }

    pub(super) fn weight(&mut self, at: &At<'_>) -> Option<f64> {
        f64::from_value(&self.value(at, WEIGHT)?)
    }

    fn range(
        &mut self,
        at: &At<'_>,
        scale: Option<&At<'_>>,
        step: Option<&At<'_>>,
        kind: Kind,
    ) -> Option<Domain> {
        let Some((number, step_kind)) = range_kinds(kind) else {
            self.wrong(at, "a range is for numbers; use {choice: [...]} here");
            return None;
        };
        let items = at.items().unwrap_or_default();
        let [low, high] = items.as_slice() else {
            self.wrong(at, "a range has two ends, as [1, 3]");
            return None;
        };
        let scale = match scale.map(|at| self.value(at, SCALES)) {
            None => Scale::Linear,
            Some(Some(Value::Text(word))) if word == "log" => Scale::Log,
            Some(Some(_)) => Scale::Linear,
            Some(None) => return None,
        };
        let ends = (self.number(low, number)?, self.number(high, number)?);
        let step = match step {
            None => None,
            Some(at) => Some((at, self.number(at, step_kind)?)),
        };
        match (ends, &step) {
            ((Value::Integer(low), Value::Integer(high)), None | Some((_, Value::Integer(_)))) => {
                let step = match step {
                    Some((at, Value::Integer(step))) => Some((at, step)),
                    _ => None,
                };
                self.integers(at, low, high, scale, step)
            }
            ((low, high), _) => {
                let step = step.and_then(|(at, step)| Some((at, real(&step)?)));
                self.reals(at, real(&low)?, real(&high)?, scale, step)
            }
        }
    }

    fn number(&mut self, at: &At<'_>, kind: Kind) -> Option<Value> {
        if self.refuse_name(at, "a range", kind) {
            return None;
        }
        let value = self.value(at, kind)?;
        if real(&value).is_none() {
            self.wrong(at, format!("{value} is not a number"));
            return None;
        }
        Some(value)
    }

    fn integers(
        &mut self,
        at: &At<'_>,
        low: i64,
        high: i64,
        scale: Scale,
        step: Option<(&At<'_>, i64)>,
    ) -> Option<Domain> {
        if !self.ends(at, low as f64, high as f64, low < high, scale) {
            return None;
        }
        let (place, step) = step.map_or((at, 1), |(at, step)| (at, step));
        if step < 1 {
            self.wrong(place, "the step of whole numbers is at least 1");
            return None;
        }
        if !high.abs_diff(low).is_multiple_of(step.unsigned_abs()) {
            self.wrong(
                place,
                format!("steps of {step} from {low} do not meet {high}"),
            );
            return None;
        }
        Some(Domain::Integer {
            low,
            high,
            step,
            scale,
        })
    }

    fn reals(
        &mut self,
        at: &At<'_>,
        low: f64,
        high: f64,
        scale: Scale,
        step: Option<(&At<'_>, f64)>,
    ) -> Option<Domain> {
        if !self.ends(at, low, high, low < high, scale) {
            return None;
        }
        if let Some((place, step)) = step {
            let steps = (high - low) / step;
            if step <= 0.0 || steps > MAX_POINTS {
                self.wrong(
                    place,
                    "the step is more than 0 and makes at most a billion values",
                );
                return None;
            }
            if (steps - steps.round()).abs() > 1e-6 || steps.round() < 1.0 {
                self.wrong(
                    place,
                    format!("steps of {step} from {low} do not meet {high}"),
                );
                return None;
            }
        }
        Some(Domain::Real {
            low,
            high,
            scale,
            step: step.map(|(_, step)| step),
        })
    }

    fn ends(&mut self, at: &At<'_>, low: f64, high: f64, ordered: bool, scale: Scale) -> bool {
        if !ordered {
            self.wrong(
                at,
                format!("the low end {low} must be less than the high end {high}"),
            );
        } else if !(high - low).is_finite() {
            self.wrong(at, "the ends are too far apart");
        } else if scale == Scale::Log && low <= 0.0 {
            self.wrong(at, format!("a log scale needs ends above 0, not {low}"));
        } else {
            return true;
        }
        false
    }
}

/// The kinds of the ends and of the step of a range; `None` where values are no numbers. The bounds of the
/// ends do not bind a step.
pub(super) fn range_kinds(kind: Kind) -> Option<(Kind, Kind)> {
    match kind {
        Kind::Count { min, max } | Kind::CountOr { min, max, .. } => {
            Some((Kind::Count { min, max }, Kind::Count { min: 1, max }))
        }
        Kind::Number { .. } | Kind::Any => Some((kind, Kind::Any)),
        Kind::Flag | Kind::Word(_) | Kind::Name | Kind::Text | Kind::Time | Kind::Moment => None,
    }
}

fn real(value: &Value) -> Option<f64> {
    match *value {
        Value::Integer(number) => Some(number as f64),
        Value::Real(number) => Some(number),
        Value::Boolean(_) | Value::Text(_) => None,
    }
}

/// Whole numbers beside real ones become real ones, so that the values of one decision are of one kind.
fn as_one_kind(values: Vec<Value>) -> Vec<Value> {
    if !values.iter().any(|value| matches!(value, Value::Real(_))) {
        return values;
    }
    values
        .into_iter()
        .map(|value| match value {
            Value::Integer(number) => Value::Real(number as f64),
            other => other,
        })
        .collect()
}
