//! Lowering of SiLU: by elements.

use super::*;
use crate::ops::Silu;

pub(super) fn lower(op: &Silu, limits: &Limits) -> Result<Vec<Dispatch>> {
    pieces(op.out.len(), most_elements(limits))
        .map(|range| {
            Ok(Dispatch {
                kernel: Kernel::new("silu", []),
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
