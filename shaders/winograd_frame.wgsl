// Formula: V[p][block, t * C + c] = (B^T d B)[p / 4, p % 4] of the 4 x 4 pixels d of channel c of frame t that a block
//   of 2 x 2 results reaches, with B^T = [1, 0, -1, 0; 0, 1, 1, 0; 0, -1, 1, 0; 0, 1, 0, -1]: Winograd's F(2x2, 3x3).
//   What is outside of the frame is 0. With upsample the frames are doubled in both directions first, by the gather.
// Layouts: one frame, with TWO and THREE as many, [height, width, C], slabs of rows from first_in_row on; V
//   [16][padded, depth], of which the first `blocks` rows are written: whole rows of block_width from first_block_row
//   on. All start at whole vectors, and C and depth are multiples of 4.
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
    pad: u32,
    // 0, or 1 where the frame is doubled.
    upsample: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> frame0: array<vec4<f32>>;
//#if TWO|THREE
@group(0) @binding(2) var<storage, read> frame1: array<vec4<f32>>;
//#endif
//#if THREE
@group(0) @binding(3) var<storage, read> frame2: array<vec4<f32>>;
//#endif
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

// B^T of four pixels in a line.
fn spread(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> array<vec4<f32>, 4> {
    return array<vec4<f32>, 4>(a - c, b + c, c - b, b - d);
}

// Four channels of a pixel of the frames by their first vector; or of one outside of them, which is zero.
struct Pixel {
    at: u32,
    outside: bool,
}

// A pixel of the (doubled) frames. Above and left of them the numbers have wrapped to large ones.
fn pixel(at: vec2<u32>, vector: u32) -> Pixel {
    let size = vec2<u32>(params.height, params.width) << vec2<u32>(params.upsample);
    let outside = any(at >= size);
    let source = at >> vec2<u32>(params.upsample);
    let index = ((source.x - params.first_in_row) * params.width + source.y) * (params.channels / 4u) + vector;
    return Pixel(select(index, 0u, outside), outside);
}

// Four pixels in a line.
fn pixels(at: vec2<u32>, vector: u32) -> array<Pixel, 4> {
    return array<Pixel, 4>(
        pixel(at, vector),
        pixel(at + vec2<u32>(0u, 1u), vector),
        pixel(at + vec2<u32>(0u, 2u), vector),
        pixel(at + vec2<u32>(0u, 3u), vector),
    );
}

fn load0(p: Pixel) -> vec4<f32> {
    return select(frame0[base(1u) / 4u + p.at], vec4<f32>(), p.outside);
}

fn row0(p: array<Pixel, 4>) -> array<vec4<f32>, 4> {
    return spread(load0(p[0]), load0(p[1]), load0(p[2]), load0(p[3]));
}

//#if TWO|THREE
fn load1(p: Pixel) -> vec4<f32> {
    return select(frame1[base(2u) / 4u + p.at], vec4<f32>(), p.outside);
}

fn row1(p: array<Pixel, 4>) -> array<vec4<f32>, 4> {
    return spread(load1(p[0]), load1(p[1]), load1(p[2]), load1(p[3]));
}
//#endif

//#if THREE
fn load2(p: Pixel) -> vec4<f32> {
    return select(frame2[base(3u) / 4u + p.at], vec4<f32>(), p.outside);
}

fn row2(p: array<Pixel, 4>) -> array<vec4<f32>, 4> {
    return spread(load2(p[0]), load2(p[1]), load2(p[2]), load2(p[3]));
}
//#endif

// A column of the sixteen values.
fn put(at: u32, column: u32, values: array<vec4<f32>, 4>) {
    let next = params.padded * params.depth / 4u;
    let first = base(4u) / 4u + column * next + at;
    out[first] = values[0];
    out[first + 4u * next] = values[1];
    out[first + 8u * next] = values[2];
    out[first + 12u * next] = values[3];
}

// The sixteen values of a frame's block.
fn transform(
    at: u32,
    a: array<vec4<f32>, 4>,
    b: array<vec4<f32>, 4>,
    c: array<vec4<f32>, 4>,
    d: array<vec4<f32>, 4>,
) {
    put(at, 0u, spread(a[0], b[0], c[0], d[0]));
    put(at, 1u, spread(a[1], b[1], c[1], d[1]));
    put(at, 2u, spread(a[2], b[2], c[2], d[2]));
    put(at, 3u, spread(a[3], b[3], c[3], d[3]));
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
    // Written out, because a software adapter keeps arrays that are walked over in memory.
    let a = pixels(corner, vector);
    let b = pixels(corner + vec2<u32>(1u, 0u), vector);
    let c = pixels(corner + vec2<u32>(2u, 0u), vector);
    let d = pixels(corner + vec2<u32>(3u, 0u), vector);
    let first = block * params.depth / 4u + vector;
    transform(first, row0(a), row0(b), row0(c), row0(d));
    //#if TWO|THREE
    transform(first + vectors, row1(a), row1(b), row1(c), row1(d));
    //#endif
    //#if THREE
    transform(first + 2u * vectors, row2(a), row2(b), row2(c), row2(d));
    //#endif
}
