//! The layers that encoder and decoder are made of.

use crate::Result;
use crate::models::causal::Chunk;
use crate::models::layers::Bias;
use crate::ops::{ConvOptions, ConvWeight};
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::{Layout, Scope};

/// `nn.Conv2d`, of one frame or of several that the checkpoint stacks as channels.
#[derive(Debug)]
pub(super) struct Conv {
    weight: ConvWeight,
    bias: Option<Tensor>,
    options: ConvOptions,
}

impl Conv {
    /// A convolution of torch shape `[outputs, inputs, 3, 3]`.
    pub fn new(
        scope: &Scope,
        [inputs, outputs]: [usize; 2],
        bias: Bias,
        options: ConvOptions,
    ) -> Result<Self> {
        Self::of_frames(scope, 1, [inputs, outputs], 3, bias, options)
    }

    /// A convolution of torch shape `[outputs, frames * inputs, kernel, kernel]`.
    pub fn of_frames(
        scope: &Scope,
        frames: usize,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        bias: Bias,
        options: ConvOptions,
    ) -> Result<Self> {
        let shape = [outputs, frames * inputs, kernel, kernel];
        Ok(Self {
            weight: ConvWeight {
                matrix: scope.matrix("weight", &shape, Layout::Frames { frames })?,
                channels_in: inputs,
                channels_out: outputs,
                kernel: [frames, kernel, kernel],
            },
            bias: match bias {
                Bias::Yes => Some(scope.vector("bias", &[outputs])?),
                Bias::No => None,
            },
            options,
        })
    }

    /// Records one output frame.
    pub fn forward(&self, rec: &mut Recorder, frames: &[Option<&Tensor>]) -> Result<Tensor> {
        rec.conv(frames, &self.weight, self.bias.as_ref(), self.options, None)
    }

    /// Records `relu(conv + residual)`.
    pub fn relu(
        &self,
        rec: &mut Recorder,
        frames: &[Option<&Tensor>],
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        rec.conv_relu(frames, &self.weight, self.bias.as_ref(), self.options, residual)
    }
}

/// `MemBlock`: `relu(conv(x, past) + x)`, past being x one frame ago.
#[derive(Debug)]
pub(super) struct MemBlock {
    conv: [Conv; 3],
}

impl MemBlock {
    pub fn new(scope: &Scope, dim: usize) -> Result<Self> {
        let scope = scope.pp("conv");
        let conv = |index: usize, frames| {
            Conv::of_frames(&scope.pp(index), frames, [dim, dim], 3, Bias::Yes, ConvOptions::same(3))
        };
        Ok(Self { conv: [conv(0, 2)?, conv(2, 1)?, conv(4, 1)?] })
    }

    /// The three blocks of a stage, of which the first has the number `first`.
    pub fn stage(scope: &Scope, first: usize, dim: usize) -> Result<[Self; 3]> {
        let block = |i: usize| Self::new(&scope.pp(first + i), dim);
        Ok([block(0)?, block(1)?, block(2)?])
    }

    pub fn forward(&self, rec: &mut Recorder, chunk: Chunk, x: &Tensor) -> Result<Tensor> {
        let [first, second, third] = &self.conv;
        let key = first.weight.matrix.id();
        let [past] = chunk.history(key, x.shape());
        let h = first.relu(rec, &[Some(x), past.as_ref()], None)?;
        let h = second.relu(rec, &[Some(&h)], None)?;
        let h = third.relu(rec, &[Some(&h)], Some(x))?;
        chunk.remember(rec, key, x, 1)?;
        Ok(h)
    }
}

/// `TGrow`: several frames of one, each by a 1x1 convolution of its own, whose outputs the checkpoint stacks as channels.
pub(super) fn grow(scope: &Scope, dim: usize, frames: usize) -> Result<Vec<Conv>> {
    let scope = scope.pp("conv");
    (0..frames)
        .map(|frame| {
            let layout = Layout::Matrix { start: frame * dim, count: dim };
            Ok(Conv {
                weight: ConvWeight {
                    matrix: scope.matrix("weight", &[frames * dim, dim, 1, 1], layout)?,
                    channels_in: dim,
                    channels_out: dim,
                    kernel: [1, 1, 1],
                },
                bias: None,
                options: ConvOptions::same(1),
            })
        })
        .collect()
}
