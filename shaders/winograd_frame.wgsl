// Formula: V[p][block, first + c] = (B^T d B)[p / 4, p % 4] of the 4 x 4 pixels d of channel c that a block of 2 x 2
//   results reaches, with B^T = [1, 0, -1, 0; 0, 1, 1, 0; 0, -1, 1, 0; 0, 1, 0, -1]: Winograd's F(2x2, 3x3). What is
//   outside of the frame is 0. With upsample the frame is doubled in both directions first, by the gather.
// Layouts: frame [height, width, C], a slab of rows from first_in_row on; V [16][padded, depth], of which the first
//   `blocks` rows are written: whole rows of block_width from first_block_row on. Both start at whole vectors, and C,
//   depth and first are multiples of 4.
// Grid: one workgroup for 256 vectors of four channels of the blocks, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    height: u32,
    width: u32,
    channels: u32,
    first_in_row: u32,
    blocks: u32,
    padded: u32,
    block_width: u32,
    first_block_row: u32,
    depth: u32,
    first: u32,
    pad: u32,
    // 0, or 1 where the frame is doubled.
    upsample: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> frame: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"
//#include "shared/winograd_put.wgsl"

// B^T of four pixels in a line.
fn spread(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> array<vec4<f32>, 4> {
    return array<vec4<f32>, 4>(a - c, b + c, c - b, b - d);
}

// Four channels of a pixel of the (doubled) frame. Above and left of it the numbers have wrapped to large ones.
fn pixel(at: vec2<u32>, vector: u32) -> vec4<f32> {
    let size = vec2<u32>(params.height, params.width) << vec2<u32>(params.upsample);
    let outside = any(at >= size);
    let source = at >> vec2<u32>(params.upsample);
    let index = ((source.x - params.first_in_row) * params.width + source.y) * (params.channels / 4u) + vector;
    return select(frame[base(1u) / 4u + select(index, 0u, outside)], vec4<f32>(), outside);
}

// A row of the block's pixels.
fn pixels(at: vec2<u32>, vector: u32) -> array<vec4<f32>, 4> {
    return spread(
        pixel(at, vector),
        pixel(at + vec2<u32>(0u, 1u), vector),
        pixel(at + vec2<u32>(0u, 2u), vector),
        pixel(at + vec2<u32>(0u, 3u), vector),
    );
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = workgroup_index(workgroup, grid) * 256u + thread;
    let vectors = params.channels / 4u;
    let block = at / vectors;
    let vector = at % vectors;
    if block >= params.blocks {
        return;
    }
    let place = vec2<u32>(params.first_block_row + block / params.block_width, block % params.block_width);
    let corner = place * 2u - params.pad;
    // Written out, because a software adapter keeps arrays that are walked over in memory. One frame a dispatch,
    // because three take its compiler eight times as long.
    let a = pixels(corner, vector);
    let b = pixels(corner + vec2<u32>(1u, 0u), vector);
    let c = pixels(corner + vec2<u32>(2u, 0u), vector);
    let d = pixels(corner + vec2<u32>(3u, 0u), vector);
    let first = base(2u) / 4u + (block * params.depth + params.first) / 4u + vector;
    let next = params.padded * params.depth / 4u;
    put(first, next, spread(a[0], b[0], c[0], d[0]));
    put(first + next, next, spread(a[1], b[1], c[1], d[1]));
    put(first + 2u * next, next, spread(a[2], b[2], c[2], d[2]));
    put(first + 3u * next, next, spread(a[3], b[3], c[3], d[3]));
}
