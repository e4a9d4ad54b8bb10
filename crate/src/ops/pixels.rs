//! Between RGB frames and the VAE's first and last layer, and to the bytes a canvas takes.

use super::Op;
use crate::recording::Recorder;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// How an autoencoder writes the pixels of a square, q rows and r columns into it, as channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelForm {
    /// Channel `(c, r, q)`, in -1..1 (`patchify` in autoencoder_kl_wan.py).
    Wan,
    /// Channel `(c, q, r)`, in 0..1 (torch's `pixel_unshuffle`).
    Unit,
}

/// `out[y, x, channel] = rgb[y * p + q, x * p + r, c]`, in the form's range.
#[derive(Debug, Clone)]
pub struct PixelPatches {
    /// `[H, W, 3]` in -1..1.
    pub x: Tensor,
    /// Pixels a side, p.
    pub patch: usize,
    /// The channels' order and range.
    pub form: PixelForm,
    /// `[H/p, W/p, 3 p^2]`.
    pub out: Tensor,
}

/// `out[y * p + q, x * p + r, c] = x[y, x, channel]`, clamped to the form's range and brought into 0..1.
#[derive(Debug, Clone)]
pub struct Pixels {
    /// `[h, w, 3 p^2]`.
    pub x: Tensor,
    /// Pixels a side, p.
    pub patch: usize,
    /// The channels' order and range.
    pub form: PixelForm,
    /// `[h * p, w * p, 3]` in 0..1.
    pub out: Tensor,
}

/// `out[y, x] = r | g << 8 | b << 16 | 255 << 24`, each rounded to the nearest of 0..=255.
#[derive(Debug, Clone)]
pub struct Rgba {
    /// `[H, W, 3]` in 0..1.
    pub x: Tensor,
    /// `[H, W]`, u32.
    pub out: Tensor,
}

macro_rules! one_input {
    ($($name:ident),*) => {$(
        impl $name {
            pub(super) fn inputs(&self) -> Vec<&Tensor> {
                vec![&self.x]
            }

            pub(super) fn flops(&self) -> u64 {
                self.x.len() as u64
            }
        }
    )*};
}
one_input!(PixelPatches, Pixels, Rgba);

fn mismatch(op: &'static str, expected: &[usize], found: &Tensor) -> Error {
    Error::ShapeMismatch { op, what: "x", expected: expected.to_vec(), found: found.shape().to_vec() }
}

impl Recorder {
    /// Records the gathering of `patch` x `patch` pixels of an RGB frame `[H, W, 3]` into channels.
    pub fn pixel_patches(&mut self, x: &Tensor, patch: usize, form: PixelForm) -> Result<Tensor> {
        const OP: &str = "pixel_patches";
        let [h, w, c] = x.dims(OP, "x")?;
        if patch == 0 || h % patch != 0 || w % patch != 0 || c != 3 {
            return Err(mismatch(OP, &[patch, patch, 3], x));
        }
        let out = Tensor::temporary(&[h / patch, w / patch, 3 * patch * patch]);
        self.push(Op::PixelPatches(PixelPatches { x: x.clone(), patch, form, out: out.clone() }))?;
        Ok(out)
    }

    /// Records the spreading of channels `[h, w, 3 p^2]` into an RGB frame `out` `[h p, w p, 3]` in 0..1.
    pub fn pixels(&mut self, x: &Tensor, patch: usize, form: PixelForm, out: &Tensor) -> Result<()> {
        const OP: &str = "pixels";
        let [h, w, c] = x.dims(OP, "x")?;
        if c != 3 * patch * patch {
            return Err(mismatch(OP, &[h, w, 3 * patch * patch], x));
        }
        out.expect(OP, "out", &[h * patch, w * patch, 3])?;
        self.push(Op::Pixels(Pixels { x: x.clone(), patch, form, out: out.clone() }))
    }

    /// Records the packing of an RGB frame `[H, W, 3]` in 0..1 into `out` `[H, W]` of RGBA words.
    pub fn rgba(&mut self, x: &Tensor, out: &Tensor) -> Result<()> {
        const OP: &str = "rgba";
        let [h, w, c] = x.dims(OP, "x")?;
        if c != 3 || out.dtype() != DType::U32 {
            return Err(mismatch(OP, &[h, w, 3], x));
        }
        out.expect(OP, "out", &[h, w])?;
        self.push(Op::Rgba(Rgba { x: x.clone(), out: out.clone() }))
    }
}
