//! Lowering of convolutions: a dispatch for every frame that is there, each by slabs of output rows with the rows of the frame
//! that the kernel reaches from them.

use super::gemm::{Combination, Family, Gemm, aligned, expect_aligned, unused};
use super::*;
use crate::gpu::texels::Rows;
use crate::ops::{Activation, Conv, ConvOptions};

const OP: &str = "conv";

pub(super) fn lower(op: &Conv, limits: &Limits) -> Result<Vec<Dispatch>> {
    if let Some(dispatches) = winograd::lower(op, limits)? {
        return Ok(dispatches);
    }
    let [out_height, out_width, n] = op.out.dims(OP, "out")?;
    let [_, stride] = op.weight.matrix.dims(OP, "weight")?;
    let [_, kernel_height, kernel_width] = op.weight.kernel;
    let taps = kernel_height * kernel_width;
    expect_aligned(OP, "first element of the weight", &op.weight.matrix)?;
    // Few pixels do not waste a tile: the skinny kernel is not built for convolutions. Nor is the wide one, because most have 96
    // or 192 channels.
    let family = match Family::choose(out_height * out_width, n, limits) {
        Family::Skinny if limits.barrier_free => Family::Direct,
        Family::Skinny => Family::Small,
        Family::Wide => Family::Tiled,
        family => family,
    };
    let last = op.frames.iter().rposition(Option::is_some);
    let mut dispatches = Vec::new();
    for (t, frame) in op.frames.iter().enumerate() {
        let Some(frame) = frame else { continue };
        let [height, width, channels] = frame.dims(OP, "frame")?;
        let first = dispatches.is_empty();
        let residual = op.residual.as_ref().filter(|_| first);
        let bias = op.bias.as_ref().filter(|_| first);
        let vectors = channels % 4 == 0
            && n % 4 == 0
            && [Some(frame), Some(&op.out), residual].into_iter().flatten().all(aligned);
        let family = family.by_matrix_units(vectors, limits);
        let weight_rows = t * taps * channels..(t + 1) * taps * channels;
        let row_flops = 2 * (out_width * n) as u64 * (taps * channels) as u64;
        let walk = Walk { height, kernel_height, options: op.options };
        let most = limits
            .binding_rows(OP, DType::F32, out_width * n)?
            .min(walk.most_rows(limits.binding_rows(OP, DType::F32, width * channels)?))
            .min(family.dispatch_rows(row_flops / out_width.max(1) as u64, limits) / out_width.max(1))
            .max(1);
        for rows in pieces(out_height, most) {
            let in_rows = walk.in_rows(&rows);
            let pixels = rows.start * out_width..rows.end * out_width;
            let gemm = Gemm {
                rows: pixels.len(),
                all_rows: pixels.len(),
                columns: n,
                channels,
                taps,
                products: 1,
                weight: Rows::whole(stride),
                width: n,
                column: 0,
                bias: bias.is_some(),
                activation: Activation::None,
                combination: match residual {
                    Some(_) => Combination::Add,
                    None if first => Combination::None,
                    None => Combination::Accumulate,
                },
                relu: op.relu && last == Some(t),
            };
            let own = words([
                height,
                width,
                out_width,
                in_rows.start,
                rows.start,
                kernel_width,
                op.options.stride.max(1),
                op.options.pad_before,
                op.options.upsample.into(),
            ])?;
            let bindings = vec![
                Binding::read_range(frame, span(&in_rows, width * channels)),
                Binding::read_range(&op.weight.matrix, span(&weight_rows, stride)),
                bias.map_or_else(|| unused(frame), Binding::read),
                residual.map_or_else(|| unused(frame), |t| Binding::read_range(t, span(&pixels, n))),
                Binding::write_range(&op.out, span(&pixels, n)),
            ];
            dispatches.push(gemm.dispatch(OP, family, vectors, bindings, own, limits)?);
        }
    }
    Ok(dispatches)
}

/// How output rows reach rows of the frame.
pub(super) struct Walk {
    pub(super) height: usize,
    pub(super) kernel_height: usize,
    pub(super) options: ConvOptions,
}

impl Walk {
    fn scale(&self) -> usize {
        if self.options.upsample { 2 } else { 1 }
    }

    /// Rows of the frame under the kernel for some output rows; at least one, because nothing cannot be bound.
    pub(super) fn in_rows(&self, rows: &Range<usize>) -> Range<usize> {
        let (scale, stride, pad) = (self.scale(), self.options.stride.max(1), self.options.pad_before);
        let last = self.height.saturating_sub(1);
        let first = ((rows.start * stride).saturating_sub(pad) / scale).min(last);
        let end = (rows.end.saturating_sub(1) * stride + self.kernel_height).saturating_sub(pad);
        first..end.div_ceil(scale).min(self.height).max(first + 1)
    }

    /// Output rows that reach at most `fit` rows of the frame; at least one.
    pub(super) fn most_rows(&self, fit: usize) -> usize {
        if fit >= self.height {
            return usize::MAX;
        }
        // A slab reaches (rows - 1) * stride + kernel rows, and with doubling starts and ends inside of a pair.
        let reach = (fit * self.scale()).saturating_sub(self.kernel_height + self.scale());
        reach / self.options.stride.max(1) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_bind_what_the_kernel_reaches() {
        for stride in 1..3 {
            for upsample in [false, true] {
                for (kernel_height, pad) in [(1, 0), (3, 1), (3, 0), (4, 5)] {
                    let options = ConvOptions { stride, pad_before: pad, pad_after: pad, upsample };
                    let walk = Walk { height: 20, kernel_height, options };
                    for fit in 6..20 {
                        let most = walk.most_rows(fit);
                        for start in 0..20 {
                            let rows = walk.in_rows(&(start..start + most));
                            assert!(!rows.is_empty() && rows.end <= 20, "{rows:?}");
                            assert!(rows.len() <= fit, "{rows:?} of {fit}, {options:?}");
                            for y in start..start + most {
                                for tap in 0..kernel_height {
                                    let Some(at) = (y * stride + tap).checked_sub(pad) else { continue };
                                    let at = at / walk.scale();
                                    assert!(at >= 20 || rows.contains(&at), "{at} of {rows:?}");
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
