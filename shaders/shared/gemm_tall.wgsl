// Formula: as gemm.wgsl and as gemm_quad.wgsl, four times as large: 32 x 64 results a quad, 16 x 32 an invocation. 24
// loads for 2,048 products, where gemm_quad.wgsl has 12 for 512. Every sum has a name, because what is indexed by a
// variable is slow on software adapters.
// Layouts: as gemm_quad.wgsl, with textures.
// Grid: one workgroup for 2 blocks of 32 x 64, down the columns of blocks, folded.
// Workgroup: no memory.

//#include "shared/gemm.wgsl"
//#include "shared/quad.wgsl"

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row_blocks = (params.gemm.rows + 31u) / 32u;
    let column_blocks = (params.gemm.columns + 63u) / 64u;
    let block = workgroup_index(workgroup, grid) * 2u + thread / 4u;
    // All take part in the swaps: blocks past the last are below the last row, where nothing is stored.
    let exists = block < row_blocks * column_blocks;
    let right = thread & 1u;
    let lower = thread % 4u / 2u;
    let row = select(params.gemm.rows, block % row_blocks * 32u, exists) + lower * 16u;
    let j = select(0u, block / row_blocks * 64u, exists) + right * 32u;
    // Of the invocation's 16 rows and 32 columns those that it loads itself, and those that its neighbours do.
    let own_row = row + right * 8u;
    let other_row = row + 8u - right * 8u;
    let own_j = j + lower * 16u;
    let other_j = j + 16u - lower * 16u;

    let row0 = row_source(own_row);
    let row1 = row_source(own_row + 1u);
    let row2 = row_source(own_row + 2u);
    let row3 = row_source(own_row + 3u);
    let row4 = row_source(own_row + 4u);
    let row5 = row_source(own_row + 5u);
    let row6 = row_source(own_row + 6u);
    let row7 = row_source(own_row + 7u);
    // Four rows by four columns a matrix: two of own rows, two of others', by four of own columns and four of others'.
    var sum00 = mat4x4<f32>();
    var sum01 = mat4x4<f32>();
    var sum02 = mat4x4<f32>();
    var sum03 = mat4x4<f32>();
    var sum04 = mat4x4<f32>();
    var sum05 = mat4x4<f32>();
    var sum06 = mat4x4<f32>();
    var sum07 = mat4x4<f32>();
    var sum10 = mat4x4<f32>();
    var sum11 = mat4x4<f32>();
    var sum12 = mat4x4<f32>();
    var sum13 = mat4x4<f32>();
    var sum14 = mat4x4<f32>();
    var sum15 = mat4x4<f32>();
    var sum16 = mat4x4<f32>();
    var sum17 = mat4x4<f32>();
    var sum20 = mat4x4<f32>();
    var sum21 = mat4x4<f32>();
    var sum22 = mat4x4<f32>();
    var sum23 = mat4x4<f32>();
    var sum24 = mat4x4<f32>();
    var sum25 = mat4x4<f32>();
    var sum26 = mat4x4<f32>();
    var sum27 = mat4x4<f32>();
    var sum30 = mat4x4<f32>();
    var sum31 = mat4x4<f32>();
    var sum32 = mat4x4<f32>();
    var sum33 = mat4x4<f32>();
    var sum34 = mat4x4<f32>();
    var sum35 = mat4x4<f32>();
    var sum36 = mat4x4<f32>();
    var sum37 = mat4x4<f32>();
    let first_k = weight_start(row);
    let vectors = tap_vectors();
    let rows = weight_rows();
    let column0 = texel_column(rows, own_j);
    let column1 = texel_column(rows, own_j + 4u);
    let column2 = texel_column(rows, own_j + 8u);
    let column3 = texel_column(rows, own_j + 12u);
    for (var tap = 0u; tap < params.gemm.taps; tap++) {
        let source0 = tap_source(row0, tap);
        let source1 = tap_source(row1, tap);
        let source2 = tap_source(row2, tap);
        let source3 = tap_source(row3, tap);
        let source4 = tap_source(row4, tap);
        let source5 = tap_source(row5, tap);
        let source6 = tap_source(row6, tap);
        let source7 = tap_source(row7, tap);
        for (var vector = 0u; vector < vectors; vector++) {
            let k = first_k + (tap * vectors + vector) * 4u;
            let a0 = mat4x4<f32>(
                load_tap(source0, vector),
                load_tap(source1, vector),
                load_tap(source2, vector),
                load_tap(source3, vector),
            );
            let a1 = mat4x4<f32>(
                load_tap(source4, vector),
                load_tap(source5, vector),
                load_tap(source6, vector),
                load_tap(source7, vector),
            );
            let a2 = swap_x(a0);
            let a3 = swap_x(a1);
            let b0 = load_rows(rows, k, column0);
            sum00 = multiply_add(b0, a0, sum00);
            sum10 = multiply_add(b0, a1, sum10);
            sum20 = multiply_add(b0, a2, sum20);
            sum30 = multiply_add(b0, a3, sum30);
            let b4 = swap_y(b0);
            sum04 = multiply_add(b4, a0, sum04);
            sum14 = multiply_add(b4, a1, sum14);
            sum24 = multiply_add(b4, a2, sum24);
            sum34 = multiply_add(b4, a3, sum34);
            let b1 = load_rows(rows, k, column1);
            sum01 = multiply_add(b1, a0, sum01);
            sum11 = multiply_add(b1, a1, sum11);
            sum21 = multiply_add(b1, a2, sum21);
            sum31 = multiply_add(b1, a3, sum31);
            let b5 = swap_y(b1);
            sum05 = multiply_add(b5, a0, sum05);
            sum15 = multiply_add(b5, a1, sum15);
            sum25 = multiply_add(b5, a2, sum25);
            sum35 = multiply_add(b5, a3, sum35);
            let b2 = load_rows(rows, k, column2);
            sum02 = multiply_add(b2, a0, sum02);
            sum12 = multiply_add(b2, a1, sum12);
            sum22 = multiply_add(b2, a2, sum22);
            sum32 = multiply_add(b2, a3, sum32);
            let b6 = swap_y(b2);
            sum06 = multiply_add(b6, a0, sum06);
            sum16 = multiply_add(b6, a1, sum16);
            sum26 = multiply_add(b6, a2, sum26);
            sum36 = multiply_add(b6, a3, sum36);
            let b3 = load_rows(rows, k, column3);
            sum03 = multiply_add(b3, a0, sum03);
            sum13 = multiply_add(b3, a1, sum13);
            sum23 = multiply_add(b3, a2, sum23);
            sum33 = multiply_add(b3, a3, sum33);
            let b7 = swap_y(b3);
            sum07 = multiply_add(b7, a0, sum07);
            sum17 = multiply_add(b7, a1, sum17);
            sum27 = multiply_add(b7, a2, sum27);
            sum37 = multiply_add(b7, a3, sum37);
        }
    }

    // One call, because a compiler inlines it.
    var sums = array<mat4x4<f32>, 32>(
        sum00, sum01, sum02, sum03, sum04, sum05, sum06, sum07,
        sum10, sum11, sum12, sum13, sum14, sum15, sum16, sum17,
        sum20, sum21, sum22, sum23, sum24, sum25, sum26, sum27,
        sum30, sum31, sum32, sum33, sum34, sum35, sum36, sum37,
    );
    let ends = load_ends();
    for (var i = 0u; i < 128u; i++) {
        let of_row = select(other_row, own_row, i < 64u);
        let columns = select(other_j, own_j, i / 16u % 2u == 0u);
        store(ends, of_row + i / 32u % 2u * 4u + i % 4u, columns + i / 4u % 4u * 4u, sums[i / 4u][i % 4u]);
    }
}
