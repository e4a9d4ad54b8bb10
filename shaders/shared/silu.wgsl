// Formula: silu(x) = x * sigmoid(x).
// Layouts: none.
// Grid: any.
// Workgroup: no memory.

fn silu(x: f32) -> f32 {
    return x / (1.0 + exp(-x));
}
