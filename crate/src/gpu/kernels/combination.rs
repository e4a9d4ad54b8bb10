//! Lowering of a linear combination: by elements.

use super::*;
use crate::ops::Combination;

/// Bindings that the shader has for terms.
const TERMS: usize = 5;

pub(super) fn lower(op: &Combination, limits: &Limits) -> Result<Vec<Dispatch>> {
    if op.terms.len() > TERMS {
        return Err(Error::ShapeMismatch {
            op: "combination",
            what: "terms",
            expected: vec![TERMS],
            found: vec![op.terms.len()],
        });
    }
    pieces(op.out.len(), most_elements(limits))
        .map(|range| {
            // The shader has a binding for every possible term; those not in use repeat the first and stay unread.
            let terms = op.terms.iter().chain(std::iter::repeat_n(op.terms.first(), TERMS).flatten());
            let mut bindings: Vec<_> =
                terms.take(TERMS).map(|term| Binding::read_range(term, range.clone())).collect();
            bindings.push(Binding::read(&op.coefficients));
            bindings.push(Binding::write_range(&op.out, range.clone()));
            Ok(Dispatch {
                kernel: Kernel::new("combination", []),
                grid: element_grid(range.len(), limits)?,
                params: words([range.len(), op.terms.len(), op.first])?,
                flops: 2 * (range.len() * op.terms.len()) as u64,
                bindings,
            })
        })
        .collect()
}
