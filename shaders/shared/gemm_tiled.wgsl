// Formula: as gemm.wgsl, by tiles in workgroup memory: 128 x 64 results, or 128 x 128 with WIDE, 8 x 8 an invocation;
//   with SMALL 32 x 32 and 4 x 4, for matrices that would leave a large device without work.
//   What the next step needs is read while this one is multiplied, as the words it is stored in: to widen it would wait
//   for it. With HALVES products and the sums of 16 of them are f16, the sums of those f32.
// Layouts: a comes by load_tap(tap_source(row_source(row), tap), vector): four channels of a tap, zero outside of the
//   frame; rows past the last are the last.
// Grid: ceil(rows / ROWS) * ceil(columns / COLUMNS) workgroups, columns innermost, folded.
// Workgroup: 12,288 bytes; with WIDE 16,384, with SMALL 4,096; with HALVES half of that.

//#include "shared/gemm.wgsl"

//#if HALVES
alias Products = vec4<f16>;
//#else
alias Products = vec4<f32>;
//#endif

const STEP = 16u;
//#if SMALL
const ROWS = 32u;
const COLUMNS = 32u;
const THREADS = 64u;
//#else
const ROWS = 128u;
//#if WIDE
const COLUMNS = 128u;
const THREADS = 256u;
//#else
const COLUMNS = 64u;
const THREADS = 128u;
//#endif
//#endif
//#if WIDE
const SECOND_ROW = 16u;
//#else
const SECOND_ROW = 64u;
//#endif
const ROW_VECTORS = ROWS / 4u;
const COLUMN_VECTORS = COLUMNS / 4u;

// [k][rows / 4], each vector one k of four rows, swizzled by a_index.
var<workgroup> a_tile: array<Products, STEP * ROW_VECTORS>;
// [k][columns / 4].
var<workgroup> b_tile: array<Products, STEP * COLUMN_VECTORS>;

