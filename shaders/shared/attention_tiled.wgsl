// Formula: as attention.wgsl, 64 queries a workgroup, over tiles of 64 keys: logits by 4 x 8 tiles an invocation, from
//   slices of 16 channels of queries and keys; then, half of the keys after the other, sums of four queries by one, two
//   or four vectors, from slices of the values.
// Layouts: as attention.wgsl. d up to 32 with HEAD32, 64 with HEAD64, 128 with HEAD128.
// Grid: one workgroup for 64 queries of a head, queries innermost, folded.
// Workgroup: 16,384 bytes.

const QUERIES = 64u;
const KEYS = 64u;
// Vectors of a value's row, the last ones zero.
//#if HEAD32
const WIDTH = 8u;
//#endif
//#if HEAD64
const WIDTH = 16u;
//#endif
//#if HEAD128
const WIDTH = 32u;
//#endif
// Values of a slice.
//#if HEAD128
const SLICE = 16u;
//#else
const SLICE = 32u;
//#endif
const KEY_STAGE = 256u;

// Queries [16 channels][64 / 4] and, from KEY_STAGE on, keys alike, each vector one channel of four rows; or values
// [SLICE][WIDTH].
var<workgroup> stage: array<vec4<f32>, 512>;
// [half of the keys][queries / 4]; or, to find the largest and the sum, [key groups][queries / 4].
var<workgroup> softmax: array<vec4<f32>, 512>;

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let tiles = (params.queries + QUERIES - 1u) / QUERIES;
    let tile = workgroup_index(workgroup, grid);
    let head = tile / tiles;
    let first_query = tile % tiles * QUERIES;
    if head >= params.heads {
        return;
    }
    // Queries 4 ty.., keys 4 tx.. and 32 + 4 tx.. of a tile, vectors tx + 8 i of the sums.
    let tx = thread % 8u;
    let ty = thread / 8u;
    let query = first_query + ty * 4u;

    // What it loads: four rows of one vector, of the queries or of the keys.
    let part = thread % 4u;
    let loads_queries = thread < 64u;
    let row_vector = thread % 64u / 4u;
    // The swizzle spreads the four vectors that neighbouring invocations write over the banks.
    let stage_first = select(KEY_STAGE, 0u, loads_queries) + part * 64u + (row_vector ^ (part * 2u));

    var most = vec4<f32>(NEVER);
    var weight = vec4<f32>();
    // oRV: query R, vector V.
    var o00 = vec4<f32>();
    var o10 = vec4<f32>();
    var o20 = vec4<f32>();
    var o30 = vec4<f32>();
    //#if !HEAD32
    var o01 = vec4<f32>();
    var o11 = vec4<f32>();
    var o21 = vec4<f32>();
    var o31 = vec4<f32>();
    //#endif
    //#if HEAD128
    var o02 = vec4<f32>();
    var o12 = vec4<f32>();
    var o22 = vec4<f32>();
    var o32 = vec4<f32>();
    var o03 = vec4<f32>();
    var o13 = vec4<f32>();
    var o23 = vec4<f32>();
    var o33 = vec4<f32>();
    //#endif

    for (var first_key = 0u; first_key < params.keys; first_key += KEYS) {
        // sI: key I, four queries.
        var s0 = vec4<f32>();
        var s1 = vec4<f32>();
        var s2 = vec4<f32>();
        var s3 = vec4<f32>();
        var s4 = vec4<f32>();
        var s5 = vec4<f32>();
        var s6 = vec4<f32>();
        var s7 = vec4<f32>();
        for (var slice = 0u; slice < params.vectors; slice += 4u) {
            var a0 = vec4<f32>();
            var a1 = vec4<f32>();
            var a2 = vec4<f32>();
            var a3 = vec4<f32>();
            let c = slice + part;
            if c < params.vectors {
                if loads_queries {
                    let row = first_query + row_vector * 4u;
                    a0 = q[query_row(head, row) + c];
                    a1 = q[query_row(head, row + 1u) + c];
                    a2 = q[query_row(head, row + 2u) + c];
                    a3 = q[query_row(head, row + 3u) + c];
                } else {
                    let row = first_key + row_vector * 4u;
                    let first = base(2u) / 4u + c;
                    a0 = k[first + key_row(head, row)];
                    a1 = k[first + key_row(head, row + 1u)];
                    a2 = k[first + key_row(head, row + 2u)];
                    a3 = k[first + key_row(head, row + 3u)];
                }
            }
            workgroupBarrier();
            stage[stage_first] = vec4<f32>(a0.x, a1.x, a2.x, a3.x);
            stage[stage_first + 16u] = vec4<f32>(a0.y, a1.y, a2.y, a3.y);
            stage[stage_first + 32u] = vec4<f32>(a0.z, a1.z, a2.z, a3.z);
            stage[stage_first + 48u] = vec4<f32>(a0.w, a1.w, a2.w, a3.w);
            workgroupBarrier();
            for (var d = 0u; d < 16u; d++) {
                let swizzle = d / 4u * 2u;
                let u = stage[d * 16u + (ty ^ swizzle)];
                let w = stage[KEY_STAGE + d * 16u + (tx ^ swizzle)];
                let z = stage[KEY_STAGE + d * 16u + 8u + (tx ^ swizzle)];
                s0 += w.x * u;
                s1 += w.y * u;
                s2 += w.z * u;
                s3 += w.w * u;
                s4 += z.x * u;
                s5 += z.y * u;
                s6 += z.z * u;
                s7 += z.w * u;
            }
        }

        let key = first_key + tx * 4u;
        s0 = logits(head, query, key, s0);
        s1 = logits(head, query, key + 1u, s1);
        s2 = logits(head, query, key + 2u, s2);
        s3 = logits(head, query, key + 3u, s3);
        s4 = logits(head, query, key + 32u, s4);
        s5 = logits(head, query, key + 33u, s5);
        s6 = logits(head, query, key + 34u, s6);
        s7 = logits(head, query, key + 35u, s7);
        softmax[tx * 16u + ty] = max(max(max(s0, s1), max(s2, s3)), max(max(s4, s5), max(s6, s7)));
        workgroupBarrier();
        let last_most = most;
        for (var i = 0u; i < 8u; i++) {
            most = max(most, softmax[i * 16u + ty]);
        }
        s0 = exp2(s0 - most);
        s1 = exp2(s1 - most);
        s2 = exp2(s2 - most);
        s3 = exp2(s3 - most);
        s4 = exp2(s4 - most);
        s5 = exp2(s5 - most);
        s6 = exp2(s6 - most);
        s7 = exp2(s7 - most);
        let keep = exp2(last_most - most);
        // Of this invocation's keys only; added up at the end.
        weight = weight * keep + s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7;
        o00 *= keep.x;
        o10 *= keep.y;
        o20 *= keep.z;
        o30 *= keep.w;
        //#if !HEAD32
        o01 *= keep.x;
        o11 *= keep.y;
        o21 *= keep.z;
        o31 *= keep.w;
        //#endif
        //#if HEAD128
        o02 *= keep.x;
        o12 *= keep.y;
        o22 *= keep.z;
        o32 *= keep.w;
        o03 *= keep.x;
        o13 *= keep.y;
        o23 *= keep.z;
        o33 *= keep.w;
        //#endif

        for (var offset = 0u; offset < KEYS; offset += 32u) {
            workgroupBarrier();
            softmax[tx * 64u + ty] = s0;
            softmax[tx * 64u + 16u + ty] = s1;
            softmax[tx * 64u + 32u + ty] = s2;
            softmax[tx * 64u + 48u + ty] = s3;
            s0 = s4;
            s1 = s5;
            s2 = s6;
            s3 = s7;
            for (var slice = 0u; slice < 32u; slice += SLICE) {
                let first = first_key + offset + slice;
                let value0 = load_value(head, first, thread);
                let value1 = load_value(head, first, thread + 128u);
                //#if !HEAD32
                let value2 = load_value(head, first, thread + 256u);
                let value3 = load_value(head, first, thread + 384u);
                //#endif
                workgroupBarrier();
                stage[thread] = value0;
                stage[thread + 128u] = value1;
                //#if !HEAD32
                stage[thread + 256u] = value2;
                stage[thread + 384u] = value3;
                //#endif
                workgroupBarrier();
                for (var j = 0u; j < SLICE; j++) {
                    let p = softmax[(slice + j) * 16u + ty];
                    let v0 = stage[j * WIDTH + tx];
                    o00 += p.x * v0;
                    o10 += p.y * v0;
                    o20 += p.z * v0;
                    o30 += p.w * v0;
                    //#if !HEAD32
                    let v1 = stage[j * WIDTH + 8u + tx];
                    o01 += p.x * v1;
                    o11 += p.y * v1;
                    o21 += p.z * v1;
                    o31 += p.w * v1;
                    //#endif
                    //#if HEAD128
                    let v2 = stage[j * WIDTH + 16u + tx];
                    o02 += p.x * v2;
                    o12 += p.y * v2;
                    o22 += p.z * v2;
                    o32 += p.w * v2;
                    let v3 = stage[j * WIDTH + 24u + tx];
                    o03 += p.x * v3;
                    o13 += p.y * v3;
                    o23 += p.z * v3;
                    o33 += p.w * v3;
                    //#endif
                }
            }
        }
    }

    workgroupBarrier();
    softmax[tx * 16u + ty] = weight;
    workgroupBarrier();
    var sum = vec4<f32>();
    for (var i = 0u; i < 8u; i++) {
        sum += softmax[i * 16u + ty];
    }
    let factor = 1.0 / sum;
    store(head, query, tx, o00 * factor.x);
    store(head, query + 1u, tx, o10 * factor.y);
    store(head, query + 2u, tx, o20 * factor.z);
    store(head, query + 3u, tx, o30 * factor.w);
    //#if !HEAD32
    store(head, query, tx + 8u, o01 * factor.x);
    store(head, query + 1u, tx + 8u, o11 * factor.y);
    store(head, query + 2u, tx + 8u, o21 * factor.z);
    store(head, query + 3u, tx + 8u, o31 * factor.w);
    //#endif
    //#if HEAD128
    store(head, query, tx + 16u, o02 * factor.x);
    store(head, query + 1u, tx + 16u, o12 * factor.y);
    store(head, query + 2u, tx + 16u, o22 * factor.z);
    store(head, query + 3u, tx + 16u, o32 * factor.w);
    store(head, query, tx + 24u, o03 * factor.x);
    store(head, query + 1u, tx + 24u, o13 * factor.y);
    store(head, query + 2u, tx + 24u, o23 * factor.z);
    store(head, query + 3u, tx + 24u, o33 * factor.w);
    //#endif
}

// Logits of one key for four queries.
fn logits(head: u32, query: u32, key: u32, products: vec4<f32>) -> vec4<f32> {
    if key >= params.keys {
        return vec4<f32>(NEVER);
    }
    var s = products * params.scale;
    if params.has_bias != 0u {
        s += vec4<f32>(
            bias_at(head, query, key),
            bias_at(head, query + 1u, key),
            bias_at(head, query + 2u, key),
            bias_at(head, query + 3u, key),
        );
    }
    return s + select(0.0, params.last_key_bias, key + 1u == params.keys);
}

// Vector i of a slice of values; zero past the head's width.
fn load_value(head: u32, first_key: u32, i: u32) -> vec4<f32> {
    let c = i % WIDTH;
    if c >= params.vectors {
        return vec4<f32>();
    }
    return v[base(3u) / 4u + key_row(head, first_key + i / WIDTH) + c];
}

fn store(head: u32, query: u32, c: u32, value: vec4<f32>) {
    if query < params.queries && c < params.vectors {
        out[out_row(head, query) + c] = value;
    }
}
