//! From rows `[T, heads * d]` to head-major `[heads, T, d]`, normalised and rotated on the way.

use super::Op;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// RMSNorm over all heads together (`rms_norm_across_heads`).
#[derive(Debug, Clone)]
pub struct HeadNorm {
    /// `[heads * d]`.
    pub weight: Tensor,
    /// Added to the mean square.
    pub eps: f32,
}

/// Three-axis rotary embedding of the interleaved pairs of a head (WanRotaryPosEmbed in transformer_wan.py).
///
/// Token `(t, y, x)` rotates the first `dims[0] / 2` pairs by row t of the first table, the next `dims[1] / 2` by row y of
/// the second and the last `dims[2] / 2` by row x of the third. The tables lie one after the other in `table`, each
/// `[size, dims / 2, 2]` with cosine before sine.
#[derive(Debug, Clone)]
pub struct Rope {
    /// `[sum over axes of size * dims / 2 * 2]`.
    pub table: Tensor,
    /// Tokens along t, y, x.
    pub size: [usize; 3],
    /// Channels of the head for t, y, x; even, adding up to d.
    pub dims: [usize; 3],
}

/// `out[h, t, :] = rope?(rms_norm?(x)[t, h * d..(h + 1) * d])`.
#[derive(Debug, Clone)]
pub struct Heads {
    /// `[T, heads * d]`.
    pub x: Tensor,
    /// Applied first.
    pub norm: Option<HeadNorm>,
    /// Applied second.
    pub rope: Option<Rope>,
    /// `[heads, T, d]`.
    pub out: Tensor,
}

impl Heads {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        let mut all = vec![&self.x];
        all.extend(self.norm.as_ref().map(|n| &n.weight));
        all.extend(self.rope.as_ref().map(|r| &r.table));
        all
    }

    pub(super) fn flops(&self) -> u64 {
        self.x.len() as u64
    }
}

impl Recorder {
    /// Records the split into heads into a new tensor `[heads, T, d]`.
    pub fn heads(
        &mut self,
        x: &Tensor,
        heads: usize,
        norm: Option<HeadNorm>,
        rope: Option<&Rope>,
    ) -> Result<Tensor> {
        let [t, width] = x.dims("heads", "x")?;
        let out = Tensor::temporary(&[heads, t, width / heads.max(1)]);
        self.heads_into(x, norm, rope, &out)?;
        Ok(out)
    }

    /// Records the split into heads into `out` `[heads, T, d]`, which may be a resident (the text's keys and values).
    pub fn heads_into(
        &mut self,
        x: &Tensor,
        norm: Option<HeadNorm>,
        rope: Option<&Rope>,
        out: &Tensor,
    ) -> Result<()> {
        const OP: &str = "heads";
        let [heads, t, d] = out.dims(OP, "out")?;
        x.expect(OP, "x", &[t, heads * d])?;
        if let Some(norm) = &norm {
            norm.weight.expect(OP, "norm weight", &[heads * d])?;
        }
        if let Some(rope) = rope {
            let entries = rope.size.iter().zip(rope.dims).map(|(s, d)| s * d).sum();
            rope.table.expect(OP, "rope table", &[entries])?;
            let ok = rope.size.iter().product::<usize>() == t
                && rope.dims.iter().sum::<usize>() == d
                && rope.dims.iter().all(|d| d % 2 == 0);
            if !ok {
                return Err(Error::ShapeMismatch {
                    op: OP,
                    what: "rope",
                    expected: vec![t, d],
                    found: rope.size.iter().chain(&rope.dims).copied().collect(),
                });
            }
        }
        self.push(Op::Heads(Heads { x: x.clone(), norm, rope: rope.cloned(), out: out.clone() }))
    }
}
