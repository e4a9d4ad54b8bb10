//! Twin of `combination.wgsl`.

use super::memory::Operands;
use crate::Result;
use crate::ops;

pub(super) fn combination(op: &ops::Combination, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let coefficients = operands.get(&op.coefficients)?;
    out.fill(0.0);
    for (term, &coefficient) in op.terms.iter().zip(&coefficients[op.first..]) {
        let x = operands.get(term)?;
        if coefficient != 0.0 {
            out.iter_mut().zip(x).for_each(|(y, x)| *y += coefficient * x);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close, random};

    #[test]
    fn coefficients_are_read_at_run_time_and_zero_hides_its_term() {
        for terms in 1..=5 {
            let mut case = Case::new(terms as u64);
            let mut inputs: Vec<_> = (0..terms).map(|_| case.random(&[3, 7])).collect();
            let mut cs = random(terms as u64 + 50, 8);
            let mut unfilled = None;
            if terms > 1 {
                cs[2 + 1] = 0.0;
                unfilled = Some(case.input(&[3, 7], &[f32::NAN; 21]));
                inputs[1].1.fill(0.0);
            }
            let coefficients = case.input(&[8], &cs);
            let tensors: Vec<_> = inputs
                .iter()
                .enumerate()
                .map(|(i, (t, _))| if i == 1 { unfilled.as_ref().unwrap() } else { t })
                .collect();
            let out = case.recorder.combination(&tensors, &coefficients, 2).unwrap();
            let expected: Vec<f64> = (0..21)
                .map(|e| (0..terms).map(|i| f64::from(cs[2 + i]) * f64::from(inputs[i].1[e])).sum())
                .collect();
            assert_close(&case.run(&out), &expected, 1e-6);
        }
    }
}
