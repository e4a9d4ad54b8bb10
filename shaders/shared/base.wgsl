// Formula: base(binding) = first element of the tensor inside the bound range.
// Layouts: a binding starts at a multiple of the device's offset alignment, a tensor's view anywhere; the difference,
// in elements, is word `binding - 1` of params.base, the first member of every uniform block.
// Grid: any.
// Workgroup: no memory.

// First element of the tensor at @binding(binding).
fn base(binding: u32) -> u32 {
    return params.base[(binding - 1u) / 4u][(binding - 1u) % 4u];
}
