// Formula: as gemm.wgsl, for a few rows: four columns of one row an invocation, without workgroup memory or barriers.
// Layouts: as gemm_direct.wgsl.
// Grid: one workgroup for 64 blocks of four columns, columns innermost, folded.
// Workgroup: no memory.

//#include "shared/gemm.wgsl"

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let blocks = (params.gemm.columns + 3u) / 4u;
    let block = workgroup_index(workgroup, grid) * 64u + thread;
    let row = block / blocks;
    let j = block % blocks * 4u;
    if row >= params.gemm.rows {
        return;
    }
    let source = row_source(row);
    let vectors = tap_vectors();
    var c = vec4<f32>();
    for (var tap = 0u; tap < params.gemm.taps; tap++) {
        let at = tap_source(source, tap);
        for (var vector = 0u; vector < vectors; vector++) {
            let k = (tap * vectors + vector) * 4u;
            c += load_b4(k, j) * load_tap(at, vector);
        }
    }
    store(load_ends(), row, j, c);
}
