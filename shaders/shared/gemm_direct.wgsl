// Formula: as gemm.wgsl, 8 x 8 results an invocation in registers, without workgroup memory or barriers, for software
// adapters. Vectors of b as the columns of a matrix times a vector of a: SwiftShader runs that a tenth faster than
// single products, and 8 x 8 half as fast again as 4 x 4 or 16 x 8.
// Layouts: a comes by load_tap(tap_source(row_source(row), tap), vector): four channels of a tap, zero outside of the
// frame and past the last channel; rows past the last are the last.
// Grid: one workgroup for 32 blocks of 8 x 8, in strips of four columns of blocks, folded.
// Workgroup: no memory.

//#include "shared/gemm.wgsl"

@compute @workgroup_size(32)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    // Strips of four blocks, from the top to the bottom, so that what a workgroup reads of b stays in the cache; the
    // blocks that are left over are a narrower strip.
    let row_blocks = (params.gemm.rows + 7u) / 8u;
    let column_blocks = (params.gemm.columns + 7u) / 8u;
    let block = workgroup_index(workgroup, grid) * 32u + thread;
    if block >= row_blocks * column_blocks {
        return;
    }
    let strips = column_blocks / 4u;
    let strip = min(block / (row_blocks * 4u), strips);
    let strip_width = min(column_blocks - strip * 4u, 4u);
    let in_strip = block - strip * row_blocks * 4u;
    let row = in_strip / strip_width * 8u;
    let j = (strip * 4u + in_strip % strip_width) * 8u;

    let row0 = row_source(row);
    let row1 = row_source(row + 1u);
    let row2 = row_source(row + 2u);
    let row3 = row_source(row + 3u);
    let row4 = row_source(row + 4u);
    let row5 = row_source(row + 5u);
    let row6 = row_source(row + 6u);
    let row7 = row_source(row + 7u);
    var c00 = vec4<f32>();
    var c10 = vec4<f32>();
    var c20 = vec4<f32>();
    var c30 = vec4<f32>();
    var c40 = vec4<f32>();
    var c50 = vec4<f32>();
    var c60 = vec4<f32>();
    var c70 = vec4<f32>();
    var c01 = vec4<f32>();
    var c11 = vec4<f32>();
    var c21 = vec4<f32>();
    var c31 = vec4<f32>();
    var c41 = vec4<f32>();
    var c51 = vec4<f32>();
    var c61 = vec4<f32>();
    var c71 = vec4<f32>();

    //#if !QUANT8|QUANT4
    let stride = params.gemm.stride / 4u;
    let column0 = base(2u) / 4u + j / 4u;
    let column1 = base(2u) / 4u + min(j / 4u + 1u, stride - 1u);
    //#endif
    let first_k = weight_start(row);
    let vectors = tap_vectors();
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
            let a0 = load_tap(source0, vector);
            let a1 = load_tap(source1, vector);
            let a2 = load_tap(source2, vector);
            let a3 = load_tap(source3, vector);
            let a4 = load_tap(source4, vector);
            let a5 = load_tap(source5, vector);
            let a6 = load_tap(source6, vector);
            let a7 = load_tap(source7, vector);
            let k = first_k + (tap * vectors + vector) * 4u;
            //#if QUANT8|QUANT4
            let u = load_b4(k, j);
            //#else
            //#if VEC4
            let k0 = k * stride;
            let k1 = k0 + stride;
            let k2 = k1 + stride;
            let k3 = k2 + stride;
            //#else
            let k0 = weight_row(k) * stride;
            let k1 = weight_row(k + 1u) * stride;
            let k2 = weight_row(k + 2u) * stride;
            let k3 = weight_row(k + 3u) * stride;
            //#endif
            let u = mat4x4<f32>(
                load_weight(column0 + k0),
                load_weight(column0 + k1),
                load_weight(column0 + k2),
                load_weight(column0 + k3),
            );
            //#endif
            c00 += u * a0;
            c10 += u * a1;
            c20 += u * a2;
            c30 += u * a3;
            c40 += u * a4;
            c50 += u * a5;
            c60 += u * a6;
            c70 += u * a7;
            //#if QUANT8|QUANT4
            let v = load_b4(k, j + 4u);
            //#else
            let v = mat4x4<f32>(
                load_weight(column1 + k0),
                load_weight(column1 + k1),
                load_weight(column1 + k2),
                load_weight(column1 + k3),
            );
            //#endif
            c01 += v * a0;
            c11 += v * a1;
            c21 += v * a2;
            c31 += v * a3;
            c41 += v * a4;
            c51 += v * a5;
            c61 += v * a6;
            c71 += v * a7;
        }
    }

    // One call, because a compiler inlines it: sixteen would take a second to compile.
    var c = array<vec4<f32>, 16>(
        c00, c10, c20, c30, c40, c50, c60, c70,
        c01, c11, c21, c31, c41, c51, c61, c71,
    );
    let ends = load_ends();
    for (var i = 0u; i < 16u; i++) {
        store(ends, row + i % 8u, j + i / 8u * 4u, c[i]);
    }
}
