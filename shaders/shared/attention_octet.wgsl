// Formula: as attention.wgsl, 32 queries by 32 keys eight neighbouring invocations that broadcast to each other. For
//   the scores each has four of the queries, and what it loads of four keys is broadcast. For the sums each has all
//   queries and eight columns of v (HEAD128: 16), and the weights are broadcast, as values of rows are in
//   gemm_octet.wgsl. What is only done sometimes is a loop of one turn or none: both sides of a branch would be run.
//   lavapipe runs such a loop once all the same, so that it has a variant without bias, PLAIN.
// Layouts: as attention.wgsl, q, k and v as storage textures; d up to 64, with HEAD128 up to 128. Invocations of a
//   workgroup are one subgroup, in its order (octet_probe.wgsl).
// Grid: one workgroup for a block of 32 queries of a head, queries innermost, folded.
// Workgroup: no memory.

//#include "shared/attention_scores.wgsl"
//#include "shared/octet.wgsl"
//#include "shared/octet_sums.wgsl"

const QUERIES = 32u;
const KEYS = 32u;

// Rows of a head in a texture, read once: lavapipe reads a uniform anew wherever it is named.
struct Rows {
    first: u32,
    last: u32,
    vectors: u32,
    shift: u32,
}

// Four consecutive rows of a texture; past the last it is the last.
alias FourRows = array<TexelRow, 4>;

fn row_at(rows: Rows, i: u32) -> TexelRow {
    return shifted_row(rows.shift, rows.first + min(i, rows.last), rows.vectors);
}

fn four_rows(rows: Rows, i: u32) -> FourRows {
    return FourRows(row_at(rows, i), row_at(rows, i + 1u), row_at(rows, i + 2u), row_at(rows, i + 3u));
}

// Four elements of each, in columns.
fn load_rows(all: texture_storage_2d<rgba32float, read>, rows: FourRows, c: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        load_texel(all, rows[0], c),
        load_texel(all, rows[1], c),
        load_texel(all, rows[2], c),
        load_texel(all, rows[3], c),
    );
}

// Scores and weights of four queries, in columns, and 32 keys.
struct Scores {
    s0: mat4x4<f32>,
    s1: mat4x4<f32>,
    s2: mat4x4<f32>,
    s3: mat4x4<f32>,
    s4: mat4x4<f32>,
    s5: mat4x4<f32>,
    s6: mat4x4<f32>,
    s7: mat4x4<f32>,
}

// The keys of one of eight matrices, by selection.
fn pick_keys(s: Scores, column: u32, i: u32) -> vec4<f32> {
    let low = pick_row(mat4x4<f32>(s.s0[column], s.s1[column], s.s2[column], s.s3[column]), i);
    let high = pick_row(mat4x4<f32>(s.s4[column], s.s5[column], s.s6[column], s.s7[column]), i);
    return select(low, high, i >= 4u);
}

// The largest of the keys of a query.
fn largest(s: Scores, column: u32) -> f32 {
    let low = max(max(s.s0[column], s.s1[column]), max(s.s2[column], s.s3[column]));
    let high = max(max(s.s4[column], s.s5[column]), max(s.s6[column], s.s7[column]));
    let m = max(low, high);
    return max(max(m.x, m.y), max(m.z, m.w));
}

fn total(s: Scores, column: u32) -> f32 {
    let low = s.s0[column] + s.s1[column] + s.s2[column] + s.s3[column];
    return dot(low + s.s4[column] + s.s5[column] + s.s6[column] + s.s7[column], vec4<f32>(1.0));
}

fn all_weights(s: Scores, most: vec4<f32>) -> Scores {
    return Scores(
        weights(s.s0, most), weights(s.s1, most), weights(s.s2, most), weights(s.s3, most),
        weights(s.s4, most), weights(s.s5, most), weights(s.s6, most), weights(s.s7, most),
    );
}

