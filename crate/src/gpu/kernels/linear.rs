//! Lowering of linear layers: by rows, in whole tiles; of a gate's embedding only the timesteps of the slab are bound. Where software
//! adapters have large layers, quantised weights are written as f32 first, some columns at a time.

use super::gemm::{
    Combination, Family, Gemm, SHORT_ROWS, TEXEL_COLUMNS, TEXEL_ROWS, aligned, expect_aligned, format_flag,
    quant_words, unused,
};
use super::norm::{modulated_rows, timesteps};
use super::*;
use crate::gpu::texels::{Rows, Source};
use crate::ops::{Combine, Linear, LinearWeight};

/// Most bytes of a weight that is widened: scratch, beside which a texture of it lies.
const WIDENED_BYTES: usize = 16 << 20;

/// Copies into a texture that work of [`Limits::texel_flops`] makes up for: panels save a tenth of its time and more, and a copy takes 10 us.
const COPIES: u64 = 12;

/// Rows and columns of a block of `widen_weight.wgsl`, and its blocks in a workgroup.
const WIDENED: (usize, usize, usize) = (32, 4, 32);

/// Elements of a row that are rounded to 8 bits together, and words that they take then, two of them unused.
const GROUP: usize = 32;
const GROUP_WORDS: usize = 12;

pub(super) fn lower(op: &Linear, limits: &Limits) -> Result<Vec<Dispatch>> {
    const OP: &str = "linear";
    let [m, k] = op.x.dims(OP, "x")?;
    let [_, width] = op.out.dims(OP, "out")?;
    let quantised = matches!(op.weight.matrix.dtype(), DType::Quants(_));
    let n = op.weight.columns;
    if n == 0 {
        return Ok(Vec::new());
    }
    expect_aligned(OP, "first element of the weight", &op.weight.matrix)?;
    let (combination, combined, gate) = match &op.combine {
        Combine::None => (Combination::None, None, None),
        Combine::Add(t) => (Combination::Add, Some(t), None),
        Combine::Multiply(t) => (Combination::Multiply, Some(t), None),
        Combine::GatedAdd { residual, gate } => (Combination::GatedAdd, Some(residual), Some(gate)),
    };
    let vectors = [k, n, width, op.column].iter().all(|v| v % 4 == 0)
        && [Some(&op.x), Some(&op.out), combined].into_iter().flatten().all(aligned);
    let family = Family::choose(m, n, limits);
    let family = if vectors && in_bytes(&op.weight, family, limits) {
        Family::Bytes
    } else {
        family.by_matrix_units(vectors, limits)
    };
    let widest = widened_columns(k, limits);
    let flops = 2 * (m * k) as u64 * n as u64;
    let texels = vectors && family == Family::Quad && flops >= limits.texel_flops;
    let large = texels && m >= limits.rearranged_rows;
    let widens = quantised && large && widest > 0;
    let slab = if widens { widest.min(n) } else { n };
    // What a tile reads of a weight is contiguous then, by which others than octets do not gain; textures alone are read so.
    let in_panels = limits.octets && large && Source::of(&Binding::read(&op.x), Rows::whole(k)).is_some();
    let panel = |row: usize| if in_panels { row.min(TEXEL_COLUMNS) } else { row };
    let mut most = limits
        .binding_rows(OP, DType::F32, k.max(width))?
        .min(family.dispatch_rows(2 * k as u64 * slab as u64, limits));
    if let Some(gate) = gate {
        most = most.min(modulated_rows(gate, limits)?);
    }
    let mut dispatches = Vec::new();
    for columns in pieces(n, slab) {
        let (weight, weight_rows) = if widens {
            let panel = panel(columns.len());
            let (wide, dispatch) = widen(&op.weight.matrix, &columns, panel, limits)?;
            dispatches.push(dispatch);
            (wide, Rows::whole(panel))
        } else {
            let row = LinearWeight::stride(n);
            let cut = Rows { row, panel: panel(row) };
            let pays = |source: Source| flops * COPIES >= source.copies() * limits.texel_flops;
            let cuts = in_panels
                && !quantised
                && Source::of(&Binding::read(&op.weight.matrix), cut).is_some_and(pays);
            (op.weight.matrix.clone(), if cuts { cut } else { Rows::whole(row) })
        };
        let all =
            pieces(m, most).flat_map(|all| parts(all.clone(), texels).map(move |rows| (rows, all.len())));
        for (rows, all_rows) in all {
            let gemm = Gemm {
                rows: rows.len(),
                all_rows,
                columns: columns.len(),
                channels: k,
                taps: 1,
                products: 1,
                weight: weight_rows,
                width,
                column: op.column + columns.start,
                bias: op.bias.is_some(),
                activation: op.activation,
                combination,
                relu: false,
            };
            let (table, embedding, own) = match gate {
                None => (unused(&op.x), unused(&op.x), vec![0, 0, 0, 1, 1]),
                Some(gate) => {
                    let [_, embedding_width] = gate.embedding.dims(OP, "time embedding")?;
                    let row = gate.index..gate.index + 1;
                    let (embedding, position) = timesteps(gate, &rows)?;
                    let mut own = words([embedding_width, gate.stride * gate.index])?;
                    own.extend(position);
                    (Binding::read_range(&gate.table, span(&row, width)), embedding, own)
                }
            };
            let x = if family == Family::Bytes {
                let (words, dispatch) = quantise(&op.x, &rows, k, limits)?;
                dispatches.push(dispatch);
                Binding::read(&words)
            } else {
                Binding::read_range(&op.x, span(&rows, k))
            };
            let bindings = vec![
                x,
                Binding::read(&weight),
                op.bias.as_ref().map_or_else(|| unused(&op.x), |t| Binding::read_range(t, columns.clone())),
                combined.map_or_else(|| unused(&op.x), |t| Binding::read_range(t, span(&rows, width))),
                table,
                embedding,
                Binding::write_range(&op.out, span(&rows, width)),
            ];
            dispatches.push(gemm.dispatch(OP, family, vectors, bindings, own, limits)?);
        }
    }
    Ok(dispatches)
}

