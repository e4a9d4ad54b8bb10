// Formula: where a tensor's texture has its elements.
// Layouts: a texel is four elements: of f32 and f16 as numbers, of bf16 as words; of a quantised matrix it is four
//   words. Each row of the texture has 1 << base(binding) rows of the tensor; of a quantised matrix 4096 texels
//   (crate/src/gpu/texels.rs).
// Grid: any.
// Workgroup: no memory.

// The first texel of a row of `vectors` texels.
fn texel_row(binding: u32, row: u32, vectors: u32) -> vec2<u32> {
    return shifted_row(base(binding), row, vectors);
}

// The same where base(binding) is at hand: lavapipe reads a uniform anew wherever it is named, invocation by
// invocation.
fn shifted_row(shift: u32, row: u32, vectors: u32) -> vec2<u32> {
    return vec2<u32>((row & ((1u << shift) - 1u)) * vectors, row >> shift);
}

// Texel i of a quantised matrix.
fn texel(i: u32) -> vec2<u32> {
    return vec2<u32>(i % 4096u, i / 4096u);
}
