//! Gradient descent with a state that can be put into a file. libtorch's own optimizers, which tch calls, keep theirs to
//! themselves, and what was broken off is to go on as if it had not been.

use espalier_common::recipe::Optimizer as Recipe;
use tch::{Device, Kind, TchError, Tensor, no_grad_guard};

use crate::parameters::Parameters;

/// AdamW's decay of the running means and of the running squares, and what keeps it from dividing by zero: the values
/// of Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019 (<https://arxiv.org/abs/1711.05101>).
const BETAS: (f64, f64) = (0.9, 0.999);
const EPSILON: f64 = 1e-8;

/// An optimizer over the trained parameters of a network.
pub struct Optimizer {
    recipe: Recipe,
    parameters: Vec<Tensor>,
    device: Device,
    /// Of SGD with momentum: the velocity of each parameter. Of AdamW: the running mean of its gradient.
    first: Vec<Tensor>,
    /// Of AdamW: the running mean of the gradient's square.
    second: Vec<Tensor>,
    /// Steps taken.
    taken: u64,
}

impl Optimizer {
    /// The optimizer of a recipe.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn new(recipe: &Recipe, parameters: &Parameters) -> Result<Self, TchError> {
        let _guard = no_grad_guard();
        let device = parameters.device();
        let parameters: Vec<Tensor> = parameters.trained().map(Tensor::shallow_clone).collect();
        let zeros = |wanted: bool| -> Result<Vec<Tensor>, TchError> {
            let wanted = parameters.iter().filter(|_| wanted);
            wanted.map(Tensor::f_zeros_like).collect()
        };
        let (first, second) = match *recipe {
            Recipe::Sgd { momentum, .. } => (zeros(momentum != 0.0)?, Vec::new()),
            Recipe::Adamw { .. } => (zeros(true)?, zeros(true)?),
        };
        Ok(Self {
            recipe: recipe.clone(),
            parameters,
            device,
            first,
            second,
            taken: 0,
        })
    }

    /// One step down the gradient of `loss`.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn step(&mut self, loss: &Tensor, learning_rate: f64) -> Result<(), TchError> {
        let gradients = Tensor::f_run_backward(&[loss], &self.parameters, false, false)?;
        let _guard = no_grad_guard();
        self.taken += 1;
        match self.recipe {
            Recipe::Sgd {
                momentum,
                nesterov,
                weight_decay,
                ..
            } => self.descend(&gradients, learning_rate, momentum, nesterov, weight_decay),
            Recipe::Adamw { weight_decay, .. } => {
                self.descend_adaptively(&gradients, learning_rate, weight_decay)
            }
        }
    }

    /// Stochastic gradient descent as PyTorch defines it. Gradients are never changed in place: two parameters may
    /// share one.
    fn descend(
        &mut self,
        gradients: &[Tensor],
        learning_rate: f64,
        momentum: f64,
        nesterov: bool,
        weight_decay: f64,
    ) -> Result<(), TchError> {
        let step = self.number(-learning_rate)?;
        let (keep, decay) = (self.number(momentum)?, self.number(weight_decay)?);
        for (index, gradient) in gradients.iter().enumerate() {
            // A parameter that the loss does not depend on has none.
            if !gradient.defined() {
                continue;
            }
            let parameter = &mut self.parameters[index];
            let mut direction = gradient.shallow_clone();
            if weight_decay != 0.0 {
                direction = direction.f_addcmul(parameter, &decay)?;
            }
            if let Some(velocity) = self.first.get_mut(index) {
                *velocity = direction.f_addcmul(velocity, &keep)?;
                direction = if nesterov {
                    direction.f_addcmul(velocity, &keep)?
                } else {
                    velocity.shallow_clone()
                };
            }
            let _ = parameter.f_addcmul_(&direction, &step)?;
        }
        Ok(())
    }

    /// AdamW as PyTorch defines it.
    fn descend_adaptively(
        &mut self,
        gradients: &[Tensor],
        learning_rate: f64,
        weight_decay: f64,
    ) -> Result<(), TchError> {
        let taken = i32::try_from(self.taken).unwrap_or(i32::MAX);
        let unbiased = |beta: f64| 1.0 - beta.powi(taken);
        let step = self.number(-learning_rate / unbiased(BETAS.0))?;
        let share = self.number(1.0 - BETAS.1)?;
        let scale = 1.0 / unbiased(BETAS.1).sqrt();
        for (index, gradient) in gradients.iter().enumerate() {
            if !gradient.defined() {
                continue;
            }
            let parameter = &mut self.parameters[index];
            let (mean, square) = (&mut self.first[index], &mut self.second[index]);
            if weight_decay != 0.0 {
                let _ = parameter.f_mul_scalar_(1.0 - learning_rate * weight_decay)?;
            }
            let _ = mean.f_lerp_(gradient, 1.0 - BETAS.0)?;
            let _ = square.f_mul_scalar_(BETAS.1)?;
            let _ = square.f_addcmul_(&gradient.f_mul(gradient)?, &share)?;
            let mut spread = square.f_sqrt()?;
            let _ = spread.f_mul_scalar_(scale)?.f_add_scalar_(EPSILON)?;
            let _ = parameter.f_addcdiv_(&mean.f_mul(&step)?, &spread)?;
        }
        Ok(())
    }

    /// A number where the parameters are: as a tensor it takes part in one operation instead of making two.
    fn number(&self, value: f64) -> Result<Tensor, TchError> {
        Tensor::f_full([0_i64; 0], value, (Kind::Float, self.device))
    }

    /// The state beside the parameters: what it is, which trained parameter it belongs to, counted from 0, and the
    /// values.
    pub fn state(&self) -> impl Iterator<Item = (&'static str, usize, &Tensor)> {
        let first_name = match self.recipe {
            Recipe::Sgd { .. } => "velocity",
            Recipe::Adamw { .. } => "mean",
        };
        let of = |name: &'static str, tensors| {
            let tensors: std::slice::Iter<'_, Tensor> = tensors;
            tensors
                .enumerate()
                .map(move |(index, tensor)| (name, index, tensor))
        };
        of(first_name, self.first.iter()).chain(of("square", self.second.iter()))
    }

    /// Goes on after so many steps, with the state that the tensors of [`Optimizer::state`] hold by now.
    pub fn resume(&mut self, taken: u64) {
        self.taken = taken;
    }
}

/// The peak learning rate of a recipe.
#[must_use]
pub fn peak(recipe: &Recipe) -> f64 {
    match *recipe {
        Recipe::Sgd { learning_rate, .. } | Recipe::Adamw { learning_rate, .. } => learning_rate,
    }
}
