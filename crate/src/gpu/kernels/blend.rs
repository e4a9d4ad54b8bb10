//! Lowering of a blend: by elements.

use super::*;
use crate::ops::Blend;

pub(super) fn lower(op: &Blend, limits: &Limits) -> Result<Vec<Dispatch>> {
    let n = op.open.len();
    pieces(op.out.len(), most_elements(limits))
        .map(|range| {
            Ok(Dispatch {
                kernel: Kernel::new("blend", []),
                grid: element_grid(range.len(), limits)?,
                params: words([range.len(), range.start % n.max(1), n])?,
                flops: range.len() as u64,
                bindings: vec![
                    Binding::read_range(&op.made, range.clone()),
                    Binding::read_range(&op.given, range.clone()),
                    Binding::read(&op.open),
                    Binding::write_range(&op.out, range),
                ],
            })
        })
        .collect()
}
