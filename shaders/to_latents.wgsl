// Formula: out[c, y, x] = (moments[y, x, c] - mean[c]) / std[c].
// Layouts: moments [H, W, width], width at least C; out [C, H, W]; mean and std [C].
// Grid: one workgroup for 256 elements of the out slab, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    range: vec4<u32>,
    // H * W is pixels.
    width: u32,
    pixels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> deviation: array<f32>;

//#include "shared/gather.wgsl"

fn source(o: u32) -> u32 {
    return o % params.pixels * params.width + o / params.pixels;
}

fn value(v: f32, o: u32) -> f32 {
    let c = o / params.pixels;
    return (v - mean[base(3u) + c]) / deviation[base(4u) + c];
}
