// Formula: sum(a), max(a) over the lanes of a row; rows and lanes of an invocation.
// Layouts: 8 rows a workgroup, of 32 lanes each; with SERIAL of one lane, which needs no barrier.
// Grid: ceil(rows / ROWS) workgroups, folded.
// Workgroup: 1,024 bytes; with SERIAL none.

//#include "shared/grid.wgsl"

const ROWS = 8u;

//#if SERIAL
const LANES = 1u;

fn row_sum(thread: u32, a: f32) -> f32 {
    return a;
}

fn row_max(thread: u32, a: f32) -> f32 {
    return a;
}
//#else
const LANES = 32u;

var<workgroup> lanes: array<f32, 256>;

// Every invocation of the workgroup has to call it, whether its row exists or not.
fn row_sum(thread: u32, a: f32) -> f32 {
    lanes[thread] = a;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if thread % LANES < step {
            lanes[thread] += lanes[thread + step];
        }
    }
    workgroupBarrier();
    let sum = lanes[thread / LANES * LANES];
    // The next reduction writes the same words.
    workgroupBarrier();
    return sum;
}

// As row_sum.
fn row_max(thread: u32, a: f32) -> f32 {
    lanes[thread] = a;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if thread % LANES < step {
            lanes[thread] = max(lanes[thread], lanes[thread + step]);
        }
    }
    workgroupBarrier();
    let most = lanes[thread / LANES * LANES];
    workgroupBarrier();
    return most;
}
//#endif
