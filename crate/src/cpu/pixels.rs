//! Twin of `pixel_patches.wgsl`, `pixels.wgsl` and `rgba.wgsl`.

use super::memory::Operands;
use crate::Result;
use crate::ops::{self, PixelForm};

/// Colours of a pixel.
const RGB: usize = 3;

pub(super) fn pixel_patches(op: &ops::PixelPatches, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let [h, w, _] = op.x.dims("pixel_patches", "x")?;
    let x = operands.get(&op.x)?;
    match op.form {
        PixelForm::Wan => each(h, w, op.patch, op.form, |pixel, channel| out[channel] = x[pixel]),
        PixelForm::Unit => {
            each(h, w, op.patch, op.form, |pixel, channel| out[channel] = x[pixel] * 0.5 + 0.5);
        }
    }
    Ok(())
}

pub(super) fn pixels(op: &ops::Pixels, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let [h, w, _] = op.out.dims("pixels", "out")?;
    let x = operands.get(&op.x)?;
    let value = |x: f32| match op.form {
        PixelForm::Wan => x.clamp(-1.0, 1.0) * 0.5 + 0.5,
        PixelForm::Unit => x.clamp(0.0, 1.0),
    };
    each(h, w, op.patch, op.form, |pixel, channel| out[pixel] = value(x[channel]));
    Ok(())
}

/// Calls f with every index into an RGB frame `[h, w, 3]` and the index of the same value in patches `[h/p, w/p, 3 p^2]`.
fn each(h: usize, w: usize, p: usize, form: PixelForm, mut f: impl FnMut(usize, usize)) {
    for y in 0..h {
        for x in 0..w {
            let patch = ((y / p) * (w / p) + x / p) * RGB * p * p;
            for c in 0..RGB {
                let (outer, inner) = match form {
                    PixelForm::Wan => (x % p, y % p),
                    PixelForm::Unit => (y % p, x % p),
                };
                f((y * w + x) * RGB + c, patch + (c * p + outer) * p + inner);
            }
        }
    }
}

