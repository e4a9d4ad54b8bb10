//! Twin of `copy.wgsl`.

use super::memory::Operands;
use crate::Result;
use crate::ops;

pub(super) fn copy(op: &ops::Copy, operands: &Operands, out: &mut [f32]) -> Result<()> {
    out.copy_from_slice(operands.get(&op.x)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::Case;

    #[test]
    fn views_are_copied_to_views() {
        let mut case = Case::new(1);
        let (x, xs) = case.random(&[5, 3]);
        let (out, before) = case.random(&[7, 3]);
        case.recorder.copy(&x.rows(1, 2).unwrap(), &out.rows(4, 2).unwrap()).unwrap();
        assert_eq!(case.run(&out), [&before[..12], &xs[3..9], &before[18..]].concat());
    }
}
