// Formula: as gemm.wgsl, in registers and without barriers for software adapters, four neighbouring invocations
// together: 16 x 32 results a quad, 8 x 16 an invocation. Each loads half of its a and half of its b and swaps for the
// rest, because a software adapter reads storage lane by lane, which costs more than the arithmetic: 12 loads for 512
// products, where gemm_direct.wgsl has 16 for 256. Of quantised weights scales are loaded once in 16 k, in a loop of
// their own: a branch would be run at every k.
// Layouts: as gemm_direct.wgsl. Invocations 4 i to 4 i + 3 of a workgroup are a quad; the device is tried first
// (quad_probe.wgsl).
// Grid: one workgroup for 8 blocks of 16 x 32, down the columns of blocks, folded.
// Workgroup: no memory.

//#include "shared/gemm.wgsl"
//#include "shared/quad.wgsl"

@compute @workgroup_size(32)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row_blocks = (params.gemm.rows + 15u) / 16u;
    let column_blocks = (params.gemm.columns + 31u) / 32u;
    let block = workgroup_index(workgroup, grid) * 8u + thread / 4u;
    // All take part in the swaps: blocks past the last are below the last row, where nothing is stored.
    let exists = block < row_blocks * column_blocks;
    let right = thread & 1u;
    let lower = thread % 4u / 2u;
    let row = select(params.gemm.rows, block % row_blocks * 16u, exists) + lower * 8u;
    let j = select(0u, block / row_blocks * 32u, exists) + right * 16u;
    // Of the invocation's 8 rows and 16 columns those that it loads itself, and those that its neighbours do.
    let own_row = row + right * 4u;
    let other_row = row + 4u - right * 4u;
    let own_j = j + lower * 8u;
    let other_j = j + 8u - lower * 8u;

    let row0 = row_source(own_row);
    let row1 = row_source(own_row + 1u);
    let row2 = row_source(own_row + 2u);
    let row3 = row_source(own_row + 3u);
    // Four rows a matrix: own or others' rows, by own or others' columns.
    var own0 = mat4x4<f32>();
    var own1 = mat4x4<f32>();
    var own2 = mat4x4<f32>();
    var own3 = mat4x4<f32>();
    var other0 = mat4x4<f32>();
    var other1 = mat4x4<f32>();
    var other2 = mat4x4<f32>();
    var other3 = mat4x4<f32>();
    let first_k = weight_start(row);
    let vectors = tap_vectors();
    //#if TEXELS
    let rows = weight_rows();
    let column0 = texel_column(rows, own_j);
    let column1 = texel_column(rows, own_j + 4u);
    //#endif
    //#if QUANT8|QUANT4
    // Sixteen k, which are of one group.
    let span = 4u;
    //#else
    let span = vectors;
    //#endif
    for (var tap = 0u; tap < params.gemm.taps; tap++) {
        let source0 = tap_source(row0, tap);
        let source1 = tap_source(row1, tap);
        let source2 = tap_source(row2, tap);
        let source3 = tap_source(row3, tap);
        for (var first = 0u; first < vectors; first += span) {
            //#if QUANT8|QUANT4
            let scales0 = widen_groups(load_groups(elements(first * 4u, own_j)));
            let scales1 = widen_groups(load_groups(elements(first * 4u, own_j + 4u)));
            let packs0 = load_packs(elements(first * 4u, own_j));
            let packs1 = load_packs(elements(first * 4u, own_j + 4u));
            //#endif
            for (var vector = first; vector < min(first + span, vectors); vector++) {
                let k = first_k + (tap * vectors + vector) * 4u;
                let a = mat4x4<f32>(
                    load_tap(source0, vector),
                    load_tap(source1, vector),
                    load_tap(source2, vector),
                    load_tap(source3, vector),
                );
                let other_a = swap_x(a);
                //#if QUANT8|QUANT4
                let b0 = widen_quants(pack_quants(packs0, k), scales0, k);
                //#endif
                //#if TEXELS
                let b0 = load_rows(rows, k, column0);
                //#endif
                //#if !QUANT8|QUANT4|TEXELS
                let b0 = load_b4(k, own_j);
                //#endif
                own0 = multiply_add(b0, a, own0);
                other0 = multiply_add(b0, other_a, other0);
                //#if QUANT8|QUANT4
                let b1 = widen_quants(pack_quants(packs1, k), scales1, k);
                //#endif
                //#if TEXELS
                let b1 = load_rows(rows, k, column1);
                //#endif
                //#if !QUANT8|QUANT4|TEXELS
                let b1 = load_b4(k, own_j + 4u);
                //#endif
                own1 = multiply_add(b1, a, own1);
                other1 = multiply_add(b1, other_a, other1);
                let b2 = swap_y(b0);
                own2 = multiply_add(b2, a, own2);
                other2 = multiply_add(b2, other_a, other2);
                let b3 = swap_y(b1);
                own3 = multiply_add(b3, a, own3);
                other3 = multiply_add(b3, other_a, other3);
            }
        }
    }

    // One call, because a compiler inlines it.
    var sums = array<mat4x4<f32>, 8>(own0, own1, own2, own3, other0, other1, other2, other3);
    let ends = load_ends();
    for (var i = 0u; i < 32u; i++) {
        let of_row = select(other_row, own_row, i < 16u);
        let columns = select(other_j, own_j, i / 4u % 4u < 2u);
        store(ends, of_row + i % 4u, columns + i / 4u % 2u * 4u, sums[i / 4u][i % 4u]);
    }
}
