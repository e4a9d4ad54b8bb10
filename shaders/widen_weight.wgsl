// Formula: out[k, j] = W[k, column + j], of a quantised matrix W (shared/quants.wgsl).
// Layouts: W with depth a multiple of 32; out as f32, from a whole vector on, in panels [depth, panel] of its columns,
//   one below the other; columns and panel are multiples of 4.
// Grid: one workgroup for 32 blocks of 32 k and 4 columns, down the rows of blocks, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    // Of W.
    all_columns: u32,
    depth: u32,
    scales: u32,
    nests: u32,
    group_shift: u32,
    zero: u32,
    // Of out.
    column: u32,
    columns: u32,
    panel: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"
//#include "shared/quants.wgsl"

fn quantised() -> Quantised {
    return Quantised(
        params.all_columns, params.depth, params.scales, params.nests, params.group_shift, params.zero,
    );
}

@compute @workgroup_size(32)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let vectors = params.columns / 4u;
    let block = workgroup_index(workgroup, grid) * 32u + thread;
    let vector = block % vectors;
    let first_k = block / vectors * 32u;
    if first_k >= params.depth {
        return;
    }
    let panel = params.panel / 4u;
    let start = base(2u) / 4u + (vector / panel * params.depth + first_k) * panel + vector % panel;
    let element = elements(first_k, params.column + vector * 4u);
    for (var half = 0u; half < 32u; half += 16u) {
        let scales = widen_groups(load_groups(element + half));
        for (var i = half; i < half + 16u; i += 4u) {
            let values = widen_quants(load_quants(element + i), scales, i);
            let at = start + i * panel;
            out[at] = values[0];
            out[at + panel] = values[1];
            out[at + 2u * panel] = values[2];
            out[at + 3u * panel] = values[3];
        }
    }
}
