//! Twin of `conv.wgsl`: im2col by tiles of output pixels, one frame after the other, and a matrix product.

use super::matmul::{Matrix, matmul};
use super::memory::{Operands, allocate};
use crate::Result;
use crate::ops::{self, ConvOptions};

/// Gathered elements that one tile may hold (4 MiB).
const TILE: usize = 1 << 20;

/// How output pixels find the pixels under the kernel.
struct Walk {
    frame: [usize; 3],
    kernel: [usize; 2],
    out_width: usize,
    options: ConvOptions,
}

pub(super) fn conv(op: &ops::Conv, operands: &Operands, out: &mut [f32]) -> Result<()> {
    const OP: &str = "conv";
    let Some(first) = op.frames.iter().flatten().next() else { return Ok(()) };
    let [_, kh, kw] = op.weight.kernel;
    let [_, stride] = op.weight.matrix.dims(OP, "weight")?;
    let [out_height, out_width, n] = op.out.dims(OP, "out")?;
    let walk = Walk { frame: first.dims(OP, "frame")?, kernel: [kh, kw], out_width, options: op.options };
    let matrix = operands.get(&op.weight.matrix)?;
    let frames = op.frames.iter().map(|f| operands.optional(f.as_ref())).collect::<Result<Vec<_>>>()?;
    start(op, operands, out)?;

    let pixels = out_height * out_width;
    let taps = kh * kw * walk.frame[2];
    // A kernel of one pixel multiplies the frame as it lies.
    let pointwise = kh * kw == 1 && op.options == ConvOptions::same(1);
    let tile = if pointwise { pixels } else { (TILE / taps.max(1)).clamp(1, pixels.max(1)) };
    let mut gathered = allocate(if pointwise { 0 } else { tile * taps })?;
    for first in (0..pixels).step_by(tile.max(1)) {
        let rows = tile.min(pixels - first);
        for (t, frame) in frames.iter().enumerate() {
            let Some(frame) = frame else { continue };
            let x: &[f32] = if pointwise {
                frame
            } else {
                walk.gather(frame, first, &mut gathered[..rows * taps]);
                &gathered
            };
            let weight = Matrix::new(&matrix[t * taps * stride..(t + 1) * taps * stride], stride);
            matmul(&mut out[first * n..], n, [rows, n, taps], Matrix::new(x, taps), weight, true)?;
        }
    }
    if op.relu {
        // A comparison rather than max, which would drop a NaN.
        out.iter_mut().for_each(|y| *y = if *y < 0.0 { 0.0 } else { *y });
    }
    Ok(())
}

