// Formula: sums of 32 rows and 64 columns, in four groups of eight rows, and what is added to them.
// Layouts: each of eight neighbouring invocations, a workgroup, has all rows of eight columns, and broadcasts what it
//   has of a row. Invocations of a workgroup are one subgroup, in its order (octet_probe.wgsl).
// Grid: any.
// Workgroup: no memory.

// Of eight rows, by row; of four columns and, from the eighth on, of four others 32 further on.
alias Sums = array<vec4<f32>, 16>;

const LEFT = 0u;
const RIGHT = 8u;

// acc + b a.
fn multiply_add(b: mat4x4<f32>, a: vec4<f32>, acc: vec4<f32>) -> vec4<f32> {
    return fma(b[3], a.wwww, fma(b[2], a.zzzz, fma(b[1], a.yyyy, fma(b[0], a.xxxx, acc))));
}

// a is four k of the row of this invocation, b the weights of four of its columns there; the sums are from `first` on.
fn add_rows(sums: ptr<function, Sums>, first: u32, a: vec4<f32>, b: mat4x4<f32>) {
    (*sums)[first] = multiply_add(b, subgroupBroadcast(a, 0u), (*sums)[first]);
    (*sums)[first + 1u] = multiply_add(b, subgroupBroadcast(a, 1u), (*sums)[first + 1u]);
    (*sums)[first + 2u] = multiply_add(b, subgroupBroadcast(a, 2u), (*sums)[first + 2u]);
    (*sums)[first + 3u] = multiply_add(b, subgroupBroadcast(a, 3u), (*sums)[first + 3u]);
    (*sums)[first + 4u] = multiply_add(b, subgroupBroadcast(a, 4u), (*sums)[first + 4u]);
    (*sums)[first + 5u] = multiply_add(b, subgroupBroadcast(a, 5u), (*sums)[first + 5u]);
    (*sums)[first + 6u] = multiply_add(b, subgroupBroadcast(a, 6u), (*sums)[first + 6u]);
    (*sums)[first + 7u] = multiply_add(b, subgroupBroadcast(a, 7u), (*sums)[first + 7u]);
}

// One of four, by selection: an index that is not known is costly.
fn pick_row(values: mat4x4<f32>, i: u32) -> vec4<f32> {
    let odd = i % 2u == 1u;
    return select(select(values[0], values[1], odd), select(values[2], values[3], odd), i / 2u % 2u == 1u);
}

// The same of eight from the `first` on.
fn pick(sums: ptr<function, Sums>, first: u32, i: u32) -> vec4<f32> {
    let low = pick_row(mat4x4<f32>((*sums)[first], (*sums)[first + 1u], (*sums)[first + 2u], (*sums)[first + 3u]), i);
    let high = pick_row(
        mat4x4<f32>((*sums)[first + 4u], (*sums)[first + 5u], (*sums)[first + 6u], (*sums)[first + 7u]),
        i,
    );
    return select(low, high, i >= 4u);
}

// The rows of four groups, their sums from the `first` on.
fn pick_rows(
    sums0: ptr<function, Sums>,
    sums1: ptr<function, Sums>,
    sums2: ptr<function, Sums>,
    sums3: ptr<function, Sums>,
    first: u32,
    i: u32,
) -> mat4x4<f32> {
    return mat4x4<f32>(pick(sums0, first, i), pick(sums1, first, i), pick(sums2, first, i), pick(sums3, first, i));
}
