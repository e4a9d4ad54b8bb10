// Formula: out[h, i] = table[bucket(i), h] for the columns first..first + count.
// Layouts: table [buckets, heads]; out [heads of the slab, columns]. The buckets are constant over runs of columns, of
// which a dispatch takes up to 32: (start, bucket, start, bucket) in each vector, starts ascending.
// Grid: one workgroup for 256 elements, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    runs: array<vec4<u32>, 16>,
    run_count: u32,
    first: u32,
    count: u32,
    columns: u32,
    // Heads of the slab, its first head, heads of the table.
    slab_heads: u32,
    first_head: u32,
    heads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

fn bucket(column: u32) -> u32 {
    var found = params.runs[0].y;
    for (var k = 1u; k < params.run_count; k++) {
        let pair = params.runs[k / 2u];
        let run = select(pair.xy, pair.zw, k % 2u == 1u);
        if run.x <= column {
            found = run.y;
        }
    }
    return found;
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(workgroup, grid) * 256u + thread;
    if i >= params.count * params.slab_heads {
        return;
    }
    let head = i / params.count;
    let column = params.first + i % params.count;
    let row = bucket(column) * params.heads;
    out[base(2u) + head * params.columns + column] = table[base(1u) + row + params.first_head + head];
}
