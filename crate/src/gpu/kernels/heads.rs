//! Lowering of the split into heads: by rows, and by groups of heads where the output is above the binding limit.

use super::*;
use crate::ops::Heads;

pub(super) fn lower(op: &Heads, limits: &Limits) -> Result<Vec<Dispatch>> {
    let [heads, tokens, d] = op.out.dims("heads", "out")?;
    let width = heads * d;
    let flags = [op.norm.as_ref().map(|_| "NORM"), op.rope.as_ref().map(|_| "ROPE"), serial(limits)];
    let kernel = Kernel::new("heads", flags.into_iter().flatten());
    // A group of heads is bound from its first head's first row to its last head's last row; a single head only from row
    // to row of the slab, which always fits.
    let group = (limits.binding_elements(DType::F32) / (tokens * d).max(1)).clamp(1, heads);
    let mut dispatches = Vec::new();
    for rows in pieces(tokens, most_rows("heads", width, limits)?) {
        for group in pieces(heads, group) {
            let first = (group.start * tokens + rows.start) * d;
            let last = ((group.end - 1) * tokens + rows.end) * d;
            let mut bindings = vec![
                Binding::read_range(&op.x, span(&rows, width)),
                Binding::write_range(&op.out, first..last),
            ];
            let mut params = words([rows.len(), width, d, group.start * d, group.len() * d, tokens * d])?;
            params.push(op.norm.as_ref().map_or(0, |norm| norm.eps.to_bits()));
            bindings.extend(op.norm.as_ref().map(|norm| Binding::read(&norm.weight)));
            if let Some(rope) = &op.rope {
                let ([t, y, x], [dt, dy, _]) = (rope.size, rope.dims);
                bindings.push(Binding::read(&rope.table));
                params.extend(words([rows.start, y, x, dt, dy, t * dt, t * dt + y * dy])?);
            }
            dispatches.push(Dispatch {
                kernel: kernel.clone(),
                grid: limits.fold(rows.len().div_ceil(ROWS))?,
                params,
                flops: 8 * (rows.len() * width) as u64,
                bindings,
            });
        }
    }
    Ok(dispatches)
}
