//! Causal convolution of channels-last frames.
//!
//! A video is a list of frames, each a tensor of its own: the frames before the current one are the causal cache, and
//! no tensor grows with the length of the clip. A 2-D convolution is the case of one frame.

use super::Op;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// A convolution weight in the order the kernels read it: `[kt * kh * kw * C_in, stride]` with `C_in` innermost,
/// stride = `C_out` rounded up to 4, padding zero. Torch keeps `[C_out, C_in, kt, kh, kw]`.
#[derive(Debug, Clone)]
pub struct ConvWeight {
    /// `[kt * kh * kw * C_in, stride]`.
    pub matrix: Tensor,
    /// Channels in.
    pub channels_in: usize,
    /// Channels out.
    pub channels_out: usize,
    /// (kt, kh, kw).
    pub kernel: [usize; 3],
}

/// How the kernel walks over a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions {
    /// Step between outputs, in both directions.
    pub stride: usize,
    /// Zeros above and to the left.
    pub pad_before: usize,
    /// Zeros below and to the right.
    pub pad_after: usize,
    /// Whether the frame is first doubled in both directions by repeating pixels (nearest-exact).
    pub upsample: bool,
}

impl ConvOptions {
    /// Stride 1 with the same size in and out for an odd kernel of `k`.
    pub fn same(k: usize) -> Self {
        Self { stride: 1, pad_before: k / 2, pad_after: k / 2, upsample: false }
    }
}

/// `out[y, x, o] = residual + b[o] + sum over t, j, i, c of w[o, c, t, j, i] * frames[t][y * s + j - pad, x * s + i - pad, c]`, with `relu`
/// at least 0.
#[derive(Debug, Clone)]
pub struct Conv {
    /// kt frames `[H, W, C_in]`, oldest first; `None` is a frame of zeros.
    pub frames: Vec<Option<Tensor>>,
    /// Weight.
    pub weight: ConvWeight,
    /// `[C_out]`.
    pub bias: Option<Tensor>,
    /// Geometry.
    pub options: ConvOptions,
    /// `[H_out, W_out, C_out]`, added to the result.
    pub residual: Option<Tensor>,
    /// Whether what is below 0 becomes 0, after everything else.
    pub relu: bool,
    /// `[H_out, W_out, C_out]`.
    pub out: Tensor,
}

impl Conv {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        let mut all: Vec<_> = self.frames.iter().flatten().collect();
        all.push(&self.weight.matrix);
        all.extend(&self.bias);
        all.extend(&self.residual);
        all
    }

    pub(super) fn flops(&self) -> u64 {
        let [_, kh, kw] = self.weight.kernel;
        let taps = self.frames.iter().flatten().count() * kh * kw * self.weight.channels_in;
        2 * self.out.len() as u64 * taps as u64
    }
}

impl Recorder {
    /// Records one output frame of a causal convolution into a new tensor `[H_out, W_out, C_out]`.
    ///
    /// # Shapes
    /// frames: kt of `[H, W, C_in]`, oldest first, at least one of them given; bias `[C_out]`; residual as the output.
    pub fn conv(
        &mut self,
        frames: &[Option<&Tensor>],
        weight: &ConvWeight,
        bias: Option<&Tensor>,
        options: ConvOptions,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.conv_with(frames, weight, bias, options, residual, false)
    }

    /// As [`Recorder::conv`], with ReLU of the sum, residual included.
    pub fn conv_relu(
        &mut self,
        frames: &[Option<&Tensor>],
        weight: &ConvWeight,
        bias: Option<&Tensor>,
        options: ConvOptions,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.conv_with(frames, weight, bias, options, residual, true)
    }

    fn conv_with(
        &mut self,
        frames: &[Option<&Tensor>],
        weight: &ConvWeight,
        bias: Option<&Tensor>,
        options: ConvOptions,
        residual: Option<&Tensor>,
        relu: bool,
    ) -> Result<Tensor> {
        const OP: &str = "conv";
        let [kt, kh, kw] = weight.kernel;
        let mismatch = |what, expected: &[usize], found: &[usize]| Error::ShapeMismatch {
            op: OP,
            what,
            expected: expected.to_vec(),
            found: found.to_vec(),
        };
        let Some(first) = frames.iter().flatten().next() else {
            return Err(mismatch("frames", &[kt], &[0]));
        };
        if frames.len() != kt || kt > 3 {
            return Err(mismatch("frames", &[kt], &[frames.len()]));
        }
        let [h, w, c] = first.dims(OP, "frame")?;
        for frame in frames.iter().flatten() {
            frame.expect(OP, "frame", &[h, w, weight.channels_in])?;
        }
        let n = weight.channels_out;
        weight.matrix.expect(OP, "weight", &[kt * kh * kw * c, n.next_multiple_of(4)])?;
        if let Some(bias) = bias {
            bias.expect(OP, "bias", &[n])?;
        }
        let scale = if options.upsample { 2 } else { 1 };
        let extent = |size: usize, k: usize| {
            (size * scale + options.pad_before + options.pad_after)
                .checked_sub(k)
                .map(|room| room / options.stride.max(1) + 1)
                .ok_or_else(|| mismatch("frame (smaller than the kernel)", &[kh, kw], &[h, w]))
        };
        let shape = [extent(h, kh)?, extent(w, kw)?, n];
        if let Some(residual) = residual {
            residual.expect(OP, "residual", &shape)?;
        }
        let out = Tensor::temporary(&shape);
        self.push(Op::Conv(Conv {
            frames: frames.iter().map(|f| f.cloned()).collect(),
            weight: weight.clone(),
            bias: bias.cloned(),
            options,
            residual: residual.cloned(),
            relu,
            out: out.clone(),
        }))?;
        Ok(out)
    }
}
