// Formula: of each group of 32 neighbouring elements q = round(x / scale), with scale = max |x| / 127, and the sum of
//   the q.
// Layouts: x, whole groups; out [groups][12] words: 32 quants as signed bytes, the bits of scale and of sum as f32, two
//   that are unused. Both start at whole vectors.
// Grid: one workgroup for 256 groups, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    groups: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<u32>>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

const VECTORS = 8u;
const NAN = 0x7fc00000u;
const EXPONENT = vec4<u32>(0x7f800000u);

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(workgroup, grid) * 256u + thread;
    if group >= params.groups {
        return;
    }
    let first = base(1u) / 4u + group * VECTORS;
    var largest = vec4<f32>();
    var finite = true;
    for (var i = 0u; i < VECTORS; i++) {
        let v = x[first + i];
        largest = max(largest, abs(v));
        finite = finite && all((bitcast<vec4<u32>>(v) & EXPONENT) != EXPONENT);
    }
    let most = max(max(largest.x, largest.y), max(largest.z, largest.w));
    let inverse = select(0.0, 127.0 / most, most > 0.0);
    var words: array<vec4<u32>, 2>;
    var sums = vec4<i32>();
    for (var i = 0u; i < VECTORS; i++) {
        let q = vec4<i32>(clamp(round(x[first + i] * inverse), vec4<f32>(-127.0), vec4<f32>(127.0)));
        sums += q;
        let bytes = (bitcast<vec4<u32>>(q) & vec4<u32>(0xffu)) << vec4<u32>(0u, 8u, 16u, 24u);
        words[i / 4u][i % 4u] = bytes.x | bytes.y | bytes.z | bytes.w;
    }
    let at = base(2u) / 4u + group * 3u;
    out[at] = words[0];
    out[at + 1u] = words[1];
    // What is not a number may not become one by rounding.
    let scale = select(NAN, bitcast<u32>(most / 127.0), finite);
    let sum = f32(sums.x + sums.y + sums.z + sums.w);
    out[at + 2u] = vec4<u32>(scale, bitcast<u32>(sum), 0u, 0u);
}
