// Formula: M[p][block, o] = sum over c of V[p][block, c] * U[p][c, o] for some of the sixteen p of Winograd's F(2x2,
//   3x3): products of matrices, their rows one below the other (shared/gemm.wgsl).
// Layouts: V [p][blocks, channels], M [p][blocks, columns], U [p][channels, columns]; blocks a multiple of a tile's
//   rows. Unused tensors are V.
// Grid: as TILED, WIDE, SMALL (shared/gemm_tiled.wgsl), DIRECT (gemm_direct.wgsl), QUAD (gemm_quad.wgsl,
//   TALL gemm_tall.wgsl), OCTET (gemm_octet.wgsl).
// Workgroup: as the family.

struct Params {
    base: array<vec4<u32>, 2>,
    gemm: Gemm,
    blocks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
//#if !TEXELS
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
//#endif

//#if DIRECT
//#include "shared/gemm_direct.wgsl"
//#endif
//#if OCTET
//#include "shared/gemm_octet.wgsl"
//#endif
//#if TALL
//#include "shared/gemm_tall.wgsl"
//#else
//#if QUAD
//#include "shared/gemm_quad.wgsl"
//#endif
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

//#if TEXELS
//#include "shared/texel_rows.wgsl"
//#else
alias Source = u32;

// First vector of a row of V; rows past the last are the last, and are not stored.
fn row_source(row: u32) -> Source {
    return (base(1u) + min(row, params.gemm.rows - 1u) * params.gemm.channels) / 4u;
}

fn load_tap(source: Source, vector: u32) -> vec4<f32> {
    return x[source + vector];
}
//#endif

fn tap_source(source: Source, tap: u32) -> Source {
    return source;
}
