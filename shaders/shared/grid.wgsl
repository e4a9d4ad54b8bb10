// Formula: index = x + y * width of the grid: a grid too long for one dimension is folded into two.
// Layouts: none.
// Grid: [ceil(n / rows), rows], rows = ceil(n / 65,535); the tail workgroups have an index >= n.
// Workgroup: no memory.

// Index of the workgroup in a folded grid.
fn workgroup_index(workgroup: vec3<u32>, grid: vec3<u32>) -> u32 {
    return workgroup.x + workgroup.y * grid.x;
}
