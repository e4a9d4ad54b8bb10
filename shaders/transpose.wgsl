// Formula: out[n, m] = x[m, n]; 0 for m >= M.
// Layouts: x [M, N]; out [N, stride], stride = M rounded up to 4.
// Grid: one workgroup for 256 elements of the out slab, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    range: vec4<u32>,
    // M, N, stride.
    rows: u32,
    columns: u32,
    stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

//#include "shared/gather.wgsl"

fn source(o: u32) -> u32 {
    // The padding is written by the slab that holds row 0.
    let m = o % params.stride;
    return select(m, 0u, m >= params.rows) * params.columns + o / params.stride;
}

fn value(v: f32, o: u32) -> f32 {
    return select(v, 0.0, o % params.stride >= params.rows);
}