// The swizzle spreads the four k blocks that neighbouring invocations write over the banks.
fn a_index(k: u32, row_vector: u32) -> u32 {
    return k * ROW_VECTORS + (row_vector ^ (k / 4u * 2u));
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

    // What this invocation loads: four rows by four k of a, and two vectors of b; of quants four k by four columns.
    let a_k = thread % (STEP / 4u) * 4u;
    let a_vector = thread / (STEP / 4u);
    let loads_a = a_vector < ROW_VECTORS;
    let a_row = first_row + a_vector * 4u;
    let row0 = row_source(a_row);
    let row1 = row_source(a_row + 1u);
    let row2 = row_source(a_row + 2u);
    let row3 = row_source(a_row + 3u);
    // Where in k it is, and its rows there. Steps advance it: dividing each time costs as much as many products.
    var tap = a_k / 4u / tap_vectors();
    var vector = a_k / 4u % tap_vectors();
    var source0 = tap_source(row0, tap);
    var source1 = tap_source(row1, tap);
    var source2 = tap_source(row2, tap);
    var source3 = tap_source(row3, tap);
    //#if QUANT8|QUANT4
    let b_block = THREADS - 1u - thread;
    let loads_b = b_block < STEP / 4u * COLUMN_VECTORS;
    let b_k = b_block % (STEP / 4u) * 4u;
    let b_vector = b_block / (STEP / 4u);
    //#else
    let b_k = thread / COLUMN_VECTORS;
    let b_column = first_column + thread % COLUMN_VECTORS * 4u;
    let b_step = THREADS / COLUMN_VECTORS;
    //#endif

    // What it computes: rows 4 ty.. and those SECOND_ROW further on, columns 4 tx.. and those 32 further on; with SMALL
    // the first of each. With WIDE every 32 invocations have 32 rows and 64 columns together.
    //#if WIDE
    let tx = thread % 8u + thread / 128u * 16u;
    let ty = thread % 32u / 8u + thread / 32u % 4u * 8u;
    //#else
    let tx = thread % 8u;
    let ty = thread / 8u;
    //#endif
    var c00 = Products();
    var c10 = Products();
    var c20 = Products();
    var c30 = Products();
    //#if !SMALL
    var c40 = Products();
    var c50 = Products();
    var c60 = Products();
    var c70 = Products();
    var c01 = Products();
    var c11 = Products();
    var c21 = Products();
    var c31 = Products();
    var c41 = Products();
    var c51 = Products();
    var c61 = Products();
    var c71 = Products();
    //#endif

    //#if HALVES
    // The same of the steps before.
    var f00 = vec4<f32>();
    var f10 = vec4<f32>();
    var f20 = vec4<f32>();
    var f30 = vec4<f32>();
    //#if !SMALL
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
    //#endif
    //#endif

    // What it has loaded and not stored yet.
    var a0 = vec4<f32>();
    var a1 = vec4<f32>();
    var a2 = vec4<f32>();
    var a3 = vec4<f32>();
    //#if QUANT8|QUANT4
    var b = Block();
    //#else
    var b0 = Words();
    var b1 = Words();
    //#endif

    let weight_k = weight_start(first_row);
    let depth = params.gemm.taps * tap_vectors() * 4u;
    for (var first_k = 0u; first_k < depth + STEP; first_k += STEP) {
        if first_k > 0u {
            workgroupBarrier();
            if loads_a {
                a_tile[a_index(a_k, a_vector)] = Products(vec4<f32>(a0.x, a1.x, a2.x, a3.x));
                a_tile[a_index(a_k + 1u, a_vector)] = Products(vec4<f32>(a0.y, a1.y, a2.y, a3.y));
                a_tile[a_index(a_k + 2u, a_vector)] = Products(vec4<f32>(a0.z, a1.z, a2.z, a3.z));
                a_tile[a_index(a_k + 3u, a_vector)] = Products(vec4<f32>(a0.w, a1.w, a2.w, a3.w));
            }
            //#if QUANT8|QUANT4
            if loads_b {
                let columns = widen_block(b, weight_k + first_k - STEP + b_k);
                for (var i = 0u; i < 4u; i++) {
                    b_tile[(b_k + i) * COLUMN_VECTORS + b_vector] = Products(columns[i]);
                }
            }
            //#else
            b_tile[thread] = Products(widen(b0));
            b_tile[thread + THREADS] = Products(widen(b1));
            //#endif
            workgroupBarrier();
        }
        if first_k < depth {
            if loads_a {
                a0 = vec4<f32>();
                a1 = vec4<f32>();
                a2 = vec4<f32>();
                a3 = vec4<f32>();
                if tap < params.gemm.taps {
                    a0 = load_tap(source0, vector);
                    a1 = load_tap(source1, vector);
                    a2 = load_tap(source2, vector);
                    a3 = load_tap(source3, vector);
                }
                vector += STEP / 4u;
                if vector >= tap_vectors() {
                    tap += vector / tap_vectors();
                    vector %= tap_vectors();
                    source0 = tap_source(row0, tap);
                    source1 = tap_source(row1, tap);
                    source2 = tap_source(row2, tap);
                    source3 = tap_source(row3, tap);
                }
            }
            //#if QUANT8|QUANT4
            if loads_b {
                b = load_block(weight_k + first_k + b_k, first_column + b_vector * 4u);
            }
            //#else
            b0 = load_words(weight_k + first_k + b_k, b_column);
            b1 = load_words(weight_k + first_k + b_k + b_step, b_column);
            //#endif
        }
        if first_k == 0u {
            continue;
        }
        // Written out: not every driver unrolls it, which costs a fifth of the rate.
        var k = 0u;
        //#repeat 16
        {
            let u = a_tile[a_index(k, ty)];
            let v = b_tile[k * COLUMN_VECTORS + tx];
            c00 += u.x * v;
            c10 += u.y * v;
            c20 += u.z * v;
            c30 += u.w * v;
            //#if !SMALL
            let w = b_tile[k * COLUMN_VECTORS + 8u + tx];
            c01 += u.x * w;
            c11 += u.y * w;
            c21 += u.z * w;
            c31 += u.w * w;
            let t = a_tile[a_index(k, ty + SECOND_ROW / 4u)];
            c40 += t.x * v;
            c50 += t.y * v;
            c60 += t.z * v;
            c70 += t.w * v;
            c41 += t.x * w;
            c51 += t.y * w;
            c61 += t.z * w;
            c71 += t.w * w;
            //#endif
            k += 1u;
        }
        //#end
        //#if HALVES
        f00 += vec4<f32>(c00);
        c00 = Products();
        f10 += vec4<f32>(c10);
        c10 = Products();
        f20 += vec4<f32>(c20);
        c20 = Products();
        f30 += vec4<f32>(c30);
        c30 = Products();
        //#if !SMALL
        f40 += vec4<f32>(c40);
        c40 = Products();
        f50 += vec4<f32>(c50);
        c50 = Products();
        f60 += vec4<f32>(c60);
        c60 = Products();
        f70 += vec4<f32>(c70);
        c70 = Products();
        f01 += vec4<f32>(c01);
        c01 = Products();
        f11 += vec4<f32>(c11);
        c11 = Products();
        f21 += vec4<f32>(c21);
        c21 = Products();
        f31 += vec4<f32>(c31);
        c31 = Products();
        f41 += vec4<f32>(c41);
        c41 = Products();
        f51 += vec4<f32>(c51);
        c51 = Products();
        f61 += vec4<f32>(c61);
        c61 = Products();
        f71 += vec4<f32>(c71);
        c71 = Products();
        //#endif
        //#endif
    }

    let row = first_row + ty * 4u;
    let j = first_column + tx * 4u;
    // One call, because a compiler inlines it: sixteen would take a second to compile.
    //#if SMALL
    //#if HALVES
    var c = array<vec4<f32>, 4>(f00, f10, f20, f30);
    //#else
    var c = array<vec4<f32>, 4>(c00, c10, c20, c30);
    //#endif
    let ends = load_ends();
    for (var i = 0u; i < 4u; i++) {
        store(ends, row + i, j, c[i]);
    }
    //#else
    //#if HALVES
    var c = array<vec4<f32>, 16>(
        f00, f10, f20, f30, f40, f50, f60, f70,
        f01, f11, f21, f31, f41, f51, f61, f71,
    );
    //#else
    var c = array<vec4<f32>, 16>(
        c00, c10, c20, c30, c40, c50, c60, c70,
        c01, c11, c21, c31, c41, c51, c61, c71,
    );
    //#endif
    let ends = load_ends();
    for (var i = 0u; i < 16u; i++) {
        store(ends, row + i % 4u + (i / 4u % 2u) * SECOND_ROW, j + i / 8u * 32u, c[i]);
    }
    //#endif
}