// Rows times the factors that the invocations have of them, a component a group of rows.
fn rescale(
    sums0: ptr<function, Sums>,
    sums1: ptr<function, Sums>,
    sums2: ptr<function, Sums>,
    sums3: ptr<function, Sums>,
    by: vec4<f32>,
) {
    rescale_group(sums0, by.x);
    rescale_group(sums1, by.y);
    rescale_group(sums2, by.z);
    rescale_group(sums3, by.w);
}

fn rescale_group(sums: ptr<function, Sums>, by: f32) {
    rescale_half(sums, LEFT, by);
    rescale_half(sums, RIGHT, by);
}

fn rescale_half(sums: ptr<function, Sums>, first: u32, by: f32) {
    (*sums)[first] *= subgroupBroadcast(by, 0u);
    (*sums)[first + 1u] *= subgroupBroadcast(by, 1u);
    (*sums)[first + 2u] *= subgroupBroadcast(by, 2u);
    (*sums)[first + 3u] *= subgroupBroadcast(by, 3u);
    (*sums)[first + 4u] *= subgroupBroadcast(by, 4u);
    (*sums)[first + 5u] *= subgroupBroadcast(by, 5u);
    (*sums)[first + 6u] *= subgroupBroadcast(by, 6u);
    (*sums)[first + 7u] *= subgroupBroadcast(by, 7u);
}

