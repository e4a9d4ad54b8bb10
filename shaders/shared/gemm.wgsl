// Formula: out[i, column + j] = combine(act(sum_k a[i, k] W[k, j] + bias[j])).
//   combine: y, combined + y, combined * y, combined + gate * y, with combined at (i, column + j), or out + y; after
//   that, with relu, what is below 0 becomes 0.
// Layouts: W [weight_rows, stride], stride a multiple of 4, as f32, or with HALF as f16 and with BFLOAT as bf16, two to
//   a word. With QUANT8 and QUANT4 W is quantised (quants.wgsl), [columns, weight_rows]. bias [columns]; combined and
//   out [rows, width]. With VEC4 all but the bias start at whole vectors, and columns, column, width and channels are
//   multiples of 4. k runs over taps of `channels` each, padded to whole vectors; the weight has no such padding. With
//   TEXELS a and W are textures (texels.wgsl); with OCTET W may lie in panels of `stride` columns there, one below the
//   other. The shader that includes this has Params.gemm, binds a at 1, and gives gate_at(row, j), and
//   weight_start(row), the row of W that is the first for a tile of rows.
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
    scales: u32,
    nests: u32,
    group_shift: u32,
    zero: u32,
    relu: u32,
}

const MULTIPLY = 2u;
const GATED = 3u;
const ACCUMULATE = 4u;

//#if TEXELS
//#if OCTET
//#if QUANT8|QUANT4
@group(0) @binding(2) var weight: texture_storage_2d<rgba32uint, read>;
//#endif
//#if BFLOAT
@group(0) @binding(2) var weight: texture_storage_2d<rgba16uint, read>;
//#endif
//#if HALF
@group(0) @binding(2) var weight: texture_storage_2d<rgba16float, read>;
//#endif
//#if !HALF|BFLOAT|QUANT8|QUANT4
@group(0) @binding(2) var weight: texture_storage_2d<rgba32float, read>;
//#endif
//#else
//#if BFLOAT
@group(0) @binding(2) var weight: texture_2d<u32>;
//#else
@group(0) @binding(2) var weight: texture_2d<f32>;
//#endif
//#endif
//#else
//#if HALF|BFLOAT
@group(0) @binding(2) var<storage, read> weight: array<vec2<u32>>;
//#endif
//#if QUANT8|QUANT4
@group(0) @binding(2) var<storage, read> weight: array<u32>;
//#endif
//#if !HALF|BFLOAT|QUANT8|QUANT4
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
//#if TEXELS
//#include "shared/texels.wgsl"
//#endif

//#if QUANT8|QUANT4
//#include "shared/quants.wgsl"

fn quantised() -> Quantised {
    let gemm = params.gemm;
    return Quantised(gemm.columns, gemm.weight_rows, gemm.scales, gemm.nests, gemm.group_shift, gemm.zero);
}
//#else
//#include "shared/widen.wgsl"

//#if !TEXELS
// Four columns of the weight, by their index in whole vectors from the binding's start.
fn load_weight(index: u32) -> vec4<f32> {
    return widen(weight[index]);
}
//#endif
//#endif

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

//#if QUANT8|QUANT4
// The weights of the four columns from j on at the four k from k on, a column of the matrix a k.
fn load_b4(k: u32, j: u32) -> mat4x4<f32> {
    return widen_block(load_block(k, j), k);
}
//#else
//#if TEXELS
// Of the weight's texture: texels of a row of the weight, and its rows in one of the texture, as a power of two.
struct WeightRows {
    vectors: u32,
    shift: u32,
    //#if !OCTET|BFLOAT
    step: vec2<f32>,
    //#endif
}

fn weight_rows() -> WeightRows {
    //#if OCTET|BFLOAT
    return WeightRows(params.gemm.stride / 4u, base(2u));
    //#else
    return WeightRows(params.gemm.stride / 4u, base(2u), texel_step(weight));
    //#endif
}

// Texel with the column j, in a row of its panel; past the last column it is the last.
fn texel_column(rows: WeightRows, j: u32) -> u32 {
    return min(j, params.gemm.columns - 1u) / 4u % rows.vectors;
}

fn load_row(rows: WeightRows, k: u32, column: u32) -> vec4<f32> {
    let at = shifted_row(rows.shift, k, rows.vectors) + vec2<u32>(column, 0u);
    //#if OCTET
    return widen(textureLoad(weight, at));
    //#else
    //#if BFLOAT
    // Words cannot be sampled.
    return widen(textureLoad(weight, at, 0));
    //#else
    return widen(textureSampleLevel(weight, nearest, texel_middle(at, rows.step), 0.0));
    //#endif
    //#endif
}

// The weights of the four columns of a texel at the four k from k on, a column of the matrix a k.
fn load_rows(rows: WeightRows, k: u32, column: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        load_row(rows, k, column),
        load_row(rows, k + 1u, column),
        load_row(rows, k + 2u, column),
        load_row(rows, k + 3u, column),
    );
}
//#else
// Four columns from j on of the weight at k; past the last column they are the last.
fn load_words(k: u32, j: u32) -> Words {
    let stride = params.gemm.stride / 4u;
    return weight[base(2u) / 4u + weight_row(k) * stride + min(j / 4u, stride - 1u)];
}

