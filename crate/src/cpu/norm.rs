//! Twin of `norm.wgsl`, and the reading of a modulation that it shares with linear layers.

use super::exp::silu;
use super::memory::Operands;
use crate::Result;
use crate::ops::{self, Affine, Modulation, NormKind};

/// The rows of a [`Modulation`], found by token.
pub(super) struct ModulationRows<'a> {
    table: &'a [f32],
    embedding: &'a [f32],
    width: usize,
    timesteps: usize,
    start: usize,
    rows_per_timestep: usize,
    first_row: usize,
}

impl<'a> ModulationRows<'a> {
    pub(super) fn new(modulation: &Modulation, operands: &Operands<'a>) -> Result<Self> {
        let [_, dim] = modulation.table.dims("modulation", "scale_shift_table")?;
        let [timesteps, width] = modulation.embedding.dims("modulation", "time embedding")?;
        Ok(Self {
            table: &operands.get(&modulation.table)?[modulation.index * dim..(modulation.index + 1) * dim],
            embedding: operands.get(&modulation.embedding)?,
            width,
            timesteps,
            start: modulation.stride * modulation.index,
            rows_per_timestep: modulation.rows_per_timestep,
            first_row: modulation.first_row,
        })
    }

    /// The two rows that add up to the value of a row of the operation; the second may be longer.
    pub(super) fn row(&self, row: usize) -> (&'a [f32], &'a [f32]) {
        let timestep = ((self.first_row + row) / self.rows_per_timestep).min(self.timesteps - 1);
        (self.table, &self.embedding[timestep * self.width + self.start..])
    }
}

/// What follows the division, its operands found.
enum Rest<'a> {
    None,
    Weight { weight: &'a [f32], bias: Option<&'a [f32]> },
    Modulate { shift: ModulationRows<'a>, scale: ModulationRows<'a> },
}

pub(super) fn norm(op: &ops::Norm, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let [_, c] = op.x.dims("norm", "x")?;
    let x = operands.get(&op.x)?;
    let rest = match &op.affine {
        Affine::None => Rest::None,
        Affine::Weight { weight, bias } => {
            Rest::Weight { weight: operands.get(weight)?, bias: operands.optional(bias.as_ref())? }
        }
        Affine::Modulate { shift, scale_index } => Rest::Modulate {
            shift: ModulationRows::new(shift, operands)?,
            scale: ModulationRows::new(&shift.at(*scale_index), operands)?,
        },
    };
    let width = c.max(1);
    for (row, (y, x)) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).enumerate() {
        let (mean, factor) = statistics(op.kind, x);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * factor);
        match &rest {
            Rest::None => {}
            Rest::Weight { weight, bias } => {
                y.iter_mut().zip(*weight).for_each(|(y, w)| *y *= w);
                if let Some(bias) = bias {
                    y.iter_mut().zip(*bias).for_each(|(y, b)| *y += b);
                }
            }
            Rest::Modulate { shift, scale } => {
                let (scale_table, scale_embedding) = scale.row(row);
                let (shift_table, shift_embedding) = shift.row(row);
                let scales = scale_table.iter().zip(scale_embedding);
                let shifts = shift_table.iter().zip(shift_embedding);
                for (y, ((st, se), (ht, he))) in y.iter_mut().zip(scales.zip(shifts)) {
                    *y = *y * (1.0 + (st + se)) + (ht + he);
                }
            }
        }
        if op.silu {
            y.iter_mut().for_each(|y| *y = silu(*y));
        }
    }
    Ok(())
}

/// What is subtracted from a row and what the difference is multiplied by.
fn statistics(kind: NormKind, x: &[f32]) -> (f32, f32) {
    let n = x.len() as f64;
    match kind {
        NormKind::Layer { eps } => {
            let mean = sum(x, |v| v) / n;
            let variance = sum(x, |v| (v - mean) * (v - mean)) / n;
            (mean as f32, (1.0 / (variance + f64::from(eps)).sqrt()) as f32)
        }
        NormKind::Rms { eps } => (0.0, rms_factor(x, eps)),
        NormKind::Channel => {
            let length = sum(x, |v| v * v).sqrt();
            (0.0, (n.sqrt() / length.max(1e-12)) as f32)
        }
    }
}

/// `1 / sqrt(mean(x^2) + eps)`.
pub(super) fn rms_factor(x: &[f32], eps: f32) -> f32 {
    (1.0 / (sum(x, |v| v * v) / x.len() as f64 + f64::from(eps)).sqrt()) as f32
}