pub(super) fn rgba(op: &ops::Rgba, operands: &Operands, out: &mut [u32]) -> Result<()> {
    // `as` saturates and turns NaN into 0.
    let byte = |v: f32| u32::from((v * 255.0 + 0.5) as u8);
    for (word, pixel) in out.iter_mut().zip(operands.get(&op.x)?.chunks_exact(RGB)) {
        *word = byte(pixel[0]) | byte(pixel[1]) << 8 | byte(pixel[2]) << 16 | 255 << 24;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::{Case, assert_close};
    use crate::ops::PixelForm;
    use crate::tensor::{DType, Tensor};

    /// ```python
    /// from diffusers.models.autoencoders.autoencoder_kl_wan import patchify, unpatchify
    /// rgb = torch.arange(48.0).reshape(4, 4, 3)
    /// patchify(rgb.permute(2, 0, 1)[None, :, None], 2)[0, :, 0].permute(1, 2, 0)
    /// ```
    #[test]
    fn patches_have_the_channel_order_of_diffusers() {
        let mut case = Case::new(0);
        let counting: Vec<f32> = (0..48).map(|i| i as f32).collect();
        let x = case.input(&[4, 4, 3], &counting);
        let out = case.recorder.pixel_patches(&x, 2, PixelForm::Wan).unwrap();
        let expected: [u8; 48] = [
            0, 12, 3, 15, 1, 13, 4, 16, 2, 14, 5, 17, 6, 18, 9, 21, 7, 19, 10, 22, 8, 20, 11, 23, 24, 36, 27,
            39, 25, 37, 28, 40, 26, 38, 29, 41, 30, 42, 33, 45, 31, 43, 34, 46, 32, 44, 35, 47,
        ];
        assert_eq!(case.run(&out), expected.map(f32::from));
    }

    /// ```python
    /// x = torch.arange(48.0).reshape(2, 2, 12)
    /// unpatchify(x.permute(2, 0, 1)[None, :, None], 2)[0, :, 0].permute(1, 2, 0)
    /// ```
    #[test]
    fn pixels_have_the_order_of_diffusers() {
        let mut case = Case::new(0);
        // Shrunk into -1..1, where nothing is clamped; the range is undone below.
        let counting: Vec<f32> = (0..48).map(|i| i as f32 / 24.0 - 1.0).collect();
        let x = case.input(&[2, 2, 12], &counting);
        let out = Tensor::resident(DType::F32, &[4, 4, 3]);
        case.recorder.pixels(&x, 2, PixelForm::Wan, &out).unwrap();
        let expected: [u8; 48] = [
            0, 4, 8, 2, 6, 10, 12, 16, 20, 14, 18, 22, 1, 5, 9, 3, 7, 11, 13, 17, 21, 15, 19, 23, 24, 28, 32,
            26, 30, 34, 36, 40, 44, 38, 42, 46, 25, 29, 33, 27, 31, 35, 37, 41, 45, 39, 43, 47,
        ];
        assert_close(&case.run(&out), &expected.map(|v| f64::from(v) / 48.0), 1e-6);
    }

    /// ```python
    /// rgb = torch.arange(48.0).reshape(4, 4, 3) / 24 - 1
    /// F.pixel_unshuffle((rgb / 2 + 0.5).permute(2, 0, 1), 2).permute(1, 2, 0) * 48
    /// ```
    #[test]
    fn the_unit_form_has_the_order_of_torch() {
        let mut case = Case::new(0);
        let counting: Vec<f32> = (0..48).map(|i| i as f32 / 24.0 - 1.0).collect();
        let x = case.input(&[4, 4, 3], &counting);
        let out = case.recorder.pixel_patches(&x, 2, PixelForm::Unit).unwrap();
        let expected: [u8; 48] = [
            0, 3, 12, 15, 1, 4, 13, 16, 2, 5, 14, 17, 6, 9, 18, 21, 7, 10, 19, 22, 8, 11, 20, 23, 24, 27, 36,
            39, 25, 28, 37, 40, 26, 29, 38, 41, 30, 33, 42, 45, 31, 34, 43, 46, 32, 35, 44, 47,
        ];
        assert_close(&case.run(&out), &expected.map(|v| f64::from(v) / 48.0), 1e-6);
    }

    #[test]
    fn frames_of_any_shape_follow_the_formulas() {
        for seed in 0..20 {
            let mut case = Case::new(seed);
            let form = if seed % 2 == 0 { PixelForm::Wan } else { PixelForm::Unit };
            let (p, h, w) = (case.size(4), case.size(4), case.size(5));
            let (rgb, xs) = case.random(&[h * p, w * p, 3]);
            let patches = case.recorder.pixel_patches(&rgb, p, form).unwrap();
            // The same channel of the same pixel, by the indices of the patch: (y, x, c, outer, inner).
            let indices = || {
                (0..h * w * 3 * p * p).map(|e| {
                    let (inner, outer, c) = (e % p, e / p % p, e / (p * p) % 3);
                    let (q, r) = if form == PixelForm::Wan { (inner, outer) } else { (outer, inner) };
                    let (y, x) = (e / (3 * p * p) / w, e / (3 * p * p) % w);
                    ((y * p + q) * w * p + x * p + r) * 3 + c
                })
            };
            let value = |v: f32| if form == PixelForm::Wan { v } else { v / 2.0 + 0.5 };
            let expected: Vec<f32> = indices().map(|at| value(xs[at])).collect();
            assert_eq!(case.run(&patches), expected);

            let mut case = Case::new(seed + 100);
            let values: Vec<f32> = case.random(&[h, w, 3 * p * p]).1.iter().map(|v| v * 1.5).collect();
            let x = case.input(&[h, w, 3 * p * p], &values);
            let out = Tensor::resident(DType::F32, &[h * p, w * p, 3]);
            case.recorder.pixels(&x, p, form, &out).unwrap();
            let mut expected = vec![0.0; values.len()];
            for (e, at) in indices().enumerate() {
                let v = f64::from(values[e]);
                expected[at] = match form {
                    PixelForm::Wan => v.clamp(-1.0, 1.0) / 2.0 + 0.5,
                    PixelForm::Unit => v.clamp(0.0, 1.0),
                };
            }
            assert_close(&case.run(&out), &expected, 1e-6);
        }
    }

    #[test]
    fn bytes_are_rounded_and_bounded() {
        let mut case = Case::new(0);
        let values = [
            [0.0, 1.0, 0.5],
            [-3.0, 7.0, f32::NAN],
            // The edges between two bytes: 0.5 / 255 rounds up.
            [0.001_960_6, 0.001_961, 254.499 / 255.0],
            [f32::INFINITY, f32::NEG_INFINITY, 254.501 / 255.0],
        ];
        let x = case.input(&[2, 2, 3], values.as_flattened());
        let out = Tensor::resident(DType::U32, &[2, 2]);
        case.recorder.rgba(&x, &out).unwrap();
        let expected = [[0, 255, 128, 255], [0, 255, 0, 255], [0, 1, 254, 255], [255, 0, 255, 255]].concat();
        assert_eq!(case.bytes(&out).unwrap(), expected);
    }
}
