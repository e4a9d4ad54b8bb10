// Formula: out[y, x, o] = residual + bias[o] + sum over t, j, i, c of
//   W[((t * kh + j) * kw + i) * C + c, o] * frame_t[y * stride + j - pad, x * stride + i - pad, c],
//   an implicit GEMM with a row for a pixel and j, i as taps (shared/gemm.wgsl). A dispatch adds one frame's part to
//   out, the first with residual and bias: to choose among frames in the inner loop costs a software adapter four
//   times as much. With upsample the frame is doubled in both directions first, by the gather.
// Layouts: frame [height, width, C], a slab of rows from first_in_row on; W that frame's rows; out, residual
//   (`combined`) slabs of rows from first_out_row on, as [pixels, columns]. Unused tensors are the frame.
// Grid: as TILED, SMALL (shared/gemm_tiled.wgsl), DIRECT (gemm_direct.wgsl), QUAD (gemm_quad.wgsl,
//   TALL gemm_tall.wgsl), OCTET (gemm_octet.wgsl), MATRIX8, MATRIX16 (gemm_matrix.wgsl).
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
    height: u32,
    width: u32,
    out_width: u32,
    first_in_row: u32,
    first_out_row: u32,
    kernel_width: u32,
    stride: u32,
    pad: u32,
    // 0, or 1 where the frame is doubled.
    upsample: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
//#if TEXELS
//#if OCTET
@group(0) @binding(1) var frame: texture_storage_2d<rgba32float, read>;
//#else
@group(0) @binding(1) var frame: texture_2d<f32>;
//#endif
//#else
//#if VEC4
@group(0) @binding(1) var<storage, read> frame: array<vec4<f32>>;
//#else
@group(0) @binding(1) var<storage, read> frame: array<f32>;
//#endif
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
//#if TILED|SMALL
//#include "shared/gemm_tiled.wgsl"
//#endif
//#if MATRIX8|MATRIX16
//#include "shared/gemm_matrix.wgsl"
//#endif

fn weight_start(row: u32) -> u32 {
    return 0u;
}

fn gate_at(row: u32, j: u32) -> vec4<f32> {
    return vec4<f32>(1.0);
}

// Row and column of the (doubled) frame under the kernel's first tap, for a pixel of out; those past the last are the
// last.
fn row_source(row: u32) -> vec2<i32> {
    let pixel = min(row, params.gemm.rows - 1u);
    let y = params.first_out_row + pixel / params.out_width;
    let x = pixel % params.out_width;
    return vec2<i32>(vec2<u32>(y, x) * params.stride) - i32(params.pad);
}

// A pixel of the frame by its first element, or its first texel; or one outside of the frame, which is zero.
struct Pixel {
    //#if TEXELS
    at: TexelRow,
    //#else
    at: u32,
    //#endif
    outside: bool,
}

// The pixel under a tap.
fn tap_source(source: vec2<i32>, tap: u32) -> Pixel {
    // Above and left of the frame the sum wraps to a large number.
    let at = vec2<u32>(source) + vec2<u32>(tap / params.kernel_width, tap % params.kernel_width);
    let size = vec2<u32>(params.height, params.width) << vec2<u32>(params.upsample);
    let pixel = at >> vec2<u32>(params.upsample);
    let outside = tap >= params.gemm.taps || any(at >= size);
    let index = select((pixel.x - params.first_in_row) * params.width + pixel.y, 0u, outside);
    //#if TEXELS
    return Pixel(texel_row(frame, base(1u), index, params.gemm.channels / 4u), outside);
    //#else
    return Pixel(base(1u) + index * params.gemm.channels, outside);
    //#endif
}

// By selection, because a software adapter is a fifth slower with a branch.
fn load_tap(pixel: Pixel, vector: u32) -> vec4<f32> {
    //#if TEXELS
    return select(load_texel(frame, pixel.at, vector), vec4<f32>(), pixel.outside);
    //#else
    //#if VEC4
    return select(frame[pixel.at / 4u + vector], vec4<f32>(), pixel.outside);
    //#else
    var a = vec4<f32>();
    let count = select(min(params.gemm.channels - vector * 4u, 4u), 0u, pixel.outside);
    for (var i = 0u; i < count; i++) {
        a[i] = frame[pixel.at + vector * 4u + i];
    }
    return a;
    //#endif
    //#endif
}
