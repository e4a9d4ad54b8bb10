// Formula: what one of eight neighbouring invocations, a workgroup, has.
// Layouts: invocations of a workgroup are one subgroup, in its order (octet_probe.wgsl).
// Grid: any.
// Workgroup: no memory.

fn from0(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupBroadcast(m[0], 0u),
        subgroupBroadcast(m[1], 0u),
        subgroupBroadcast(m[2], 0u),
        subgroupBroadcast(m[3], 0u),
    );
}

fn from1(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupBroadcast(m[0], 1u),
        subgroupBroadcast(m[1], 1u),
        subgroupBroadcast(m[2], 1u),
        subgroupBroadcast(m[3], 1u),
    );
}

fn from2(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupBroadcast(m[0], 2u),
        subgroupBroadcast(m[1], 2u),
        subgroupBroadcast(m[2], 2u),
        subgroupBroadcast(m[3], 2u),
    );
}

fn from3(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupBroadcast(m[0], 3u),
        subgroupBroadcast(m[1], 3u),
        subgroupBroadcast(m[2], 3u),
        subgroupBroadcast(m[3], 3u),
    );
}

fn from4(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupBroadcast(m[0], 4u),
        subgroupBroadcast(m[1], 4u),
        subgroupBroadcast(m[2], 4u),
        subgroupBroadcast(m[3], 4u),
    );
}

fn from5(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupBroadcast(m[0], 5u),
        subgroupBroadcast(m[1], 5u),
        subgroupBroadcast(m[2], 5u),
        subgroupBroadcast(m[3], 5u),
    );
}

fn from6(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupBroadcast(m[0], 6u),
        subgroupBroadcast(m[1], 6u),
        subgroupBroadcast(m[2], 6u),
        subgroupBroadcast(m[3], 6u),
    );
}

fn from7(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        subgroupBroadcast(m[0], 7u),
        subgroupBroadcast(m[1], 7u),
        subgroupBroadcast(m[2], 7u),
        subgroupBroadcast(m[3], 7u),
    );
}
