//! T5's relative position bias, spread out by distance.

use super::Op;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// `out[h, j - i + T - 1] = table[bucket(j - i), h]` (UMT5Attention in modeling_umt5.py, bidirectional).
#[derive(Debug, Clone)]
pub struct RelativeBias {
    /// `[buckets, heads]`.
    pub table: Tensor,
    /// Distances from here on share the last bucket.
    pub max_distance: usize,
    /// `[heads, 2 T - 1]`.
    pub out: Tensor,
}

impl RelativeBias {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.table]
    }

    pub(super) fn flops(&self) -> u64 {
        self.out.len() as u64
    }

    /// The bucket of every distance `-(T - 1)..=T - 1`.
    pub fn buckets(&self) -> Vec<usize> {
        let buckets = self.table.shape().first().copied().unwrap_or(0);
        let tokens = self.out.shape().get(1).copied().unwrap_or(0).div_ceil(2) as i64;
        (1 - tokens..tokens).map(|d| relative_position_bucket(d, buckets, self.max_distance)).collect()
    }
}

/// T5's bucket of a distance (key minus query), bidirectional: half of the buckets for each sign, of which half count
/// distances one by one and the rest grow logarithmically up to `max_distance`.
pub fn relative_position_bucket(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let base = if distance > 0 { half } else { 0 };
    let magnitude = distance.unsigned_abs() as usize;
    let exact = half / 2;
    if magnitude < exact || exact == 0 {
        return base + magnitude.min(half.saturating_sub(1));
    }
    // In f32, as torch computes it: the floor at a bucket's edge depends on the rounding.
    let ratio = (magnitude as f32 / exact as f32).ln() / ((max_distance as f64 / exact as f64).ln() as f32);
    let large = exact.saturating_add((ratio * (half - exact) as f32) as usize);
    base + large.min(half - 1)
}

impl Recorder {
    /// Records the bias of `tokens` by distance into a new tensor `[heads, 2 * tokens - 1]`.
    ///
    /// # Shapes
    /// table `[buckets, heads]`, at least 4 buckets.
    pub fn relative_bias(&mut self, table: &Tensor, tokens: usize, max_distance: usize) -> Result<Tensor> {
        let [buckets, heads] = table.dims("relative_bias", "table")?;
        if buckets < 4 || tokens == 0 {
            return Err(Error::ShapeMismatch {
                op: "relative_bias",
                what: "table",
                expected: vec![4, heads],
                found: vec![buckets, heads],
            });
        }
        let out = Tensor::temporary(&[heads, 2 * tokens - 1]);
        self.push(Op::RelativeBias(RelativeBias { table: table.clone(), max_distance, out: out.clone() }))?;
        Ok(out)
    }
}
