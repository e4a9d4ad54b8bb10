//! Lowering of softmax: by rows.

use super::*;
use crate::ops::Softmax;

pub(super) fn lower(op: &Softmax, limits: &Limits) -> Result<Vec<Dispatch>> {
    let [m, n] = op.x.dims("softmax", "x")?;
    pieces(m, most_rows("softmax", n, limits)?)
        .map(|rows| {
            let mut params = words([rows.len(), n])?;
            params.push(op.scale.to_bits());
            Ok(Dispatch {
                kernel: Kernel::new("softmax", serial(limits)),
                grid: limits.fold(rows.len().div_ceil(ROWS))?,
                params,
                flops: 16 * (rows.len() * n) as u64,
                bindings: vec![
                    Binding::read_range(&op.x, span(&rows, n)),
                    Binding::write_range(&op.out, span(&rows, n)),
                ],
            })
        })
        .collect()
}
