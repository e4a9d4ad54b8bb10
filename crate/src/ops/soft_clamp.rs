//! Values bounded without a corner (TAEHV's `Clamp`).

use super::Op;
use crate::Result;
use crate::recording::Recorder;
use crate::tensor::Tensor;

/// `out = limit * tanh(x / limit)`.
#[derive(Debug, Clone)]
pub struct SoftClamp {
    /// Any shape.
    pub x: Tensor,
    /// What no value exceeds, in either direction.
    pub limit: f32,
    /// The same shape.
    pub out: Tensor,
}

impl SoftClamp {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    pub(super) fn flops(&self) -> u64 {
        self.x.len() as u64
    }
}

impl Recorder {
    /// Records the bounding of x by `limit` (above 0) into a new tensor of x's shape.
    pub fn soft_clamp(&mut self, x: &Tensor, limit: f32) -> Result<Tensor> {
        let out = Tensor::temporary(x.shape());
        self.push(Op::SoftClamp(SoftClamp { x: x.clone(), limit, out: out.clone() }))?;
        Ok(out)
    }
}
