//! Latents to rows of patches and back (the Conv3d patch embedding without overlap, and the head's unpatchify).

use super::Op;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// `out[(t, y, x), (c, i, j, k)] = x[c, t * pt + i, y * ph + j, x * pw + k]`: the channel order of a Conv3d weight.
#[derive(Debug, Clone)]
pub struct Patchify {
    /// `[C, T, H, W]`.
    pub x: Tensor,
    /// (pt, ph, pw).
    pub patch: [usize; 3],
    /// `[T/pt * H/ph * W/pw, C * pt * ph * pw]`.
    pub out: Tensor,
}

/// `out[c, t * pt + i, y * ph + j, x * pw + k] = x[(t, y, x), (i, j, k, c)]`: the channel order of Wan's `proj_out`.
#[derive(Debug, Clone)]
pub struct Unpatchify {
    /// `[T/pt * H/ph * W/pw, pt * ph * pw * C]`.
    pub x: Tensor,
    /// (pt, ph, pw).
    pub patch: [usize; 3],
    /// `[C, T, H, W]`.
    pub out: Tensor,
}

impl Patchify {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    pub(super) fn flops(&self) -> u64 {
        self.x.len() as u64
    }
}

impl Unpatchify {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    pub(super) fn flops(&self) -> u64 {
        self.x.len() as u64
    }
}

/// `[tokens, channels of a patch]` for latents `[C, T, H, W]`.
fn rows(op: &'static str, latents: [usize; 4], patch: [usize; 3]) -> Result<[usize; 2]> {
    let [c, t, h, w] = latents;
    let [pt, ph, pw] = patch;
    if [pt, ph, pw].contains(&0) || t % pt != 0 || h % ph != 0 || w % pw != 0 {
        return Err(Error::ShapeMismatch {
            op,
            what: "latents (multiples of the patch)",
            expected: patch.to_vec(),
            found: latents.to_vec(),
        });
    }
    Ok([(t / pt) * (h / ph) * (w / pw), c * pt * ph * pw])
}

impl Recorder {
    /// Records the split of latents `[C, T, H, W]` into rows of patches.
    pub fn patchify(&mut self, x: &Tensor, patch: [usize; 3]) -> Result<Tensor> {
        let out = Tensor::temporary(&rows("patchify", x.dims("patchify", "x")?, patch)?);
        self.push(Op::Patchify(Patchify { x: x.clone(), patch, out: out.clone() }))?;
        Ok(out)
    }

    /// Records the return from rows of patches to latents of shape `latents` = `[C, T, H, W]`.
    pub fn unpatchify(&mut self, x: &Tensor, patch: [usize; 3], latents: [usize; 4]) -> Result<Tensor> {
        x.expect("unpatchify", "x", &rows("unpatchify", latents, patch)?)?;
        let out = Tensor::temporary(&latents);
        self.push(Op::Unpatchify(Unpatchify { x: x.clone(), patch, out: out.clone() }))?;
        Ok(out)
    }
}
