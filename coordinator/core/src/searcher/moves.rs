//! Steps from a candidate to its neighbours: one decision takes another value, everything else that is still
//! active stays. May import `espalier-common`.

use espalier_common::candidate::{Candidate, DecisionPath, Value};
use espalier_common::space::{Chooser, Domain, Space};
use rand_chacha::ChaCha8Rng;

/// How far the steps of a range go, as shares of it: from far to fine, each a quarter of the one before, so
/// that a few of them reach any place.
const STRIDES: [f64; 4] = [0.25, 0.0625, 0.015_625, 0.003_906_25];

/// One decision and the value it would take.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Move {
    pub(super) path: DecisionPath,
    pub(super) value: Value,
    pub(super) mark: Mark,
}

/// Every step from `candidate`: each other value of a choice; of a range the next value up and down, and
/// values at fixed shares of its length.
pub(super) fn moves(space: &Space, candidate: &Candidate) -> Vec<Move> {
    let mut all = Vec::new();
    for (path, domain) in space.open_decisions(candidate) {
        let Some(present) = candidate.get(&path) else {
            continue;
        };
        let mut values = others(&domain, present);
        values.dedup();
        all.extend(values.into_iter().map(|value| Move {
            mark: mark(&path, &value),
            path: path.clone(),
            value,
        }));
    }
    all
}

/// The values that are one step from `present`, in ascending order for a range.
fn others(domain: &Domain, present: &Value) -> Vec<Value> {
    let Some(share) = domain.share(present).filter(|_| domain.is_range()) else {
        let count = domain.count().unwrap_or(0);
        return (0..count)
            .filter_map(|index| domain.nth(index))
            .filter(|value| value != present)
            .collect();
    };
    let mut shares: Vec<f64> = STRIDES
        .iter()
        .flat_map(|stride| [share - stride, share + stride])
        .filter(|share| (0.0..=1.0).contains(share))
        .collect();
    shares.sort_by(f64::total_cmp);
    let mut values: Vec<Value> = shares.into_iter().map(|share| domain.at(share)).collect();
    values.extend(next_values(domain, present));
    values.retain(|value| value != present);
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values
}

/// The neighbours of a value on the grid of its range.
fn next_values(domain: &Domain, present: &Value) -> Vec<Value> {
    match (domain, present) {
        (&Domain::Integer { step, .. }, &Value::Integer(number)) => [-1, 1]
            .into_iter()
            .filter_map(|sign| number.checked_add(step.max(1).checked_mul(sign)?))
            .filter_map(|number| domain.canonical(&Value::Integer(number)))
            .collect(),
        (
            &Domain::Real {
                step: Some(step), ..
            },
            &Value::Real(number),
        ) => [number - step, number + step]
            .into_iter()
            .filter_map(|number| domain.canonical(&Value::Real(number)))
            .collect(),
        _ => Vec::new(),
    }
}

/// The neighbour that a step leads to. Decisions that it makes active are sampled.
pub(super) fn step(
    space: &Space,
    from: &Candidate,
    path: &DecisionPath,
    value: &Value,
    rng: &mut ChaCha8Rng,
) -> Candidate {
    let mut step = Step {
        from,
        path,
        value,
        rng,
    };
    space.expand(&mut step).candidate
}

struct Step<'a> {
    from: &'a Candidate,
    path: &'a DecisionPath,
    value: &'a Value,
    rng: &'a mut ChaCha8Rng,
}

impl Chooser for Step<'_> {
    fn choose(&mut self, path: &DecisionPath, domain: &Domain) -> Value {
        if path == self.path {
            return self.value.clone();
        }
        self.from
            .get(path)
            .and_then(|value| domain.canonical(value))
            .unwrap_or_else(|| domain.sample(self.rng))
    }
}

/// What a candidate decides, as numbers that are quickly compared: the hashes of each path and its value, by
/// the hash of the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Print(Vec<Mark>);

/// The hashes of a decision's path and of its value.
pub(super) type Mark = (u64, u64);

