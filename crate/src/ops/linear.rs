//! Linear layers with everything that follows them fused.

use super::{Modulation, Op};
use crate::recording::Recorder;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// What is applied to `x W + b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// GELU, tanh approximation (`gelu-approximate`, `gelu_new`).
    GeluTanh,
    /// x * sigmoid(x).
    Silu,
}

/// What the activated result is combined with.
#[derive(Debug, Clone)]
pub enum Combine {
    /// Nothing.
    None,
    /// `residual + y`; residual is `[M, N]`.
    Add(Tensor),
    /// `factor * y`; factor is `[M, N]`.
    Multiply(Tensor),
    /// `residual + gate * y`, the gate chosen by the row's timestep.
    GatedAdd {
        /// `[M, N]`.
        residual: Tensor,
        /// Row of N values a timestep.
        gate: Modulation,
    },
}

/// A matrix in the order the kernels read it: `[K, stride]`, stride = columns rounded up to 4, padding zero; quantised ones `[N, K]`.
///
/// Torch keeps linear weights as `[N, K]`; they are transposed once, when they are loaded, but for quantised ones, whose groups run
/// along K.
#[derive(Debug, Clone)]
pub struct LinearWeight {
    /// `[K, stride]`, or `[N, K]` in quants.
    pub matrix: Tensor,
    /// Columns in use, N.
    pub columns: usize,
}

impl LinearWeight {
    /// Distance between rows of the matrix, in elements.
    pub fn stride(columns: usize) -> usize {
        columns.next_multiple_of(4)
    }

    /// Extents of the matrix of a `[K, N]` product in this format.
    pub fn shape(dtype: DType, inputs: usize, columns: usize) -> [usize; 2] {
        match dtype {
            DType::Quants(_) => [columns, inputs],
            _ => [inputs, Self::stride(columns)],
        }
    }
}

/// `out = combine(act(x W + b))`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[M, K]`.
    pub x: Tensor,
    /// `[K, N]`.
    pub weight: LinearWeight,
    /// `[N]`.
    pub bias: Option<Tensor>,
    /// Applied first.
    pub activation: Activation,
    /// Applied second.
    pub combine: Combine,
    /// `[M, N_out]`, of which columns `column..column + N` are written.
    pub out: Tensor,
    /// First column written; above 0 where a weight too large for one binding is split by columns.
    pub column: usize,
}

impl Linear {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        let mut all = vec![&self.x, &self.weight.matrix];
        all.extend(&self.bias);
        match &self.combine {
            Combine::None => {}
            Combine::Add(t) | Combine::Multiply(t) => all.push(t),
            Combine::GatedAdd { residual, gate } => all.extend([residual, &gate.table, &gate.embedding]),
        }
        all
    }

    pub(super) fn flops(&self) -> u64 {
        2 * self.x.len() as u64 * self.weight.columns as u64
    }
}

impl Recorder {
    /// Records a linear layer into a new tensor `[M, N]`.
    ///
    /// # Shapes
    /// x `[M, K]`, weight `[K, N]`, bias `[N]`, the combined tensor `[M, N]`.
    pub fn linear(
        &mut self,
        x: &Tensor,
        weight: &LinearWeight,
        bias: Option<&Tensor>,
        activation: Activation,
        combine: Combine,
    ) -> Result<Tensor> {
        let [m, _] = x.dims("linear", "x")?;
        let out = Tensor::temporary(&[m, weight.columns]);
        self.linear_into(x, weight, bias, activation, combine, &out, 0)?;
        Ok(out)
    }

    /// Records a linear layer into columns `column..column + N` of `out`, which may be a view of rows or a resident.
    ///
    /// # Shapes
    /// As [`Recorder::linear`], with out and the combined tensor `[M, >= column + N]`.
    #[allow(clippy::too_many_arguments)]
    pub fn linear_into(
        &mut self,
        x: &Tensor,
        weight: &LinearWeight,
        bias: Option<&Tensor>,
        activation: Activation,
        combine: Combine,
        out: &Tensor,
        column: usize,
    ) -> Result<()> {
        const OP: &str = "linear";
        let [m, k] = x.dims(OP, "x")?;
        let n = weight.columns;
        weight.matrix.expect(OP, "weight", &LinearWeight::shape(weight.matrix.dtype(), k, n))?;
        if let DType::Quants(format) = weight.matrix.dtype()
            && (!k.is_multiple_of(format.block()) || weight.matrix.len() != weight.matrix.allocation())
        {
            return Err(Error::ShapeMismatch {
                op: OP,
                what: "quantised weight, a whole one of whole blocks",
                expected: vec![n, k.next_multiple_of(format.block())],
                found: vec![n, k],
            });
        }
        if let Some(bias) = bias {
            bias.expect(OP, "bias", &[n])?;
        }
        let [rows, width] = out.dims(OP, "out")?;
        if rows != m || column + n > width {
            return Err(Error::ShapeMismatch {
                op: OP,
                what: "out",
                expected: vec![m, column + n],
                found: vec![rows, width],
            });
        }
        match &combine {
            Combine::None => {}
            Combine::Add(t) | Combine::Multiply(t) => t.expect(OP, "combined tensor", &[m, width])?,
            Combine::GatedAdd { residual, gate } => {
                residual.expect(OP, "residual", &[m, width])?;
                gate.check(OP, m, width)?;
            }
        }
        self.push(Op::Linear(Linear {
            x: x.clone(),
            weight: weight.clone(),
            bias: bias.cloned(),
            activation,
            combine,
            out: out.clone(),
            column,
        }))
    }
}
