// Formula: out[i] = the invocations that broadcast to invocation i, four bits each, the first lowest. A device has the
//   octets that the kernels count on if each has 0x76543210.
// Layouts: out [8].
// Grid: one workgroup.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

//#include "shared/base.wgsl"

@compute @workgroup_size(8)
fn main(@builtin(local_invocation_index) thread: u32) {
    out[base(1u) + thread] = subgroupBroadcast(thread, 0u)
        | (subgroupBroadcast(thread, 1u) << 4u)
        | (subgroupBroadcast(thread, 2u) << 8u)
        | (subgroupBroadcast(thread, 3u) << 12u)
        | (subgroupBroadcast(thread, 4u) << 16u)
        | (subgroupBroadcast(thread, 5u) << 20u)
        | (subgroupBroadcast(thread, 6u) << 24u)
        | (subgroupBroadcast(thread, 7u) << 28u);
}
