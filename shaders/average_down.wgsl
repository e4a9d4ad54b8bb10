// Formula: out[y, x, c] = base[y, x, c] + mean over g < G of v(c * G + g), where v(n) with
// n = ((i * ft + a) * fs + b) * fs + d is frames[a][y * fs + b, x * fs + d, i], and 0 for a frame left out.
// Layouts: frames ft of [H, W, C]; base and out [H/fs, W/fs, C_out]; slabs of whole rows.
// Grid: one workgroup for 256 elements of the out slab, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    // Elements of the slab.
    count: u32,
    // W/fs, C_out, C, ft, fs, G.
    width: u32,
    channels_out: u32,
    channels: u32,
    time_factor: u32,
    factor: u32,
    group: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> residual: array<f32>;
//#if FIRST
@group(0) @binding(2) var<storage, read> frame0: array<f32>;
//#endif
//#if SECOND
@group(0) @binding(3) var<storage, read> frame1: array<f32>;
//#endif
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

fn pixel(a: u32, i: u32) -> f32 {
    //#if FIRST
    if a == 0u {
        return frame0[base(2u) + i];
    }
    //#endif
    //#if SECOND
    if a == 1u {
        return frame1[base(3u) + i];
    }
    //#endif
    return 0.0;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let o = workgroup_index(workgroup, grid) * 256u + thread;
    if o >= params.count {
        return;
    }
    let fs = params.factor;
    let c = o % params.channels_out;
    let x = o / params.channels_out % params.width;
    let y = o / params.channels_out / params.width;
    var sum = 0.0;
    for (var g = 0u; g < params.group; g++) {
        let n = c * params.group + g;
        let d = n % fs;
        let b = n / fs % fs;
        let a = n / (fs * fs) % params.time_factor;
        let i = n / (fs * fs * params.time_factor);
        sum += pixel(a, ((y * fs + b) * params.width * fs + x * fs + d) * params.channels + i);
    }
    out[base(4u) + o] = residual[base(1u) + o] + sum / f32(params.group);
}
