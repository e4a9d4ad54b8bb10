// Formula: as gemm.wgsl, of quantised weights and of rows that are rounded to 8 bits in groups of 32
//   (quantise_rows.wgsl), by tiles of 128 x 64 results in workgroup memory, 8 x 8 an invocation. Products of a group
//   and their sum are whole numbers: with x = scale_x q_x and W = scale q + offset a group comes to
//   scale_x (scale sum(q_x q) + offset sum(q_x)). What the next group needs is read while this one is multiplied.
// Layouts: x as quantise_rows.wgsl writes it; the weight's groups have 32 elements.
// Grid: ceil(rows / 128) * ceil(columns / 64) workgroups, columns innermost, folded.
// Workgroup: 7,680 bytes.

const ROWS = 128u;
const COLUMNS = 64u;
const THREADS = 128u;
const SECOND_ROW = 64u;
const ROW_VECTORS = ROWS / 4u;
const COLUMN_VECTORS = COLUMNS / 4u;
const GROUP = 32u;
// Words of a group's quants.
const WORDS = GROUP / 4u;
// Invocations that load x; the others load the weight.
const LOADS_X = 64u;

// [word][rows / 4], each vector a word of four rows.
var<workgroup> a_tile: array<vec4<u32>, WORDS * ROW_VECTORS>;
var<workgroup> a_scales: array<vec4<f32>, ROW_VECTORS>;
var<workgroup> a_sums: array<vec4<f32>, ROW_VECTORS>;
// [word][columns / 4].
var<workgroup> b_tile: array<vec4<u32>, WORDS * COLUMN_VECTORS>;
var<workgroup> b_scales: array<vec4<f32>, COLUMN_VECTORS>;
var<workgroup> b_offsets: array<vec4<f32>, COLUMN_VECTORS>;

// Sums of four products of one row and four columns.
fn dots(a: u32, b: vec4<u32>) -> vec4<i32> {
    return vec4<i32>(dot4I8Packed(a, b.x), dot4I8Packed(a, b.y), dot4I8Packed(a, b.z), dot4I8Packed(a, b.w));
}

