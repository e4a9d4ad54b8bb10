// Formula: out[i] = limit * tanh(x[i] / limit); the argument is bounded because tanh of a large one is NaN on some
//   drivers.
// Layouts: x and out any shape, the same.
// Grid: one workgroup for 256 elements, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    // Elements.
    count: u32,
    limit: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(workgroup, grid) * 256u + thread;
    if i < params.count {
        let ratio = x[base(1u) + i] / params.limit;
        out[base(2u) + i] = tanh(clamp(ratio, -20.0, 20.0)) * params.limit;
    }
}
