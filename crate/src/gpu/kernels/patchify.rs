//! Lowering of the split into patches, and back.

use super::*;
use crate::ops::{Patchify, Unpatchify};

fn params(latents: [usize; 4], [pt, ph, pw]: [usize; 3]) -> Result<Vec<u32>> {
    let [c, t, h, w] = latents;
    words([c, t, h, w, pt, ph, pw, 0])
}

pub(super) fn lower(op: &Patchify, limits: &Limits) -> Result<Vec<Dispatch>> {
    let params = params(op.x.dims("patchify", "x")?, op.patch)?;
    gather::lower("patchify", &op.x, &op.out, &[], &params, limits)
}

pub(super) fn lower_back(op: &Unpatchify, limits: &Limits) -> Result<Vec<Dispatch>> {
    let params = params(op.out.dims("unpatchify", "out")?, op.patch)?;
    gather::lower("unpatchify", &op.x, &op.out, &[], &params, limits)
}
