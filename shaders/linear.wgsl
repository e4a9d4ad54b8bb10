// Formula: out[i, column + j] = combine(act(sum_k x[i, k] W[k, j] + bias[j])); shared/gemm.wgsl.
//   The gate of row i is table[c] + embedding[t, gate_column + c], c = column + j, where t is
//   min((first_row + i) / rows_per_timestep, timesteps - 1).
// Layouts: x [rows, channels], with BYTES as quantise_rows.wgsl writes it; one tap. table [width], the gate's row of
//   the scale-shift table; embedding [timesteps, embedding_width] from the first timestep of the slab. Slabs of whole
//   rows of x, combined and out. Unused tensors are x.
// Grid: as TILED, WIDE, SMALL (shared/gemm_tiled.wgsl), DIRECT (gemm_direct.wgsl), QUAD (gemm_quad.wgsl,
//   TALL gemm_tall.wgsl), OCTET (gemm_octet.wgsl), SKINNY (gemm_skinny.wgsl), BYTES (gemm_bytes.wgsl), MATRIX8 and
//   MATRIX16 (gemm_matrix.wgsl).
// Workgroup: as the family.
//#if HALVES|MATRIX8|MATRIX16
enable f16;
//#endif
//#if MATRIX8|MATRIX16
enable wgpu_cooperative_matrix;
// naga takes every loop and return for one that invocations may differ in, and its only switch for that is this.
diagnostic(off, derivative_uniformity);
//#endif

struct Params {
    base: array<vec4<u32>, 2>,
    gemm: Gemm,
    embedding_width: u32,
    gate_column: u32,
    first_row: u32,
    rows_per_timestep: u32,
    timesteps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
//#if !TEXELS
//#if BYTES
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
//#else
//#if VEC4
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
//#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
//#endif
//#endif
//#endif
@group(0) @binding(5) var<storage, read> table: array<f32>;
@group(0) @binding(6) var<storage, read> embedding: array<f32>;

//#include "shared/gemm.wgsl"

fn gate_value(embedding_row: u32, c: u32) -> f32 {
    let bounded = min(c, params.gemm.width - 1u);
    return table[base(5u) + bounded] + embedding[embedding_row + bounded];
}

fn gate_at(row: u32, j: u32) -> vec4<f32> {
    let timestep = min((params.first_row + row) / params.rows_per_timestep, params.timesteps - 1u);
    let at = base(6u) + timestep * params.embedding_width + params.gate_column;
    let c = params.gemm.column + j;
    return vec4<f32>(gate_value(at, c), gate_value(at, c + 1u), gate_value(at, c + 2u), gate_value(at, c + 3u));
}

fn weight_start(row: u32) -> u32 {
    return 0u;
}

//#if TEXELS
//#include "shared/texel_rows.wgsl"
//#else
//#if BYTES
// First vector of a row of x; rows past the last are the last, and are not stored.
fn row_source(row: u32) -> u32 {
    return base(1u) / 4u + min(row, params.gemm.rows - 1u) * (params.gemm.channels / 32u * 3u);
}
//#else
// Four k of x from element `at` on, of which `count` are inside the row.
fn load_x(at: u32, count: u32) -> vec4<f32> {
    //#if VEC4
    return x[at / 4u];
    //#else
    var v = vec4<f32>();
    for (var i = 0u; i < count; i++) {
        v[i] = x[at + i];
    }
    return v;
    //#endif
}

alias Source = u32;

// First element of a row of x; rows past the last are the last, and are not stored.
fn row_source(row: u32) -> Source {
    return base(1u) + min(row, params.gemm.rows - 1u) * params.gemm.channels;
}

fn load_tap(source: Source, vector: u32) -> vec4<f32> {
    return load_x(source + vector * 4u, min(params.gemm.channels - vector * 4u, 4u));
}
//#endif
//#endif

//#if !BYTES
fn tap_source(source: Source, tap: u32) -> Source {
    return source;
}
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
//#if SKINNY
//#include "shared/gemm_skinny.wgsl"
//#endif
//#if BYTES
//#include "shared/gemm_bytes.wgsl"
//#endif
//#if TILED|WIDE|SMALL
//#include "shared/gemm_tiled.wgsl"
//#endif
//#if MATRIX8|MATRIX16
//#include "shared/gemm_matrix.wgsl"
//#endif
