// Formula: out[c, t * pt + i, y * ph + j, x * pw + k] = x[(t, y, x), (i, j, k, c)].
// Layouts: x [T/pt * H/ph * W/pw, pt * ph * pw * C]; out [C, T, H, W].
// Grid: one workgroup for 256 elements of the out slab, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    range: vec4<u32>,
    // C, T, H, W.
    latents: vec4<u32>,
    // pt, ph, pw.
    sides: vec4<u32>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

//#include "shared/gather.wgsl"

fn source(o: u32) -> u32 {
    let channels = params.latents.x;
    let sides = params.sides;
    let size = params.latents.yzw / sides.xyz;
    let x = o % params.latents.w;
    let y = o / params.latents.w % params.latents.z;
    let t = o / (params.latents.w * params.latents.z) % params.latents.y;
    let c = o / (params.latents.w * params.latents.z * params.latents.y);
    let token = (t / sides.x * size.y + y / sides.y) * size.z + x / sides.z;
    let within = (t % sides.x * sides.y + y % sides.y) * sides.z + x % sides.z;
    return (token * sides.x * sides.y * sides.z + within) * channels + c;
}

fn value(v: f32, o: u32) -> f32 {
    return v;
}
