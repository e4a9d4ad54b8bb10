// Formula: where a tensor's texture has its elements.
// Layouts: a texel is four elements: of f32 and f16 as numbers, of bf16 as words; of a quantised matrix it is four
//   words. Each row of the texture has 1 << base(binding) rows of the tensor; of a quantised matrix 4096 texels
//   (crate/src/gpu/texels.rs). Numbers are sampled, but with OCTET, which has storage textures: browsers bound the
//   coordinates of textureLoad by a size that they ask for anew at every load, which was a quarter of a product's time
//   in Chromium on SwiftShader, and those of a sampler not.
// Grid: any.
// Workgroup: no memory.

//#if !OCTET
@group(0) @binding(8) var nearest: sampler;
//#endif

// The first texel of a row of `vectors` texels, where `shift` is base(binding): lavapipe reads a uniform anew wherever
// it is named, invocation by invocation.
fn shifted_row(shift: u32, row: u32, vectors: u32) -> vec2<u32> {
    return vec2<u32>((row & ((1u << shift) - 1u)) * vectors, row >> shift);
}

//#if OCTET
// The first texel of a row of the tensor.
alias TexelRow = vec2<u32>;

fn texel_row(all: texture_storage_2d<rgba32float, read>, shift: u32, row: u32, vectors: u32) -> TexelRow {
    return shifted_row(shift, row, vectors);
}

fn load_texel(all: texture_storage_2d<rgba32float, read>, row: TexelRow, i: u32) -> vec4<f32> {
    return textureLoad(all, row + vec2<u32>(i, 0u));
}

// Texel i of a quantised matrix.
fn texel(i: u32) -> vec2<u32> {
    return vec2<u32>(i % 4096u, i / 4096u);
}
//#else
// The same: its middle, and how far the next is, in parts of the texture.
struct TexelRow {
    at: vec2<f32>,
    step: f32,
}

// How far texels are apart, in parts of the texture.
fn texel_step(all: texture_2d<f32>) -> vec2<f32> {
    return 1.0 / vec2<f32>(textureDimensions(all, 0));
}

// The middle of a texel, off by a few thousandths of one at most: textures have up to 8,192 a side. Of signed numbers,
// which are quicker to make floats of.
fn texel_middle(texel: vec2<u32>, step: vec2<f32>) -> vec2<f32> {
    return (vec2<f32>(vec2<i32>(texel)) + 0.5) * step;
}

fn texel_row(all: texture_2d<f32>, shift: u32, row: u32, vectors: u32) -> TexelRow {
    let step = texel_step(all);
    return TexelRow(texel_middle(shifted_row(shift, row, vectors), step), step.x);
}

fn load_texel(all: texture_2d<f32>, row: TexelRow, i: u32) -> vec4<f32> {
    return textureSampleLevel(all, nearest, vec2<f32>(fma(f32(i32(i)), row.step, row.at.x), row.at.y), 0.0);
}
//#endif
