//! Lowering of the kernels that put every element of their input in another place (`shared/gather.wgsl`).

use super::*;

/// Dispatches over pairs of slabs: of the output, and of the input. A pair writes those elements whose source it holds, so
/// that any rearrangement of tensors above the binding limit is split without knowing it. `more` are further
/// bindings that are read; `params` follow the slabs in the uniform block.
pub(super) fn lower(
    shader: &'static str,
    x: &Tensor,
    out: &Tensor,
    more: &[&Tensor],
    params: &[u32],
    limits: &Limits,
) -> Result<Vec<Dispatch>> {
    let mut dispatches = Vec::new();
    for target in pieces(out.len(), most_elements(limits)) {
        for source in pieces(x.len(), limits.binding_elements(x.dtype())) {
            let mut bindings =
                vec![Binding::read_range(x, source.clone()), Binding::write_range(out, target.clone())];
            bindings.extend(more.iter().map(|tensor| Binding::read(tensor)));
            let mut slabs = words([target.start, target.len(), source.start, source.len()])?;
            slabs.extend(params);
            dispatches.push(Dispatch {
                kernel: Kernel::new(shader, []),
                grid: element_grid(target.len(), limits)?,
                params: slabs,
                flops: target.len() as u64,
                bindings,
            });
        }
    }
    Ok(dispatches)
}
