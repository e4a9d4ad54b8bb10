// Formula: what gemm_quad.wgsl and gemm_tall.wgsl do with matrices.
// Layouts: invocations 4 i to 4 i + 3 of a workgroup are a quad (quad_probe.wgsl).
// Grid: any.
// Workgroup: no memory.

// What the neighbour along x, along y has.
fn swap_x(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(quadSwapX(m[0]), quadSwapX(m[1]), quadSwapX(m[2]), quadSwapX(m[3]));
}

fn swap_y(m: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(quadSwapY(m[0]), quadSwapY(m[1]), quadSwapY(m[2]), quadSwapY(m[3]));
}

// acc + b a. With textures, which lavapipe gains most by, in as few operations as there are: a product of matrices adds
// once more, but SwiftShader is faster with it.
fn multiply_add(b: mat4x4<f32>, a: mat4x4<f32>, acc: mat4x4<f32>) -> mat4x4<f32> {
    //#if TEXELS
    return mat4x4<f32>(
        column(b, a[0], acc[0]), column(b, a[1], acc[1]), column(b, a[2], acc[2]), column(b, a[3], acc[3]),
    );
    //#else
    return acc + b * a;
    //#endif
}

fn column(b: mat4x4<f32>, a: vec4<f32>, acc: vec4<f32>) -> vec4<f32> {
    return fma(b[3], a.wwww, fma(b[2], a.zzzz, fma(b[1], a.yyyy, fma(b[0], a.xxxx, acc))));
}
