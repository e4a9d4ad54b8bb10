// Formula: as gemm.wgsl, by tiles in workgroup memory: 128 x 64 results, 8 x 8 an invocation; with SMALL 32 x 32 and
//   4 x 4, for matrices that would leave a large device without work.
// Layouts: a comes by load_a(row_source(row), depth_source(k)): four k from k on, zero outside of the matrix.
// Grid: ceil(rows / ROWS) * ceil(columns / COLUMNS) workgroups, columns innermost, folded.
// Workgroup: 12,288 bytes; with SMALL 4,096.

//#include "shared/gemm.wgsl"

const STEP = 16u;
//#if SMALL
const ROWS = 32u;
const COLUMNS = 32u;
const THREADS = 64u;
//#else
const ROWS = 128u;
const COLUMNS = 64u;
const THREADS = 128u;
//#endif
const ROW_VECTORS = ROWS / 4u;
const COLUMN_VECTORS = COLUMNS / 4u;

// [k][rows / 4], each vector one k of four rows, swizzled by a_index.
var<workgroup> a_tile: array<vec4<f32>, STEP * ROW_VECTORS>;
// [k][columns / 4].
var<workgroup> b_tile: array<vec4<f32>, STEP * COLUMN_VECTORS>;

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
    let source0 = row_source(a_row);
    let source1 = row_source(a_row + 1u);
    let source2 = row_source(a_row + 2u);
    let source3 = row_source(a_row + 3u);
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

    // What it computes: rows 4 ty.. and 64 + 4 ty.., columns 4 tx.. and 32 + 4 tx..; with SMALL the first of each.
    let tx = thread % 8u;
    let ty = thread / 8u;
    var c00 = vec4<f32>();
    var c10 = vec4<f32>();
    var c20 = vec4<f32>();
    var c30 = vec4<f32>();
    //#if !SMALL
    var c40 = vec4<f32>();
    var c50 = vec4<f32>();
    var c60 = vec4<f32>();
    var c70 = vec4<f32>();
    var c01 = vec4<f32>();
    var c11 = vec4<f32>();
    var c21 = vec4<f32>();
    var c31 = vec4<f32>();
    var c41 = vec4<f32>();
    var c51 = vec4<f32>();
    var c61 = vec4<f32>();
    var c71 = vec4<f32>();
    //#endif

    let depth = params.gemm.taps * tap_vectors() * 4u;
    for (var first_k = 0u; first_k < depth; first_k += STEP) {
        var a0 = vec4<f32>();
        var a1 = vec4<f32>();
        var a2 = vec4<f32>();
        var a3 = vec4<f32>();
        if loads_a {
            let at = depth_source(first_k + a_k);
            a0 = load_a(source0, at);
            a1 = load_a(source1, at);
            a2 = load_a(source2, at);
            a3 = load_a(source3, at);
        }
        //#if QUANT8|QUANT4
        var b = mat4x4<f32>();
        if loads_b {
            b = load_b4(first_k + b_k, first_column + b_vector * 4u);
        }
        //#else
        let b0 = load_b(first_k + b_k, b_column);
        let b1 = load_b(first_k + b_k + b_step, b_column);
        //#endif
        workgroupBarrier();
        if loads_a {
            a_tile[a_index(a_k, a_vector)] = vec4<f32>(a0.x, a1.x, a2.x, a3.x);
            a_tile[a_index(a_k + 1u, a_vector)] = vec4<f32>(a0.y, a1.y, a2.y, a3.y);
            a_tile[a_index(a_k + 2u, a_vector)] = vec4<f32>(a0.z, a1.z, a2.z, a3.z);
            a_tile[a_index(a_k + 3u, a_vector)] = vec4<f32>(a0.w, a1.w, a2.w, a3.w);
        }
        //#if QUANT8|QUANT4
        if loads_b {
            for (var i = 0u; i < 4u; i++) {
                b_tile[(b_k + i) * COLUMN_VECTORS + b_vector] = b[i];
            }
        }
        //#else
        b_tile[thread] = b0;
        b_tile[thread + THREADS] = b1;
        //#endif
        workgroupBarrier();

        for (var k = 0u; k < STEP; k++) {
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
            let t = a_tile[a_index(k, ty + 16u)];
            c40 += t.x * v;
            c50 += t.y * v;
            c60 += t.z * v;
            c70 += t.w * v;
            c41 += t.x * w;
            c51 += t.y * w;
            c61 += t.z * w;
            c71 += t.w * w;
            //#endif
        }
    }

    let row = first_row + ty * 4u;
    let j = first_column + tx * 4u;
    // One call, because a compiler inlines it: sixteen would take a second to compile.
    //#if SMALL
    var c = array<vec4<f32>, 4>(c00, c10, c20, c30);
    for (var i = 0u; i < 4u; i++) {
        store(row + i, j, c[i]);
    }
    //#else
    var c = array<vec4<f32>, 16>(
        c00, c10, c20, c30, c40, c50, c60, c70,
        c01, c11, c21, c31, c41, c51, c61, c71,
    );
    for (var i = 0u; i < 16u; i++) {
        store(row + i % 4u + (i & 4u) * 16u, j + i / 8u * 32u, c[i]);
    }
    //#endif
}
