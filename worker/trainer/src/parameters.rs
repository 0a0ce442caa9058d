//! The named tensors of a network: what is trained, and the running statistics beside it.

use tch::{Device, Kind, TchError, Tensor, no_grad_guard};

/// A named tensor.
pub struct Parameter {
    /// The node's name, a dot, and what it is: `network[0].weight`.
    pub name: String,
    /// The values.
    pub tensor: Tensor,
    /// Whether an optimizer changes it; running statistics are kept by the forward pass.
    pub trained: bool,
}

/// The named tensors of a network, in the order of its nodes.
pub struct Parameters {
    device: Device,
    entries: Vec<Parameter>,
}

impl Parameters {
    /// None yet.
    #[must_use]
    pub fn new(device: Device) -> Self {
        Self {
            device,
            entries: Vec::new(),
        }
    }

    /// Where they are.
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// All of them.
    #[must_use]
    pub fn entries(&self) -> &[Parameter] {
        &self.entries
    }

    /// The trained ones.
    pub fn trained(&self) -> impl Iterator<Item = &Tensor> {
        self.entries
            .iter()
            .filter(|entry| entry.trained)
            .map(|entry| &entry.tensor)
    }

    /// Adds a trained tensor drawn uniformly between `-bound` and `bound`. Drawn on the CPU, so that a
    /// seed means the same weights on every device.
    pub(crate) fn uniform(
        &mut self,
        name: String,
        size: &[i64],
        bound: f64,
    ) -> Result<Tensor, TchError> {
        let mut tensor = Tensor::f_empty(size, (Kind::Float, Device::Cpu))?;
        let _ = tensor.f_uniform_(-bound, bound)?;
        self.add(name, &tensor, true)
    }

    /// Adds a trained tensor drawn from a normal distribution around 0.
    pub(crate) fn normal(
        &mut self,
        name: String,
        size: &[i64],
        deviation: f64,
    ) -> Result<Tensor, TchError> {
        let mut tensor = Tensor::f_empty(size, (Kind::Float, Device::Cpu))?;
        let _ = tensor.f_normal_(0.0, deviation)?;
        self.add(name, &tensor, true)
    }

    /// Adds a tensor that is `value` everywhere.
    pub(crate) fn constant(
        &mut self,
        name: String,
        size: &[i64],
        value: f64,
        trained: bool,
    ) -> Result<Tensor, TchError> {
        let tensor = Tensor::f_full(size, value, (Kind::Float, Device::Cpu))?;
        self.add(name, &tensor, trained)
    }

    /// Adds a tensor with these values.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn add(
        &mut self,
        name: String,
        tensor: &Tensor,
        trained: bool,
    ) -> Result<Tensor, TchError> {
        let tensor = channels_last(&tensor.f_to_device(self.device)?)?;
        let tensor = tensor.f_set_requires_grad(trained)?;
        let handle = tensor.shallow_clone();
        self.entries.push(Parameter {
            name,
            tensor,
            trained,
        });
        Ok(handle)
    }
}

/// The same values with channels innermost, for the kernel of a convolution: libtorch then computes the
/// whole network in that layout, which spares its CPU and GPU kernels a conversion on the way in and out.
fn channels_last(tensor: &Tensor) -> Result<Tensor, TchError> {
    let &[out, channels, height, width] = tensor.size().as_slice() else {
        return Ok(tensor.shallow_clone());
    };
    let strides = [height * width * channels, 1, width * channels, channels];
    let options = (tensor.f_kind()?, tensor.device());
    let _guard = no_grad_guard();
    let mut moved = Tensor::f_empty_strided([out, channels, height, width], strides, options)?;
    moved.f_copy_(tensor)?;
    Ok(moved)
}
