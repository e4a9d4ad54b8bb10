// Formula: out[c, i] = given[c, i] + open[i] * (made[c, i] - given[c, i]); where open[i] is 0 or 1 it is given or made
//   itself, whatever the other holds.
// Layouts: made, given and out [channels, n], open [n]. A dispatch takes a range of elements that begins at place
//   `first` of a channel.
// Grid: one workgroup for 256 elements, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    // Elements.
    count: u32,
    first: u32,
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> made: array<f32>;
@group(0) @binding(2) var<storage, read> given: array<f32>;
@group(0) @binding(3) var<storage, read> open: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(workgroup, grid) * 256u + thread;
    if i >= params.count {
        return;
    }
    let share = open[base(3u) + (params.first + i) % params.n];
    let a = made[base(1u) + i];
    let b = given[base(2u) + i];
    var y = b + share * (a - b);
    y = select(y, b, share == 0.0);
    out[base(4u) + i] = select(y, a, share == 1.0);
}
