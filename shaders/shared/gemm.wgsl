// Formula: out[i, column + j] = combine(act(sum_k a[i, k] W[k, j] + bias[j])).
//   combine: y, combined + y, combined * y, combined + gate * y, with combined at (i, column + j), or out + y.
// Layouts: W [weight_rows, stride], stride a multiple of 4, as f32, or with HALF as f16 and with BFLOAT as bf16, two to
//   a word; bias [columns]; combined and out [rows, width]. With VEC4 all but the bias start at whole vectors, and
//   columns, column, width and channels are multiples of 4. k runs over taps of `channels` each, padded to whole
//   vectors; the weight has no such padding. The shader that includes this has Params.gemm, binds a at 1, and gives
//   gate_at(row, j).
// Grid: as the family of gemm_*.wgsl.
// Workgroup: as the family.

struct Gemm {
    rows: u32,
    columns: u32,
    channels: u32,
    taps: u32,
    weight_rows: u32,
    stride: u32,
    width: u32,
    column: u32,
    has_bias: u32,
    // 0 none, 1 GELU, 2 SiLU.
    activation: u32,
    // 0 none, 1 add, 2 multiply, 3 gated add, 4 add to what is in out.
    combine: u32,
    // A struct in a uniform block takes whole vectors.
    padding: u32,
}

const ACCUMULATE = 4u;

//#if HALF
@group(0) @binding(2) var<storage, read> weight: array<vec2<u32>>;
//#else
//#if BFLOAT
@group(0) @binding(2) var<storage, read> weight: array<vec2<u32>>;
//#else
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>;
//#endif
//#endif
@group(0) @binding(3) var<storage, read> bias: array<f32>;
//#if VEC4
@group(0) @binding(4) var<storage, read> combined: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4<f32>>;
//#else
@group(0) @binding(4) var<storage, read> combined: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
//#endif

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

// Four columns of the weight, by their index in whole vectors from the binding's start.
fn load_weight(index: u32) -> vec4<f32> {
    //#if HALF
    let words = weight[index];
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
    //#else
    //#if BFLOAT
    let words = weight[index];
    let bits = vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u);
    return bitcast<vec4<f32>>(bits);
    //#else
    return weight[index];
    //#endif
    //#endif
}

// Vectors of a tap, the last one padded.
fn tap_vectors() -> u32 {
    return (params.gemm.channels + 3u) / 4u;
}

// Row of W for a k that counts the padding. Past the last row it is the last: a is zero there.
fn weight_row(k: u32) -> u32 {
    //#if VEC4
    let row = k;
    //#else
    let padded = tap_vectors() * 4u;
    let row = k / padded * params.gemm.channels + k % padded;
    //#endif
    return min(row, params.gemm.weight_rows - 1u);
}

// Four columns from j on of the weight at k; past the last column they are the last.
fn load_b(k: u32, j: u32) -> vec4<f32> {
    let stride = params.gemm.stride / 4u;
    return load_weight(base(2u) / 4u + weight_row(k) * stride + min(j / 4u, stride - 1u));
}

fn bias_at(j: u32) -> vec4<f32> {
    let first = base(3u);
    let last = params.gemm.columns - 1u;
    return vec4<f32>(
        bias[first + j],
        bias[first + min(j + 1u, last)],
        bias[first + min(j + 2u, last)],
        bias[first + min(j + 3u, last)],
    );
}

// 1 / (1 + exp(-x)); the argument is bounded because exp may overflow to NaN on some drivers.
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(clamp(-x, vec4<f32>(-80.0), vec4<f32>(80.0))));
}

fn activate(x: vec4<f32>) -> vec4<f32> {
    switch params.gemm.activation {
        // 0.5 (1 + tanh(u)) = sigmoid(2 u), with u = sqrt(2 / pi) (x + 0.044715 x^3).
        case 1u: { return x * sigmoid(1.5957691216 * x * (1.0 + 0.044715 * x * x)); }
        case 2u: { return x * sigmoid(x); }
        default: { return x; }
    }
}

fn combine(row: u32, j: u32, y: vec4<f32>, other: vec4<f32>) -> vec4<f32> {
    switch params.gemm.combine {
        case 1u: { return other + y; }
        case 2u: { return other * y; }
        default: { return other + gate_at(row, j) * y; }
    }
}

// Ends the sums of one row and the four columns from j on; nothing outside of the matrix is written.
fn store(row: u32, j: u32, sum: vec4<f32>) {
    if row >= params.gemm.rows || j >= params.gemm.columns {
        return;
    }
    var y = sum;
    if params.gemm.has_bias != 0u {
        y += bias_at(j);
    }
    y = activate(y);
    let first = row * params.gemm.width + params.gemm.column + j;
    //#if VEC4
    if params.gemm.combine == ACCUMULATE {
        y += out[(base(7u) + first) / 4u];
    } else if params.gemm.combine != 0u {
        y = combine(row, j, y, combined[(base(4u) + first) / 4u]);
    }
    out[(base(7u) + first) / 4u] = y;
    //#else
    let count = min(params.gemm.columns - j, 4u);
    if params.gemm.combine != 0u && params.gemm.combine != ACCUMULATE {
        let at = base(4u) + first;
        let last = at + count - 1u;
        let other = vec4<f32>(
            combined[at],
            combined[min(at + 1u, last)],
            combined[min(at + 2u, last)],
            combined[min(at + 3u, last)],
        );
        y = combine(row, j, y, other);
    }
    for (var i = 0u; i < count; i++) {
        let at = base(7u) + first + i;
        out[at] = select(y[i], y[i] + out[at], params.gemm.combine == ACCUMULATE);
    }
    //#endif
}
