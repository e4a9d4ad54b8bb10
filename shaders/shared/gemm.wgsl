// Formula: out[i, column + j] = combine(act(sum_k a[i, k] W[k, j] + bias[j])).
//   combine: y, combined + y, combined * y, combined + gate * y, with combined at (i, column + j), or out + y; after
//   that, with relu, what is below 0 becomes 0.
// Layouts: W [weight_rows, stride], stride a multiple of 4, as f32, or with HALF as f16 and with BFLOAT as bf16, two to
//   a word. With QUANT8 and QUANT4 W is [columns, weight_rows] in sections of words (crate/src/quants.rs): signed
//   quants; from scales on scale and offset of each group of 1 << group_shift elements, as f16; from nests on, where it
//   is not 0, what those of 256 elements are multiplied with; an element is (quant + zero) * scale + offset.
//   bias [columns]; combined and out [rows, width]. With VEC4 all but the bias start at whole vectors, and
//   columns, column, width and channels are multiples of 4. k runs over taps of `channels` each, padded to whole
//   vectors; the weight has no such padding. With TEXELS a and W are textures (texels.wgsl). The shader that includes
//   this has Params.gemm, binds a at 1, and gives
//   gate_at(row, j), and weight_start(row), the row of W that is the first for a tile of rows.
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
//#if BFLOAT|QUANT8|QUANT4
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
//#if TEXELS
// Four words of the matrix.
fn weight_words(i: u32) -> vec4<u32> {
    //#if OCTET
    return textureLoad(weight, texel(i));
    //#else
    return textureLoad(weight, texel(i), 0);
    //#endif
}
//#endif

// A word of the matrix.
fn weight_word(i: u32) -> u32 {
    //#if TEXELS
    return weight_words(i / 4u)[i % 4u];
    //#else
    return weight[i];
    //#endif
}

// Four columns at four neighbouring k of one group, as they are stored.
struct Block {
    quants: vec4<u32>,
    groups: Groups,
}

// Scale and offset of a group of each of four columns, as they are stored.
struct Groups {
    groups: vec4<u32>,
    nests: vec4<u32>,
}

// The same as numbers.
struct Scales {
    scale: vec4<f32>,
    offset: vec4<f32>,
}

// The word with the quants of the four elements from `element` on.
fn quant_word(element: u32) -> u32 {
    //#if QUANT8
    return weight_word(element / 4u);
    //#else
    // 32 elements are four words: 16 in the low halves of the bytes, then 16 in the high ones.
    return weight_word(element / 32u * 4u + element / 4u % 4u);
    //#endif
}

// Where the four columns from j on are at k; past the last of either they are the last.
fn elements(k: u32, j: u32) -> vec4<u32> {
    let depth = params.gemm.weight_rows;
    let columns = min(vec4<u32>(j, j + 1u, j + 2u, j + 3u), vec4<u32>(params.gemm.columns - 1u));
    return columns * depth + min(k, depth - 4u);
}

fn load_quants(element: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(
        quant_word(element.x), quant_word(element.y), quant_word(element.z), quant_word(element.w),
    );
}

//#if TEXELS
// A texel of each of four columns, with the quants of 16 neighbouring k (QUANT4: 32).
alias Packs = array<vec4<u32>, 4>;

fn load_pack(element: u32) -> vec4<u32> {
    //#if QUANT8
    return weight_words(element / 16u);
    //#else
    return weight_words(element / 32u);
    //#endif
}

fn load_packs(element: vec4<u32>) -> Packs {
    return Packs(load_pack(element.x), load_pack(element.y), load_pack(element.z), load_pack(element.w));
}

// By selection: an index that is not known is costly.
fn pack_word(pack: vec4<u32>, i: u32) -> u32 {
    return select(select(pack.x, pack.y, i == 1u), select(pack.z, pack.w, i == 3u), i > 1u);
}

// What load_quants reads at k, which is in these texels.
fn pack_quants(packs: Packs, k: u32) -> vec4<u32> {
    let i = k / 4u % 4u;
    return vec4<u32>(
        pack_word(packs[0], i), pack_word(packs[1], i), pack_word(packs[2], i), pack_word(packs[3], i),
    );
}
//#else
// Where sixteen neighbouring k of four columns begin.
alias Packs = vec4<u32>;

