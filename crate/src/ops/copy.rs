//! Copy into another tensor.

use super::Op;
use crate::Result;
use crate::recording::Recorder;
use crate::tensor::Tensor;

/// `out = x`.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Any shape, f32.
    pub x: Tensor,
    /// The same shape.
    pub out: Tensor,
}

impl Copy {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    pub(super) fn flops(&self) -> u64 {
        self.x.len() as u64
    }
}

impl Recorder {
    /// Records a copy of x into `out`, of the same shape.
    pub fn copy(&mut self, x: &Tensor, out: &Tensor) -> Result<()> {
        x.expect("copy", "x", out.shape())?;
        self.push(Op::Copy(Copy { x: x.clone(), out: out.clone() }))
    }
}
