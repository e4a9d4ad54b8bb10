// Formula: M[p][block, o] = sum over c of V[p][block, c] * U[p][c, o] for some of the sixteen p of Winograd's F(2x2,
//   3x3): products of matrices, their rows one below the other (shared/gemm.wgsl).
// Layouts: V [p][blocks, channels], M [p][blocks, columns], U [p][channels, columns]; blocks a multiple of a tile's
//   rows. Unused tensors are V.
// Grid: as TILED, WIDE, SMALL (shared/gemm_tiled.wgsl), DIRECT (gemm_direct.wgsl), QUAD (gemm_quad.wgsl).
// Workgroup: as the family.

struct Params {
    base: array<vec4<u32>, 2>,
    gemm: Gemm,
    blocks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;

//#if DIRECT
//#include "shared/gemm_direct.wgsl"
//#endif
//#if QUAD
//#include "shared/gemm_quad.wgsl"
//#endif
//#if TILED|WIDE|SMALL
//#include "shared/gemm_tiled.wgsl"
//#endif

fn gate_at(row: u32, j: u32) -> vec4<f32> {
    return vec4<f32>(1.0);
}

fn weight_start(row: u32) -> u32 {
    return row / params.blocks * params.gemm.channels;
}

// First vector of a row of V; rows past the last are the last, and are not stored.
fn row_source(row: u32) -> u32 {
    return (base(1u) + min(row, params.gemm.rows - 1u) * params.gemm.channels) / 4u;
}

fn tap_source(source: u32, tap: u32) -> u32 {
    return source;
}

fn load_tap(source: u32, vector: u32) -> vec4<f32> {
    return x[source + vector];
}
