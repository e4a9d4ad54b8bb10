//! Twin of `blend.wgsl`.

use super::memory::Operands;
use crate::Result;
use crate::ops;

pub(super) fn blend(op: &ops::Blend, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let (made, given, open) = (operands.get(&op.made)?, operands.get(&op.given)?, operands.get(&op.open)?);
    let sources = made.iter().zip(given).zip(open.iter().cycle());
    for (y, ((&made, &given), &open)) in out.iter_mut().zip(sources) {
        *y = match open {
            0.0 => given,
            1.0 => made,
            _ => given + open * (made - given),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close};

    #[test]
    fn what_is_not_chosen_is_not_read() {
        let mut case = Case::new(1);
        let made = case.input(&[2, 3], &[1.0, f32::NAN, 3.0, 4.0, f32::NAN, 6.0]);
        let given = case.input(&[2, 3], &[f32::NAN, 20.0, 30.0, f32::NAN, 50.0, 60.0]);
        let open = case.input(&[3], &[1.0, 0.0, 0.25]);
        let out = case.recorder.blend(&made, &given, &open).unwrap();
        assert_close(&case.run(&out), &[1.0, 20.0, 23.25, 4.0, 50.0, 46.5], 1e-7);
    }
}
