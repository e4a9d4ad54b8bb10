// Formula: out[y, x, c] = base[y, x, c] + x[y / fs, x / fs, (((c * ft + a) * fs + y % fs) * fs + x % fs) / R].
// Layouts: x [H, W, C]; base and out [H fs, W fs, C_out]; slabs of whole rows, out from a multiple of fs.
// Grid: one workgroup for 256 elements of the out slab, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    // Elements of the slab.
    count: u32,
    // W fs, C_out, C, ft, fs, a, R.
    width: u32,
    channels_out: u32,
    channels: u32,
    time_factor: u32,
    factor: u32,
    phase: u32,
    repeats: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> residual: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

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
    let column = o / params.channels_out % params.width;
    let row = o / params.channels_out / params.width;
    let copy = ((c * params.time_factor + params.phase) * fs + row % fs) * fs + column % fs;
    let pixel = row / fs * (params.width / fs) + column / fs;
    out[base(3u) + o] = residual[base(1u) + o] + x[base(2u) + pixel * params.channels + copy / params.repeats];
}
