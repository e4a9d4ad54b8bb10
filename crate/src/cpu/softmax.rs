//! Twin of `softmax.wgsl`.

use super::exp::exp;
use super::memory::Operands;
use crate::Result;
use crate::ops;

pub(super) fn softmax(op: &ops::Softmax, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let [_, n] = op.x.dims("softmax", "x")?;
    let x = operands.get(&op.x)?;
    for (y, x) in out.chunks_exact_mut(n.max(1)).zip(x.chunks_exact(n.max(1))) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * op.scale);
        softmax_row(y);
    }
    Ok(())
}

/// Softmax of one row in place; the largest value is subtracted first.
pub(super) fn softmax_row(row: &mut [f32]) {
    let largest = reduce(row, f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    row.iter_mut().for_each(|v| *v = exp(*v - largest));
    let factor = 1.0 / reduce(row, 0.0, |a, b| a + b);
    row.iter_mut().for_each(|v| *v *= factor);
}

/// Folds a row in sixteen lanes, which the compiler may keep in SIMD registers; a sum in lanes is also more exact.
fn reduce(row: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder().iter().fold(start, |a, &b| f(a, b));
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, v);
        }
    }
    lanes.into_iter().fold(rest, f)
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close};

    #[test]
    fn rows_match_the_formula() {
        for seed in 0..12 {
            let mut case = Case::new(seed);
            let (m, n) = (case.size(9), case.size(100));
            let (x, xs) = case.random(&[m + 2, n]);
            let out = case.recorder.softmax(&x.rows(2, m).unwrap(), 30.0).unwrap();
            let expected: Vec<f64> = xs[2 * n..]
                .chunks_exact(n)
                .flat_map(|row| {
                    let total: f64 = row.iter().map(|&v| (30.0 * f64::from(v)).exp()).sum();
                    row.iter().map(move |&v| (30.0 * f64::from(v)).exp() / total)
                })
                .collect();
            // Logits up to 30 are rounded by 1e-6 before the exponential.
            assert_close(&case.run(&out), &expected, 4e-6);
        }
    }

    #[test]
    fn large_and_masked_logits_are_no_trouble_and_nan_shows() {
        let mut case = Case::new(0);
        let (high, low) = (3e38, f32::NEG_INFINITY);
        let x = case.input(&[3, 3], &[high, high, low, low, -5.0, low, 0.0, f32::NAN, 1.0]);
        let out = case.recorder.softmax(&x, 1.0).unwrap();
        let found = case.run(&out);
        assert_eq!(found[..6], [0.5, 0.5, 0.0, 0.0, 1.0, 0.0]);
        assert!(found[6..].iter().all(|v| v.is_nan()));
    }
}
