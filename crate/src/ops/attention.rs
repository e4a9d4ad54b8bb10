//! Softmax attention.

use super::{Activation, Combine, LinearWeight, Op};
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// Widest head that the attention kernel holds in registers.
pub const MAX_HEAD_DIM: usize = 128;

/// Scores that one row tile of the wide-head path may hold, in elements (16 MiB).
const WIDE_TILE: usize = 4 << 20;

/// `out[i, h * d..] = sum_j softmax_j(scale * q[h, i] . k[h, j] + bias[h, j - i + Tq - 1] + last(j)) v[h, j]`, where `last(j)` is
/// `last_key_bias` for the last key and 0 otherwise.
#[derive(Debug, Clone)]
pub struct Attention {
    /// `[heads, Tq, d]`, d a multiple of 4 up to 128.
    pub q: Tensor,
    /// `[heads, Tk, d]`.
    pub k: Tensor,
    /// `[heads, Tk, d]`.
    pub v: Tensor,
    /// Factor of the scores.
    pub scale: f32,
    /// `[heads, Tq + Tk - 1]` by distance `j - i`, added to the scores (T5).
    pub bias: Option<Tensor>,
    /// Added to the score of the last key: ln(n) makes it count n times, which is how the zero padding of Wan's prompts
    /// is one key.
    pub last_key_bias: f32,
    /// `[Tq, heads * d]`.
    pub out: Tensor,
}

impl Attention {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        let mut all = vec![&self.q, &self.k, &self.v];
        all.extend(&self.bias);
        all
    }

    pub(super) fn flops(&self) -> u64 {
        let tk = self.k.shape().get(1).copied().unwrap_or(0) as u64;
        4 * self.q.len() as u64 * tk
    }
}

impl Recorder {
    /// Records attention into a new tensor `[Tq, heads * d]`.
    ///
    /// # Shapes
    /// q `[heads, Tq, d]`, k and v `[heads, Tk, d]`, bias `[heads, Tq + Tk - 1]`; d a multiple of 4 up to 128.
    pub fn attention(
        &mut self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        scale: f32,
        bias: Option<&Tensor>,
        last_key_bias: f32,
    ) -> Result<Tensor> {
        let [heads, tq, d] = q.dims("attention", "q")?;
        let out = Tensor::temporary(&[tq, heads * d]);
        self.attention_into(q, k, v, scale, bias, last_key_bias, &out)?;
        Ok(out)
    }

    /// Records attention into `out` `[Tq, heads * d]`, which may be rows of a larger tensor; shapes as [`Recorder::attention`].
    #[allow(clippy::too_many_arguments)]
    pub fn attention_into(
        &mut self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        scale: f32,
        bias: Option<&Tensor>,
        last_key_bias: f32,
        out: &Tensor,
    ) -> Result<()> {
        const OP: &str = "attention";
        let [heads, tq, d] = q.dims(OP, "q")?;
        let [_, tk, _] = k.dims(OP, "k")?;
        k.expect(OP, "k", &[heads, tk, d])?;
        v.expect(OP, "v", &[heads, tk, d])?;
        if d % 4 != 0 || d > MAX_HEAD_DIM || d == 0 {
            return Err(Error::ShapeMismatch {
                op: OP,
                what: "head size (a multiple of 4)",
                expected: vec![MAX_HEAD_DIM],
                found: vec![d],
            });
        }
        if let Some(bias) = bias {
            bias.expect(OP, "bias", &[heads, (tq + tk).saturating_sub(1)])?;
        }
        out.expect(OP, "out", &[tq, heads * d])?;
        self.push(Op::Attention(Attention {
            q: q.clone(),
            k: k.clone(),
            v: v.clone(),
            scale,
            bias: bias.cloned(),
            last_key_bias,
            out: out.clone(),
        }))
    }

    /// Records attention with one head of any width (the VAE's, up to 1,024), into a new tensor `[T, d]`.
    ///
    /// Such a head does not fit the registers of a thread, so it runs as scores, softmax and product by row tiles, with
    /// the linear kernel doing both products.
    ///
    /// # Shapes
    /// q, k and v `[T, d]`, d a multiple of 4.
    pub fn wide_attention(&mut self, q: &Tensor, k: &Tensor, v: &Tensor, scale: f32) -> Result<Tensor> {
        const OP: &str = "wide_attention";
        let [t, d] = q.dims(OP, "q")?;
        k.expect(OP, "k", &[t, d])?;
        v.expect(OP, "v", &[t, d])?;
        let keys = LinearWeight { matrix: self.transpose(k)?, columns: t };
        let values = LinearWeight { matrix: v.clone(), columns: d };
        let out = Tensor::temporary(&[t, d]);
        let tile = (WIDE_TILE / t.max(1)).clamp(1, t.max(1));
        for start in (0..t).step_by(tile) {
            let rows = tile.min(t - start);
            let scores = self.linear(&q.rows(start, rows)?, &keys, None, Activation::None, Combine::None)?;
            let weights = self.softmax(&scores, scale)?;
            let part = out.rows(start, rows)?;
            self.linear_into(&weights, &values, None, Activation::None, Combine::None, &part, 0)?;
        }
        Ok(out)
    }
}
