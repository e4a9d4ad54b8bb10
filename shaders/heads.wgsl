// Formula: out[h, t, :] = rope?(rms_norm?(x)[t, h * d..(h + 1) * d]).
//   NORM: x / sqrt(mean(x^2) + eps) * weight, over all heads together.
//   ROPE: pairs (even, odd) of a head turned by the angle of the token's t, y or x, whichever axis owns the pair.
// Layouts: x [T, heads * d], a slab of rows; weight [heads * d]; table: for each axis [size, dims / 2, (cos, sin)], one
// after the other; out [heads, T, d], from the slab's first head and row on.
// Grid: ceil(rows / ROWS) workgroups, folded; shared/rows.wgsl.
// Workgroup: 1,024 bytes; with SERIAL or without NORM none.

struct Params {
    base: array<vec4<u32>, 2>,
    rows: u32,
    // heads * d, d.
    width: u32,
    head_dim: u32,
    // First column of the slab's heads, and their columns.
    first_column: u32,
    columns: u32,
    // Distance of heads in out: T * d.
    head_stride: u32,
    eps: f32,
    //#if ROPE
    // Token of the slab's first row.
    first_row: u32,
    // Tokens along y and x.
    size: vec2<u32>,
    // Channels of t and y, and the start of the tables of y and x.
    dims: vec2<u32>,
    tables: vec2<u32>,
    //#endif
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
//#if NORM
@group(0) @binding(3) var<storage, read> weight: array<f32>;
//#endif
//#if ROPE
@group(0) @binding(4) var<storage, read> table: array<f32>;
//#endif

//#include "shared/base.wgsl"
//#include "shared/rows.wgsl"

// The normalised value of column j of the row that starts at `start`.
fn normalised(start: u32, j: u32, factor: f32) -> f32 {
    //#if NORM
    return x[start + j] * factor * weight[base(3u) + j];
    //#else
    return x[start + j];
    //#endif
}

//#if ROPE
// Where the cosine for an even channel of a token stands in the table.
fn angle(token: u32, channel: u32) -> u32 {
    let dims = params.dims;
    if channel < dims.x {
        return token / (params.size.x * params.size.y) * dims.x + channel;
    }
    if channel < dims.x + dims.y {
        return params.tables.x + token / params.size.y % params.size.x * dims.y + channel - dims.x;
    }
    let rest = params.head_dim - dims.x - dims.y;
    return params.tables.y + token % params.size.y * rest + channel - dims.x - dims.y;
}
//#endif

@compute @workgroup_size(ROWS * LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(workgroup, grid) * ROWS + thread / LANES;
    let lane = thread % LANES;
    let start = base(1u) + min(row, params.rows - 1u) * params.width;
    var factor = 1.0;
    //#if NORM
    var square = 0.0;
    for (var j = lane; j < params.width; j += LANES) {
        square += x[start + j] * x[start + j];
    }
    factor = 1.0 / sqrt(row_sum(thread, square) / f32(params.width) + params.eps);
    //#endif
    if row >= params.rows {
        return;
    }
    let target_row = base(2u) + row * params.head_dim;
    //#if ROPE
    for (var i = lane * 2u; i < params.columns; i += LANES * 2u) {
        let j = params.first_column + i;
        let channel = i % params.head_dim;
        let at = base(4u) + angle(params.first_row + row, channel);
        let pair = vec2<f32>(normalised(start, j, factor), normalised(start, j + 1u, factor));
        let turn = vec2<f32>(table[at], table[at + 1u]);
        let o = target_row + i / params.head_dim * params.head_stride + channel;
        out[o] = pair.x * turn.x - pair.y * turn.y;
        out[o + 1u] = pair.y * turn.x + pair.x * turn.y;
    }
    //#else
    for (var i = lane; i < params.columns; i += LANES) {
        let y = normalised(start, params.first_column + i, factor);
        out[target_row + i / params.head_dim * params.head_stride + i % params.head_dim] = y;
    }
    //#endif
}
