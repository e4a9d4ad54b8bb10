// Formula: rows of the matrix at binding 1, from its texture.
// Layouts: x [rows, channels]; rows past the last are the last, and are not stored.
// Grid: any.
// Workgroup: no memory.

//#if OCTET
@group(0) @binding(1) var x: texture_storage_2d<rgba32float, read>;
//#else
@group(0) @binding(1) var x: texture_2d<f32>;
//#endif

alias Source = TexelRow;

fn row_source(row: u32) -> Source {
    return texel_row(x, base(1u), min(row, params.gemm.rows - 1u), params.gemm.channels / 4u);
}

fn load_tap(source: Source, vector: u32) -> vec4<f32> {
    return load_texel(x, source, vector);
}
