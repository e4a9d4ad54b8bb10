//! Twin of `linear.wgsl`.

use super::exp::{gelu_tanh, silu};
use super::matmul::{Matrix, matmul};
use super::memory::{Operands, allocate};
use super::norm::ModulationRows;
use crate::Result;
use crate::ops::{self, Activation, Combine};
use crate::quants::Quants;
use crate::tensor::DType;

/// Elements of a quantised weight that are widened at a time.
const WIDENED: usize = 1 << 18;

/// What the activated row is combined with, its operands found.
enum Combined<'a> {
    None,
    Add(&'a [f32]),
    Multiply(&'a [f32]),
    GatedAdd { residual: &'a [f32], gate: ModulationRows<'a> },
}

pub(super) fn linear(op: &ops::Linear, operands: &Operands, out: &mut [f32]) -> Result<()> {
    const OP: &str = "linear";
    let [m, k] = op.x.dims(OP, "x")?;
    let [_, width] = op.out.dims(OP, "out")?;
    let [_, stride] = op.weight.matrix.dims(OP, "weight")?;
    let (n, column) = (op.weight.columns, op.column);
    if n == 0 || m == 0 {
        return Ok(());
    }

    let x = Matrix::new(operands.get(&op.x)?, k);
    match op.weight.matrix.dtype() {
        DType::Quants(format) => {
            let quants = operands.quants(&op.weight.matrix)?;
            quantised(&mut out[column..], width, [m, n, k], x, (format, quants))?;
        }
        _ => {
            let weight = Matrix::new(operands.get(&op.weight.matrix)?, stride);
            matmul(&mut out[column..], width, [m, n, k], x, weight, false)?;
        }
    }

    let bias = operands.optional(op.bias.as_ref())?;
    let combined = match &op.combine {
        Combine::None => Combined::None,
        Combine::Add(t) => Combined::Add(operands.get(t)?),
        Combine::Multiply(t) => Combined::Multiply(operands.get(t)?),
        Combine::GatedAdd { residual, gate } => Combined::GatedAdd {
            residual: operands.get(residual)?,
            gate: ModulationRows::new(gate, operands)?,
        },
    };
    for (row, y) in out.chunks_exact_mut(width).enumerate() {
        let y = &mut y[column..column + n];
        if let Some(bias) = bias {
            y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        match op.activation {
            Activation::None => {}
            Activation::GeluTanh => y.iter_mut().for_each(|y| *y = gelu_tanh(*y)),
            Activation::Silu => y.iter_mut().for_each(|y| *y = silu(*y)),
        }
        let start = row * width + column;
        match &combined {
            Combined::None => {}
            Combined::Add(t) => y.iter_mut().zip(&t[start..]).for_each(|(y, t)| *y += t),
            Combined::Multiply(t) => y.iter_mut().zip(&t[start..]).for_each(|(y, t)| *y *= t),
            Combined::GatedAdd { residual, gate } => {
                let (table, embedding) = gate.row(row);
                let gates = table[column..].iter().zip(&embedding[column..]);
                for ((y, r), (t, e)) in y.iter_mut().zip(&residual[start..]).zip(gates) {
                    *y = r + (t + e) * *y;
                }
            }
        }
    }
    Ok(())
}

/// `out = x W` with a quantised `W`: as many of its columns at a time as a cache holds are widened.
fn quantised(
    out: &mut [f32],
    width: usize,
    [m, n, k]: [usize; 3],
    x: Matrix,
    (format, quants): (Quants, &[u8]),
) -> Result<()> {
    let columns = (WIDENED / k.max(1)).max(16).min(n);
    let mut widened: Vec<f32> = allocate(columns * k)?;
    for first in (0..n).step_by(columns) {
        let columns = columns.min(n - first);
        let panel = &mut widened[..columns * k];
        format.widen(quants, n * k, first * k, panel);
        matmul(&mut out[first..], width, [m, columns, k], x, Matrix::transposed(panel, k), false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close};
    use crate::ops::{Activation, Combine, LinearWeight, Modulation};
    use crate::tensor::{DType, Tensor};

    fn activate(activation: Activation, v: f64) -> f64 {
        match activation {
            Activation::None => v,
            Activation::Silu => v / (1.0 + (-v).exp()),
            Activation::GeluTanh => {
                0.5 * v * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v.powi(3))).tanh())
            }
        }
    }

    /// act(x W + b) at (i, j) in f64, from x [.., k] and W [k, stride].
    fn product(x: &[f32], w: &[f32], bias: &[f32], k: usize, stride: usize, i: usize, j: usize) -> f64 {
        (0..k).map(|l| f64::from(x[i * k + l]) * f64::from(w[l * stride + j])).sum::<f64>()
            + f64::from(bias[j])
    }

    #[test]
    fn activations_and_combinations_match_their_formulas() {
        for seed in 0..24 {
            let mut case = Case::new(seed);
            let (m, k, n) = (case.size(40), case.size(70), case.size(30));
            let stride = LinearWeight::stride(n);
            let activation = [Activation::None, Activation::GeluTanh, Activation::Silu][seed as usize % 3];
            let (x, xs) = case.random(&[m, k]);
            // The padding is random here: it must not be read.
            let (matrix, ws) = case.random(&[k, stride]);
            let (bias, bs) = case.random(&[n]);
            let (other, os) = case.random(&[m, n]);
            let (table, ts) = case.random(&[3, n]);
            let (embedding, es) = case.random(&[m + 5, 3 * n]);
            let kind = seed / 3 % 4;
            let combine = match kind {
                0 => Combine::None,
                1 => Combine::Add(other),
                2 => Combine::Multiply(other),
                _ => Combine::GatedAdd {
                    residual: other,
                    gate: Modulation {
                        table,
                        embedding,
                        index: 2,
                        stride: n,
                        rows_per_timestep: 3,
                        first_row: 4,
                    },
                },
            };
            let weight = LinearWeight { matrix, columns: n };
            let out = case.recorder.linear(&x, &weight, Some(&bias), activation, combine).unwrap();
            let expected: Vec<f64> = (0..m * n)
                .map(|e| {
                    let (i, j) = (e / n, e % n);
                    let y = activate(activation, product(&xs, &ws, &bs, k, stride, i, j));
                    let gate = ts[2 * n + j] as f64 + es[(i + 4) / 3 * 3 * n + 2 * n + j] as f64;
                    match kind {
                        0 => y,
                        1 => os[e] as f64 + y,
                        2 => os[e] as f64 * y,
                        _ => os[e] as f64 + gate * y,
                    }
                })
                .collect();
            assert_close(&case.run(&out), &expected, 2e-5);
        }
    }

    #[test]
    fn a_view_of_rows_and_a_range_of_columns_are_all_that_is_written() {
        let mut case = Case::new(7);
        let (m, k, n, width, column) = (6, 9, 5, 13, 6);
        let (x, xs) = case.random(&[20, k]);
        let (matrix, ws) = case.random(&[k, 8]);
        let (residual, rs) = case.random(&[m, width]);
        let (table, ts) = case.random(&[1, width]);
        let (embedding, es) = case.random(&[2, width]);
        let before: Vec<f32> = (0..10 * width).map(|i| i as f32).collect();
        let out = case.input(&[10, width], &before);
        let gate = Modulation { table, embedding, index: 0, stride: 0, rows_per_timestep: 5, first_row: 3 };
        case.recorder
            .linear_into(
                &x.rows(11, m).unwrap(),
                &LinearWeight { matrix, columns: n },
                None,
                Activation::Silu,
                Combine::GatedAdd { residual, gate },
                &out.rows(3, m).unwrap(),
                column,
            )
            .unwrap();
        let found = case.run(&out);
        let expected: Vec<f64> = (0..10 * width)
            .map(|e| {
                let (i, j) = (e / width, e % width);
                if !(3..3 + m).contains(&i) || !(column..column + n).contains(&j) {
                    return e as f64;
                }
                let i = i - 3;
                let y = activate(Activation::Silu, product(&xs, &ws, &[0.0; 5], k, 8, 11 + i, j - column));
                let gate = ts[j] as f64 + es[(i + 3) / 5 * width + j] as f64;
                rs[i * width + j] as f64 + gate * y
            })
            .collect();
        assert_close(&found, &expected, 1e-5);
    }

    #[test]
    fn weights_of_sixteen_bits_multiply() {
        let mut case = Case::new(3);
        let (x, xs) = case.random(&[2, 3]);
        let matrix = Tensor::resident(DType::F16, &[3, 4]);
        let values: Vec<half::f16> = (0..12).map(|i| half::f16::from_f32(i as f32 * 0.37 - 2.0)).collect();
        let weight = LinearWeight { matrix: matrix.clone(), columns: 4 };
        let out = Tensor::resident(DType::F32, &[2, 4]);
        case.recorder.linear_into(&x, &weight, None, Activation::None, Combine::None, &out, 0).unwrap();
        let cpu = crate::cpu::Cpu::new();
        cpu.upload(&matrix, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).unwrap();
        cpu.upload(&x, &crate::cpu::testing::bytes(&xs)).unwrap();
        let program = cpu.prepare(&case.recorder.finish()).unwrap();
        pollster::block_on(cpu.run(&program, &crate::CancelFlag::new())).unwrap();
        let found = crate::cpu::testing::floats(&pollster::block_on(cpu.read(&out)).unwrap());
        let widened: Vec<f32> = values.iter().map(|v| v.to_f32()).collect();
        let expected: Vec<f64> =
            (0..8).map(|e| product(&xs, &widened, &[0.0; 4], 3, 4, e / 4, e % 4)).collect();
        assert_close(&found, &expected, 1e-6);
    }
}
