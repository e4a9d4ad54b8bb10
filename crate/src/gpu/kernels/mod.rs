//! Operations to dispatches: which shader, which ranges, which grid. Pure: no GPU is needed to lower.
//!
//! A lowering binds nothing above [`Limits::max_binding`] and cuts work above [`Limits::max_dispatch_flops`] by rows, heads or
//! elements. One file an operation, of the same name as under [`crate::ops`].

mod attention;
mod blend;
mod combination;
mod conv;
mod copy;
mod gather;
mod gemm;
mod heads;
mod latents;
mod linear;
mod norm;
mod patchify;
mod pixels;
mod relative_bias;
mod shortcut;
mod silu;
mod soft_clamp;
mod softmax;
mod transpose;
mod winograd;

use std::ops::Range;

use super::dispatch::{Binding, Dispatch, Kernel};
use super::limits::Limits;
use crate::ops::Op;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// Invocations of a workgroup in kernels that work element by element.
const ELEMENT_WORKGROUP: usize = 256;

/// Work of one element of an element-wise kernel, in flops: memory traffic, mostly.
const ELEMENT_COST: u64 = 32;

/// The dispatches of one operation, in order; none when its output is empty.
///
/// # Errors
/// [`Error::DeviceTooSmall`] when no split brings a binding under the limit.
pub fn lower(op: &Op, limits: &Limits) -> Result<Vec<Dispatch>> {
    if op.output().is_empty() {
        return Ok(Vec::new());
    }
    match op {
        Op::Linear(op) => linear::lower(op, limits),
        Op::Attention(op) => attention::lower(op, limits),
        Op::Norm(op) => norm::lower(op, limits),
        Op::Heads(op) => heads::lower(op, limits),
        Op::Conv(op) => conv::lower(op, limits),
        Op::Softmax(op) => softmax::lower(op, limits),
        Op::Transpose(op) => transpose::lower(op, limits),
        Op::Silu(op) => silu::lower(op, limits),
        Op::SoftClamp(op) => soft_clamp::lower(op, limits),
        Op::Combination(op) => combination::lower(op, limits),
        Op::Blend(op) => blend::lower(op, limits),
        Op::Copy(op) => copy::lower(op, limits),
        Op::RelativeBias(op) => relative_bias::lower(op, limits),
        Op::Patchify(op) => patchify::lower(op, limits),
        Op::Unpatchify(op) => patchify::lower_back(op, limits),
        Op::FromLatents(op) => latents::lower_from(op, limits),
        Op::ToLatents(op) => latents::lower_to(op, limits),
        Op::PixelPatches(op) => pixels::lower_patches(op, limits),
        Op::Pixels(op) => pixels::lower_pixels(op, limits),
        Op::Rgba(op) => pixels::lower_rgba(op, limits),
        Op::AverageDown(op) => shortcut::lower_down(op, limits),
        Op::DuplicateUp(op) => shortcut::lower_up(op, limits),
    }
}

/// A word of the uniform block.
///
/// # Errors
/// [`Error::DeviceTooSmall`] above 32 bits.
fn word(value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::DeviceTooSmall {
        what: "an index of a shader".into(),
        needed: value as u64,
        allowed: u32::MAX.into(),
    })
}

/// Words of the uniform block.
///
/// # Errors
/// As [`word`].
fn words<const N: usize>(values: [usize; N]) -> Result<Vec<u32>> {
    values.into_iter().map(word).collect()
}

/// `0..total` in pieces of at most `most`.
fn pieces(total: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    (0..total).step_by(most.max(1)).map(move |start| start..total.min(start.saturating_add(most.max(1))))
}

/// The range of elements that rows of `width` elements take.
fn span(rows: &Range<usize>, width: usize) -> Range<usize> {
    rows.start * width..rows.end * width
}

/// Elements that one dispatch of an element-wise kernel may write.
fn most_elements(limits: &Limits) -> usize {
    limits.binding_elements(DType::F32).min(limits.dispatch_rows(ELEMENT_COST)).max(1)
}

/// The grid of an element-wise kernel.
///
/// # Errors
/// As [`Limits::fold`].
fn element_grid(elements: usize, limits: &Limits) -> Result<[u32; 3]> {
    limits.fold(elements.div_ceil(ELEMENT_WORKGROUP))
}

/// Rows of a workgroup of `shared/rows.wgsl`.
const ROWS: usize = 8;

/// The flag that chooses the variant of `shared/rows.wgsl`.
fn serial(limits: &Limits) -> Option<&'static str> {
    limits.barrier_free.then_some("SERIAL")
}

/// Rows of `width` elements that one dispatch of a row kernel may take.
///
/// # Errors
/// [`Error::DeviceTooSmall`] when one row is above the binding limit.
fn most_rows(op: &'static str, width: usize, limits: &Limits) -> Result<usize> {
    let fit = limits.binding_rows(op, DType::F32, width)?;
    Ok(fit.min(limits.dispatch_rows(ELEMENT_COST * width as u64)))
}
