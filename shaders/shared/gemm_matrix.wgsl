// Formula: as gemm.wgsl, by matrix units: products in f16 with f32 sums, in fragments of 16 x 16, or with MATRIX8 of
//   8 x 8. A tile is 8 x 8 fragments, of which each of eight subgroups has 4 x 2; where a workgroup has fewer, they
//   take turns, and where it has more, the others only load. What the next step needs is read while this one is
//   multiplied, as in gemm_tiled.wgsl.
// Layouts: a as in gemm_tiled.wgsl. Tiles have two vectors more a row than they need, so that the rows of a fragment
//   are in different banks.
// Grid: ceil(rows / ROWS) * ceil(columns / ROWS) workgroups, columns innermost, folded.
// Workgroup: 27,136 bytes; with MATRIX8 20,480.

//#include "shared/gemm.wgsl"

//#if MATRIX8
const FRAGMENT = 8u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;
//#else
const FRAGMENT = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
//#endif

const THREADS = 256u;
const ROWS = 8u * FRAGMENT;
const STEP = 512u / FRAGMENT;
const STEP_VECTORS = STEP / 4u;
const ROW_VECTORS = ROWS / 4u;
const FRAGMENT_VECTORS = FRAGMENT / 4u;
const A_STRIDE = STEP_VECTORS + 2u;
const B_STRIDE = ROW_VECTORS + 2u;
// Parts of a tile, two above each other and four beside each other.
const PARTS = 8u;
const PART_ROWS = 4u * FRAGMENT;
const PART_COLUMNS = 2u * FRAGMENT;

