//! Lowering of a transposition.

use super::*;
use crate::ops::Transpose;

pub(super) fn lower(op: &Transpose, limits: &Limits) -> Result<Vec<Dispatch>> {
    let [m, n] = op.x.dims("transpose", "x")?;
    let [_, stride] = op.out.dims("transpose", "out")?;
    gather::lower("transpose", &op.x, &op.out, &[], &words([m, n, stride])?, limits)
}
