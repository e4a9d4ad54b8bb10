// Formula: out[2 y + j, 2 x + i, o] = residual + bias[o] + (A^T m A)[j, i] of the 4 x 4 values m[p / 4, p % 4] =
//   M[p][block, o], with A^T = [1, 1, 1, 0; 0, 1, -1, -1]: Winograd's F(2x2, 3x3). After that, with relu, what is
//   below 0 becomes 0.
// Layouts: M [16][padded, columns], of which the first `blocks` rows are whole rows of block_width; out, residual
//   [height, width, columns], slabs of the rows of the blocks, of which the last may lack its second. All but the bias
//   start at whole vectors, and columns is a multiple of 4. Unused tensors are M.
// Grid: one workgroup for 256 vectors of four columns of the blocks, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    height: u32,
    width: u32,
    columns: u32,
    blocks: u32,
    padded: u32,
    block_width: u32,
    has_bias: u32,
    has_residual: u32,
    relu: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> products: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> residual: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

// A^T of four values in a line.
fn gather(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(a + b + c, b - c - d);
}

// A row of the sixteen values.
fn values(at: u32, point: u32) -> array<vec4<f32>, 2> {
    let next = params.padded * params.columns / 4u;
    let first = base(1u) / 4u + point * next + at;
    return gather(
        products[first], products[first + next], products[first + 2u * next], products[first + 3u * next],
    );
}

fn bias_at(j: u32) -> vec4<f32> {
    if params.has_bias == 0u {
        return vec4<f32>();
    }
    let o = base(2u) + j;
    return vec4<f32>(bias[o], bias[o + 1u], bias[o + 2u], bias[o + 3u]);
}

// Ends a pixel's four columns.
fn store(pixel: vec2<u32>, vector: u32, sum: vec4<f32>) {
    if any(pixel >= vec2<u32>(params.height, params.width)) {
        return;
    }
    let at = (pixel.x * params.width + pixel.y) * params.columns / 4u + vector;
    var y = sum + bias_at(vector * 4u);
    if params.has_residual != 0u {
        y += residual[base(3u) / 4u + at];
    }
    if params.relu != 0u {
        // By selection, because max may drop a NaN.
        y = select(y, vec4<f32>(), y < vec4<f32>());
    }
    out[base(4u) / 4u + at] = y;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = workgroup_index(workgroup, grid) * 256u + thread;
    let vectors = params.columns / 4u;
    let block = at / vectors;
    let vector = at % vectors;
    if block >= params.blocks {
        return;
    }
    let a = values(at, 0u);
    let b = values(at, 4u);
    let c = values(at, 8u);
    let d = values(at, 12u);
    let left = gather(a[0], b[0], c[0], d[0]);
    let right = gather(a[1], b[1], c[1], d[1]);
    // One call, because a compiler inlines it.
    var sums = array<vec4<f32>, 4>(left[0], right[0], left[1], right[1]);
    let corner = vec2<u32>(block / params.block_width, block % params.block_width) * 2u;
    for (var i = 0u; i < 4u; i++) {
        store(corner + vec2<u32>(i / 2u, i % 2u), vector, sums[i]);
    }
}
