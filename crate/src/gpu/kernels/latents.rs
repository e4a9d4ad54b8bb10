//! Lowering of the ways between latents and the VAE's frames.

use super::*;
use crate::ops::{FromLatents, ToLatents};

pub(super) fn lower_from(op: &FromLatents, limits: &Limits) -> Result<Vec<Dispatch>> {
    let [c, t, h, w] = op.latents.dims("from_latents", "latents")?;
    let more = [&op.frame, &op.mean, &op.std];
    gather::lower("from_latents", &op.latents, &op.out, &more, &words([c, t, h * w])?, limits)
}

pub(super) fn lower_to(op: &ToLatents, limits: &Limits) -> Result<Vec<Dispatch>> {
    let [h, w, width] = op.moments.dims("to_latents", "moments")?;
    gather::lower("to_latents", &op.moments, &op.out, &[&op.mean, &op.std], &words([width, h * w])?, limits)
}