fn load_packs(element: vec4<u32>) -> Packs {
    return element;
}

fn pack_quants(packs: Packs, k: u32) -> vec4<u32> {
    return load_quants(packs + k % 16u);
}
//#endif

fn four_words(at: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(weight_word(at.x), weight_word(at.y), weight_word(at.z), weight_word(at.w));
}

fn load_groups(element: vec4<u32>) -> Groups {
    let group = params.gemm.scales + (element >> vec4<u32>(params.gemm.group_shift));
    var groups: Groups;
    groups.groups = four_words(group);
    //#if TEXELS
    // A loop of one turn or none: a software adapter runs both sides of every branch.
    for (var once = 0u; once < min(params.gemm.nests, 1u); once++) {
        groups.nests = four_words(params.gemm.nests + element / 256u);
    }
    //#else
    if params.gemm.nests != 0u {
        groups.nests = four_words(params.gemm.nests + element / 256u);
    }
    //#endif
    return groups;
}

fn load_block(k: u32, j: u32) -> Block {
    let element = elements(k, j);
    return Block(load_quants(element), load_groups(element));
}

fn widen_groups(groups: Groups) -> Scales {
    var pairs = mat4x2<f32>(
        unpack2x16float(groups.groups.x),
        unpack2x16float(groups.groups.y),
        unpack2x16float(groups.groups.z),
        unpack2x16float(groups.groups.w),
    );
    if params.gemm.nests != 0u {
        pairs[0] *= unpack2x16float(groups.nests.x);
        pairs[1] *= unpack2x16float(groups.nests.y);
        pairs[2] *= unpack2x16float(groups.nests.z);
        pairs[3] *= unpack2x16float(groups.nests.w);
    }
    let rows = transpose(pairs);
    // (quant + zero) * scale + offset is quant * scale + (zero * scale + offset).
    return Scales(rows[0], fma(vec4<f32>(f32(params.gemm.zero)), rows[0], rows[1]));
}

// The four quants of a word, without their group's scale.
fn widen_word(word: u32, shift: u32) -> vec4<f32> {
    //#if QUANT8
    let bytes = vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u);
    let quants = vec4<f32>(bitcast<vec4<i32>>(bytes) >> vec4<u32>(24u));
    //#else
    let bytes = vec4<u32>(word << shift) << vec4<u32>(24u, 16u, 8u, 0u);
    let quants = vec4<f32>(bitcast<vec4<i32>>(bytes) >> vec4<u32>(28u));
    //#endif
    return quants;
}

// What load_quants read at k, a column of the matrix a k.
fn widen_quants(words: vec4<u32>, scales: Scales, k: u32) -> mat4x4<f32> {
    // Rows are whole blocks of 32, so that which half a k is in does not depend on the column. Past the last k, where a
    // is zero, it may be either.
    let shift = 4u - k / 16u % 2u * 4u;
    let quants = transpose(
        mat4x4<f32>(
            widen_word(words.x, shift),
            widen_word(words.y, shift),
            widen_word(words.z, shift),
            widen_word(words.w, shift),
        ),
    );
    return mat4x4<f32>(
        fma(quants[0], scales.scale, scales.offset),
        fma(quants[1], scales.scale, scales.offset),
        fma(quants[2], scales.scale, scales.offset),
        fma(quants[3], scales.scale, scales.offset),
    );
}

fn widen_block(block: Block, k: u32) -> mat4x4<f32> {
    return widen_quants(block.quants, widen_groups(block.groups), k);
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
// Four columns from j on of the weight at k; past the last column they are the last.
fn load_words(k: u32, j: u32) -> Words {
    let stride = params.gemm.stride / 4u;
    let column = min(j / 4u, stride - 1u);
    //#if TEXELS
    let at = texel_row(2u, weight_row(k), stride) + vec2<u32>(column, 0u);
    //#if OCTET
    return textureLoad(weight, at);
    //#else
    return textureLoad(weight, at, 0);
    //#endif
    //#else
    return weight[base(2u) / 4u + weight_row(k) * stride + column];
    //#endif
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
