//! Lowering of the ways between RGB frames, patches and RGBA words.

use super::*;
use crate::ops::{PixelForm, PixelPatches, Pixels, Rgba};

pub(super) fn lower_patches(op: &PixelPatches, limits: &Limits) -> Result<Vec<Dispatch>> {
    let [_, w, _] = op.out.dims("pixel_patches", "out")?;
    gather::lower("pixel_patches", &op.x, &op.out, &[], &form_words(w, op.patch, op.form)?, limits)
}

pub(super) fn lower_pixels(op: &Pixels, limits: &Limits) -> Result<Vec<Dispatch>> {
    let [_, w, _] = op.x.dims("pixels", "x")?;
    gather::lower("pixels", &op.x, &op.out, &[], &form_words(w, op.patch, op.form)?, limits)
}

fn form_words(width: usize, patch: usize, form: PixelForm) -> Result<Vec<u32>> {
    words([width, patch, (form == PixelForm::Unit).into()])
}

pub(super) fn lower_rgba(op: &Rgba, limits: &Limits) -> Result<Vec<Dispatch>> {
    pieces(op.out.len(), (most_elements(limits) / 3).max(1))
        .map(|range| {
            Ok(Dispatch {
                kernel: Kernel::new("rgba", []),
                grid: element_grid(range.len(), limits)?,
                params: words([range.len()])?,
                flops: 3 * range.len() as u64,
                bindings: vec![
                    Binding::read_range(&op.x, span(&range, 3)),
                    Binding::write_range(&op.out, range),
                ],
            })
        })
        .collect()
}
