//! Normalisation of rows, with what follows it fused: affine weights or modulation by the timestep, then SiLU.

use super::Op;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// One of the rows of a scale-shift table plus the same row of the projected time embedding, by token.
///
/// `value(row, c) = table[index, c] + embedding[timestep, stride * index + c]`, where `timestep` is
/// `min((first_row + row) / rows_per_timestep, timesteps - 1)`. Wan's blocks have a table `[6, dim]` and an embedding
/// `[timesteps, 6 * dim]` (stride dim); its head has `[2, dim]` and the raw time embedding `[timesteps, dim]`
/// for both rows (stride 0).
#[derive(Debug, Clone)]
pub struct Modulation {
    /// `[rows_of_table, dim]`.
    pub table: Tensor,
    /// `[timesteps, width]`.
    pub embedding: Tensor,
    /// Row of the table.
    pub index: usize,
    /// Distance in the embedding between consecutive indices: dim, or 0.
    pub stride: usize,
    /// Tokens that share a timestep.
    pub rows_per_timestep: usize,
    /// Token of the first row, where the operation runs on a view of rows.
    pub first_row: usize,
}

impl Modulation {
    /// The same table and embedding at another row of the table.
    pub fn at(&self, index: usize) -> Self {
        Self { index, ..self.clone() }
    }

    pub(super) fn check(&self, op: &'static str, rows: usize, dim: usize) -> Result<()> {
        let [table_rows, table_dim] = self.table.dims(op, "scale_shift_table")?;
        let [timesteps, width] = self.embedding.dims(op, "time embedding")?;
        let ok = table_dim == dim
            && self.index < table_rows
            && self.stride * self.index + dim <= width
            && self.rows_per_timestep > 0
            && self.first_row + rows <= timesteps * self.rows_per_timestep;
        if ok {
            return Ok(());
        }
        Err(Error::ShapeMismatch {
            op,
            what: "modulation",
            expected: vec![rows, dim],
            found: vec![timesteps * self.rows_per_timestep, table_dim, width],
        })
    }
}

/// Which statistic divides the row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// `(x - mean) / sqrt(variance + eps)`.
    Layer {
        /// Added to the variance.
        eps: f32,
    },
    /// `x / sqrt(mean(x^2) + eps)`.
    Rms {
        /// Added to the mean square.
        eps: f32,
    },
    /// `x / max(|x|_2, 1e-12) * sqrt(C)`: WanRMS_norm of the VAE (`F.normalize` in autoencoder_kl_wan.py).
    Channel,
}

/// What follows the division.
#[derive(Debug, Clone)]
pub enum Affine {
    /// Nothing.
    None,
    /// `* weight + bias`, each `[C]`.
    Weight {
        /// `[C]`.
        weight: Tensor,
        /// `[C]`.
        bias: Option<Tensor>,
    },
    /// `* (1 + scale) + shift`; both share table, embedding and strides and differ in `index`.
    Modulate {
        /// Added.
        shift: Modulation,
        /// Multiplied, plus one: the index of the scale row.
        scale_index: usize,
    },
}

/// `out = silu?(affine(normalise(x)))`, row by row.
#[derive(Debug, Clone)]
pub struct Norm {
    /// `[M, C]`.
    pub x: Tensor,
    /// Statistic.
    pub kind: NormKind,
    /// Weights.
    pub affine: Affine,
    /// Whether SiLU follows.
    pub silu: bool,
    /// `[M, C]`.
    pub out: Tensor,
}

impl Norm {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        let mut all = vec![&self.x];
        match &self.affine {
            Affine::None => {}
            Affine::Weight { weight, bias } => {
                all.push(weight);
                all.extend(bias);
            }
            Affine::Modulate { shift, .. } => all.extend([&shift.table, &shift.embedding]),
        }
        all
    }

    pub(super) fn flops(&self) -> u64 {
        self.x.len() as u64
    }
}

impl Recorder {
    /// Records a row-wise norm into a new tensor of x's shape. The last dimension is the normalised one.
    pub fn norm(&mut self, x: &Tensor, kind: NormKind, affine: Affine, silu: bool) -> Result<Tensor> {
        const OP: &str = "norm";
        let c = x.shape().last().copied().unwrap_or(0).max(1);
        let m = x.len() / c;
        match &affine {
            Affine::None => {}
            Affine::Weight { weight, bias } => {
                weight.expect(OP, "weight", &[c])?;
                if let Some(bias) = bias {
                    bias.expect(OP, "bias", &[c])?;
                }
            }
            Affine::Modulate { shift, scale_index } => {
                shift.check(OP, m, c)?;
                shift.at(*scale_index).check(OP, m, c)?;
            }
        }
        let out = Tensor::temporary(x.shape());
        self.push(Op::Norm(Norm { x: x.reshape(&[m, c])?, kind, affine, silu, out: out.reshape(&[m, c])? }))?;
        Ok(out)
    }
}
