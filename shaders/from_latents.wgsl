// Formula: out[y, x, c] = latents[c, frame, y, x] * std[c] + mean[c]; frame is read at run time.
// Layouts: latents [C, T, H, W]; out [H, W, C]; frame [1]; mean and std [C].
// Grid: one workgroup for 256 elements of the out slab, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    range: vec4<u32>,
    // C, T, H * W.
    channels: u32,
    frames: u32,
    pixels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, read> frame: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> deviation: array<f32>;

//#include "shared/gather.wgsl"

fn source(o: u32) -> u32 {
    let t = min(u32(max(frame[base(3u)], 0.0)), params.frames - 1u);
    return (o % params.channels * params.frames + t) * params.pixels + o / params.channels;
}

fn value(v: f32, o: u32) -> f32 {
    let c = o % params.channels;
    return v * deviation[base(5u) + c] + mean[base(4u) + c];
}
