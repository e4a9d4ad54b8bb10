// Formula: what is done with the scores of four queries, in columns, and four keys.
// Layouts: as attention.wgsl.
// Grid: any.
// Workgroup: no memory.

fn weights(s: mat4x4<f32>, most: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(exp2(s[0] - most.x), exp2(s[1] - most.y), exp2(s[2] - most.z), exp2(s[3] - most.w));
}

//#if !PLAIN
// Four keys' biases of a query.
fn bias_column(head: u32, query: u32, key: u32) -> vec4<f32> {
    return vec4<f32>(
        bias_at(head, query, key),
        bias_at(head, query, key + 1u),
        bias_at(head, query, key + 2u),
        bias_at(head, query, key + 3u),
    );
}

fn biases(head: u32, query: u32, key: u32) -> mat4x4<f32> {
    // A loop, because a compiler inlines every call.
    var columns = array<vec4<f32>, 4>();
    for (var i = 0u; i < 4u; i++) {
        columns[i] = bias_column(head, query + i, key);
    }
    return mat4x4<f32>(columns[0], columns[1], columns[2], columns[3]);
}
//#endif

// The last block of keys: the last key's bias, and nothing from keys past it.
fn end(key: u32, s: mat4x4<f32>) -> mat4x4<f32> {
    let keys = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u);
    let last = select(vec4<f32>(), vec4<f32>(params.last_key_bias), keys + 1u == vec4<u32>(params.keys));
    let past = keys >= vec4<u32>(params.keys);
    let never = vec4<f32>(NEVER);
    return mat4x4<f32>(
        select(s[0] + last, never, past),
        select(s[1] + last, never, past),
        select(s[2] + last, never, past),
        select(s[3] + last, never, past),
    );
}