/// Writes what the frames' products are added to: residual + bias.
fn start(op: &ops::Conv, operands: &Operands, out: &mut [f32]) -> Result<()> {
    match &op.residual {
        Some(residual) => out.copy_from_slice(operands.get(residual)?),
        None => out.fill(0.0),
    }
    if let Some(bias) = &op.bias {
        let bias = operands.get(bias)?;
        for pixel in out.chunks_exact_mut(bias.len().max(1)) {
            pixel.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
    }
    Ok(())
}

impl Walk {
    /// Fills rows of `[kh, kw, C_in]`, one an output pixel from the `first` on.
    fn gather(&self, frame: &[f32], first: usize, rows: &mut [f32]) {
        let [height, width, c] = self.frame;
        let [kh, kw] = self.kernel;
        for (i, row) in rows.chunks_exact_mut((kh * kw * c).max(1)).enumerate() {
            let (y, x) = ((first + i) / self.out_width, (first + i) % self.out_width);
            for (tap, pixel) in row.chunks_exact_mut(c).enumerate() {
                let y = self.source(y, tap / kw, height);
                let x = self.source(x, tap % kw, width);
                match (y, x) {
                    (Some(y), Some(x)) => pixel.copy_from_slice(&frame[(y * width + x) * c..][..c]),
                    _ => pixel.fill(0.0),
                }
            }
        }
    }

    /// The row or column of the frame under a tap, `None` in the padding.
    fn source(&self, out: usize, tap: usize, size: usize) -> Option<usize> {
        let at = (out * self.options.stride.max(1) + tap).checked_sub(self.options.pad_before)?;
        let scale = if self.options.upsample { 2 } else { 1 };
        (at < size * scale).then_some(at / scale)
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use crate::cpu::testing::{Case, assert_close};
    use crate::ops::{ConvOptions, ConvWeight};

    /// One output element by definition, reading frame t at (y, x) of the frame doubled and padded.
    struct Naive<'a> {
        frames: Vec<Option<&'a [f32]>>,
        size: [usize; 3],
        kernel: [usize; 3],
        options: ConvOptions,
        weight: &'a [f32],
        stride: usize,
    }

    impl Naive<'_> {
        fn at(&self, y: usize, x: usize, o: usize) -> f64 {
            let [h, w, c] = self.size.map(|v| v as i64);
            let [_, kh, kw] = self.kernel;
            let scale = if self.options.upsample { 2 } else { 1 };
            let mut sum = 0.0;
            for (t, frame) in self.frames.iter().enumerate() {
                let Some(frame) = frame else { continue };
                for j in 0..kh {
                    for i in 0..kw {
                        let sy = (y * self.options.stride + j) as i64 - self.options.pad_before as i64;
                        let sx = (x * self.options.stride + i) as i64 - self.options.pad_before as i64;
                        if sy < 0 || sx < 0 || sy >= h * scale || sx >= w * scale {
                            continue;
                        }
                        for ci in 0..c {
                            let value = frame[(((sy / scale) * w + sx / scale) * c + ci) as usize];
                            let row = ((t * kh + j) * kw + i) * c as usize + ci as usize;
                            sum += f64::from(value) * f64::from(self.weight[row * self.stride + o]);
                        }
                    }
                }
            }
            sum
        }
    }

    #[test]
    fn geometry_missing_frames_bias_and_residual_match_the_definition() {
        let same = |k| ConvOptions::same(k);
        let down = ConvOptions { stride: 2, pad_before: 0, pad_after: 1, upsample: false };
        let up = ConvOptions { upsample: true, ..ConvOptions::same(3) };
        let kinds = [
            ([3, 3, 3], same(3)),
            ([1, 3, 3], down),
            ([1, 3, 3], up),
            ([3, 1, 1], same(1)),
            ([2, 2, 3], ConvOptions { stride: 3, pad_before: 2, pad_after: 1, upsample: true }),
            ([1, 1, 1], same(1)),
            ([1, 1, 1], ConvOptions { stride: 2, ..same(1) }),
        ];
        for seed in 0..56 {
            let (kernel, options) = kinds[seed as usize % kinds.len()];
            let mut case = Case::new(seed);
            let [h, w, c, n] = [case.size(9) + 2, case.size(9) + 2, case.size(7), case.size(11)];
            let [kt, kh, kw] = kernel;
            let inputs: Vec<_> = (0..kt).map(|_| case.random(&[h, w, c])).collect();
            let newest = kt - 1;
            let given: Vec<bool> = (0..kt).map(|t| t == newest || case.rng.random_bool(0.6)).collect();
            let frames: Vec<_> = inputs.iter().zip(&given).map(|((t, _), g)| g.then_some(t)).collect();
            let stride = n.next_multiple_of(4);
            let (matrix, ws) = case.random(&[kt * kh * kw * c, stride]);
            let (bias, bs) = case.random(&[n]);
            let scale = if options.upsample { 2 } else { 1 };
            let extent = |s: usize, k: usize| {
                (s * scale + options.pad_before + options.pad_after - k) / options.stride + 1
            };
            let [oh, ow] = [extent(h, kh), extent(w, kw)];
            let (residual, rs) = case.random(&[oh, ow, n]);
            let (with_bias, with_residual, relu) = (seed % 2 == 0, seed % 3 == 0, seed % 5 < 2);
            let weight = ConvWeight { matrix, channels_in: c, channels_out: n, kernel };
            let (b, r) = (with_bias.then_some(&bias), with_residual.then_some(&residual));
            let out = match relu {
                true => case.recorder.conv_relu(&frames, &weight, b, options, r),
                false => case.recorder.conv(&frames, &weight, b, options, r),
            };
            let out = out.unwrap();
            assert_eq!(out.shape(), [oh, ow, n]);
            let naive = Naive {
                frames: inputs.iter().zip(&given).map(|((_, v), g)| g.then_some(&v[..])).collect(),
                size: [h, w, c],
                kernel,
                options,
                weight: &ws,
                stride,
            };
            let expected: Vec<f64> = (0..oh * ow * n)
                .map(|e| {
                    let (y, x, o) = (e / n / ow, e / n % ow, e % n);
                    let sum = naive.at(y, x, o)
                        + if with_bias { f64::from(bs[o]) } else { 0.0 }
                        + if with_residual { f64::from(rs[e]) } else { 0.0 };
                    if relu { sum.max(0.0) } else { sum }
                })
                .collect();
            assert_close(&case.run(&out), &expected, 2e-5);
        }
    }

    /// More output pixels than one gathered tile holds.
    #[test]
    fn tiles_of_pixels_join_up() {
        let [h, w, c, n] = [50, 60, 45, 2];
        assert!(h * w * 9 * c > super::TILE);
        let mut case = Case::new(1);
        let (x, xs) = case.random(&[h, w, c]);
        let (matrix, ws) = case.random(&[9 * c, 4]);
        let weight = ConvWeight { matrix, channels_in: c, channels_out: n, kernel: [1, 3, 3] };
        let out = case.recorder.conv(&[Some(&x)], &weight, None, ConvOptions::same(3), None).unwrap();
        let naive = Naive {
            frames: vec![Some(&xs)],
            size: [h, w, c],
            kernel: [1, 3, 3],
            options: ConvOptions::same(3),
            weight: &ws,
            stride: 4,
        };
        let expected: Vec<f64> = (0..h * w * n).map(|e| naive.at(e / n / w, e / n % w, e % n)).collect();
        assert_close(&case.run(&out), &expected, 2e-5);
    }
}