/// Rows: with textures those apart that are the last and would fill half of a tile at most.
fn parts(rows: Range<usize>, texels: bool) -> impl Iterator<Item = Range<usize>> {
    let last = rows.len() % TEXEL_ROWS;
    let middle = rows.end - if texels && last <= SHORT_ROWS { last } else { 0 };
    [rows.start..middle, middle..rows.end].into_iter().filter(|part| !part.is_empty())
}

/// Whether a layer is multiplied in 8-bit integers: only by tiles, and only where scales are those of the groups that x is rounded in.
fn in_bytes(weight: &LinearWeight, family: Family, limits: &Limits) -> bool {
    let groups = matches!(weight.matrix.dtype(), DType::Quants(format) if format.group == GROUP);
    limits.tiles.bytes && groups && matches!(family, Family::Tiled | Family::Wide)
}

/// Rows of `x` rounded to 8 bits in groups: the words, and what writes them.
fn quantise(x: &Tensor, rows: &Range<usize>, k: usize, limits: &Limits) -> Result<(Tensor, Dispatch)> {
    let groups = rows.len() * k / GROUP;
    let out = Tensor::temporary(&[groups, GROUP_WORDS]);
    let dispatch = Dispatch {
        kernel: Kernel::new("quantise_rows", []),
        grid: element_grid(groups, limits)?,
        params: words([groups])?,
        flops: (rows.len() * k) as u64 * ELEMENT_COST,
        bindings: vec![Binding::read_range(x, span(rows, k)), Binding::write(&out)],
    };
    Ok((out, dispatch))
}

/// Columns of a quantised weight of `k` rows that are widened at once: whole tiles where there are as many. None where a device has no
/// room for one block.
fn widened_columns(k: usize, limits: &Limits) -> usize {
    let columns = most_elements(limits).min(WIDENED_BYTES / 4) / k.max(1);
    columns - columns % if columns < TEXEL_COLUMNS { WIDENED.1 } else { TEXEL_COLUMNS }
}

/// Some columns of a quantised matrix as f32, in panels of so many one below the other, and what writes them.
fn widen(
    matrix: &Tensor,
    columns: &Range<usize>,
    panel: usize,
    limits: &Limits,
) -> Result<(Tensor, Dispatch)> {
    let [all, depth] = matrix.dims("linear", "weight")?;
    let out = Tensor::temporary(&[depth * columns.len().div_ceil(panel), panel]);
    let (rows, width, blocks) = WIDENED;
    let count = depth.div_ceil(rows) * columns.len().div_ceil(width);
    let mut params = words([all, depth])?;
    params.extend(words(quant_words(matrix))?);
    params.extend(words([columns.start, columns.len(), panel])?);
    let dispatch = Dispatch {
        kernel: Kernel::new("widen_weight", format_flag(matrix.dtype())),
        grid: limits.fold(count.div_ceil(blocks))?,
        params,
        flops: out.len() as u64 * ELEMENT_COST,
        bindings: vec![Binding::read(matrix), Binding::write(&out)],
    };
    Ok((out, dispatch))
}
