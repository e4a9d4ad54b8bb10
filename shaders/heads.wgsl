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

//#if ROPE
// Where the tables' rows of a token's t, y and x start, less the channels before each axis's own.
fn table_rows(token: u32) -> vec3<u32> {
    let size = params.size;
    let dims = params.dims;
    let tables = params.tables + base(4u);
    let rest = params.head_dim - dims.x - dims.y;
    let line = token / size.y;
    let t = base(4u) + line / size.x * dims.x;
    let y = tables.x + line % size.x * dims.y;
    let x = tables.y + token % size.y * rest;
    return vec3<u32>(t, y - dims.x, x - dims.x - dims.y);
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
    // Software adapters read a uniform anew in every turn of a loop that names it.
    let rows = params.rows;
    let width = params.width;
    let head_dim = params.head_dim;
    let head_stride = params.head_stride;
    let first = params.first_column;
    let end = first + params.columns;
    let start = base(1u) + min(row, rows - 1u) * width;
    //#if NORM
    var square = 0.0;
    for (var j = lane; j < width; j += LANES) {
        let v = x[start + j];
        square += v * v;
    }
    let factor = 1.0 / sqrt(row_sum(thread, square) / f32(width) + params.eps);
    let weights = base(3u);
    //#endif
    if row >= rows {
        return;
    }
    let target_row = base(2u) + row * head_dim;
    //#if ROPE
    let dims = params.dims;
    let axes = table_rows(params.first_row + row);
    for (var channel = lane * 2u; channel < head_dim; channel += LANES * 2u) {
        let axis = select(select(axes.z, axes.y, channel < dims.x + dims.y), axes.x, channel < dims.x);
        let turn = vec2<f32>(table[axis + channel], table[axis + channel + 1u]);
        var o = target_row + channel;
        for (var j = first + channel; j < end; j += head_dim) {
            var pair = vec2<f32>(x[start + j], x[start + j + 1u]);
            //#if NORM
            pair *= factor * vec2<f32>(weight[weights + j], weight[weights + j + 1u]);
            //#endif
            out[o] = pair.x * turn.x - pair.y * turn.y;
            out[o + 1u] = pair.y * turn.x + pair.x * turn.y;
            o += head_stride;
        }
    }
    //#else
    for (var channel = lane; channel < head_dim; channel += LANES) {
        var o = target_row + channel;
        for (var j = first + channel; j < end; j += head_dim) {
            var y = x[start + j];
            //#if NORM
            y *= factor * weight[weights + j];
            //#endif
            out[o] = y;
            o += head_stride;
        }
    }
    //#endif
}
