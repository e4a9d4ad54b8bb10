// Formula: out = silu?(affine(normalise(x))), row by row.
//   LAYER: (x - mean) / sqrt(variance + eps); RMS: x / sqrt(mean(x^2) + eps); CHANNEL: x / max(|x|, 1e-12) * sqrt(C).
//   WEIGHT: y * weight; BIAS: y + bias; MODULATE: y * (1 + scale) + shift, where a row of the scale-shift table and the
//   same row of the timestep's embedding add up to each of them.
// Layouts: x and out [M, C], slabs of whole rows; weight and bias [C]; table [rows, C]; embedding [timesteps, width],
// from the first timestep of the slab.
// Grid: ceil(rows / ROWS) workgroups, folded; shared/rows.wgsl.
// Workgroup: 1,024 bytes; with SERIAL none.

struct Params {
    base: array<vec4<u32>, 2>,
    rows: u32,
    columns: u32,
    eps: f32,
    //#if MODULATE
    // Words of the embedding's row; where the shift and the scale start in it, and in the table.
    width: u32,
    shift_embedding: u32,
    scale_embedding: u32,
    shift_table: u32,
    scale_table: u32,
    // The timestep of row r is min((first_row + r) / rows_per_timestep, timesteps - 1).
    first_row: u32,
    rows_per_timestep: u32,
    timesteps: u32,
    //#endif
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
//#if WEIGHT
@group(0) @binding(3) var<storage, read> weight: array<f32>;
//#endif
//#if BIAS
@group(0) @binding(4) var<storage, read> bias: array<f32>;
//#endif
//#if MODULATE
@group(0) @binding(5) var<storage, read> table: array<f32>;
@group(0) @binding(6) var<storage, read> embedding: array<f32>;
//#endif

//#include "shared/base.wgsl"
//#include "shared/rows.wgsl"
//#if SILU
//#include "shared/silu.wgsl"
//#endif

@compute @workgroup_size(ROWS * LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(workgroup, grid) * ROWS + thread / LANES;
    let lane = thread % LANES;
    let columns = params.columns;
    let start = base(1u) + min(row, params.rows - 1u) * columns;

    var mean = 0.0;
    //#if LAYER
    var sum = 0.0;
    for (var j = lane; j < columns; j += LANES) {
        sum += x[start + j];
    }
    mean = row_sum(thread, sum) / f32(columns);
    //#endif
    // From the differences, in a second pass: E[x^2] - mean^2 loses its digits where the mean is large.
    var square = 0.0;
    for (var j = lane; j < columns; j += LANES) {
        let v = x[start + j] - mean;
        square += v * v;
    }
    square = row_sum(thread, square);
    //#if CHANNEL
    let factor = sqrt(f32(columns)) / max(sqrt(square), 1e-12);
    //#else
    let factor = 1.0 / sqrt(square / f32(columns) + params.eps);
    //#endif

    if row >= params.rows {
        return;
    }
    // What a loop names of the uniforms is read before it: software adapters read it anew in every turn.
    let target_start = base(2u) + row * columns;
    //#if MODULATE
    let timestep = min((params.first_row + row) / params.rows_per_timestep, params.timesteps - 1u);
    let embedding_start = base(6u) + timestep * params.width;
    let shift_embedding = embedding_start + params.shift_embedding;
    let scale_embedding = embedding_start + params.scale_embedding;
    let shift_table = base(5u) + params.shift_table;
    let scale_table = base(5u) + params.scale_table;
    //#endif
    //#if WEIGHT
    let weights = base(3u);
    //#endif
    //#if BIAS
    let biases = base(4u);
    //#endif
    for (var j = lane; j < columns; j += LANES) {
        var y = (x[start + j] - mean) * factor;
        //#if WEIGHT
        y *= weight[weights + j];
        //#endif
        //#if BIAS
        y += bias[biases + j];
        //#endif
        //#if MODULATE
        let shift = table[shift_table + j] + embedding[shift_embedding + j];
        let scale = table[scale_table + j] + embedding[scale_embedding + j];
        y = y * (1.0 + scale) + shift;
        //#endif
        //#if SILU
        y = silu(y);
        //#endif
        out[target_start + j] = y;
    }
}
