//! Convolutions over time (WanCausalConv3d; `feat_cache` is [`crate::models::causal`]).

use crate::Result;
use crate::models::causal::Chunk;
use crate::ops::{ConvOptions, ConvWeight};
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::{Layout, Scope};

/// A convolution of frames. With a kernel longer than 1 in time it sees the frames before, zeros before the first.
#[derive(Debug)]
pub struct CausalConv {
    weight: ConvWeight,
    bias: Tensor,
    options: ConvOptions,
}

/// Frames before the current one that a kernel sees.
pub(super) const HISTORY: usize = 2;

impl CausalConv {
    /// A convolution of torch shape `[outputs, inputs, kernel...]`, kernel of two or three dimensions.
    pub fn new(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        kernel: &[usize],
        options: ConvOptions,
    ) -> Result<Self> {
        let bias = scope.vector("bias", &[outputs])?;
        Self::outputs(scope, inputs, outputs, kernel, options, 0..outputs, &bias)
    }

    /// Both halves of the outputs of an upsampling `time_conv` `[2 C, C, 3, 1, 1]`: the first makes the even frames, the second
    /// the odd ones.
    pub fn halves(scope: &Scope, channels: usize) -> Result<[Self; 2]> {
        let bias = scope.vector("bias", &[2 * channels])?;
        let half = |rows: std::ops::Range<usize>| {
            Self::outputs(scope, channels, 2 * channels, &[3, 1, 1], ConvOptions::same(1), rows, &bias)
        };
        Ok([half(0..channels)?, half(channels..2 * channels)?])
    }

    fn outputs(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        kernel: &[usize],
        options: ConvOptions,
        rows: std::ops::Range<usize>,
        bias: &Tensor,
    ) -> Result<Self> {
        let shape: Vec<usize> = [outputs, inputs].into_iter().chain(kernel.iter().copied()).collect();
        let layout = Layout::Matrix { start: rows.start, count: rows.len() };
        let mut full = [1; 3];
        full[3 - kernel.len().min(3)..].copy_from_slice(&kernel[kernel.len().saturating_sub(3)..]);
        Ok(Self {
            weight: ConvWeight {
                matrix: scope.matrix("weight", &shape, layout)?,
                channels_in: inputs,
                channels_out: rows.len(),
                kernel: full,
            },
            bias: bias.rows(rows.start, rows.len())?,
            options,
        })
    }

    /// Identity in the cache.
    pub(super) fn key(&self) -> u64 {
        self.weight.matrix.id()
    }

    /// Records one output frame, with the frames before from the cache, and remembers this one.
    pub fn forward(
        &self,
        rec: &mut Recorder,
        chunk: Chunk,
        frame: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        if self.weight.kernel[0] == 1 {
            return self.frames(rec, &[Some(frame)], residual);
        }
        let [older, newer] = chunk.history::<HISTORY>(self.key(), frame.shape());
        let out = self.frames(rec, &[older.as_ref(), newer.as_ref(), Some(frame)], residual)?;
        chunk.remember(rec, self.key(), frame, HISTORY)?;
        Ok(out)
    }

    /// Records one output frame of explicitly given input frames.
    pub fn frames(
        &self,
        rec: &mut Recorder,
        frames: &[Option<&Tensor>],
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        rec.conv(frames, &self.weight, Some(&self.bias), self.options, residual)
    }
}
