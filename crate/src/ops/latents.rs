//! Between the sampler's latents `[C, T, H, W]` and the VAE's channels-last frames.

use super::Op;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// `out[y, x, c] = latents[c, frame, y, x] * std[c] + mean[c]`; `frame` is read at run time
/// and must be below T: the CPU executor refuses another, the shader takes the nearest.
#[derive(Debug, Clone)]
pub struct FromLatents {
    /// `[C, T, H, W]`.
    pub latents: Tensor,
    /// `[1]`: the frame's index as a number.
    pub frame: Tensor,
    /// `[C]`.
    pub mean: Tensor,
    /// `[C]`.
    pub std: Tensor,
    /// `[H, W, C]`.
    pub out: Tensor,
}

/// `out[c, y, x] = (moments[y, x, c] - mean[c]) / std[c]` for the first C channels: the mode of the distribution.
#[derive(Debug, Clone)]
pub struct ToLatents {
    /// `[H, W, >= C]`: means, then log variances where the encoder gives them.
    pub moments: Tensor,
    /// `[C]`.
    pub mean: Tensor,
    /// `[C]`.
    pub std: Tensor,
    /// `[C, H, W]`.
    pub out: Tensor,
}

impl FromLatents {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.latents, &self.frame, &self.mean, &self.std]
    }

    pub(super) fn flops(&self) -> u64 {
        self.out.len() as u64
    }
}

impl ToLatents {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.moments, &self.mean, &self.std]
    }

    pub(super) fn flops(&self) -> u64 {
        self.out.len() as u64
    }
}

impl Recorder {
    /// Records taking one frame out of the latents into a new tensor `[H, W, C]`.
    ///
    /// # Shapes
    /// latents `[C, T, H, W]`, frame `[1]`, mean and std `[C]`.
    pub fn from_latents(
        &mut self,
        latents: &Tensor,
        frame: &Tensor,
        mean: &Tensor,
        std: &Tensor,
    ) -> Result<Tensor> {
        const OP: &str = "from_latents";
        let [c, _, h, w] = latents.dims(OP, "latents")?;
        frame.expect(OP, "frame", &[1])?;
        mean.expect(OP, "mean", &[c])?;
        std.expect(OP, "std", &[c])?;
        let out = Tensor::temporary(&[h, w, c]);
        self.push(Op::FromLatents(FromLatents {
            latents: latents.clone(),
            frame: frame.clone(),
            mean: mean.clone(),
            std: std.clone(),
            out: out.clone(),
        }))?;
        Ok(out)
    }

    /// Records the normalised means of an encoded frame into `out` `[C, H, W]`.
    ///
    /// # Shapes
    /// moments `[H, W, >= C]`, mean and std `[C]`.
    pub fn to_latents(&mut self, moments: &Tensor, mean: &Tensor, std: &Tensor, out: &Tensor) -> Result<()> {
        const OP: &str = "to_latents";
        let [h, w, width] = moments.dims(OP, "moments")?;
        let [c] = mean.dims(OP, "mean")?;
        if width < c {
            return Err(Error::ShapeMismatch {
                op: OP,
                what: "moments",
                expected: vec![h, w, c],
                found: vec![h, w, width],
            });
        }
        std.expect(OP, "std", &[c])?;
        out.expect(OP, "out", &[c, h, w])?;
        self.push(Op::ToLatents(ToLatents {
            moments: moments.clone(),
            mean: mean.clone(),
            std: std.clone(),
            out: out.clone(),
        }))
    }
}