/// The sum of f over a row. In f64, so that the statistics carry no error that a shader's could be blamed for; in eight
/// lanes, so that the compiler may use SIMD.
fn sum(x: &[f32], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    let chunks = x.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|&v| f(f64::from(v))).sum();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(f64::from(v));
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close};
    use crate::ops::{Affine, Modulation, NormKind};

    fn normalised(kind: NormKind, x: &[f32]) -> Vec<f64> {
        let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let square = x.iter().map(|v| v * v).sum::<f64>();
        match kind {
            NormKind::Layer { eps } => {
                let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
                x.iter().map(|v| (v - mean) / (variance + f64::from(eps)).sqrt()).collect()
            }
            NormKind::Rms { eps } => x.iter().map(|v| v / (square / n + f64::from(eps)).sqrt()).collect(),
            NormKind::Channel => x.iter().map(|v| v / square.sqrt().max(1e-12) * n.sqrt()).collect(),
        }
    }

    #[test]
    fn kinds_and_affines_match_their_formulas() {
        for seed in 0..48 {
            let mut case = Case::new(seed);
            let (m, c) = (case.size(20), case.size(90) + 1);
            let kind = [NormKind::Layer { eps: 1e-6 }, NormKind::Rms { eps: 1e-5 }, NormKind::Channel]
                [seed as usize % 3];
            let silu = seed % 2 == 0;
            // A view of rows, away from the allocation's start.
            let (x, xs) = case.random(&[m + 7, c]);
            let x = x.rows(5, m).unwrap();
            let (weight, ws) = case.random(&[c]);
            let (bias, bs) = case.random(&[c]);
            let (table, ts) = case.random(&[6, c]);
            let (embedding, es) = case.random(&[m + 2, 6 * c]);
            let which = seed / 6 % 4;
            let shift =
                Modulation { table, embedding, index: 3, stride: c, rows_per_timestep: 3, first_row: 1 };
            let affine = match which {
                0 => Affine::None,
                1 => Affine::Weight { weight, bias: None },
                2 => Affine::Weight { weight, bias: Some(bias) },
                _ => Affine::Modulate { shift, scale_index: 4 },
            };
            let out = case.recorder.norm(&x, kind, affine, silu).unwrap();
            let mut expected = Vec::new();
            for i in 0..m {
                for (j, v) in normalised(kind, &xs[(i + 5) * c..(i + 6) * c]).into_iter().enumerate() {
                    let modulation =
                        |r: usize| f64::from(ts[r * c + j]) + f64::from(es[(i + 1) / 3 * 6 * c + r * c + j]);
                    let y = match which {
                        0 => v,
                        1 => v * f64::from(ws[j]),
                        2 => v * f64::from(ws[j]) + f64::from(bs[j]),
                        _ => v * (1.0 + modulation(4)) + modulation(3),
                    };
                    expected.push(if silu { y / (1.0 + (-y).exp()) } else { y });
                }
            }
            assert_close(&case.run(&out), &expected, 1e-5);
        }
    }

    /// Wan's head: both rows of the table share the raw time embedding.
    #[test]
    fn a_stride_of_zero_reads_the_embedding_from_its_start() {
        let mut case = Case::new(1);
        let (x, xs) = case.random(&[4, 6]);
        let (table, ts) = case.random(&[2, 6]);
        let (embedding, es) = case.random(&[1, 6]);
        let shift = Modulation { table, embedding, index: 0, stride: 0, rows_per_timestep: 4, first_row: 0 };
        let kind = NormKind::Layer { eps: 1e-6 };
        let out = case.recorder.norm(&x, kind, Affine::Modulate { shift, scale_index: 1 }, false).unwrap();
        let expected: Vec<f64> = (0..24)
            .map(|e| {
                let (i, j) = (e / 6, e % 6);
                let v = normalised(kind, &xs[i * 6..(i + 1) * 6])[j];
                v * (1.0 + f64::from(ts[6 + j]) + f64::from(es[j])) + f64::from(ts[j]) + f64::from(es[j])
            })
            .collect();
        assert_close(&case.run(&out), &expected, 1e-5);
    }

    #[test]
    fn rows_of_zeros_stay_zero_and_a_large_mean_costs_no_digits() {
        for kind in [NormKind::Layer { eps: 1e-6 }, NormKind::Rms { eps: 1e-6 }, NormKind::Channel] {
            let mut case = Case::new(1);
            let x = case.input(&[2, 5], &[0.0; 10]);
            let out = case.recorder.norm(&x, kind, Affine::None, false).unwrap();
            assert_eq!(case.run(&out), [0.0; 10]);
        }
        let mut case = Case::new(1);
        let values: Vec<f32> = (0..64).map(|i| 4096.0 + (i % 7) as f32).collect();
        let x = case.input(&[1, 64], &values);
        let kind = NormKind::Layer { eps: 1e-6 };
        let out = case.recorder.norm(&x, kind, Affine::None, false).unwrap();
        // The mean itself is an f32 when it is subtracted: half an ulp of 4096 is 2.4e-4 of a deviation of 2.
        assert_close(&case.run(&out), &normalised(kind, &values), 1.3e-4);
    }
}
