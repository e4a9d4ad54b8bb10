//! The blocks that encoder and decoder are made of.

use super::causal::CausalConv;
use crate::Result;
use crate::models::causal::Chunk;
use crate::models::layers::Linear;
use crate::ops::{Activation, Affine, Combine, ConvOptions, NormKind};
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::Scope;

/// `WanRMS_norm`, over the channels of every pixel.
#[derive(Debug)]
pub(super) struct ChannelNorm {
    gamma: Tensor,
}

impl ChannelNorm {
    /// `gamma` has `ones` trailing dimensions of 1: three in residual blocks, two in attention blocks.
    pub fn new(scope: &Scope, channels: usize, ones: usize) -> Result<Self> {
        let shape: Vec<usize> = std::iter::once(channels).chain(std::iter::repeat_n(1, ones)).collect();
        Ok(Self { gamma: scope.vector("gamma", &shape)? })
    }

    pub fn forward(&self, rec: &mut Recorder, frame: &Tensor, silu: bool) -> Result<Tensor> {
        let affine = Affine::Weight { weight: self.gamma.clone(), bias: None };
        rec.norm(frame, NormKind::Channel, affine, silu)
    }
}

/// `WanResidualBlock`.
#[derive(Debug)]
pub(super) struct ResidualBlock {
    norm1: ChannelNorm,
    conv1: CausalConv,
    norm2: ChannelNorm,
    conv2: CausalConv,
    conv_shortcut: Option<CausalConv>,
}

impl ResidualBlock {
    pub fn new(scope: &Scope, inputs: usize, outputs: usize) -> Result<Self> {
        let conv = |name: &str, inputs| {
            CausalConv::new(&scope.pp(name), inputs, outputs, &[3, 3, 3], ConvOptions::same(3))
        };
        Ok(Self {
            norm1: ChannelNorm::new(&scope.pp("norm1"), inputs, 3)?,
            conv1: conv("conv1", inputs)?,
            norm2: ChannelNorm::new(&scope.pp("norm2"), outputs, 3)?,
            conv2: conv("conv2", outputs)?,
            conv_shortcut: if inputs == outputs {
                None
            } else {
                let scope = scope.pp("conv_shortcut");
                Some(CausalConv::new(&scope, inputs, outputs, &[1, 1, 1], ConvOptions::same(1))?)
            },
        })
    }

    pub fn forward(&self, rec: &mut Recorder, chunk: Chunk, x: &Tensor) -> Result<Tensor> {
        let shortcut = match &self.conv_shortcut {
            Some(conv) => conv.forward(rec, chunk, x, None)?,
            None => x.clone(),
        };
        let h = self.norm1.forward(rec, x, true)?;
        let h = self.conv1.forward(rec, chunk, &h, None)?;
        let h = self.norm2.forward(rec, &h, true)?;
        self.conv2.forward(rec, chunk, &h, Some(&shortcut))
    }
}

/// `WanAttentionBlock`: one head over the pixels of a frame.
#[derive(Debug)]
struct AttentionBlock {
    norm: ChannelNorm,
    to_qkv: [Linear; 3],
    proj: Linear,
}

impl AttentionBlock {
    fn new(scope: &Scope, dim: usize) -> Result<Self> {
        let qkv = scope.pp("to_qkv");
        let part = |i: usize| Linear::from_conv(&qkv, &[3 * dim, dim, 1, 1], i * dim..(i + 1) * dim);
        Ok(Self {
            norm: ChannelNorm::new(&scope.pp("norm"), dim, 2)?,
            to_qkv: [part(0)?, part(1)?, part(2)?],
            proj: Linear::from_conv(&scope.pp("proj"), &[dim, dim, 1, 1], 0..dim)?,
        })
    }

    fn forward(&self, rec: &mut Recorder, x: &Tensor) -> Result<Tensor> {
        let [h, w, c] = x.dims("attention block", "frame")?;
        let rows = x.reshape(&[h * w, c])?;
        let normed = self.norm.forward(rec, &rows, false)?;
        let [to_q, to_k, to_v] = &self.to_qkv;
        let q = to_q.forward(rec, &normed)?;
        let k = to_k.forward(rec, &normed)?;
        let v = to_v.forward(rec, &normed)?;
        let attended = rec.wide_attention(&q, &k, &v, 1.0 / (c as f32).sqrt())?;
        let out = self.proj.forward_with(rec, &attended, Activation::None, Combine::Add(rows))?;
        out.reshape(&[h, w, c])
    }
}

/// `WanMidBlock`.
#[derive(Debug)]
pub(super) struct MidBlock {
    resnets: [ResidualBlock; 2],
    attention: AttentionBlock,
}

impl MidBlock {
    pub fn new(scope: &Scope, dim: usize) -> Result<Self> {
        let resnets = scope.pp("resnets");
        Ok(Self {
            resnets: [
                ResidualBlock::new(&resnets.pp(0), dim, dim)?,
                ResidualBlock::new(&resnets.pp(1), dim, dim)?,
            ],
            attention: AttentionBlock::new(&scope.pp("attentions.0"), dim)?,
        })
    }

    pub fn forward(&self, rec: &mut Recorder, chunk: Chunk, x: &Tensor) -> Result<Tensor> {
        let [first, second] = &self.resnets;
        let x = first.forward(rec, chunk, x)?;
        let x = self.attention.forward(rec, &x)?;
        second.forward(rec, chunk, &x)
    }
}
