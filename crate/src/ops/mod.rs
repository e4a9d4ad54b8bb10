//! The operations: one file each, with the same name as its shader (`shaders/`) and its plain-Rust twin (`cpu/`).
//!
//! A file holds the operation's description (what both executors read) and the [`Recorder`] method that checks the
//! shapes and records it. Matrices are row-major `[rows, columns]`; video frames are channels-last `[H, W, C]`;
//! queries, keys and values are head-major `[heads, tokens, head_dim]`.

mod attention;
mod blend;
mod combination;
mod conv;
mod copy;
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

pub use attention::Attention;
pub use blend::Blend;
pub use combination::Combination;
pub use conv::{Conv, ConvOptions, ConvWeight};
pub use copy::Copy;
pub use heads::{HeadNorm, Heads, Rope};
pub use latents::{FromLatents, ToLatents};
pub use linear::{Activation, Combine, Linear, LinearWeight};
pub use norm::{Affine, Modulation, Norm, NormKind};
pub use patchify::{Patchify, Unpatchify};
pub use pixels::{PixelForm, PixelPatches, Pixels, Rgba};
pub use relative_bias::{RelativeBias, relative_position_bucket};
pub use shortcut::{AverageDown, DuplicateUp};
pub use silu::Silu;
pub use soft_clamp::SoftClamp;
pub use softmax::Softmax;
pub use transpose::Transpose;

use crate::tensor::Tensor;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// One recorded operation.
        #[derive(Debug, Clone)]
        pub enum Op { $($(#[$doc])* $name($name),)* }

        impl Op {
            /// Name of the operation, as its shader's file.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => $text,)* }
            }

            /// Everything it reads.
            pub fn inputs(&self) -> Vec<&Tensor> {
                match self { $(Self::$name(op) => op.inputs(),)* }
            }

            /// What it writes.
            pub fn output(&self) -> &Tensor {
                match self { $(Self::$name(op) => &op.out,)* }
            }

            /// Multiply-add operations times two; element-wise operations count one an element.
            pub fn flops(&self) -> u64 {
                match self { $(Self::$name(op) => op.flops(),)* }
            }
        }

        $(impl From<$name> for Op { fn from(op: $name) -> Self { Self::$name(op) } })*
    };
}

operations! {
    /// `act(x W + b)`, combined with another tensor.
    Linear => "linear",
    /// Softmax attention, heads up to 128 wide.
    Attention => "attention",
    /// Layer, RMS and channel norms with affine or modulation.
    Norm => "norm",
    /// Rows to head-major, with optional RMSNorm and rotary embedding.
    Heads => "heads",
    /// Causal convolution of frames.
    Conv => "conv",
    /// Row-wise softmax.
    Softmax => "softmax",
    /// Matrix transposition.
    Transpose => "transpose",
    /// SiLU.
    Silu => "silu",
    /// Values bounded by tanh.
    SoftClamp => "soft_clamp",
    /// Linear combination with coefficients read from a tensor.
    Combination => "combination",
    /// Given values in place of made ones.
    Blend => "blend",
    /// Copy.
    Copy => "copy",
    /// T5's relative position bias by distance.
    RelativeBias => "relative_bias",
    /// Latents to patch rows.
    Patchify => "patchify",
    /// Patch rows to latents.
    Unpatchify => "unpatchify",
    /// One frame of the latents, denormalised, channels-last.
    FromLatents => "from_latents",
    /// One frame of encoder means, normalised, into the latents.
    ToLatents => "to_latents",
    /// RGB frame to patch channels.
    PixelPatches => "pixel_patches",
    /// Patch channels to an RGB frame in 0..1.
    Pixels => "pixels",
    /// RGB frame to packed RGBA bytes.
    Rgba => "rgba",
    /// Mean over space, time and channel groups, added to a base.
    AverageDown => "average_down",
    /// Repetition over space, time and channels, added to a base.
    DuplicateUp => "duplicate_up",
}
