//! Twin of `average_down.wgsl` and `duplicate_up.wgsl`.

use super::memory::Operands;
use crate::Result;
use crate::ops;

pub(super) fn average_down(op: &ops::AverageDown, operands: &Operands, out: &mut [f32]) -> Result<()> {
    const OP: &str = "average_down";
    let Some(first) = op.frames.iter().flatten().next() else { return Ok(()) };
    let [_, width, c] = first.dims(OP, "frame")?;
    let [_, out_width, c_out] = op.out.dims(OP, "out")?;
    let (ft, fs) = (op.frames.len(), op.factor);
    let group = c * ft * fs * fs / c_out.max(1);
    let frames = op.frames.iter().map(|f| operands.optional(f.as_ref())).collect::<Result<Vec<_>>>()?;
    let base = operands.get(&op.base)?;
    for (i, (y, base)) in out.iter_mut().zip(base).enumerate() {
        let (pixel, channel) = (i / c_out, i % c_out);
        let (top, left) = (pixel / out_width * fs, pixel % out_width * fs);
        let value = |n: usize| {
            let (b, d) = (n / fs % fs, n % fs);
            let (a, channel) = (n / (fs * fs) % ft, n / (fs * fs * ft));
            frames[a].map_or(0.0, |frame| frame[((top + b) * width + left + d) * c + channel])
        };
        let sum: f32 = (channel * group..(channel + 1) * group).map(value).sum();
        *y = base + sum / group as f32;
    }
    Ok(())
}

