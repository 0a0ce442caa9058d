//! The learning rate of every step, over the full fidelity of the search: a trial that is cut short has
//! the rates that it would have had at the same step of a full one. Pure.

use std::f64::consts::PI;

use espalier_common::recipe::{Recipe, Schedule};

/// The learning rate as a function of the step.
#[derive(Clone, Debug)]
pub struct LearningRate {
    peak: f64,
    warmup_steps: f64,
    steps: f64,
    cosine: bool,
}

impl LearningRate {
    /// The schedule of a recipe with so many steps in an epoch.
    #[must_use]
    pub fn new(recipe: &Recipe, peak: f64, steps_of_an_epoch: usize) -> Self {
        let per_epoch = steps_of_an_epoch as f64;
        let (cosine, warmup_epochs) = match recipe.schedule {
            Schedule::Constant { warmup_epochs } => (false, warmup_epochs),
            Schedule::Cosine { warmup_epochs } => (true, warmup_epochs),
        };
        Self {
            peak,
            warmup_steps: warmup_epochs * per_epoch,
            steps: f64::from(recipe.epochs) * per_epoch,
            cosine,
        }
    }

    /// The rate of a step; the first is 0.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        let step = step as f64;
        if step < self.warmup_steps {
            // The first step learns already: a rate of zero would waste it.
            return self.peak * ((step + 1.0) / self.warmup_steps).min(1.0);
        }
        if !self.cosine {
            return self.peak;
        }
        let share = (step - self.warmup_steps) / (self.steps - self.warmup_steps).max(1.0);
        self.peak * 0.5 * (1.0 + (PI * share.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use espalier_common::recipe::Optimizer;

    use super::*;

    fn rate(schedule: Schedule) -> LearningRate {
        let recipe = Recipe {
            epochs: 10,
            batch_size: 8,
            optimizer: Optimizer::Adamw {
                learning_rate: 2.0,
                weight_decay: 0.0,
            },
            schedule,
            label_smoothing: 0.0,
        };
        LearningRate::new(&recipe, 2.0, 100)
    }

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-9
    }

    #[test]
    fn a_cosine_falls_from_the_peak_to_nearly_zero_over_all_epochs() {
        let rate = rate(Schedule::Cosine { warmup_epochs: 0.0 });
        assert!(close(rate.at(0), 2.0));
        assert!(close(rate.at(500), 1.0));
        assert!(rate.at(999) < 1e-4 && rate.at(999) > 0.0);
    }

    #[test]
    fn a_warm_up_rises_in_a_line_and_ends_at_the_peak() {
        for schedule in [
            Schedule::Cosine { warmup_epochs: 1.5 },
            Schedule::Constant { warmup_epochs: 1.5 },
        ] {
            let rate = rate(schedule);
            assert!(close(rate.at(0), 2.0 / 150.0));
            assert!(close(rate.at(74), 1.0));
            assert!(close(rate.at(149), 2.0));
            assert!(close(rate.at(150), 2.0));
        }
    }

    #[test]
    fn a_constant_rate_stays_at_the_peak() {
        let rate = rate(Schedule::Constant { warmup_epochs: 0.0 });
        assert!((0..1000).all(|step| close(rate.at(step), 2.0)));
    }

    #[test]
    fn a_warm_up_as_long_as_the_training_gives_finite_rates() {
        let rate = rate(Schedule::Cosine {
            warmup_epochs: 10.0,
        });
        assert!((0..1100).all(|step| rate.at(step).is_finite()));
    }
}
