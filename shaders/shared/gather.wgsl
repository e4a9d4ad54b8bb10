// Formula: out[o] = value(x[source(o)], o) for the o of the out slab whose source(o) lies in the in slab.
// Layouts: the shader that includes this gives source and value, x at binding 1, out at binding 2 and Params.range =
// (first_out, count_out, first_in, count_in); both bindings are slabs of the tensors, each pair of slabs a dispatch.
// Grid: one workgroup for 256 elements of the out slab, folded.
// Workgroup: no memory.

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(workgroup, grid) * 256u + thread;
    if i >= params.range.y {
        return;
    }
    let o = params.range.x + i;
    // Below first_in the difference wraps to a large number.
    let s = source(o) - params.range.z;
    if s < params.range.w {
        out[base(2u) + i] = value(x[base(1u) + s], o);
    }
}