pub(super) fn duplicate_up(op: &ops::DuplicateUp, operands: &Operands, out: &mut [f32]) -> Result<()> {
    const OP: &str = "duplicate_up";
    let [_, width, c] = op.x.dims(OP, "x")?;
    let [_, out_width, c_out] = op.out.dims(OP, "out")?;
    let (ft, fs) = (op.time_factor, op.factor);
    let repeats = c_out * ft * fs * fs / c.max(1);
    let (x, base) = (operands.get(&op.x)?, operands.get(&op.base)?);
    for (i, (pixel, base)) in
        out.chunks_exact_mut(c_out.max(1)).zip(base.chunks_exact(c_out.max(1))).enumerate()
    {
        let (row, column) = (i / out_width, i % out_width);
        let source = &x[(row / fs * width + column / fs) * c..][..c];
        for (channel, (y, base)) in pixel.iter_mut().zip(base).enumerate() {
            let n = ((channel * ft + op.phase) * fs + row % fs) * fs + column % fs;
            *y = base + source[n / repeats];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close};
    use crate::tensor::Tensor;

    /// Frames `[2, 4, 4, 3]` of `(i * 7) % 23`, each its own input.
    fn frames(case: &mut Case) -> [Tensor; 2] {
        let values: Vec<f32> = (0..96).map(|i| (i * 7 % 23) as f32).collect();
        [case.input(&[4, 4, 3], &values[..48]), case.input(&[4, 4, 3], &values[48..])]
    }

    /// ```python
    /// from diffusers.models.autoencoders.autoencoder_kl_wan import AvgDown3D
    /// x = (torch.arange(96.0) * 7 % 23).reshape(2, 4, 4, 3).permute(3, 0, 1, 2)[None]
    /// AvgDown3D(3, 6, 2, 2)(x)[0].permute(1, 2, 3, 0)          # two frames
    /// AvgDown3D(3, 6, 2, 2)(x[:, :, 1:])[0].permute(1, 2, 3, 0)  # the first chunk: the second frame alone, padded
    /// AvgDown3D(3, 4, 1, 2)(x[:, :, :1])[0].permute(1, 2, 3, 0)  # space only, groups across channels
    /// ```
    #[test]
    fn averages_are_those_of_diffusers() {
        let two = [
            12.25, 9.0, 13.5, 16.0, 9.0, 11.5, 14.0, 5.0, 9.5, 12.0, 5.0, 13.25, 13.5, 16.0, 9.0, 11.5, 16.0,
            7.0, 9.5, 12.0, 5.0, 13.25, 12.0, 8.75,
        ];
        let padded = [
            0.0, 9.0, 0.0, 16.0, 0.0, 11.5, 0.0, 5.0, 0.0, 12.0, 0.0, 13.25, 0.0, 16.0, 0.0, 11.5, 0.0, 7.0,
            0.0, 12.0, 0.0, 13.25, 0.0, 8.75,
        ];
        let space =
            [36, 25, 56, 22, 47, 13, 44, 10, 34, 46, 31, 43, 22, 34, 19, 31].map(|v| f64::from(v) / 3.0);
        for (kind, expected) in [&two[..], &padded, &space].into_iter().enumerate() {
            let mut case = Case::new(kind as u64);
            let [first, second] = frames(&mut case);
            let (base, bs) = case.random(&[2, 2, expected.len() / 4]);
            let given = match kind {
                0 => vec![Some(&first), Some(&second)],
                1 => vec![None, Some(&second)],
                _ => vec![Some(&first)],
            };
            let out = case.recorder.average_down(&given, 2, &base).unwrap();
            let expected: Vec<f64> = expected.iter().zip(bs).map(|(e, b)| e + f64::from(b)).collect();
            assert_close(&case.run(&out), &expected, 1e-6);
        }
    }

    /// ```python
    /// from diffusers.models.autoencoders.autoencoder_kl_wan import DupUp3D
    /// x = (torch.arange(16.0) * 5 % 17).reshape(2, 2, 4).permute(2, 0, 1)[None, :, None]
    /// DupUp3D(4, 2, 2, 2)(x)[0].permute(1, 2, 3, 0)  # two frames; of the first chunk only the second is kept
    /// DupUp3D(4, 2, 1, 2)(x)[0].permute(1, 2, 3, 0)
    /// ```
    #[test]
    fn duplicates_are_those_of_diffusers() {
        let two: [u8; 64] = [
            0, 10, 0, 10, 3, 13, 3, 13, 0, 10, 0, 10, 3, 13, 3, 13, 6, 16, 6, 16, 9, 2, 9, 2, 6, 16, 6, 16,
            9, 2, 9, 2, 5, 15, 5, 15, 8, 1, 8, 1, 5, 15, 5, 15, 8, 1, 8, 1, 11, 4, 11, 4, 14, 7, 14, 7, 11,
            4, 11, 4, 14, 7, 14, 7,
        ];
        let one: [u8; 32] = [
            0, 10, 0, 10, 3, 13, 3, 13, 5, 15, 5, 15, 8, 1, 8, 1, 6, 16, 6, 16, 9, 2, 9, 2, 11, 4, 11, 4, 14,
            7, 14, 7,
        ];
        let values: Vec<f32> = (0..16).map(|i| (i * 5 % 17) as f32).collect();
        for (time_factor, phase, expected) in [(2, 0, &two[..32]), (2, 1, &two[32..]), (1, 0, &one)] {
            let mut case = Case::new(phase as u64);
            let x = case.input(&[2, 2, 4], &values);
            let (base, bs) = case.random(&[4, 4, 2]);
            let out = case.recorder.duplicate_up(&x, time_factor, 2, phase, &base).unwrap();
            let expected: Vec<f64> =
                expected.iter().zip(bs).map(|(&e, b)| f64::from(e) + f64::from(b)).collect();
            assert_close(&case.run(&out), &expected, 1e-6);
        }
    }

    /// The steps of AvgDown3D.forward and DupUp3D.forward on frames that are not square: the permuted tensor is written
    /// out and then grouped, or repeated and then permuted.
    #[test]
    fn frames_of_any_shape_follow_the_permutations() {
        for seed in 0..12 {
            let mut case = Case::new(seed);
            let (ft, fs) = (1 + seed as usize % 2, case.size(3));
            let (h, w, c_out, group) = (case.size(3), case.size(4), case.size(4), case.size(3));
            // C = group * C_out * whatever makes ft * fs^2 divide.
            let c = group * c_out;
            let frames: Vec<_> = (0..ft).map(|_| case.random(&[h * fs, w * fs, c])).collect();
            let (base, bs) = case.random(&[h, w, c_out]);
            let given: Vec<_> = frames.iter().map(|(t, _)| Some(t)).collect();
            let out = case.recorder.average_down(&given, fs, &base).unwrap();
            let mut expected = Vec::new();
            for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
                let mut permuted = Vec::new();
                for channel in 0..c {
                    for (_, frame) in &frames {
                        for (b, d) in (0..fs).flat_map(|b| (0..fs).map(move |d| (b, d))) {
                            let at = ((y * fs + b) * w * fs + x * fs + d) * c + channel;
                            permuted.push(f64::from(frame[at]));
                        }
                    }
                }
                let size = permuted.len() / c_out;
                let means = permuted.chunks_exact(size).map(|g| g.iter().sum::<f64>() / size as f64);
                expected.extend(means);
            }
            let expected: Vec<f64> = expected.iter().zip(bs).map(|(e, b)| e + f64::from(b)).collect();
            assert_close(&case.run(&out), &expected, 1e-5);

            let mut case = Case::new(seed + 100);
            let (x, xs) = case.random(&[h, w, c]);
            let (base, bs) = case.random(&[h * fs, w * fs, c]);
            let phase = seed as usize % ft;
            let out = case.recorder.duplicate_up(&x, ft, fs, phase, &base).unwrap();
            let mut expected: Vec<f64> = bs.iter().map(|&b| f64::from(b)).collect();
            for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
                // C_out = C here, so each channel is repeated ft * fs^2 times.
                let pixel = &xs[(y * w + x) * c..][..c];
                let repeated: Vec<f32> =
                    pixel.iter().flat_map(|&v| std::iter::repeat_n(v, ft * fs * fs)).collect();
                let mut values = repeated.into_iter();
                for channel in 0..c {
                    for a in 0..ft {
                        for (b, d) in (0..fs).flat_map(|b| (0..fs).map(move |d| (b, d))) {
                            let value = f64::from(values.next().unwrap());
                            if a == phase {
                                expected[((y * fs + b) * w * fs + x * fs + d) * c + channel] += value;
                            }
                        }
                    }
                }
            }
            assert_close(&case.run(&out), &expected, 1e-6);
        }
    }
}