// Adds four columns of the values of the keys from `key` on, by their weights.
fn add_values(
    sums0: ptr<function, Sums>,
    sums1: ptr<function, Sums>,
    sums2: ptr<function, Sums>,
    sums3: ptr<function, Sums>,
    first: u32,
    s: Scores,
    rows: Rows,
    key: u32,
    c: u32,
) {
    for (var i = 0u; i < KEYS / 4u; i++) {
        let values = load_rows(v, four_rows(rows, key + i * 4u), c);
        add_rows(sums0, first, pick_keys(s, 0u, i), values);
        add_rows(sums1, first, pick_keys(s, 1u, i), values);
        add_rows(sums2, first, pick_keys(s, 2u, i), values);
        add_rows(sums3, first, pick_keys(s, 3u, i), values);
    }
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let queries = params.queries;
    let keys = params.keys;
    let vectors = params.vectors;
    let blocks = (queries + QUERIES - 1u) / QUERIES;
    let block = workgroup_index(workgroup, grid);
    // All take part in the broadcasts: blocks past the last are the last, and nothing of them is stored.
    let head = min(block / blocks, params.heads - 1u);
    let exists = block / blocks < params.heads;
    let first_query = block % blocks * QUERIES;
    let query = first_query + thread * 4u;
    let query_rows = four_rows(Rows(head * params.query_stride, queries - 1u, vectors, base(1u)), query);
    let key_rows = Rows(head * keys, keys - 1u, vectors, base(2u));
    let value_rows = Rows(head * keys, keys - 1u, vectors, base(3u));

    var most = vec4<f32>(NEVER);
    var weight = vec4<f32>();
    // Of the first query of each invocation, of the second, third and fourth; of columns below 64.
    var low0 = Sums();
    var low1 = Sums();
    var low2 = Sums();
    var low3 = Sums();
    //#if HEAD128
    // Of the others.
    var high0 = Sums();
    var high1 = Sums();
    var high2 = Sums();
    var high3 = Sums();
    //#endif
    for (var key = 0u; key < keys; key += KEYS) {
        let own_rows = four_rows(key_rows, key + thread * 4u);
        let is_last = select(0u, 1u, key + KEYS >= keys);
        var s = Scores();
        for (var c = 0u; c < vectors; c++) {
            let own_queries = load_rows(q, query_rows, c);
            let own_keys = transpose(load_rows(k, own_rows, c));
            s.s0 += from0(own_keys) * own_queries;
            s.s1 += from1(own_keys) * own_queries;
            s.s2 += from2(own_keys) * own_queries;
            s.s3 += from3(own_keys) * own_queries;
            s.s4 += from4(own_keys) * own_queries;
            s.s5 += from5(own_keys) * own_queries;
            s.s6 += from6(own_keys) * own_queries;
            s.s7 += from7(own_keys) * own_queries;
        }
        s.s0 *= params.scale;
        s.s1 *= params.scale;
        s.s2 *= params.scale;
        s.s3 *= params.scale;
        s.s4 *= params.scale;
        s.s5 *= params.scale;
        s.s6 *= params.scale;
        s.s7 *= params.scale;
        //#if !PLAIN
        for (var once = 0u; once < params.has_bias; once++) {
            s.s0 += biases(head, query, key);
            s.s1 += biases(head, query, key + 4u);
            s.s2 += biases(head, query, key + 8u);
            s.s3 += biases(head, query, key + 12u);
            s.s4 += biases(head, query, key + 16u);
            s.s5 += biases(head, query, key + 20u);
            s.s6 += biases(head, query, key + 24u);
            s.s7 += biases(head, query, key + 28u);
        }
        //#endif
        for (var once = 0u; once < is_last; once++) {
            s.s0 = end(key, s.s0);
            s.s1 = end(key + 4u, s.s1);
            s.s2 = end(key + 8u, s.s2);
            s.s3 = end(key + 12u, s.s3);
            s.s4 = end(key + 16u, s.s4);
            s.s5 = end(key + 20u, s.s5);
            s.s6 = end(key + 24u, s.s6);
            s.s7 = end(key + 28u, s.s7);
        }

        let last_most = most;
        most = max(most, vec4<f32>(largest(s, 0u), largest(s, 1u), largest(s, 2u), largest(s, 3u)));
        s = all_weights(s, most);
        let keep = exp2(last_most - most);
        weight = weight * keep + vec4<f32>(total(s, 0u), total(s, 1u), total(s, 2u), total(s, 3u));

        rescale(&low0, &low1, &low2, &low3, keep);
        // Loops of their own: the code of a turn of all would not fit into what a core has at hand of it.
        add_values(&low0, &low1, &low2, &low3, LEFT, s, value_rows, key, min(thread, vectors - 1u));
        add_values(&low0, &low1, &low2, &low3, RIGHT, s, value_rows, key, min(thread + 8u, vectors - 1u));
        //#if HEAD128
        rescale(&high0, &high1, &high2, &high3, keep);
        add_values(&high0, &high1, &high2, &high3, LEFT, s, value_rows, key, min(thread + 16u, vectors - 1u));
        add_values(&high0, &high1, &high2, &high3, RIGHT, s, value_rows, key, min(thread + 24u, vectors - 1u));
        //#endif
    }
    let factor = 1.0 / weight;
    rescale(&low0, &low1, &low2, &low3, factor);
    //#if HEAD128
    rescale(&high0, &high1, &high2, &high3, factor);
    //#endif
    for (var i = 0u; i < 8u; i++) {
        let first = first_query + i * 4u;
        let low_left = pick_rows(&low0, &low1, &low2, &low3, LEFT, i);
        let low_right = pick_rows(&low0, &low1, &low2, &low3, RIGHT, i);
        //#if HEAD128
        let high_left = pick_rows(&high0, &high1, &high2, &high3, LEFT, i);
        let high_right = pick_rows(&high0, &high1, &high2, &high3, RIGHT, i);
        //#endif
        for (var group = 0u; group < 4u; group++) {
            if exists && first + group < queries {
                let row = out_row(head, first + group);
                store(row, thread, vectors, pick_row(low_left, group));
                store(row, thread + 8u, vectors, pick_row(low_right, group));
                //#if HEAD128
                store(row, thread + 16u, vectors, pick_row(high_left, group));
                store(row, thread + 24u, vectors, pick_row(high_right, group));
                //#endif
            }
        }
    }
}

fn store(row: u32, c: u32, vectors: u32, sum: vec4<f32>) {
    if c < vectors {
        out[row + c] = sum;
    }
}
