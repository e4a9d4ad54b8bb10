// Formula: out[i] = sum over k < terms of coefficients[first + k] * x_k[i]; a coefficient of 0 leaves its term unread.
// Layouts: x_k and out any shape, the same; coefficients a vector. Unused terms repeat the first.
// Grid: one workgroup for 256 elements, folded.
// Workgroup: no memory.

struct Params {
    base: array<vec4<u32>, 2>,
    // Elements.
    count: u32,
    terms: u32,
    first: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<f32>;
@group(0) @binding(2) var<storage, read> x1: array<f32>;
@group(0) @binding(3) var<storage, read> x2: array<f32>;
@group(0) @binding(4) var<storage, read> x3: array<f32>;
@group(0) @binding(5) var<storage, read> x4: array<f32>;
@group(0) @binding(6) var<storage, read> coefficients: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

fn term(k: u32, i: u32) -> f32 {
    switch k {
        case 0u: {
            return x0[base(1u) + i];
        }
        case 1u: {
            return x1[base(2u) + i];
        }
        case 2u: {
            return x2[base(3u) + i];
        }
        case 3u: {
            return x3[base(4u) + i];
        }
        default: {
            return x4[base(5u) + i];
        }
    }
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(workgroup, grid) * 256u + thread;
    if i >= params.count {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < params.terms; k++) {
        let coefficient = coefficients[base(6u) + params.first + k];
        if coefficient != 0.0 {
            sum += coefficient * term(k, i);
        }
    }
    out[base(7u) + i] = sum;
}
