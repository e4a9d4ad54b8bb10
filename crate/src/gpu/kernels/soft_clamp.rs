//! Lowering of the soft clamp: by elements.

use super::*;
use crate::ops::SoftClamp;

pub(super) fn lower(op: &SoftClamp, limits: &Limits) -> Result<Vec<Dispatch>> {
    pieces(op.out.len(), most_elements(limits))
        .map(|range| {
            Ok(Dispatch {
                kernel: Kernel::new("soft_clamp", []),
                grid: element_grid(range.len(), limits)?,
                params: vec![word(range.len())?, op.limit.to_bits()],
                flops: range.len() as u64,
                bindings: vec![
                    Binding::read_range(&op.x, range.clone()),
                    Binding::write_range(&op.out, range),
                ],
            })
        })
        .collect()
}
