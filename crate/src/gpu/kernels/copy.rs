//! Lowering of a copy: by elements. A kernel and not a buffer copy, so that it stays in the compute pass.

use super::*;
use crate::ops::Copy;

pub(super) fn lower(op: &Copy, limits: &Limits) -> Result<Vec<Dispatch>> {
    pieces(op.out.len(), most_elements(limits))
        .map(|range| {
            Ok(Dispatch {
                kernel: Kernel::new("copy", []),
                grid: element_grid(range.len(), limits)?,
                params: words([range.len()])?,
                flops: range.len() as u64,
                bindings: vec![
                    Binding::read_range(&op.x, range.clone()),
                    Binding::write_range(&op.out, range),
                ],
            })
        })
        .collect()
}
