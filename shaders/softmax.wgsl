// Formula: out[i, j] = exp(scale * x[i, j] - m_i) / sum over j of the same, m_i the row's maximum.
// Layouts: x and out [M, N], slabs of whole rows.
// Grid: ceil(rows / ROWS) workgroups, folded; shared/rows.wgsl.
// Workgroup: 1,024 bytes; with SERIAL none.

struct Params {
    base: array<vec4<u32>, 2>,
    rows: u32,
    columns: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

//#include "shared/base.wgsl"
//#include "shared/rows.wgsl"

@compute @workgroup_size(ROWS * LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(workgroup, grid) * ROWS + thread / LANES;
    let lane = thread % LANES;
    let start = base(1u) + min(row, params.rows - 1u) * params.columns;
    var most = params.scale * x[start];
    for (var j = lane; j < params.columns; j += LANES) {
        most = max(most, params.scale * x[start + j]);
    }
    most = row_max(thread, most);
    var sum = 0.0;
    for (var j = lane; j < params.columns; j += LANES) {
        sum += exp(params.scale * x[start + j] - most);
    }
    sum = row_sum(thread, sum);
    if row >= params.rows {
        return;
    }
    let target_start = base(2u) + row * params.columns;
    for (var j = lane; j < params.columns; j += LANES) {
        out[target_start + j] = exp(params.scale * x[start + j] - most) / sum;
    }
}
