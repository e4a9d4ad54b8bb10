// Formula: out[y, x, (c, r, q)] = rgb[y * p + q, x * p + r, c], or with unit
//   out[y, x, (c, q, r)] = rgb[y * p + q, x * p + r, c] / 2 + 0.5.
// Layouts: rgb [h p, w p, 3]; out [h, w, 3 p^2].
// Grid: one workgroup for 256 elements of the out slab, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    range: vec4<u32>,
    // w, p.
    width: u32,
    sides: u32,
    // 0 Wan's form, 1 the one in 0..1.
    unit: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

//#include "shared/gather.wgsl"

fn source(o: u32) -> u32 {
    let p = params.sides;
    let pixel = o / (3u * p * p);
    let channel = o % (3u * p * p);
    let inner = channel % p;
    let outer = channel / p % p;
    let y = pixel / params.width * p + select(inner, outer, params.unit != 0u);
    let x = pixel % params.width * p + select(outer, inner, params.unit != 0u);
    return (y * params.width * p + x) * 3u + channel / (p * p);
}

fn value(v: f32, o: u32) -> f32 {
    return select(v, v * 0.5 + 0.5, params.unit != 0u);
}