// What is in the low halves of bytes, from -8 to 7, as bytes. The topmost bits keep the bytes apart.
fn widen_halves(words: vec4<u32>) -> vec4<u32> {
    let unsigned = (words & vec4<u32>(0x0f0f0f0fu)) ^ vec4<u32>(0x08080808u);
    return ((unsigned | vec4<u32>(0x80808080u)) - vec4<u32>(0x08080808u)) ^ vec4<u32>(0x80808080u);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tiles = (params.gemm.columns + COLUMNS - 1u) / COLUMNS;
    let tile = workgroup_index(workgroup, grid);
    let first_row = tile / tiles * ROWS;
    let first_column = tile % tiles * COLUMNS;
    if first_row >= params.gemm.rows {
        return;
    }

    // What this invocation loads: half of the words of a group of four rows, or a quarter of those of four columns.
    let loads_a = thread < LOADS_X;
    let a_half = thread % 2u;
    let a_vector = thread / 2u;
    let row0 = row_source(first_row + a_vector * 4u);
    let row1 = row_source(first_row + a_vector * 4u + 1u);
    let row2 = row_source(first_row + a_vector * 4u + 2u);
    let row3 = row_source(first_row + a_vector * 4u + 3u);
    let b_quarter = thread % 4u;
    let b_vector = thread % LOADS_X / 4u;
    let b_column = first_column + b_vector * 4u;

    // What it computes: rows 4 ty.. and those SECOND_ROW further on, columns 4 tx.. and those 32 further on.
    let tx = thread % 8u;
    let ty = thread / 8u;
    var f00 = vec4<f32>();
    var f10 = vec4<f32>();
    var f20 = vec4<f32>();
    var f30 = vec4<f32>();
    var f40 = vec4<f32>();
    var f50 = vec4<f32>();
    var f60 = vec4<f32>();
    var f70 = vec4<f32>();
    var f01 = vec4<f32>();
    var f11 = vec4<f32>();
    var f21 = vec4<f32>();
    var f31 = vec4<f32>();
    var f41 = vec4<f32>();
    var f51 = vec4<f32>();
    var f61 = vec4<f32>();
    var f71 = vec4<f32>();

    // What it has loaded and not stored yet.
    var a0 = vec4<u32>();
    var a1 = vec4<u32>();
    var a2 = vec4<u32>();
    var a3 = vec4<u32>();
    var scales = vec4<f32>();
    var sums = vec4<f32>();
    var b0 = vec4<u32>();
    var b1 = vec4<u32>();
    var groups: Groups;

    let count = params.gemm.channels / GROUP;
    for (var group = 0u; group <= count; group++) {
        if group > 0u {
            workgroupBarrier();
            if loads_a {
                let at = a_half * 4u * ROW_VECTORS + a_vector;
                a_tile[at] = vec4<u32>(a0.x, a1.x, a2.x, a3.x);
                a_tile[at + ROW_VECTORS] = vec4<u32>(a0.y, a1.y, a2.y, a3.y);
                a_tile[at + 2u * ROW_VECTORS] = vec4<u32>(a0.z, a1.z, a2.z, a3.z);
                a_tile[at + 3u * ROW_VECTORS] = vec4<u32>(a0.w, a1.w, a2.w, a3.w);
                if a_half == 0u {
                    a_scales[a_vector] = scales;
                    a_sums[a_vector] = sums;
                }
            } else {
                //#if QUANT8
                b_tile[b_quarter * 2u * COLUMN_VECTORS + b_vector] = b0;
                b_tile[(b_quarter * 2u + 1u) * COLUMN_VECTORS + b_vector] = b1;
                //#else
                b_tile[b_quarter * COLUMN_VECTORS + b_vector] = widen_halves(b0);
                b_tile[(b_quarter + 4u) * COLUMN_VECTORS + b_vector] = widen_halves(b0 >> vec4<u32>(4u));
                //#endif
                if b_quarter == 0u {
                    let widened = widen_groups(groups);
                    b_scales[b_vector] = widened.scale;
                    b_offsets[b_vector] = widened.offset;
                }
            }
            workgroupBarrier();
        }
        if group < count {
            if loads_a {
                a0 = x[row0 + group * 3u + a_half];
                a1 = x[row1 + group * 3u + a_half];
                a2 = x[row2 + group * 3u + a_half];
                a3 = x[row3 + group * 3u + a_half];
                if a_half == 0u {
                    let g0 = bitcast<vec4<f32>>(x[row0 + group * 3u + 2u]);
                    let g1 = bitcast<vec4<f32>>(x[row1 + group * 3u + 2u]);
                    let g2 = bitcast<vec4<f32>>(x[row2 + group * 3u + 2u]);
                    let g3 = bitcast<vec4<f32>>(x[row3 + group * 3u + 2u]);
                    scales = vec4<f32>(g0.x, g1.x, g2.x, g3.x);
                    sums = vec4<f32>(g0.y, g1.y, g2.y, g3.y);
                }
            } else {
                let element = elements(group * GROUP, b_column);
                //#if QUANT8
                b0 = four_words(element / 4u + b_quarter * 2u);
                b1 = four_words(element / 4u + b_quarter * 2u + 1u);
                //#else
                b0 = four_words(element / 8u + b_quarter);
                //#endif
                if b_quarter == 0u {
                    groups = load_groups(element);
                }
            }
        }
        if group == 0u {
            continue;
        }
        var c00 = vec4<i32>();
        var c10 = vec4<i32>();
        var c20 = vec4<i32>();
        var c30 = vec4<i32>();
        var c40 = vec4<i32>();
        var c50 = vec4<i32>();
        var c60 = vec4<i32>();
        var c70 = vec4<i32>();
        var c01 = vec4<i32>();
        var c11 = vec4<i32>();
        var c21 = vec4<i32>();
        var c31 = vec4<i32>();
        var c41 = vec4<i32>();
        var c51 = vec4<i32>();
        var c61 = vec4<i32>();
        var c71 = vec4<i32>();
        var word = 0u;
        //#repeat 8
        {
            let u = a_tile[word * ROW_VECTORS + ty];
            let t = a_tile[word * ROW_VECTORS + SECOND_ROW / 4u + ty];
            let v = b_tile[word * COLUMN_VECTORS + tx];
            let w = b_tile[word * COLUMN_VECTORS + 8u + tx];
            c00 += dots(u.x, v);
            c10 += dots(u.y, v);
            c20 += dots(u.z, v);
            c30 += dots(u.w, v);
            c40 += dots(t.x, v);
            c50 += dots(t.y, v);
            c60 += dots(t.z, v);
            c70 += dots(t.w, v);
            c01 += dots(u.x, w);
            c11 += dots(u.y, w);
            c21 += dots(u.z, w);
            c31 += dots(u.w, w);
            c41 += dots(t.x, w);
            c51 += dots(t.y, w);
            c61 += dots(t.z, w);
            c71 += dots(t.w, w);
            word += 1u;
        }
        //#end
        let scale_u = a_scales[ty];
        let scale_t = a_scales[SECOND_ROW / 4u + ty];
        let sum_u = a_sums[ty];
        let sum_t = a_sums[SECOND_ROW / 4u + ty];
        let scale_v = b_scales[tx];
        let scale_w = b_scales[8u + tx];
        let offset_v = b_offsets[tx];
        let offset_w = b_offsets[8u + tx];
        f00 += scale_u.x * fma(vec4<f32>(c00), scale_v, sum_u.x * offset_v);
        f10 += scale_u.y * fma(vec4<f32>(c10), scale_v, sum_u.y * offset_v);
        f20 += scale_u.z * fma(vec4<f32>(c20), scale_v, sum_u.z * offset_v);
        f30 += scale_u.w * fma(vec4<f32>(c30), scale_v, sum_u.w * offset_v);
        f40 += scale_t.x * fma(vec4<f32>(c40), scale_v, sum_t.x * offset_v);
        f50 += scale_t.y * fma(vec4<f32>(c50), scale_v, sum_t.y * offset_v);
        f60 += scale_t.z * fma(vec4<f32>(c60), scale_v, sum_t.z * offset_v);
        f70 += scale_t.w * fma(vec4<f32>(c70), scale_v, sum_t.w * offset_v);
        f01 += scale_u.x * fma(vec4<f32>(c01), scale_w, sum_u.x * offset_w);
        f11 += scale_u.y * fma(vec4<f32>(c11), scale_w, sum_u.y * offset_w);
        f21 += scale_u.z * fma(vec4<f32>(c21), scale_w, sum_u.z * offset_w);
        f31 += scale_u.w * fma(vec4<f32>(c31), scale_w, sum_u.w * offset_w);
        f41 += scale_t.x * fma(vec4<f32>(c41), scale_w, sum_t.x * offset_w);
        f51 += scale_t.y * fma(vec4<f32>(c51), scale_w, sum_t.y * offset_w);
        f61 += scale_t.z * fma(vec4<f32>(c61), scale_w, sum_t.z * offset_w);
        f71 += scale_t.w * fma(vec4<f32>(c71), scale_w, sum_t.w * offset_w);
    }

    let row = first_row + ty * 4u;
    let j = first_column + tx * 4u;
    // One call, because a compiler inlines it: sixteen would take a second to compile.
    var f = array<vec4<f32>, 16>(
        f00, f10, f20, f30, f40, f50, f60, f70,
        f01, f11, f21, f31, f41, f51, f61, f71,
    );
    let ends = load_ends();
    for (var i = 0u; i < 16u; i++) {
        store(ends, row + i % 4u + (i / 4u % 2u) * SECOND_ROW, j + i / 8u * 32u, f[i]);
    }
}