impl Print {
    pub(super) fn of(candidate: &Candidate) -> Self {
        let mut marks: Vec<Mark> = candidate
            .0
            .iter()
            .map(|(path, value)| mark(path, value))
            .collect();
        marks.sort_unstable();
        Self(marks)
    }

    /// The one decision in which `to` differs from this, if it is one; decisions that only one of the two
    /// has follow from it and do not count.
    pub(super) fn difference(&self, to: &Self) -> Option<Mark> {
        let mut found = None;
        let mut mine = self.0.iter().peekable();
        for &(path, value) in &to.0 {
            while mine.next_if(|own| own.0 < path).is_some() {}
            let Some(&(_, own)) = mine.next_if(|own| own.0 == path) else {
                continue;
            };
            if own != value {
                if found.is_some() {
                    return None;
                }
                found = Some((path, value));
            }
        }
        found
    }
}

/// The mark of one decision. Two decisions with one mark would be taken for each other, which costs one
/// neighbour; at 64 bits nobody will see it.
pub(super) fn mark(path: &DecisionPath, value: &Value) -> Mark {
    let value = match value {
        Value::Boolean(flag) => hash(&[0, u8::from(*flag)]),
        Value::Integer(number) => hash(&number.to_le_bytes()),
        Value::Real(number) => hash(&number.to_bits().to_be_bytes()),
        Value::Text(text) => hash(text.as_bytes()),
    };
    (hash(path.0.as_bytes()), value)
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use espalier_common::spec;
    use rand::SeedableRng;

    use super::*;

    const SPEC: &str = "
name: steps
hyperparameters:
  kind: {choice: [a, b, c]}
  rate: {range: [1e-4, 1.0], scale: log}
  width: {range: [8, 24], step: 8}
training: {optimizer: {choice: {sgd: {learning_rate: 0.1, momentum: {choice: [0, 0.9]}}, adamw: {}}}}
evaluator: mine
objectives: [{maximize: score}]
budget: {trials: 10}
";

    #[test]
    fn every_step_changes_one_decision_and_leads_to_a_member_of_the_space() {
        let space = spec::read(SPEC, "steps").unwrap().space;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..50 {
            let from = space.sample(&mut rng);
            let steps = moves(&space, &from);
            for (index, one) in steps.iter().enumerate() {
                assert!(!steps[..index].contains(one), "{one:?} twice");
                let to = step(&space, &from, &one.path, &one.value, &mut rng);
                assert!(space.resolve(&to).is_ok());
                let difference = Print::of(&from).difference(&Print::of(&to));
                assert_eq!(difference, Some(one.mark));
            }
            let kinds = steps.iter().filter(|one| one.path.0.ends_with("kind"));
            assert_eq!(kinds.count(), 2);
            assert!(steps.iter().any(|one| one.path.0.ends_with("width")));
        }
    }

    #[test]
    fn equal_candidates_and_far_ones_have_no_single_difference() {
        let candidate = |pairs: &[(&str, i64)]| {
            Candidate(
                pairs
                    .iter()
                    .map(|&(path, value)| (DecisionPath(path.to_owned()), Value::Integer(value)))
                    .collect(),
            )
        };
        let difference = |a: &[_], b: &[_]| {
            let (a, b) = (candidate(a), candidate(b));
            Print::of(&a).difference(&Print::of(&b))
        };
        let a = [("a", 1), ("b", 1)];
        assert_eq!(difference(&a, &a), None);
        assert_eq!(difference(&a, &[("a", 2), ("b", 2)]), None);
        assert_eq!(difference(&a, &[("c", 2)]), None);
        let path = DecisionPath("a".to_owned());
        let there = mark(&path, &Value::Integer(2));
        assert_eq!(difference(&a, &[("a", 2), ("b", 1), ("c", 5)]), Some(there));
        assert_eq!(difference(&[("a", 1), ("d", 0)], &[("a", 2)]), Some(there));
    }
}
