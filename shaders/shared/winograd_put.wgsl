// Formula: out[first + 4 j next] = values[j]: a column of the sixteen values of Winograd's F(2x2, 3x3), each of which
//   has a matrix of its own.
// Layouts: out, which the shader that includes this binds, by vectors; next vectors of it are a matrix.
// Grid: any.
// Workgroup: no memory.

fn put(first: u32, next: u32, values: array<vec4<f32>, 4>) {
    out[first] = values[0];
    out[first + 4u * next] = values[1];
    out[first + 8u * next] = values[2];
    out[first + 12u * next] = values[3];
}