// The weights of the four columns from j on at the four k from k on, a column of the matrix a k.
fn load_b4(k: u32, j: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        widen(load_words(k, j)),
        widen(load_words(k + 1u, j)),
        widen(load_words(k + 2u, j)),
        widen(load_words(k + 3u, j)),
    );
}
//#endif
//#endif

// What ends the sums of a tile, read once: lavapipe reads a uniform anew wherever it is named, invocation by
// invocation.
struct Ends {
    rows: u32,
    columns: u32,
    width: u32,
    // Of the output, in its matrix.
    column: u32,
    has_bias: u32,
    activation: u32,
    combine: u32,
    relu: u32,
    // First elements.
    bias: u32,
    combined: u32,
    out: u32,
}

fn load_ends() -> Ends {
    let gemm = params.gemm;
    return Ends(
        gemm.rows, gemm.columns, gemm.width, gemm.column,
        gemm.has_bias, gemm.activation, gemm.combine, gemm.relu,
        base(3u), base(4u), base(7u),
    );
}

// Of the four columns from j on; past the last column they are the last.
fn bias_at(ends: Ends, j: u32) -> vec4<f32> {
    let last = ends.columns - 1u;
    return vec4<f32>(
        bias[ends.bias + j],
        bias[ends.bias + min(j + 1u, last)],
        bias[ends.bias + min(j + 2u, last)],
        bias[ends.bias + min(j + 3u, last)],
    );
}

// 1 / (1 + exp(-x)); the argument is bounded because exp may overflow to NaN on some drivers.
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(clamp(-x, vec4<f32>(-80.0), vec4<f32>(80.0))));
}

fn activate(activation: u32, x: vec4<f32>) -> vec4<f32> {
    switch activation {
        // 0.5 (1 + tanh(u)) = sigmoid(2 u), with u = sqrt(2 / pi) (x + 0.044715 x^3).
        case 1u: { return x * sigmoid(1.5957691216 * x * (1.0 + 0.044715 * x * x)); }
        case 2u: { return x * sigmoid(x); }
        default: { return x; }
    }
}

//#if !TEXELS
fn combine(ends: Ends, row: u32, j: u32, y: vec4<f32>, other: vec4<f32>) -> vec4<f32> {
    switch ends.combine {
        case 1u: { return other + y; }
        case MULTIPLY: { return other * y; }
        default: { return other + gate_at(row, j) * y; }
    }
}
//#endif

// ReLU, where it is asked for; by selection, because max may drop a NaN.
fn rectify(relu: u32, y: vec4<f32>) -> vec4<f32> {
    if relu != 0u {
        return select(y, vec4<f32>(), y < vec4<f32>());
    }
    return y;
}

//#if VEC4
// Four columns of combined and of out, from element `first` of the binding on; `count` of them are there.
fn combined_at(first: u32, count: u32) -> vec4<f32> {
    return combined[first / 4u];
}

fn out_at(first: u32, count: u32) -> vec4<f32> {
    return out[first / 4u];
}

fn write(first: u32, count: u32, y: vec4<f32>) {
    out[first / 4u] = y;
}
//#else
fn combined_at(first: u32, count: u32) -> vec4<f32> {
    let last = first + count - 1u;
    return vec4<f32>(
        combined[first],
        combined[min(first + 1u, last)],
        combined[min(first + 2u, last)],
        combined[min(first + 3u, last)],
    );
}

fn out_at(first: u32, count: u32) -> vec4<f32> {
    var y = vec4<f32>();
    for (var i = 0u; i < count; i++) {
        y[i] = out[first + i];
    }
    return y;
}

fn write(first: u32, count: u32, y: vec4<f32>) {
    for (var i = 0u; i < count; i++) {
        out[first + i] = y[i];
    }
}
//#endif

// Ends the sums of one row and the four columns from j on; nothing outside of the matrix is written.
fn store(ends: Ends, row: u32, j: u32, sum: vec4<f32>) {
    if row >= ends.rows || j >= ends.columns {
        return;
    }
    var y = sum;
    let first = row * ends.width + ends.column + j;
    let count = min(ends.columns - j, 4u);
    //#if TEXELS
    // Loops of one turn or none: a software adapter runs both sides of every branch.
    for (var once = 0u; once < ends.has_bias; once++) {
        y += bias_at(ends, j);
    }
    for (var once = 0u; once < min(ends.activation, 1u); once++) {
        y = activate(ends.activation, y);
    }
    let accumulates = select(0u, 1u, ends.combine == ACCUMULATE);
    for (var once = 0u; once < accumulates; once++) {
        y += out_at(ends.out + first, count);
    }
    let combines = select(0u, 1u, ends.combine % ACCUMULATE != 0u);
    for (var once = 0u; once < combines; once++) {
        let other = combined_at(ends.combined + first, count);
        var gate = vec4<f32>(1.0);
        let gates = select(0u, 1u, ends.combine == GATED);
        for (var inner = 0u; inner < gates; inner++) {
            gate = gate_at(row, j);
        }
        y = select(other + gate * y, other * y, ends.combine == MULTIPLY);
    }
    //#else
    if ends.has_bias != 0u {
        y += bias_at(ends, j);
    }
    y = activate(ends.activation, y);
    if ends.combine == ACCUMULATE {
        y += out_at(ends.out + first, count);
    } else if ends.combine != 0u {
        y = combine(ends, row, j, y, combined_at(ends.combined + first, count));
    }
    //#endif
    write(ends.out + first, count, rectify(ends.relu, y));
}
