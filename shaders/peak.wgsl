// Formula: out[i] = the sum of twelve chains x = x * factor + term of 8 * rounds links each; with DOT4 a link is
//   x = x + dot(x, factor) of four signed bytes each. What a device can multiply and add when it does nothing else.
// Layouts: out [invocations]: written so that nothing is left out.
// Grid: any number of workgroups, folded; each invocation writes one element.
// Workgroup: no memory.
//#if F16
enable f16;
//#endif

struct Params {
    base: array<vec4<u32>, 2>,
    rounds: u32,
    factor: f32,
    term: f32,
    bytes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

//#include "shared/base.wgsl"
//#include "shared/grid.wgsl"

//#if F32
alias Chains = vec4<f32>;
//#endif
//#if F16
alias Chains = vec4<f16>;
//#endif
//#if DOT4
alias Chains = vec4<i32>;
//#endif

//#if DOT4
fn link(x: Chains, factor: Chains, term: Chains) -> Chains {
    let u = bitcast<vec4<u32>>(x);
    let bytes = bitcast<vec4<u32>>(factor);
    return x + vec4<i32>(
        dot4I8Packed(u.x, bytes.x),
        dot4I8Packed(u.y, bytes.y),
        dot4I8Packed(u.z, bytes.z),
        dot4I8Packed(u.w, bytes.w),
    );
}
//#else
fn link(x: Chains, factor: Chains, term: Chains) -> Chains {
    return fma(x, factor, term);
}
//#endif

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(workgroup, grid) * 256u + thread;
    //#if DOT4
    let factor = vec4<i32>(bitcast<i32>(params.bytes));
    let term = factor;
    let start = Chains(vec4<u32>(thread, thread + 1u, thread + 2u, thread + 3u));
    //#else
    let factor = Chains(vec4<f32>(params.factor));
    let term = Chains(vec4<f32>(params.term));
    let start = Chains(vec4<f32>(vec4<u32>(thread, thread + 1u, thread + 2u, thread + 3u)) * params.term);
    //#endif
    var a = start;
    var b = start + term;
    var c = start - term;
    // Eight links of each chain, so that the loop itself costs next to nothing; neighbours do not wait for each other.
    for (var round = 0u; round < params.rounds; round++) {
        a = link(a, factor, term);
        b = link(b, factor, term);
        c = link(c, factor, term);
        a = link(a, factor, term);
        b = link(b, factor, term);
        c = link(c, factor, term);
        a = link(a, factor, term);
        b = link(b, factor, term);
        c = link(c, factor, term);
        a = link(a, factor, term);
        b = link(b, factor, term);
        c = link(c, factor, term);
        a = link(a, factor, term);
        b = link(b, factor, term);
        c = link(c, factor, term);
        a = link(a, factor, term);
        b = link(b, factor, term);
        c = link(c, factor, term);
        a = link(a, factor, term);
        b = link(b, factor, term);
        c = link(c, factor, term);
        a = link(a, factor, term);
        b = link(b, factor, term);
        c = link(c, factor, term);
    }
    let sum = vec4<f32>(a) + vec4<f32>(b) + vec4<f32>(c);
    out[base(1u) + i] = sum.x + sum.y + sum.z + sum.w;
}
