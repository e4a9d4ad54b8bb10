//! Lowering of norms: by rows; of a modulation's embedding only the timesteps of the slab are bound.

use super::*;
use crate::ops::{Affine, Modulation, Norm, NormKind};

pub(super) fn lower(op: &Norm, limits: &Limits) -> Result<Vec<Dispatch>> {
    let [m, c] = op.x.dims("norm", "x")?;
    let (kind, eps) = match op.kind {
        NormKind::Layer { eps } => ("LAYER", eps),
        NormKind::Rms { eps } => ("RMS", eps),
        NormKind::Channel => ("CHANNEL", 0.0),
    };
    let mut flags = vec![kind];
    let mut most = most_rows("norm", c, limits)?;
    match &op.affine {
        Affine::None => {}
        Affine::Weight { bias, .. } => {
            flags.push("WEIGHT");
            flags.extend(bias.as_ref().map(|_| "BIAS"));
        }
        Affine::Modulate { shift, .. } => {
            flags.push("MODULATE");
            most = most.min(modulated_rows(shift, limits)?);
        }
    }
    flags.extend(op.silu.then_some("SILU"));
    flags.extend(serial(limits));
    pieces(m, most)
        .map(|rows| {
            let mut bindings = vec![
                Binding::read_range(&op.x, span(&rows, c)),
                Binding::write_range(&op.out, span(&rows, c)),
            ];
            let mut params = words([rows.len(), c])?;
            params.push(eps.to_bits());
            match &op.affine {
                Affine::None => {}
                Affine::Weight { weight, bias } => {
                    bindings.push(Binding::read(weight));
                    bindings.extend(bias.as_ref().map(Binding::read));
                }
                Affine::Modulate { shift, scale_index } => {
                    let (embedding, position) = timesteps(shift, &rows)?;
                    let [_, width] = shift.embedding.dims("norm", "time embedding")?;
                    bindings.extend([Binding::read(&shift.table), embedding]);
                    params.extend(words([
                        width,
                        shift.stride * shift.index,
                        shift.stride * scale_index,
                        c * shift.index,
                        c * scale_index,
                    ])?);
                    params.extend(position);
                }
            }
            Ok(Dispatch {
                kernel: Kernel::new("norm", flags.iter().copied()),
                grid: limits.fold(rows.len().div_ceil(ROWS))?,
                params,
                flops: 8 * (rows.len() * c) as u64,
                bindings,
            })
        })
        .collect()
}

/// Rows of an operation whose timesteps' embeddings fit one binding.
///
/// # Errors
/// [`Error::DeviceTooSmall`] when the embedding of one timestep does not.
pub(super) fn modulated_rows(modulation: &Modulation, limits: &Limits) -> Result<usize> {
    let [timesteps, width] = modulation.embedding.dims("modulation", "time embedding")?;
    let fit = limits.binding_rows("time embedding", DType::F32, width)?;
    if fit >= timesteps {
        return Ok(usize::MAX);
    }
    // A slab may start and end in the middle of a timestep.
    Ok((fit - 1).saturating_mul(modulation.rows_per_timestep).max(1))
}

/// The embedding of the timesteps of some rows, and the words first_row, rows_per_timestep and timesteps relative to it.
///
/// # Errors
/// As [`word`].
pub(super) fn timesteps(modulation: &Modulation, rows: &Range<usize>) -> Result<(Binding, Vec<u32>)> {
    let [timesteps, width] = modulation.embedding.dims("modulation", "time embedding")?;
    let per = modulation.rows_per_timestep.max(1);
    let of = |row: usize| (row / per).min(timesteps.saturating_sub(1));
    let first_row = modulation.first_row + rows.start;
    let first = of(first_row);
    let end = of((modulation.first_row + rows.end).saturating_sub(1)) + 1;
    let binding = Binding::read_range(&modulation.embedding, span(&(first..end), width));
    Ok((binding, words([first_row - first * per, per, end - first])?))
}
