//! Twin of `heads.wgsl`.

use super::memory::Operands;
use super::norm::rms_factor;
use crate::Result;
use crate::ops::{self, Rope};

pub(super) fn heads(op: &ops::Heads, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let [heads, t, d] = op.out.dims("heads", "out")?;
    let x = operands.get(&op.x)?;
    let weight = operands.optional(op.norm.as_ref().map(|n| &n.weight))?;
    let table = operands.optional(op.rope.as_ref().map(|r| &r.table))?;
    for (token, x) in x.chunks_exact((heads * d).max(1)).enumerate() {
        let factor = op.norm.as_ref().map(|norm| rms_factor(x, norm.eps));
        for head in 0..heads {
            let y = &mut out[(head * t + token) * d..][..d];
            y.copy_from_slice(&x[head * d..][..d]);
            if let (Some(factor), Some(weight)) = (factor, weight) {
                y.iter_mut().zip(&weight[head * d..]).for_each(|(y, w)| *y = *y * factor * w);
            }
            if let (Some(rope), Some(table)) = (&op.rope, table) {
                rotate(rope, table, token, y);
            }
        }
    }
    Ok(())
}

/// Turns the interleaved pairs of one head of one token.
fn rotate(rope: &Rope, table: &[f32], token: usize, head: &mut [f32]) {
    let [_, height, width] = rope.size;
    let position = [token / (height * width), token / width % height, token % width];
    let (mut start, mut channel) = (0, 0);
    for ((size, dims), at) in rope.size.into_iter().zip(rope.dims).zip(position) {
        let angles = &table[start + at * dims..][..dims];
        for (pair, angle) in head[channel..][..dims].chunks_exact_mut(2).zip(angles.chunks_exact(2)) {
            let (a, b, cos, sin) = (pair[0], pair[1], angle[0], angle[1]);
            pair[0] = a * cos - b * sin;
            pair[1] = a * sin + b * cos;
        }
        start += size * dims;
        channel += dims;
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close};
    use crate::ops::{HeadNorm, Rope};

    #[test]
    fn norm_and_rope_match_their_formulas() {
        for seed in 0..16 {
            let mut case = Case::new(seed);
            let size = [case.size(3), case.size(4), case.size(5)];
            let dims = [2 * case.size(4), 2 * case.size(3), 2 * case.size(2)];
            let (heads, t, d) = (case.size(4), size.iter().product::<usize>(), dims.iter().sum::<usize>());
            let width = heads * d;
            let (x, xs) = case.random(&[t + 3, width]);
            let x = x.rows(2, t).unwrap();
            let (weight, ws) = case.random(&[width]);
            let entries = (0..3).map(|a| size[a] * dims[a]).sum();
            let (table, ts) = case.random(&[entries]);
            let (with_norm, with_rope) = (seed % 2 == 0, seed % 4 < 2);
            let norm = with_norm.then_some(HeadNorm { weight, eps: 1e-6 });
            let rope = Rope { table, size, dims };
            let out = case.recorder.heads(&x, heads, norm, with_rope.then_some(&rope)).unwrap();

            let value = |token: usize, channel: usize| {
                let row: Vec<f64> =
                    xs[(token + 2) * width..][..width].iter().map(|&v| f64::from(v)).collect();
                if !with_norm {
                    return row[channel];
                }
                let mean = row.iter().map(|v| v * v).sum::<f64>() / width as f64;
                row[channel] / (mean + 1e-6).sqrt() * f64::from(ws[channel])
            };
            // Cosine and sine of pair p of a head for a token, from the axis that owns the pair.
            let angle = |token: usize, p: usize| {
                let position = [token / (size[1] * size[2]), token / size[2] % size[1], token % size[2]];
                let halves = dims.map(|d| d / 2);
                let (axis, at) = if p < halves[0] {
                    (0, p)
                } else if p < halves[0] + halves[1] {
                    (1, p - halves[0])
                } else {
                    (2, p - halves[0] - halves[1])
                };
                let before: usize = (0..axis).map(|a| size[a] * halves[a] * 2).sum();
                let entry = before + (position[axis] * halves[axis] + at) * 2;
                (f64::from(ts[entry]), f64::from(ts[entry + 1]))
            };
            let expected: Vec<f64> = (0..heads * t * d)
                .map(|e| {
                    let (h, token, c) = (e / d / t, e / d % t, e % d);
                    let own = value(token, h * d + c);
                    if !with_rope {
                        return own;
                    }
                    let (cos, sin) = angle(token, c / 2);
                    if c % 2 == 0 {
                        own * cos - value(token, h * d + c + 1) * sin
                    } else {
                        value(token, h * d + c - 1) * sin + own * cos
                    }
                })
                .collect();
            assert_close(&case.run(&out), &expected, 1e-5);
        }
    }
}
