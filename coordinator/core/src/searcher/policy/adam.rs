//! Adam (Kingma and Ba 2015): steps of a size that the scale of the gradient does not change.

const FIRST: f64 = 0.9;
const SECOND: f64 = 0.999;
const SMALL: f64 = 1e-8;

/// The state of the optimizer; it grows with the parameters.
#[derive(Clone, Debug, Default)]
pub(super) struct Adam {
    steps: i32,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Adam {
    /// One step down the gradient.
    pub(super) fn descend(&mut self, parameters: &mut [f64], gradient: &[f64], rate: f64) {
        self.first.resize(parameters.len(), 0.0);
        self.second.resize(parameters.len(), 0.0);
        self.steps = self.steps.saturating_add(1);
        let first_share = 1.0 - FIRST.powi(self.steps);
        let second_share = 1.0 - SECOND.powi(self.steps);
        for (index, parameter) in parameters.iter_mut().enumerate() {
            let slope = gradient[index];
            let first = &mut self.first[index];
            *first = FIRST * *first + (1.0 - FIRST) * slope;
            let second = &mut self.second[index];
            *second = SECOND * *second + (1.0 - SECOND) * slope * slope;
            *parameter -= rate * (*first / first_share) / ((*second / second_share).sqrt() + SMALL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adam_finds_the_bottom_of_a_bowl() {
        let mut at = vec![3.0, -200.0];
        let mut adam = Adam::default();
        for _ in 0..6000 {
            let gradient = [2.0 * (at[0] - 1.0), 0.02 * (at[1] + 190.0)];
            adam.descend(&mut at, &gradient, 0.01);
        }
        assert!(
            (at[0] - 1.0).abs() < 1e-3 && (at[1] + 190.0).abs() < 1e-2,
            "{at:?}"
        );
    }
}
