//! The grid of a space: every candidate, with a few points of each long range in place of all its values.
//! May import the other words of this crate.

use super::Space;
use super::domain::Domain;
use super::expand::Chooser;
use crate::candidate::{Candidate, DecisionPath, Value};

/// The most members of a grid: beyond that it is no plan but a queue.
pub const MAX_GRID: usize = 20_000;
/// The most blocks that a walk over a grid may expand, a decision counting as four, so that even a huge space is
/// refused within about a second.
const MOST_WORK: u64 = 10_000_000;

/// A member of a grid: which point each decision takes, in the order of the space.
pub type GridMember = Box<[u32]>;

impl Space {
    /// The members of the grid that has at most `points` values of every range; `None` when there are more
    /// than [`Space::grid_limit`].
    #[must_use]
    pub fn grid(&self, points: u32) -> Option<Vec<GridMember>> {
        let mut members = Vec::new();
        let mut walk = Walk {
            points,
            wheels: Vec::new(),
            next: 0,
        };
        for _ in 0..self.grid_limit() {
            walk.next = 0;
            self.expand(&mut walk);
            walk.wheels.truncate(walk.next);
            members.push(walk.wheels.iter().map(|wheel| wheel.index).collect());
            if !walk.advance() {
                return Some(members);
            }
        }
        None
    }

    /// The most members that a grid of this space may have: [`MAX_GRID`], fewer where each is large.
    #[must_use]
    pub fn grid_limit(&self) -> usize {
        let count = self.count();
        let work = (count.blocks)
            .saturating_add(count.decisions.saturating_mul(4))
            .max(1);
        usize::try_from(MOST_WORK / work).map_or(MAX_GRID, |most| most.clamp(1, MAX_GRID))
    }

    /// The candidate at a member of the grid.
    #[must_use]
    pub fn grid_candidate(&self, points: u32, member: &[u32]) -> Candidate {
        let mut at = At {
            points,
            rest: member,
        };
        self.expand(&mut at).candidate
    }
}

/// The points of a decision's domain.
fn points_of(domain: &Domain, points: u32) -> Vec<Value> {
    let points = u64::from(points.max(1));
    match domain.count() {
        Some(count) if count <= points || !domain.is_range() => {
            (0..count).filter_map(|index| domain.nth(index)).collect()
        }
        _ => {
            let share = |index| {
                if points == 1 {
                    0.5
                } else {
                    index as f64 / (points - 1) as f64
                }
            };
            let mut values: Vec<Value> = (0..points).map(|index| domain.at(share(index))).collect();
            // Whole numbers on a logarithmic scale may share their nearest one.
            values.dedup();
            values
        }
    }
}

/// Counts through the members as an odometer does; see `Odometer` in `choosers`.
struct Walk {
    points: u32,
    wheels: Vec<Wheel>,
    next: usize,
}

struct Wheel {
    index: u32,
    values: Vec<Value>,
}

impl Walk {
    fn advance(&mut self) -> bool {
        while let Some(wheel) = self.wheels.last_mut() {
            wheel.index += 1;
            if (wheel.index as usize) < wheel.values.len() {
                return true;
            }
            self.wheels.pop();
        }
        false
    }
}

impl Chooser for Walk {
    fn choose(&mut self, _path: &DecisionPath, domain: &Domain) -> Value {
        if self.next == self.wheels.len() {
            self.wheels.push(Wheel {
                index: 0,
                values: points_of(domain, self.points),
            });
        }
        let wheel = &self.wheels[self.next];
        self.next += 1;
        let value = wheel.values.get(wheel.index as usize);
        value.cloned().unwrap_or_else(|| domain.first())
    }
}

struct At<'m> {
    points: u32,
    rest: &'m [u32],
}

impl Chooser for At<'_> {
    fn choose(&mut self, _path: &DecisionPath, domain: &Domain) -> Value {
        let (index, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        points_of(domain, self.points)
            .into_iter()
            .nth(*index as usize)
            .unwrap_or_else(|| domain.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    fn space(hyperparameters: &str) -> Space {
        let text = format!(
            "name: grid\nhyperparameters: {hyperparameters}\nevaluator: mine\n\
             objectives: [{{maximize: score}}]\nbudget: {{trials: 5}}\n"
        );
        spec::read(&text, "grid").unwrap().space
    }

    #[test]
    fn a_grid_has_every_choice_and_a_few_points_of_a_range() {
        let space = space(
            "{a: {choice: [x, y]}, rate: {range: [1e-4, 1.0], scale: log}, n: {range: [1, 3]}}",
        );
        let grid = space.grid(5).unwrap();
        assert_eq!(grid.len(), 2 * 5 * 3);
        let mut seen = Vec::new();
        for member in &grid {
            let candidate = space.grid_candidate(5, member);
            assert!(space.resolve(&candidate).is_ok());
            assert!(!seen.contains(&candidate));
            seen.push(candidate);
        }
        let path = DecisionPath("hyperparameters.rate".to_owned());
        let rates = seen
            .iter()
            .filter_map(|candidate| match candidate.get(&path) {
                Some(Value::Real(rate)) => Some(*rate),
                _ => None,
            });
        let thousandth = rates.filter(|rate| (rate / 1e-3 - 1.0).abs() < 1e-9);
        assert_eq!(thousandth.count(), 6);
    }

    #[test]
    fn a_grid_that_is_too_large_is_none() {
        let names: Vec<String> = (0..5)
            .map(|index| format!("p{index}: {{range: [0.0, 1.0]}}"))
            .collect();
        let space = space(&format!("{{{}}}", names.join(", ")));
        assert_eq!(space.grid(7).map(|grid| grid.len()), Some(16_807));
        assert_eq!(space.grid(8), None);
    }
}
