// Formula: out[i] = r | g << 8 | b << 16 | 255 << 24 of pixel i, each the nearest of 0..255.
// Layouts: x [H, W, 3] in 0..1; out [H, W].
// Grid: one workgroup for 256 pixels, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    // Pixels.
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

fn level(v: f32) -> u32 {
    return u32(clamp(v, 0.0, 1.0) * 255.0 + 0.5);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(workgroup, grid) * 256u + thread;
    if i < params.count {
        let pixel = base(1u) + i * 3u;
        let green = level(x[pixel + 1u]) << 8u;
        let blue = level(x[pixel + 2u]) << 16u;
        out[base(2u) + i] = level(x[pixel]) | green | blue | 0xff000000u;
    }
}
