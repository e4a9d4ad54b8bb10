//! Layers that several models share.

use crate::Result;
use crate::ops::{Activation, Combine, LinearWeight};
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::{Layout, Scope};

/// Most bytes of one weight tensor: far below any device's binding (128 MiB), so that little is in memory on the way from a file.
const SLAB_BYTES: u64 = 32 << 20;

/// `nn.Linear`: `y = x W^T + b`. A weight too large for one binding is kept as several slabs of outputs.
#[derive(Debug, Clone)]
pub struct Linear {
    slabs: Vec<Slab>,
    out_features: usize,
}

#[derive(Debug, Clone)]
struct Slab {
    weight: LinearWeight,
    bias: Option<Tensor>,
    start: usize,
}

/// Whether a linear layer has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// `weight` and `bias`.
    Yes,
    /// `weight` only.
    No,
}

impl Linear {
    /// `weight` `[outputs, inputs]` and `bias` `[outputs]` under `scope`.
    pub fn new(scope: &Scope, inputs: usize, outputs: usize, bias: Bias) -> Result<Self> {
        Self::slabs(scope, &[outputs, inputs], 0..outputs, bias, |start, count| Layout::Matrix {
            start,
            count,
        })
    }

    /// Outputs `rows` of a weight of torch shape `[N, inputs, 1, 1]`: a part of a 1x1 convolution.
    pub fn from_conv(scope: &Scope, shape: &[usize], rows: std::ops::Range<usize>) -> Result<Self> {
        Self::slabs(scope, shape, rows, Bias::Yes, |start, count| Layout::Matrix { start, count })
    }

    /// A convolution whose stride is its kernel, of torch shape `[outputs, C, kernel...]`, on rows of patches.
    pub fn patches(scope: &Scope, shape: &[usize]) -> Result<Self> {
        let outputs = shape.first().copied().unwrap_or(0);
        Self::slabs(scope, shape, 0..outputs, Bias::Yes, |start, count| Layout::Patches { start, count })
    }

    fn slabs(
        scope: &Scope,
        shape: &[usize],
        rows: std::ops::Range<usize>,
        bias: Bias,
        layout: impl Fn(usize, usize) -> Layout,
    ) -> Result<Self> {
        let inputs: usize = shape.iter().skip(1).product();
        // By the widest format, so that the slabs do not depend on the file's. A multiple of 4 keeps them aligned.
        let widest = (SLAB_BYTES / (4 * inputs.max(1) as u64)) as usize / 4 * 4;
        let all_bias = match bias {
            Bias::Yes => Some(scope.vector("bias", &shape[..1.min(shape.len())])?),
            Bias::No => None,
        };
        let mut slabs = Vec::new();
        for start in rows.clone().step_by(widest.max(4)) {
            let columns = widest.max(4).min(rows.end - start);
            let matrix = scope.matrix("weight", shape, layout(start, columns))?;
            let bias = all_bias.as_ref().map(|b| b.rows(start, columns)).transpose()?;
            slabs.push(Slab { weight: LinearWeight { matrix, columns }, bias, start: start - rows.start });
        }
        Ok(Self { slabs, out_features: rows.len() })
    }

    /// x `[M, K]` to `[M, N]`.
    pub fn forward(&self, rec: &mut Recorder, x: &Tensor) -> Result<Tensor> {
        self.forward_with(rec, x, Activation::None, Combine::None)
    }

    /// x `[M, K]` to `combine(act(x W + b))` `[M, N]`.
    pub fn forward_with(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        activation: Activation,
        combine: Combine,
    ) -> Result<Tensor> {
        let [m, _] = x.dims("linear", "x")?;
        let out = Tensor::temporary(&[m, self.out_features]);
        self.forward_into(rec, x, activation, combine, &out)?;
        Ok(out)
    }

    /// As [`Linear::forward_with`], into `out` `[M, N]`, which may be a view of rows.
    pub fn forward_into(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        activation: Activation,
        combine: Combine,
        out: &Tensor,
    ) -> Result<()> {
        for slab in &self.slabs {
            let bias = slab.bias.as_ref();
            rec.linear_into(x, &slab.weight, bias, activation, combine.clone(), out, slab.start)?;
        }
        Ok(())
    }
}
