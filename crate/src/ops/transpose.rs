//! Matrix transposition, into the layout that linear reads as a weight.

use super::{LinearWeight, Op};
use crate::Result;
use crate::recording::Recorder;
use crate::tensor::Tensor;

/// `out[n, m] = x[m, n]`; columns `M..stride` of out are zero.
#[derive(Debug, Clone)]
pub struct Transpose {
    /// `[M, N]`.
    pub x: Tensor,
    /// `[N, stride]`, stride = M rounded up to 4.
    pub out: Tensor,
}

impl Transpose {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    pub(super) fn flops(&self) -> u64 {
        self.x.len() as u64
    }
}

impl Recorder {
    /// Records the transposition of x `[M, N]` into a new tensor `[N, M rounded up to 4]`.
    pub fn transpose(&mut self, x: &Tensor) -> Result<Tensor> {
        let [m, n] = x.dims("transpose", "x")?;
        let out = Tensor::temporary(&[n, LinearWeight::stride(m)]);
        self.push(Op::Transpose(Transpose { x: x.clone(), out: out.clone() }))?;
        Ok(out)
    }
}
