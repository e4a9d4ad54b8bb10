// Formula: as attention.wgsl, four queries by 16 keys an invocation, without workgroup memory or barriers, for software
//   adapters. The sums stay in out, in the cache of the core that writes them: every head size runs with the same few
//   registers, and 16 keys cost as many loads as an 8 x 8 tile of a matrix product. With QUAD four neighbours work on
//   16 queries of a head, and each loads four of the 16 keys for all: a software adapter reads storage lane by lane,
//   which costs more than the arithmetic. With LONG too they take 32 keys at a time: queries and sums are read half as
//   often. With TEXELS q, k and v are textures, and the sums an array of the invocation: with out they would be most of
//   the time. What is only done sometimes is a loop of one turn or none: both sides of a branch would be run.
// Layouts: as attention.wgsl. With QUAD invocations 4 i to 4 i + 3 of a workgroup are a quad (quad_probe.wgsl).
// Grid: one workgroup for 8 blocks of four queries (QUAD: 2 of 16), queries innermost, folded.
// Workgroup: no memory.

//#if QUAD
// Invocations that work on the same keys, and their queries.
const SHARING = 4u;
const BLOCK_QUERIES = 4u * SHARING;
//#endif

//#if LONG
const BLOCK_KEYS = 32u;
//#else
const BLOCK_KEYS = 16u;
//#endif

//#if TEXELS
alias Row = TexelRow;

fn key_place(head: u32, key: u32) -> Row {
    return texel_row(k, base(2u), head * params.keys + min(key, params.keys - 1u), params.vectors);
}

// Textures of k and v may differ in their heights.
fn value_place(head: u32, key: u32) -> Row {
    return texel_row(v, base(3u), head * params.keys + min(key, params.keys - 1u), params.vectors);
}

fn query_place(head: u32, query: u32) -> Row {
    return texel_row(q, base(1u), head * params.query_stride + min(query, params.queries - 1u), params.vectors);
}

fn load_query(row: Row, c: u32) -> vec4<f32> {
    return load_texel(q, row, c);
}

fn load_key(row: Row, c: u32) -> vec4<f32> {
    return load_texel(k, row, c);
}

fn load_value(row: Row, c: u32) -> vec4<f32> {
    return load_texel(v, row, c);
}
//#else

// The first vector of a row: of k and v both, which have the same rows, counted from their own first.
alias Row = u32;

fn key_place(head: u32, key: u32) -> Row {
    return key_row(head, key);
}

fn value_place(head: u32, key: u32) -> Row {
    return key_row(head, key);
}

fn query_place(head: u32, query: u32) -> Row {
    return query_row(head, query);
}

fn load_query(row: Row, c: u32) -> vec4<f32> {
    return q[row + c];
}

fn load_key(row: Row, c: u32) -> vec4<f32> {
    return k[base(2u) / 4u + row + c];
}

fn load_value(row: Row, c: u32) -> vec4<f32> {
    return v[base(3u) / 4u + row + c];
}
//#endif

//#include "shared/attention_scores.wgsl"

// Rows of four consecutive keys.
alias Rows = array<Row, 4>;

fn key_rows(head: u32, key: u32) -> Rows {
    return Rows(
        key_place(head, key), key_place(head, key + 1u), key_place(head, key + 2u), key_place(head, key + 3u),
    );
}

fn value_rows(head: u32, key: u32) -> Rows {
    return Rows(
        value_place(head, key), value_place(head, key + 1u), value_place(head, key + 2u), value_place(head, key + 3u),
    );
}

fn load_keys(rows: Rows, c: u32) -> mat4x4<f32> {
    return transpose(
        mat4x4<f32>(load_key(rows[0], c), load_key(rows[1], c), load_key(rows[2], c), load_key(rows[3], c)),
    );
}

fn load_values(rows: Rows, c: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        load_value(rows[0], c), load_value(rows[1], c), load_value(rows[2], c), load_value(rows[3], c),
    );
}

//#if QUAD
// What one invocation of the quad has.
fn from0(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        quadBroadcast(m[0], 0u), quadBroadcast(m[1], 0u), quadBroadcast(m[2], 0u), quadBroadcast(m[3], 0u),
    );
}

fn from1(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        quadBroadcast(m[0], 1u), quadBroadcast(m[1], 1u), quadBroadcast(m[2], 1u), quadBroadcast(m[3], 1u),
    );
}

fn from2(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        quadBroadcast(m[0], 2u), quadBroadcast(m[1], 2u), quadBroadcast(m[2], 2u), quadBroadcast(m[3], 2u),
    );
}

fn from3(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        quadBroadcast(m[0], 3u), quadBroadcast(m[1], 3u), quadBroadcast(m[2], 3u), quadBroadcast(m[3], 3u),
    );
}
//#endif

