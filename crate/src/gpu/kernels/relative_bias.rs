//! Lowering of T5's relative position bias. The bucket of a distance is computed here, as torch does, and reaches the shader as
//! runs of columns: a logarithm in WGSL may round to another bucket at an edge.

use super::*;
use crate::ops::RelativeBias;

/// Runs of equal buckets in one dispatch.
const RUNS: usize = 32;

pub(super) fn lower(op: &RelativeBias, limits: &Limits) -> Result<Vec<Dispatch>> {
    let [heads, columns] = op.out.dims("relative_bias", "out")?;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (column, bucket) in op.buckets().into_iter().enumerate() {
        if runs.last().is_none_or(|(_, last)| *last != bucket) {
            runs.push((column, bucket));
        }
    }
    let mut dispatches = Vec::new();
    for slab in pieces(heads, most_rows("relative_bias", columns, limits)?) {
        for taken in pieces(runs.len(), RUNS) {
            let part = runs.get(taken.clone()).unwrap_or_default();
            let first = part.first().map_or(0, |(start, _)| *start);
            let end = runs.get(taken.end).map_or(columns, |(start, _)| *start);
            let mut params = Vec::with_capacity(2 * RUNS + 7);
            for (start, bucket) in part {
                params.extend(words([*start, *bucket])?);
            }
            params.resize(2 * RUNS, 0);
            params.extend(words([part.len(), first, end - first, columns, slab.len(), slab.start, heads])?);
            let elements = slab.len() * (end - first);
            dispatches.push(Dispatch {
                kernel: Kernel::new("relative_bias", []),
                grid: element_grid(elements, limits)?,
                params,
                flops: elements as u64 * RUNS as u64,
                bindings: vec![Binding::read(&op.table), Binding::write_range(&op.out, span(&slab, columns))],
            });
        }
    }
    Ok(dispatches)
}
