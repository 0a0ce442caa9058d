//! The controller: a gated recurrent unit that reads the decisions made so far and gives probabilities for
//! the next one, in the order of the space. Its gradient is written out by hand: it is one recurrent layer and
//! one linear layer for each decision, and the libraries that would derive it bring files, threads or the
//! system's randomness into a crate that must not have them.
//!
//! All parameters lie in one vector: first the unit's, then those of each decision in the order in which they
//! were first learned about. What a decision begins with depends on the seed and its path alone, not on when it
//! was first met.

use std::collections::BTreeMap;

use espalier_common::candidate::DecisionPath;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Width of the state: as for the small controllers of the literature (Zoph and Le 2017 use 35).
pub(super) const STATE: usize = 32;
/// Width of what is read at each step.
pub(super) const INPUT: usize = 16;
/// The three gates.
const GATES: usize = 3 * STATE;
const INPUT_WEIGHTS: usize = GATES * INPUT;
const STATE_WEIGHTS: usize = GATES * STATE;
/// Parameters of the recurrent unit.
const UNIT: usize = INPUT_WEIGHTS + STATE_WEIGHTS + GATES;
/// Spread of the parameters at the beginning.
const SPREAD: f64 = 0.1;

/// The parameters, and where those of each decision lie.
#[derive(Clone, Debug)]
pub(super) struct Controller {
    seed: u64,
    pub(super) parameters: Vec<f64>,
    decisions: BTreeMap<DecisionPath, Place>,
}

/// Where the parameters of a decision lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    at: usize,
    bins: usize,
}

impl Place {
    /// A vector that stands for the decision itself.
    fn own(self) -> usize {
        self.at
    }
    /// A vector for each bin, read at the step after it was chosen.
    fn chosen(self, bin: usize) -> usize {
        self.at + INPUT * (1 + bin)
    }
    /// Weights of a bin's logit.
    fn weights(self, bin: usize) -> usize {
        self.at + INPUT * (1 + self.bins) + STATE * bin
    }
    fn bias(self, bin: usize) -> usize {
        self.at + INPUT * (1 + self.bins) + STATE * self.bins + bin
    }
    fn length(bins: usize) -> usize {
        INPUT * (1 + bins) + (STATE + 1) * bins
    }
}

/// What one step computed; the backward pass needs all of it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    place: Place,
    input: [f64; INPUT],
    before: [f64; STATE],
    update: [f64; STATE],
    reset: [f64; STATE],
    /// The part of the new state that comes from the old one, before the reset gate.
    recalled: [f64; STATE],
    new: [f64; STATE],
    after: [f64; STATE],
    /// Logarithms of the probabilities of the bins.
    pub(super) log_probabilities: Vec<f64>,
    /// What was chosen.
    pub(super) bin: usize,
}

/// A walk along the decisions of one candidate.
#[derive(Clone, Debug, Default)]
pub(super) struct Walk {
    pub(super) steps: Vec<Step>,
}

impl Walk {
    /// The logarithm of the probability of all that was chosen.
    pub(super) fn log_probability(&self) -> f64 {
        let chosen = |step: &Step| step.log_probabilities[step.bin];
        self.steps.iter().map(chosen).sum()
    }
}