// The largest of 16 logits of a query.
fn largest(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> f32 {
    let m = max(max(a, b), max(c, d));
    return max(max(m.x, m.y), max(m.z, m.w));
}

fn total(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> f32 {
    return dot(a + b + c + d, vec4<f32>(1.0));
}

@compute @workgroup_size(8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    //#if QUAD
    let blocks = (params.queries + BLOCK_QUERIES - 1u) / BLOCK_QUERIES;
    let block = workgroup_index(workgroup, grid) * (8u / SHARING) + thread / SHARING;
    // All take part in the broadcasts: blocks past the last are the last, and nothing of them is stored.
    let head = min(block / blocks, params.heads - 1u);
    let query = block % blocks * BLOCK_QUERIES + thread % SHARING * 4u;
    let exists = block / blocks < params.heads;
    let count = select(0u, min(params.queries - min(query, params.queries), 4u), exists);
    //#endif
    //#if DIRECT
    let blocks = (params.queries + 3u) / 4u;
    let block = workgroup_index(workgroup, grid) * 8u + thread;
    let head = block / blocks;
    let query = block % blocks * 4u;
    if head >= params.heads {
        return;
    }
    let count = min(params.queries - query, 4u);
    //#endif
    let q0 = query_place(head, query);
    let q1 = query_place(head, query + 1u);
    let q2 = query_place(head, query + 2u);
    let q3 = query_place(head, query + 3u);
    let out0 = out_row(head, query);
    let out1 = out_row(head, query + 1u);
    let out2 = out_row(head, query + 2u);
    let out3 = out_row(head, query + 3u);

    var most = vec4<f32>(NEVER);
    var weight = vec4<f32>();
    //#if TEXELS
    // Columns are queries, four of their elements each.
    var sums = array<mat4x4<f32>, 32>();
    //#endif
    let keys = params.keys;
    let vectors = params.vectors;
    for (var key = 0u; key < keys; key += BLOCK_KEYS) {
        //#if QUAD
        let own_key = key + thread % SHARING * 4u;
        let own_rows = key_rows(head, own_key);
        //#if LONG
        let more_rows = key_rows(head, own_key + 16u);
        //#endif
        //#endif
        //#if DIRECT
        let rows0 = key_rows(head, key);
        let rows1 = key_rows(head, key + 4u);
        let rows2 = key_rows(head, key + 8u);
        let rows3 = key_rows(head, key + 12u);
        //#endif

        let is_last = select(0u, 1u, key + BLOCK_KEYS >= keys);
        // Columns are queries, rows are keys.
        var s0 = mat4x4<f32>();
        var s1 = mat4x4<f32>();
        var s2 = mat4x4<f32>();
        var s3 = mat4x4<f32>();
        //#if LONG
        var s4 = mat4x4<f32>();
        var s5 = mat4x4<f32>();
        var s6 = mat4x4<f32>();
        var s7 = mat4x4<f32>();
        //#endif
        for (var c = 0u; c < vectors; c++) {
            let queries = mat4x4<f32>(
                load_query(q0, c), load_query(q1, c), load_query(q2, c), load_query(q3, c),
            );
            //#if QUAD
            let own_keys = load_keys(own_rows, c);
            s0 += from0(own_keys) * queries;
            s1 += from1(own_keys) * queries;
            s2 += from2(own_keys) * queries;
            s3 += from3(own_keys) * queries;
            //#if LONG
            let more_keys = load_keys(more_rows, c);
            s4 += from0(more_keys) * queries;
            s5 += from1(more_keys) * queries;
            s6 += from2(more_keys) * queries;
            s7 += from3(more_keys) * queries;
            //#endif
            //#endif
            //#if DIRECT
            s0 += load_keys(rows0, c) * queries;
            s1 += load_keys(rows1, c) * queries;
            s2 += load_keys(rows2, c) * queries;
            s3 += load_keys(rows3, c) * queries;
            //#endif
        }
        s0 *= params.scale;
        s1 *= params.scale;
        s2 *= params.scale;
        s3 *= params.scale;
        //#if LONG
        s4 *= params.scale;
        s5 *= params.scale;
        s6 *= params.scale;
        s7 *= params.scale;
        //#endif
        for (var once = 0u; once < params.has_bias; once++) {
            s0 += biases(head, query, key);
            s1 += biases(head, query, key + 4u);
            s2 += biases(head, query, key + 8u);
            s3 += biases(head, query, key + 12u);
            //#if LONG
            s4 += biases(head, query, key + 16u);
            s5 += biases(head, query, key + 20u);
            s6 += biases(head, query, key + 24u);
            s7 += biases(head, query, key + 28u);
            //#endif
        }
        for (var once = 0u; once < is_last; once++) {
            s0 = end(key, s0);
            s1 = end(key + 4u, s1);
            s2 = end(key + 8u, s2);
            s3 = end(key + 12u, s3);
            //#if LONG
            s4 = end(key + 16u, s4);
            s5 = end(key + 20u, s5);
            s6 = end(key + 24u, s6);
            s7 = end(key + 28u, s7);
            //#endif
        }

        let last_most = most;
        var block_most = vec4<f32>(
            largest(s0[0], s1[0], s2[0], s3[0]),
            largest(s0[1], s1[1], s2[1], s3[1]),
            largest(s0[2], s1[2], s2[2], s3[2]),
            largest(s0[3], s1[3], s2[3], s3[3]),
        );
        //#if LONG
        let more_most = vec4<f32>(
            largest(s4[0], s5[0], s6[0], s7[0]),
            largest(s4[1], s5[1], s6[1], s7[1]),
            largest(s4[2], s5[2], s6[2], s7[2]),
            largest(s4[3], s5[3], s6[3], s7[3]),
        );
        block_most = max(block_most, more_most);
        //#endif
        most = max(most, block_most);
        s0 = weights(s0, most);
        s1 = weights(s1, most);
        s2 = weights(s2, most);
        s3 = weights(s3, most);
        //#if LONG
        s4 = weights(s4, most);
        s5 = weights(s5, most);
        s6 = weights(s6, most);
        s7 = weights(s7, most);
        //#endif
        var keep = exp2(last_most - most);
        weight = weight * keep + vec4<f32>(
            total(s0[0], s1[0], s2[0], s3[0]),
            total(s0[1], s1[1], s2[1], s3[1]),
            total(s0[2], s1[2], s2[2], s3[2]),
            total(s0[3], s1[3], s2[3], s3[3]),
        );
        //#if LONG
        weight += vec4<f32>(
            total(s4[0], s5[0], s6[0], s7[0]),
            total(s4[1], s5[1], s6[1], s7[1]),
            total(s4[2], s5[2], s6[2], s7[2]),
            total(s4[3], s5[3], s6[3], s7[3]),
        );
        //#endif
        for (var once = 0u; once < is_last; once++) {
            // The sums end here: divide on the way.
            let factor = 1.0 / weight;
            keep *= factor;
            s0 = scaled(s0, factor);
            s1 = scaled(s1, factor);
            s2 = scaled(s2, factor);
            s3 = scaled(s3, factor);
            //#if LONG
            s4 = scaled(s4, factor);
            s5 = scaled(s5, factor);
            s6 = scaled(s6, factor);
            s7 = scaled(s7, factor);
            //#endif
        }

        //#if QUAD
        let own_value_rows = value_rows(head, own_key);
        //#if LONG
        let more_value_rows = value_rows(head, own_key + 16u);
        //#endif
        //#endif
        //#if DIRECT
        let value_rows0 = value_rows(head, key);
        let value_rows1 = value_rows(head, key + 4u);
        let value_rows2 = value_rows(head, key + 8u);
        let value_rows3 = value_rows(head, key + 12u);
        //#endif
        for (var c = 0u; c < vectors; c++) {
            //#if QUAD
            let own_values = load_values(own_value_rows, c);
            var sum = from0(own_values) * s0;
            sum += from1(own_values) * s1;
            sum += from2(own_values) * s2;
            sum += from3(own_values) * s3;
            //#if LONG
            let more_values = load_values(more_value_rows, c);
            sum += from0(more_values) * s4;
            sum += from1(more_values) * s5;
            sum += from2(more_values) * s6;
            sum += from3(more_values) * s7;
            //#endif
            //#endif
            //#if DIRECT
            var sum = load_values(value_rows0, c) * s0;
            sum += load_values(value_rows1, c) * s1;
            sum += load_values(value_rows2, c) * s2;
            sum += load_values(value_rows3, c) * s3;
            //#endif
            //#if TEXELS
            sums[c] = scaled(sums[c], keep) + sum;
            //#else
            if key > 0u {
                let before = mat4x4<f32>(out[out0 + c], out[out1 + c], out[out2 + c], out[out3 + c]);
                sum += scaled(before, keep);
            }
            store(vec4<u32>(out0, out1, out2, out3) + c, count, sum);
            //#endif
        }
    }
    //#if TEXELS
    for (var c = 0u; c < vectors; c++) {
        store(vec4<u32>(out0, out1, out2, out3) + c, count, sums[c]);
    }
    //#endif
}

// The columns of the queries that are there.
fn store(at: vec4<u32>, count: u32, columns: mat4x4<f32>) {
    if count > 0u {
        out[at.x] = columns[0];
    }
    if count > 1u {
        out[at.y] = columns[1];
    }
    if count > 2u {
        out[at.z] = columns[2];
    }
    if count > 3u {
        out[at.w] = columns[3];
    }
}

// Columns times their factors.
fn scaled(a: mat4x4<f32>, by: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(a[0] * by.x, a[1] * by.y, a[2] * by.z, a[3] * by.w);
}
