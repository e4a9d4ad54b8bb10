// Formula: out[i] = what the quad operations of invocation i bring: the index of its neighbour along x, along y, and
//   of the quad's last, eight bits each. A device has the quads that the kernels count on if these are i ^ 1, i ^ 2,
//   i | 3.
// Layouts: out [32].
// Grid: one workgroup.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;

//#include "shared/base.wgsl"

@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) thread: u32) {
    let found = vec3<u32>(quadSwapX(thread), quadSwapY(thread), quadBroadcast(thread, 3u));
    out[base(1u) + thread] = found.x | (found.y << 8u) | (found.z << 16u);
}
