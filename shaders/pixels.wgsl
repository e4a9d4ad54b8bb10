// Formula: out[y * p + q, x * p + r, c] = clamp(x[y, x, (c, r, q)], -1, 1) / 2 + 0.5, or with unit
//   clamp(x[y, x, (c, q, r)], 0, 1).
// Layouts: x [h, w, 3 p^2]; out [h p, w p, 3].
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
    let x = o / 3u % (params.width * p);
    let y = o / 3u / (params.width * p);
    let within = select(x % p * p + y % p, y % p * p + x % p, params.unit != 0u);
    return ((y / p * params.width + x / p) * 3u + o % 3u) * p * p + within;
}

fn value(v: f32, o: u32) -> f32 {
    return select(clamp(v, -1.0, 1.0) * 0.5 + 0.5, clamp(v, 0.0, 1.0), params.unit != 0u);
}
