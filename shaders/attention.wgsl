// Formula: out[i, h, :] = sum_j softmax_j(scale * q[h, i] . k[h, j] + bias[h, j - i] + last(j)) v[h, j], last(j) for
//   the last key only; an online softmax in f32, in powers of two: scale, bias and last come multiplied by log2(e).
// Layouts: q [heads, query_stride, d], the first `queries` rows of each head from the binding's start; k, v [heads,
//   keys, d]; bias [heads, bias_stride] with distance j - i at bias_first + j - i; out [queries, heads of the whole
//   tensor, d], written from head out_head on. d is a multiple of 4, and all but the bias start at whole vectors. An
//   unused bias is q.
// Grid: as DIRECT, QUAD (shared/attention_direct.wgsl), OCTET (attention_octet.wgsl), or without them HEAD32, HEAD64,
//   HEAD128 (attention_tiled.wgsl).
// Workgroup: as the family.

struct Params {
    base: array<vec4<u32>, 2>,
    heads: u32,
    queries: u32,
    query_stride: u32,
    keys: u32,
    // d / 4.
    vectors: u32,
    // Vectors of a row of out.
    out_vectors: u32,
    out_head: u32,
    has_bias: u32,
    bias_stride: u32,
    bias_first: u32,
    scale: f32,
    bias_scale: f32,
    last_key_bias: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
//#if TEXELS
//#if OCTET
@group(0) @binding(1) var q: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var k: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var v: texture_storage_2d<rgba32float, read>;
//#else
@group(0) @binding(1) var q: texture_2d<f32>;
@group(0) @binding(2) var k: texture_2d<f32>;
@group(0) @binding(3) var v: texture_2d<f32>;
//#endif
//#else
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
//#endif
//#if !PLAIN
@group(0) @binding(4) var<storage, read> bias: array<f32>;
//#endif
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"
//#if TEXELS
//#include "shared/texels.wgsl"
//#endif

// The score of a key that does not exist: its weight is zero against any real score.
const NEVER = -1e30;

// First vector of a query's row, of a key's row in k and v (counted from their first), and of a row of out. Rows past
// the last are the last.
fn query_row(head: u32, query: u32) -> u32 {
    return base(1u) / 4u + (head * params.query_stride + min(query, params.queries - 1u)) * params.vectors;
}

fn key_row(head: u32, key: u32) -> u32 {
    return (head * params.keys + min(key, params.keys - 1u)) * params.vectors;
}

fn out_row(head: u32, query: u32) -> u32 {
    let row = min(query, params.queries - 1u);
    return base(5u) / 4u + row * params.out_vectors + (params.out_head + head) * params.vectors;
}

//#if !PLAIN
// The bias of a pair, in powers of two; rows past the last are the last.
fn bias_at(head: u32, query: u32, key: u32) -> f32 {
    let distance = params.bias_first + min(key, params.keys - 1u) - min(query, params.queries - 1u);
    return params.bias_scale * bias[base(4u) + head * params.bias_stride + distance];
}
//#endif

//#if OCTET
//#include "shared/attention_octet.wgsl"
//#else
//#if DIRECT|QUAD
//#include "shared/attention_direct.wgsl"
//#else
//#include "shared/attention_tiled.wgsl"
//#endif
//#endif
