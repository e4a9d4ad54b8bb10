// Formula: as gemm.wgsl, 32 x 64 results eight neighbouring invocations that broadcast to each other what they load of
//   a: each has all rows of eight columns. 12 loads for 1,024 products. With 40 rows there were fewer, but the code of
//   a turn would not fit into a core's 32 KB of instructions.
// Layouts: as gemm_quad.wgsl, with storage textures. Invocations of a workgroup are one subgroup, in its order
//   (octet_probe.wgsl).
// Grid: one workgroup for a block, down the columns of blocks, folded.
// Workgroup: no memory.

//#include "shared/gemm.wgsl"

const ROWS = 32u;

// Of eight rows, by row; of four columns and, from the eighth on, of four others 32 further on.
alias Sums = array<vec4<f32>, 16>;

// acc + b a.
fn multiply_add(b: mat4x4<f32>, a: vec4<f32>, acc: vec4<f32>) -> vec4<f32> {
    return fma(b[3], a.wwww, fma(b[2], a.zzzz, fma(b[1], a.yyyy, fma(b[0], a.xxxx, acc))));
}

fn add_row(sums: ptr<function, Sums>, row: u32, a: vec4<f32>, left: mat4x4<f32>, right: mat4x4<f32>) {
    (*sums)[row] = multiply_add(left, a, (*sums)[row]);
    (*sums)[row + 8u] = multiply_add(right, a, (*sums)[row + 8u]);
}

// a is four k of the row of this invocation; left and right are the weights of its columns there.
fn add_rows(sums: ptr<function, Sums>, a: vec4<f32>, left: mat4x4<f32>, right: mat4x4<f32>) {
    add_row(sums, 0u, subgroupBroadcast(a, 0u), left, right);
    add_row(sums, 1u, subgroupBroadcast(a, 1u), left, right);
    add_row(sums, 2u, subgroupBroadcast(a, 2u), left, right);
    add_row(sums, 3u, subgroupBroadcast(a, 3u), left, right);
    add_row(sums, 4u, subgroupBroadcast(a, 4u), left, right);
    add_row(sums, 5u, subgroupBroadcast(a, 5u), left, right);
    add_row(sums, 6u, subgroupBroadcast(a, 6u), left, right);
    add_row(sums, 7u, subgroupBroadcast(a, 7u), left, right);
}

// One of four, by selection: an index that is not known is costly.
fn pick_row(values: mat4x4<f32>, i: u32) -> vec4<f32> {
    let odd = i % 2u == 1u;
    return select(select(values[0], values[1], odd), select(values[2], values[3], odd), i / 2u % 2u == 1u);
}

// The same of sixteen.
fn pick(sums: ptr<function, Sums>, i: u32) -> vec4<f32> {
    let quarters = mat4x4<f32>(
        pick_row(mat4x4<f32>((*sums)[0], (*sums)[1], (*sums)[2], (*sums)[3]), i),
        pick_row(mat4x4<f32>((*sums)[4], (*sums)[5], (*sums)[6], (*sums)[7]), i),
        pick_row(mat4x4<f32>((*sums)[8], (*sums)[9], (*sums)[10], (*sums)[11]), i),
        pick_row(mat4x4<f32>((*sums)[12], (*sums)[13], (*sums)[14], (*sums)[15]), i),
    );
    return pick_row(quarters, i / 4u);
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row_blocks = (params.gemm.rows + ROWS - 1u) / ROWS;
    let block = workgroup_index(workgroup, grid);
    // Blocks past the last are right of the last column, where nothing is stored.
    let row = block % row_blocks * ROWS;
    let j = block / row_blocks * 64u + thread * 4u;

    let row0 = row_source(row + thread);
    let row1 = row_source(row + 8u + thread);
    let row2 = row_source(row + 16u + thread);
    let row3 = row_source(row + 24u + thread);
    var sums0 = Sums();
    var sums1 = Sums();
    var sums2 = Sums();
    var sums3 = Sums();
    let first_k = weight_start(row);
    let vectors = tap_vectors();
    //#if QUANT4
    // 32 k, which are of one group, and of one texel.
    let span = 8u;
    //#endif
    //#if QUANT8
    // 16 k, as well.
    let span = 4u;
    //#endif
    //#if !QUANT8|QUANT4
    let span = vectors;
    let rows = weight_rows();
    let column0 = texel_column(rows, j);
    let column1 = texel_column(rows, j + 32u);
    //#endif
    for (var tap = 0u; tap < params.gemm.taps; tap++) {
        let source0 = tap_source(row0, tap);
        let source1 = tap_source(row1, tap);
        let source2 = tap_source(row2, tap);
        let source3 = tap_source(row3, tap);
        for (var first = 0u; first < vectors; first += span) {
            //#if QUANT8|QUANT4
            let elements0 = elements(first * 4u, j);
            let scales0 = widen_groups(load_groups(elements0));
            let packs0 = load_packs(elements0);
            let elements1 = elements(first * 4u, j + 32u);
            let scales1 = widen_groups(load_groups(elements1));
            let packs1 = load_packs(elements1);
            //#endif
            for (var vector = first; vector < min(first + span, vectors); vector++) {
                let k = first_k + (tap * vectors + vector) * 4u;
                //#if QUANT8|QUANT4
                let left = widen_quants(pack_quants(packs0, k), scales0, k);
                let right = widen_quants(pack_quants(packs1, k), scales1, k);
                //#else
                let right = load_rows(rows, k, column1);
                let left = load_rows(rows, k, column0);
                //#endif
                add_rows(&sums0, load_tap(source0, vector), left, right);
                add_rows(&sums1, load_tap(source1, vector), left, right);
                add_rows(&sums2, load_tap(source2, vector), left, right);
                add_rows(&sums3, load_tap(source3, vector), left, right);
            }
        }
    }

    // Two loops, of which one has no turns: lavapipe runs both sides of every branch, and the body of every loop once,
    // so that in a single one each row would pay for what only some products end with. Sums are selected, because a
    // copy of them would be stored invocation by invocation.
    let ends = load_ends();
    let plain = ends.activation == 0u && ends.combine == 0u && ends.relu == 0u;
    let turns = select(0u, 16u, plain);
    for (var i = 0u; i < turns; i++) {
        let column = j + i / 8u * 32u;
        var bias = vec4<f32>();
        for (var once = 0u; once < ends.has_bias; once++) {
            bias = bias_at(ends, min(column, ends.columns - 1u));
        }
        let sums = mat4x4<f32>(pick(&sums0, i), pick(&sums1, i), pick(&sums2, i), pick(&sums3, i));
        for (var group = 0u; group < 4u; group++) {
            let at = row + group * 8u + i % 8u;
            if at < ends.rows && column < ends.columns {
                write(ends.out + at * ends.width + ends.column + column, 4u, bias + pick_row(sums, group));
            }
        }
    }
    let full_turns = select(16u, 0u, plain);
    for (var i = 0u; i < full_turns; i++) {
        let sums = mat4x4<f32>(pick(&sums0, i), pick(&sums1, i), pick(&sums2, i), pick(&sums3, i));
        for (var group = 0u; group < 4u; group++) {
            store(ends, row + group * 8u + i % 8u, j + i / 8u * 32u, pick_row(sums, group));
        }
    }
}
