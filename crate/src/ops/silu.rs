//! SiLU on its own, where no kernel before it can carry it.

use super::Op;
use crate::Result;
use crate::recording::Recorder;
use crate::tensor::Tensor;

/// `out = x * sigmoid(x)`.
#[derive(Debug, Clone)]
pub struct Silu {
    /// Any shape.
    pub x: Tensor,
    /// The same shape.
    pub out: Tensor,
}

impl Silu {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    pub(super) fn flops(&self) -> u64 {
        self.x.len() as u64
    }
}

impl Recorder {
    /// Records SiLU into a new tensor of x's shape.
    pub fn silu(&mut self, x: &Tensor) -> Result<Tensor> {
        let out = Tensor::temporary(x.shape());
        self.push(Op::Silu(Silu { x: x.clone(), out: out.clone() }))?;
        Ok(out)
    }
}
