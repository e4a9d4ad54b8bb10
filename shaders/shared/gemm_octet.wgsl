// Formula: as gemm.wgsl, 32 x 64 results eight neighbouring invocations that broadcast to each other what they load of
//   a: each has all rows of eight columns. 12 loads for 1,024 products. With 40 rows there were fewer, but the code of
//   a turn, 24 KB on lavapipe, would hardly fit into a core's 32 KB of instructions: it took a third longer. With SHORT
//   16 rows: throughout they would be 7 to 10% slower, but the last rows of a product may not fill more.
// Layouts: as gemm_quad.wgsl, with storage textures. Invocations of a workgroup are one subgroup, in its order
//   (octet_probe.wgsl).
// Grid: one workgroup for a block, down the columns of blocks, folded.
// Workgroup: no memory.

//#include "shared/gemm.wgsl"

//#if SHORT
const ROWS = 16u;
//#else
const ROWS = 32u;
//#endif

//#include "shared/octet_sums.wgsl"

// The first row of the panel with the column j, a multiple of 64, which panels are whole tiles of.
fn panel_start(j: u32) -> u32 {
    //#if QUANT8|QUANT4
    return 0u;
    //#else
    return min(j, params.gemm.columns - 1u) / params.gemm.stride * params.gemm.weight_rows;
    //#endif
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row_blocks = (params.gemm.rows + ROWS - 1u) / ROWS;
    let block = workgroup_index(workgroup, grid);
    // Blocks past the last are right of the last column, where nothing is stored.
    let row = block % row_blocks * ROWS;
    let j = block / row_blocks * 64u + thread * 4u;

    let row0 = row_source(row + thread);
    let row1 = row_source(row + 8u + thread);
    //#if !SHORT
    let row2 = row_source(row + 16u + thread);
    let row3 = row_source(row + 24u + thread);
    //#endif
    var sums0 = Sums();
    var sums1 = Sums();
    var sums2 = Sums();
    var sums3 = Sums();
    let first_k = weight_start(row) + panel_start(j - thread * 4u);
    let vectors = tap_vectors();
    //#if QUANT4
    // 32 k, which are of one group, and of one texel.
    let span = 8u;
    //#endif
    //#if QUANT8
    // 16 k, as well.
    let span = 4u;
    //#endif
    //#if !QUANT8|QUANT4
    let span = vectors;
    let rows = weight_rows();
    let column0 = texel_column(rows, j);
    let column1 = texel_column(rows, j + 32u);
    //#endif
    for (var tap = 0u; tap < params.gemm.taps; tap++) {
        let source0 = tap_source(row0, tap);
        let source1 = tap_source(row1, tap);
        //#if !SHORT
        let source2 = tap_source(row2, tap);
        let source3 = tap_source(row3, tap);
        //#endif
        for (var first = 0u; first < vectors; first += span) {
            //#if QUANT8|QUANT4
            let elements0 = elements(first * 4u, j);
            let scales0 = widen_groups(load_groups(elements0));
            let packs0 = load_packs(elements0);
            let elements1 = elements(first * 4u, j + 32u);
            let scales1 = widen_groups(load_groups(elements1));
            let packs1 = load_packs(elements1);
            //#endif
            for (var vector = first; vector < min(first + span, vectors); vector++) {
                let k = first_k + (tap * vectors + vector) * 4u;
                let a0 = load_tap(source0, vector);
                let a1 = load_tap(source1, vector);
                //#if !SHORT
                let a2 = load_tap(source2, vector);
                let a3 = load_tap(source3, vector);
                //#endif
                // One half of the columns after the other: the weights of both are more than a core has registers for.
                //#if QUANT8|QUANT4
                let left = widen_quants(pack_quants(packs0, k), scales0, k);
                //#else
                let left = load_rows(rows, k, column0);
                //#endif
                add_rows(&sums0, LEFT, a0, left);
                add_rows(&sums1, LEFT, a1, left);
                //#if !SHORT
                add_rows(&sums2, LEFT, a2, left);
                add_rows(&sums3, LEFT, a3, left);
                //#endif
                //#if QUANT8|QUANT4
                let right = widen_quants(pack_quants(packs1, k), scales1, k);
                //#else
                let right = load_rows(rows, k, column1);
                //#endif
                add_rows(&sums0, RIGHT, a0, right);
                add_rows(&sums1, RIGHT, a1, right);
                //#if !SHORT
                add_rows(&sums2, RIGHT, a2, right);
                add_rows(&sums3, RIGHT, a3, right);
                //#endif
            }
        }
    }

    // Two loops, of which one has no turns: lavapipe runs both sides of every branch, and the body of every loop once,
    // so that in a single one each row would pay for what only some products end with. Sums are selected, because a
    // copy of them would be stored invocation by invocation.
    let ends = load_ends();
    let plain = ends.activation == 0u && ends.combine == 0u && ends.relu == 0u;
    let turns = select(0u, 8u, plain);
    for (var i = 0u; i < turns; i++) {
        var bias = mat2x4<f32>();
        for (var once = 0u; once < ends.has_bias; once++) {
            bias[0] = bias_at(ends, min(j, ends.columns - 1u));
            bias[1] = bias_at(ends, min(j + 32u, ends.columns - 1u));
        }
        let left = pick_rows(&sums0, &sums1, &sums2, &sums3, LEFT, i);
        let right = pick_rows(&sums0, &sums1, &sums2, &sums3, RIGHT, i);
        for (var group = 0u; group < ROWS / 8u; group++) {
            let at = row + group * 8u + i;
            let first = ends.out + at * ends.width + ends.column + j;
            if at < ends.rows && j < ends.columns {
                write(first, 4u, bias[0] + pick_row(left, group));
            }
            if at < ends.rows && j + 32u < ends.columns {
                write(first + 32u, 4u, bias[1] + pick_row(right, group));
            }
        }
    }
    let full_turns = select(8u, 0u, plain);
    for (var i = 0u; i < full_turns; i++) {
        let left = pick_rows(&sums0, &sums1, &sums2, &sums3, LEFT, i);
        let right = pick_rows(&sums0, &sums1, &sums2, &sums3, RIGHT, i);
        for (var group = 0u; group < ROWS / 8u; group++) {
            for (var half = 0u; half < 2u; half++) {
                let sum = select(pick_row(left, group), pick_row(right, group), half == 1u);
                store(ends, row + group * 8u + i, j + half * 32u, sum);
            }
        }
    }
}