// [rows][k / 4].
var<workgroup> a_tile: array<vec4<f16>, ROWS * A_STRIDE>;
// [k][columns / 4].
var<workgroup> b_tile: array<vec4<f16>, STEP * B_STRIDE>;
// A fragment of each part, [rows][columns / 4].
var<workgroup> sums: array<vec4<f32>, PARTS * FRAGMENT * FRAGMENT_VECTORS>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let tiles = (params.gemm.columns + ROWS - 1u) / ROWS;
    let tile = workgroup_index(workgroup, grid);
    let first_row = tile / tiles * ROWS;
    let first_column = tile % tiles * ROWS;
    if first_row >= params.gemm.rows {
        return;
    }

    // What this invocation loads: four k of four rows of a, and four vectors of b; of quants four k by four columns.
    let a_vector = thread % STEP_VECTORS;
    let a_row = thread / STEP_VECTORS;
    let a_rows = THREADS / STEP_VECTORS;
    let row0 = row_source(first_row + a_row);
    let row1 = row_source(first_row + a_row + a_rows);
    let row2 = row_source(first_row + a_row + 2u * a_rows);
    let row3 = row_source(first_row + a_row + 3u * a_rows);
    let a_at = a_row * A_STRIDE + a_vector;
    //#if QUANT8|QUANT4
    let b_k = thread % STEP_VECTORS * 4u;
    let b_vector = thread / STEP_VECTORS;
    //#else
    let b_k = thread / ROW_VECTORS;
    let b_vector = thread % ROW_VECTORS;
    let b_step = THREADS / ROW_VECTORS;
    //#endif
    let b_column = first_column + b_vector * 4u;
    let b_at = b_k * B_STRIDE + b_vector;
    let weight_k = weight_start(first_row);
    let depth = params.gemm.taps * tap_vectors() * 4u;

    for (var turn = 0u; turn < PARTS; turn += subgroups) {
        let part = turn + subgroup;
        let has_part = part < PARTS;
        let part_row = part / 4u * PART_ROWS;
        let part_column = part % 4u * PART_COLUMNS;
        // Fragments by row and column.
        var c00 = Sums();
        var c10 = Sums();
        var c20 = Sums();
        var c30 = Sums();
        var c01 = Sums();
        var c11 = Sums();
        var c21 = Sums();
        var c31 = Sums();

        // Where in k it is, and its rows there.
        var tap = a_vector / tap_vectors();
        var vector = a_vector % tap_vectors();
        var source0 = tap_source(row0, tap);
        var source1 = tap_source(row1, tap);
        var source2 = tap_source(row2, tap);
        var source3 = tap_source(row3, tap);
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
        var b2 = Words();
        var b3 = Words();
        //#endif

        for (var first_k = 0u; first_k < depth + STEP; first_k += STEP) {
            if first_k > 0u {
                workgroupBarrier();
                a_tile[a_at] = vec4<f16>(a0);
                a_tile[a_at + a_rows * A_STRIDE] = vec4<f16>(a1);
                a_tile[a_at + 2u * a_rows * A_STRIDE] = vec4<f16>(a2);
                a_tile[a_at + 3u * a_rows * A_STRIDE] = vec4<f16>(a3);
                //#if QUANT8|QUANT4
                let columns = widen_block(b, weight_k + first_k - STEP + b_k);
                b_tile[b_at] = vec4<f16>(columns[0]);
                b_tile[b_at + B_STRIDE] = vec4<f16>(columns[1]);
                b_tile[b_at + 2u * B_STRIDE] = vec4<f16>(columns[2]);
                b_tile[b_at + 3u * B_STRIDE] = vec4<f16>(columns[3]);
                //#else
                b_tile[b_at] = vec4<f16>(widen(b0));
                b_tile[b_at + b_step * B_STRIDE] = vec4<f16>(widen(b1));
                b_tile[b_at + 2u * b_step * B_STRIDE] = vec4<f16>(widen(b2));
                b_tile[b_at + 3u * b_step * B_STRIDE] = vec4<f16>(widen(b3));
                //#endif
                workgroupBarrier();
            }
            if first_k < depth {
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
                vector += STEP_VECTORS;
                if vector >= tap_vectors() {
                    tap += vector / tap_vectors();
                    vector %= tap_vectors();
                    source0 = tap_source(row0, tap);
                    source1 = tap_source(row1, tap);
                    source2 = tap_source(row2, tap);
                    source3 = tap_source(row3, tap);
                }
                let k = weight_k + first_k + b_k;
                //#if QUANT8|QUANT4
                b = load_block(k, b_column);
                //#else
                b0 = load_words(k, b_column);
                b1 = load_words(k + b_step, b_column);
                b2 = load_words(k + 2u * b_step, b_column);
                b3 = load_words(k + 3u * b_step, b_column);
                //#endif
            }
            if first_k == 0u || !has_part {
                continue;
            }
            for (var k = 0u; k < STEP; k += FRAGMENT) {
                let a_first = part_row * A_STRIDE + k / 4u;
                let b_first = k * B_STRIDE + part_column / 4u;
                let left0 = coopLoadT<Left>(&a_tile[a_first], A_STRIDE);
                let left1 = coopLoadT<Left>(&a_tile[a_first + FRAGMENT * A_STRIDE], A_STRIDE);
                let left2 = coopLoadT<Left>(&a_tile[a_first + 2u * FRAGMENT * A_STRIDE], A_STRIDE);
                let left3 = coopLoadT<Left>(&a_tile[a_first + 3u * FRAGMENT * A_STRIDE], A_STRIDE);
                let right0 = coopLoadT<Right>(&b_tile[b_first], B_STRIDE);
                let right1 = coopLoadT<Right>(&b_tile[b_first + FRAGMENT_VECTORS], B_STRIDE);
                c00 = coopMultiplyAdd(left0, right0, c00);
                c10 = coopMultiplyAdd(left1, right0, c10);
                c20 = coopMultiplyAdd(left2, right0, c20);
                c30 = coopMultiplyAdd(left3, right0, c30);
                c01 = coopMultiplyAdd(left0, right1, c01);
                c11 = coopMultiplyAdd(left1, right1, c11);
                c21 = coopMultiplyAdd(left2, right1, c21);
                c31 = coopMultiplyAdd(left3, right1, c31);
            }
        }

        // A fragment of each part at a time, because which invocation has what of it is the device's own affair.
        // Fragments have names, because they are in registers, which have no index.
        let ends = load_ends();
        for (var i = 0u; i < 8u; i++) {
            if has_part {
                let at = part * FRAGMENT * FRAGMENT_VECTORS;
                switch i {
                    case 0u: { coopStoreT(c00, &sums[at], FRAGMENT_VECTORS); }
                    case 1u: { coopStoreT(c10, &sums[at], FRAGMENT_VECTORS); }
                    case 2u: { coopStoreT(c20, &sums[at], FRAGMENT_VECTORS); }
                    case 3u: { coopStoreT(c30, &sums[at], FRAGMENT_VECTORS); }
                    case 4u: { coopStoreT(c01, &sums[at], FRAGMENT_VECTORS); }
                    case 5u: { coopStoreT(c11, &sums[at], FRAGMENT_VECTORS); }
                    case 6u: { coopStoreT(c21, &sums[at], FRAGMENT_VECTORS); }
                    default: { coopStoreT(c31, &sums[at], FRAGMENT_VECTORS); }
                }
            }
            workgroupBarrier();
            let first = turn * FRAGMENT * FRAGMENT_VECTORS;
            let end = min(turn + subgroups, PARTS) * FRAGMENT * FRAGMENT_VECTORS;
            for (var v = first + thread; v < end; v += THREADS) {
                let stored = v / (FRAGMENT * FRAGMENT_VECTORS);
                let row = stored / 4u * PART_ROWS + i % 4u * FRAGMENT + v / FRAGMENT_VECTORS % FRAGMENT;
                let column = stored % 4u * PART_COLUMNS + i / 4u * FRAGMENT + v % FRAGMENT_VECTORS * 4u;
                store(ends, first_row + row, first_column + column, sums[v]);
            }
            workgroupBarrier();
        }
    }
}