impl Controller {
    /// A controller that gives every bin the same probability.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = keyed(seed, "");
        Self {
            seed,
            parameters: (0..UNIT).map(|_| spread(&mut rng)).collect(),
            decisions: BTreeMap::new(),
        }
    }

    /// Where the parameters of this decision lie; new ones are added.
    pub(super) fn learn_of(&mut self, path: &DecisionPath, bins: usize) -> Place {
        if let Some(place) = self.decisions.get(path).filter(|place| place.bins == bins) {
            return *place;
        }
        let place = Place {
            at: self.parameters.len(),
            bins,
        };
        self.parameters.extend(first(self.seed, path, bins));
        self.decisions.insert(path.clone(), place);
        place
    }

    /// One step: the probabilities of the bins of the decision at `place`, after the walk so far.
    pub(super) fn step(&self, parameters: &[f64], walk: &Walk, place: Place) -> Step {
        let mut input = [0.0; INPUT];
        add(&mut input, slice(parameters, place.own(), INPUT), 1.0);
        let mut before = [0.0; STATE];
        if let Some(last) = walk.steps.last() {
            add(
                &mut input,
                slice(parameters, last.place.chosen(last.bin), INPUT),
                1.0,
            );
            before = last.after;
        }
        let gate = |gate: usize, unit: usize| {
            let row = gate * STATE + unit;
            let from_input = dot(slice(parameters, row * INPUT, INPUT), &input);
            let from_state = dot(
                slice(parameters, INPUT_WEIGHTS + row * STATE, STATE),
                &before,
            );
            let bias = parameters[INPUT_WEIGHTS + STATE_WEIGHTS + row];
            (from_input + bias, from_state)
        };
        let mut step = Step {
            place,
            input,
            before,
            update: [0.0; STATE],
            reset: [0.0; STATE],
            recalled: [0.0; STATE],
            new: [0.0; STATE],
            after: [0.0; STATE],
            log_probabilities: vec![0.0; place.bins],
            bin: 0,
        };
        for (unit, &before) in before.iter().enumerate() {
            let (input, state) = gate(0, unit);
            step.update[unit] = sigmoid(input + state);
            let (input, state) = gate(1, unit);
            step.reset[unit] = sigmoid(input + state);
            let (input, state) = gate(2, unit);
            step.recalled[unit] = state;
            step.new[unit] = (input + step.reset[unit] * state).tanh();
            step.after[unit] =
                (1.0 - step.update[unit]) * step.new[unit] + step.update[unit] * before;
        }
        for bin in 0..place.bins {
            step.log_probabilities[bin] = parameters[place.bias(bin)]
                + dot(slice(parameters, place.weights(bin), STATE), &step.after);
        }
        normalise(&mut step.log_probabilities);
        step
    }

    /// Adds to `gradient` the derivative of what `pull` says: for each step the derivatives by its logits.
    pub(super) fn backward(&self, walk: &Walk, pulls: &[Vec<f64>], gradient: &mut [f64]) {
        let parameters = &self.parameters;
        let mut by_after = [0.0; STATE];
        for (index, (step, pull)) in walk.steps.iter().zip(pulls).enumerate().rev() {
            for (bin, &pull) in pull.iter().enumerate() {
                gradient[step.place.bias(bin)] += pull;
                let at = step.place.weights(bin);
                add(&mut gradient[at..at + STATE], &step.after, pull);
                add(&mut by_after, slice(parameters, at, STATE), pull);
            }
            let mut by_input = [0.0; INPUT];
            let mut by_before = [0.0; STATE];
            for unit in 0..STATE {
                let (update, reset) = (step.update[unit], step.reset[unit]);
                let by_after = by_after[unit];
                by_before[unit] += by_after * update;
                let by_update =
                    by_after * (step.before[unit] - step.new[unit]) * update * (1.0 - update);
                let by_new = by_after * (1.0 - update) * (1.0 - step.new[unit].powi(2));
                let by_reset = by_new * step.recalled[unit] * reset * (1.0 - reset);
                for (gate, by_input_sum, by_state_sum) in [
                    (0, by_update, by_update),
                    (1, by_reset, by_reset),
                    (2, by_new, by_new * reset),
                ] {
                    let row = gate * STATE + unit;
                    let at = row * INPUT;
                    add(&mut gradient[at..at + INPUT], &step.input, by_input_sum);
                    add(&mut by_input, slice(parameters, at, INPUT), by_input_sum);
                    let at = INPUT_WEIGHTS + row * STATE;
                    add(&mut gradient[at..at + STATE], &step.before, by_state_sum);
                    add(&mut by_before, slice(parameters, at, STATE), by_state_sum);
                    gradient[INPUT_WEIGHTS + STATE_WEIGHTS + row] += by_input_sum;
                }
            }
            let at = step.place.own();
            add(&mut gradient[at..at + INPUT], &by_input, 1.0);
            if let Some(last) = index.checked_sub(1).and_then(|index| walk.steps.get(index)) {
                let at = last.place.chosen(last.bin);
                add(&mut gradient[at..at + INPUT], &by_input, 1.0);
            }
            by_after = by_before;
        }
    }
}

