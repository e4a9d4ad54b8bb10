//! Twin of `transpose.wgsl`.

use super::memory::Operands;
use crate::Result;
use crate::ops;

/// Rows of x that are read side by side: a cache line of the output is written at a time.
const BLOCK: usize = 16;

pub(super) fn transpose(op: &ops::Transpose, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let [m, n] = op.x.dims("transpose", "x")?;
    let [_, stride] = op.out.dims("transpose", "out")?;
    let x = operands.get(&op.x)?;
    for first in (0..m).step_by(BLOCK) {
        for column in 0..n {
            for row in first..m.min(first + BLOCK) {
                out[column * stride + row] = x[row * n + column];
            }
        }
    }
    for row in out.chunks_exact_mut(stride.max(1)) {
        row[m..].fill(0.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::Case;

    #[test]
    fn rows_become_columns_and_the_padding_is_zero() {
        for seed in 0..8 {
            let mut case = Case::new(seed);
            let (m, n) = (case.size(50), case.size(20));
            let (x, xs) = case.random(&[m + 1, n]);
            let out = case.recorder.transpose(&x.rows(1, m).unwrap()).unwrap();
            let stride = m.div_ceil(4) * 4;
            let expected: Vec<f32> = (0..n * stride)
                .map(|e| if e % stride < m { xs[(e % stride + 1) * n + e / stride] } else { 0.0 })
                .collect();
            assert_eq!(case.run(&out), expected);
        }
    }
}
