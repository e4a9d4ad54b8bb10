//! Row-wise softmax.

use super::Op;
use crate::Result;
use crate::recording::Recorder;
use crate::tensor::Tensor;

/// `out[i, :] = softmax(scale * x[i, :])`.
#[derive(Debug, Clone)]
pub struct Softmax {
    /// `[M, N]`.
    pub x: Tensor,
    /// Factor of the logits.
    pub scale: f32,
    /// `[M, N]`.
    pub out: Tensor,
}

impl Softmax {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    pub(super) fn flops(&self) -> u64 {
        self.x.len() as u64
    }
}

impl Recorder {
    /// Records a softmax over the columns of x `[M, N]` into a new tensor.
    pub fn softmax(&mut self, x: &Tensor, scale: f32) -> Result<Tensor> {
        let shape: [usize; 2] = x.dims("softmax", "x")?;
        let out = Tensor::temporary(&shape);
        self.push(Op::Softmax(Softmax { x: x.clone(), scale, out: out.clone() }))?;
        Ok(out)
    }
}
