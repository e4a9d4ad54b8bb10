// Formula: out[(t, y, x), (c, i, j, k)] = x[c, t * pt + i, y * ph + j, x * pw + k].
// Layouts: x [C, T, H, W]; out [T/pt * H/ph * W/pw, C * pt * ph * pw].
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
    let sides = params.sides;
    let volume = sides.x * sides.y * sides.z;
    let size = params.latents.yzw / sides.xyz;
    let token = o / (params.latents.x * volume);
    let channel = o % (params.latents.x * volume);
    let c = channel / volume;
    let t = token / (size.y * size.z) * sides.x + channel / (sides.y * sides.z) % sides.x;
    let y = token / size.z % size.y * sides.y + channel / sides.z % sides.y;
    let x = token % size.z * sides.z + channel % sides.z;
    return ((c * params.latents.y + t) * params.latents.z + y) * params.latents.w + x;
}

fn value(v: f32, o: u32) -> f32 {
    return v;
}
