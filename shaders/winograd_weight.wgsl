// Formula: U[p][first + t * C + c, o] = sum over j, i of G[p / 4][j] * G[p % 4][i] * W[((t * 3 + j) * 3 + i) * C + c,
//   o], with G = [1, 0, 0; 1/2, 1/2, 1/2; 1/2, -1/2, 1/2; 0, 0, 1]: the weight of Winograd's F(2x2, 3x3) for some
//   frames.
// Layouts: W [frames * 9 C, columns] as f32, with HALF as f16 and with BFLOAT as bf16, two to a word; U [16][depth,
//   columns] as f32. Both start at whole vectors, and C, columns, depth and first are multiples of 4.
// Grid: one workgroup for 256 vectors of four columns of frames * C rows, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    frames: u32,
    channels: u32,
    columns: u32,
    depth: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
//#if HALF|BFLOAT
@group(0) @binding(1) var<storage, read> weight: array<vec2<u32>>;
//#else
@group(0) @binding(1) var<storage, read> weight: array<vec4<f32>>;
//#endif
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"
//#include "shared/widen.wgsl"
//#include "shared/winograd_put.wgsl"

// G of three taps in a line.
fn lift(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>) -> array<vec4<f32>, 4> {
    let half = (a + c) * 0.5;
    return array<vec4<f32>, 4>(a, half + b * 0.5, half - b * 0.5, c);
}

// A row of the kernel.
fn taps(at: u32, first: u32) -> array<vec4<f32>, 4> {
    let next = params.channels * params.columns / 4u;
    let tap = base(1u) / 4u + (at / next * 9u + first) * next + at % next;
    return lift(widen(weight[tap]), widen(weight[tap + next]), widen(weight[tap + 2u * next]));
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = workgroup_index(workgroup, grid) * 256u + thread;
    if at >= params.frames * params.channels * params.columns / 4u {
        return;
    }
    // Written out, because a software adapter keeps arrays that are walked over in memory.
    let a = taps(at, 0u);
    let b = taps(at, 3u);
    let c = taps(at, 6u);
    let first = base(2u) / 4u + params.first * params.columns / 4u + at;
    let next = params.depth * params.columns / 4u;
    put(first, next, lift(a[0], b[0], c[0]));
    put(first + next, next, lift(a[1], b[1], c[1]));
    put(first + 2u * next, next, lift(a[2], b[2], c[2]));
    put(first + 3u * next, next, lift(a[3], b[3], c[3]));
}
