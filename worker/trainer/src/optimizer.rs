//! libtorch's optimizers through calls that can fail.

use espalier_common::recipe::Optimizer as Recipe;
use tch::{COptimizer, TchError, Tensor};

use crate::parameters::Parameters;

/// An optimizer over the trained parameters of a network.
pub struct Optimizer {
    inner: COptimizer,
}

impl Optimizer {
    /// The optimizer of a recipe.
    ///
    /// # Errors
    /// What libtorch says of a setting that is out of its range.
    pub fn new(recipe: &Recipe, parameters: &Parameters) -> Result<Self, TchError> {
        let mut inner = match *recipe {
            Recipe::Sgd {
                learning_rate,
                momentum,
                nesterov,
                weight_decay,
            } => {
                // Without momentum Nesterov's form is plain descent, but libtorch refuses the pair.
                let nesterov = nesterov && momentum > 0.0;
                COptimizer::sgd(learning_rate, momentum, 0.0, weight_decay, nesterov)?
            }
            Recipe::Adamw {
                learning_rate,
                weight_decay,
            } => COptimizer::adamw(learning_rate, 0.9, 0.999, weight_decay, 1e-8, false)?,
        };
        for tensor in parameters.trained() {
            inner.add_parameters(tensor, 0)?;
        }
        Ok(Self { inner })
    }

    /// One step down the gradient of `loss`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn step(&mut self, loss: &Tensor, learning_rate: f64) -> Result<(), TchError> {
        self.inner.set_learning_rate(learning_rate)?;
        self.inner.zero_grad()?;
        loss.f_backward()?;
        self.inner.step()
    }
}

/// The peak learning rate of a recipe.
#[must_use]
pub fn peak(recipe: &Recipe) -> f64 {
    match *recipe {
        Recipe::Sgd { learning_rate, .. } | Recipe::Adamw { learning_rate, .. } => learning_rate,
    }
}