/// What a decision's parameters begin with: no bin is more likely than another.
fn first(seed: u64, path: &DecisionPath, bins: usize) -> Vec<f64> {
    let mut rng = keyed(seed, &path.0);
    let read = INPUT * (1 + bins);
    (0..Place::length(bins))
        .map(|index| if index < read { spread(&mut rng) } else { 0.0 })
        .collect()
}

fn keyed(seed: u64, text: &str) -> ChaCha8Rng {
    let mut key = b"espalier policy ".to_vec();
    key.extend(seed.to_le_bytes());
    key.extend(text.as_bytes());
    ChaCha8Rng::from_seed(*blake3::hash(&key).as_bytes())
}

fn spread(rng: &mut ChaCha8Rng) -> f64 {
    SPREAD * (2.0 * rng.random::<f64>() - 1.0)
}

fn slice(parameters: &[f64], at: usize, length: usize) -> &[f64] {
    &parameters[at..at + length]
}

fn add(to: &mut [f64], from: &[f64], times: f64) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += times * from;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Makes logits the logarithms of probabilities.
pub(super) fn normalise(logits: &mut [f64]) {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let total = largest + sum.ln();
    for logit in logits {
        *logit -= total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINS: [usize; 4] = [3, 2, 5, 3];

    fn walk(controller: &mut Controller) -> Walk {
        let mut walk = Walk::default();
        for (index, bins) in BINS.into_iter().enumerate() {
            let path = DecisionPath(format!("decision{index}"));
            let place = controller.learn_of(&path, bins);
            let mut step = controller.step(&controller.parameters, &walk, place);
            step.bin = (index * 2 + 1) % bins;
            walk.steps.push(step);
        }
        walk
    }

    /// The derivative of the log-probability by every logit.
    fn pulls(walk: &Walk) -> Vec<Vec<f64>> {
        let of = |step: &Step| {
            let own = |bin| f64::from(u8::from(bin == step.bin));
            let logs = step.log_probabilities.iter().enumerate();
            logs.map(|(bin, log)| own(bin) - log.exp()).collect()
        };
        walk.steps.iter().map(of).collect()
    }

    #[test]
    fn the_gradient_is_that_of_small_differences() {
        let mut controller = Controller::new(3);
        walk(&mut controller);
        // Away from the beginning, where many derivatives vanish.
        let mut rng = keyed(1, "test");
        for parameter in &mut controller.parameters {
            *parameter += 4.0 * spread(&mut rng);
        }
        let here = walk(&mut controller);
        let mut gradient = vec![0.0; controller.parameters.len()];
        controller.backward(&here, &pulls(&here), &mut gradient);
        let mut nonzero = 0;
        for index in (0..gradient.len()).step_by(7) {
            let mut at = |shift: f64| {
                let kept = controller.parameters[index];
                controller.parameters[index] = kept + shift;
                let log = walk(&mut controller).log_probability();
                controller.parameters[index] = kept;
                log
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!(
                (difference - gradient[index]).abs() < 1e-6,
                "{index}: {difference} {}",
                gradient[index]
            );
            nonzero += usize::from(difference.abs() > 1e-4);
        }
        assert!(nonzero > 100, "{nonzero}");
    }

    #[test]
    fn a_new_controller_prefers_nothing_whenever_it_learns_of_a_decision() {
        let mut controller = Controller::new(1);
        let path = DecisionPath("a".to_owned());
        let mut late = controller.clone();
        late.learn_of(&DecisionPath("b".to_owned()), 3);
        let step = |controller: &mut Controller| {
            let place = controller.learn_of(&path, 4);
            controller.step(&controller.parameters, &Walk::default(), place)
        };
        let (first, late) = (step(&mut controller), step(&mut late));
        for log in &first.log_probabilities {
            assert!((log.exp() - 0.25).abs() < 1e-12);
        }
        assert_eq!(first.after, late.after);
    }
}
