//! Twin of `soft_clamp.wgsl`.

use super::memory::Operands;
use crate::Result;
use crate::ops;

pub(super) fn soft_clamp(op: &ops::SoftClamp, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let x = operands.get(&op.x)?;
    out.iter_mut().zip(x).for_each(|(y, &x)| *y = (x / op.limit).tanh() * op.limit);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close};

    #[test]
    fn matches_the_formula_on_a_view() {
        let mut case = Case::new(1);
        let values: Vec<f32> = (0..60).map(|i| (i as f32 - 30.0).powi(3) * 1e-3).collect();
        let x = case.input(&[20, 3], &values);
        let out = case.recorder.soft_clamp(&x.rows(4, 15).unwrap(), 3.0).unwrap();
        let expected: Vec<f64> = values[12..57].iter().map(|&v| (f64::from(v) / 3.0).tanh() * 3.0).collect();
        assert_close(&case.run(&out), &expected, 1e-6);
    }
}
