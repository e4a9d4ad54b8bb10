//! Twin of `attention.wgsl`.

use super::matmul::{Matrix, matmul};
use super::memory::{Operands, allocate};
use super::softmax::softmax_row;
use crate::Result;
use crate::ops;

/// Scores that one tile of queries may hold, in elements (4 MiB).
const TILE: usize = 1 << 20;

pub(super) fn attention(op: &ops::Attention, operands: &Operands, out: &mut [f32]) -> Result<()> {
    const OP: &str = "attention";
    let [heads, tq, d] = op.q.dims(OP, "q")?;
    let [_, tk, _] = op.k.dims(OP, "k")?;
    let (q, k, v) = (operands.get(&op.q)?, operands.get(&op.k)?, operands.get(&op.v)?);
    let bias = operands.optional(op.bias.as_ref())?;
    let width = heads * d;

    let tile = (TILE / tk.max(1)).clamp(1, tq.max(1));
    let mut scores = allocate(tile * tk)?;
    for head in 0..heads {
        let keys = Matrix::transposed(&k[head * tk * d..(head + 1) * tk * d], d);
        let values = Matrix::new(&v[head * tk * d..(head + 1) * tk * d], d);
        for first in (0..tq).step_by(tile) {
            let rows = tile.min(tq - first);
            let queries = Matrix::new(&q[(head * tq + first) * d..], d);
            matmul(&mut scores, tk, [rows, tk, d], queries, keys, false)?;
            for (i, row) in scores.chunks_exact_mut(tk.max(1)).take(rows).enumerate() {
                row.iter_mut().for_each(|s| *s *= op.scale);
                if let Some(bias) = bias {
                    let start = head * (tq + tk - 1) + (tq - 1 - (first + i));
                    row.iter_mut().zip(&bias[start..]).for_each(|(s, b)| *s += b);
                }
                if let Some(last) = row.last_mut() {
                    *last += op.last_key_bias;
                }
                softmax_row(row);
            }
            let target = &mut out[first * width + head * d..];
            matmul(target, width, [rows, d, tk], Matrix::new(&scores, tk), values, false)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close};

    /// Attention by its definition, from head-major q, k, v; `bias(head, i, j)` is added to the score.
    fn naive(
        [heads, tq, tk, d]: [usize; 4],
        [q, k, v]: [&[f32]; 3],
        scale: f32,
        bias: impl Fn(usize, usize, usize) -> f64,
    ) -> Vec<f64> {
        let mut out = vec![0.0; tq * heads * d];
        for h in 0..heads {
            for i in 0..tq {
                let score = |j: usize| {
                    let dot: f64 = (0..d)
                        .map(|c| f64::from(q[(h * tq + i) * d + c]) * f64::from(k[(h * tk + j) * d + c]))
                        .sum();
                    f64::from(scale) * dot + bias(h, i, j)
                };
                let weights: Vec<f64> = (0..tk).map(|j| score(j).exp()).collect();
                let total: f64 = weights.iter().sum();
                for c in 0..d {
                    let sum: f64 = (0..tk).map(|j| weights[j] * f64::from(v[(h * tk + j) * d + c])).sum();
                    out[i * heads * d + h * d + c] = sum / total;
                }
            }
        }
        out
    }

    #[test]
    fn matches_the_definition_with_bias_by_distance() {
        for seed in 0..16 {
            let mut case = Case::new(seed);
            let (heads, tq, tk, d) = (case.size(4), case.size(33), case.size(45), 4 * case.size(9));
            let (q, qs) = case.random(&[heads, tq, d]);
            let (k, ks) = case.random(&[heads, tk, d]);
            let (v, vs) = case.random(&[heads, tk, d]);
            let (bias, bs) = case.random(&[heads, tq + tk - 1]);
            let with_bias = seed % 2 == 0;
            let last = if seed % 4 < 2 { 0.0 } else { 2.5 };
            let out = case.recorder.attention(&q, &k, &v, 1.7, with_bias.then_some(&bias), last).unwrap();
            let expected = naive([heads, tq, tk, d], [&qs, &ks, &vs], 1.7, |h, i, j| {
                let by_distance = if with_bias { bs[h * (tq + tk - 1) + j + tq - 1 - i] } else { 0.0 };
                f64::from(by_distance) + if j + 1 == tk { f64::from(last) } else { 0.0 }
            });
            assert_close(&case.run(&out), &expected, 1e-5);
        }
    }

    #[test]
    fn the_last_key_can_stand_for_many() {
        let (heads, tq, tk, d, n) = (2, 5, 6, 8, 27);
        let mut case = Case::new(11);
        let (q, qs) = case.random(&[heads, tq, d]);
        let (k, ks) = case.random(&[heads, tk, d]);
        let (v, vs) = case.random(&[heads, tk, d]);
        let out = case.recorder.attention(&q, &k, &v, 0.9, None, (n as f32).ln()).unwrap();
        let repeat = |x: &[f32]| -> Vec<f32> {
            x.chunks_exact(tk * d)
                .flat_map(|head| [head, &head[(tk - 1) * d..].repeat(n - 1)].concat())
                .collect()
        };
        let expected =
            naive([heads, tq, tk + n - 1, d], [&qs, &repeat(&ks), &repeat(&vs)], 0.9, |_, _, _| 0.0);
        assert_close(&case.run(&out), &expected, 1e-5);
    }

    /// More keys than a tile of scores has room for beside all queries.
    #[test]
    fn tiles_of_queries_join_up() {
        let [heads, tq, tk, d] = [1, 40, (super::TILE / 16) + 3, 4];
        let mut case = Case::new(5);
        let (q, qs) = case.random(&[heads, tq, d]);
        let (k, ks) = case.random(&[heads, tk, d]);
        let (v, vs) = case.random(&[heads, tk, d]);
        let out = case.recorder.attention(&q, &k, &v, 3.0, None, 0.0).unwrap();
        let expected = naive([heads, tq, tk, d], [&qs, &ks, &vs], 3.0, |_, _, _| 0.0);
        assert_close(&case.run(&out), &expected, 1e-5);
    }

    #[test]
    fn one_wide_head_matches_the_definition() {
        let (t, d) = (37, 132);
        let mut case = Case::new(2);
        let (q, qs) = case.random(&[t, d]);
        let (k, ks) = case.random(&[t, d]);
        let (v, vs) = case.random(&[t, d]);
        let out = case.recorder.wide_attention(&q, &k, &v, 0.3).unwrap();
        let expected = naive([1, t, t, d], [&qs, &ks, &vs], 0.3, |_, _, _| 0.0);
        assert_close(&case.run(&out), &expected, 1e-5);
    }
}
