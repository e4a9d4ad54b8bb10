//! Pixels to latents (WanEncoder3d).

use super::blocks::{ChannelNorm, MidBlock, ResidualBlock};
use super::causal::{CausalConv, HISTORY};
use crate::Result;
use crate::config::WanVaeConfig;
use crate::models::causal::Chunk;
use crate::ops::ConvOptions;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::Scope;
use crate::{Error, config};

/// `encoder` and `quant_conv` of AutoencoderKLWan.
#[derive(Debug)]
pub struct VaeEncoder {
    conv_in: CausalConv,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    norm_out: ChannelNorm,
    conv_out: CausalConv,
    quant_conv: CausalConv,
    patch_size: usize,
}

/// `WanResidualDownBlock`, or the same layers of the flat list that the 2.1 flavour keeps them in.
#[derive(Debug)]
struct DownBlock {
    resnets: Vec<ResidualBlock>,
    downsampler: Option<Downsample>,
    /// Whether `AvgDown3D` carries the block's input around it.
    shortcut: bool,
}

/// `WanResample` in the modes `downsample2d` and `downsample3d`.
#[derive(Debug)]
struct Downsample {
    resample: CausalConv,
    time_conv: Option<CausalConv>,
}

impl VaeEncoder {
    /// Takes the layers from the root of the VAE's names.
    pub fn new(scope: &Scope, config: &config::WanVaeConfig) -> Result<Self> {
        let z = 2 * config.z_dim;
        let dims = config.encoder_dims();
        let encoder = scope.pp("encoder");
        let conv = |name: &str, inputs, outputs| {
            CausalConv::new(&encoder.pp(name), inputs, outputs, &[3, 3, 3], ConvOptions::same(3))
        };
        let narrowest = dims.first().copied().unwrap_or(0);
        let widest = dims.last().copied().unwrap_or(0);
        Ok(Self {
            conv_in: conv("conv_in", config.in_channels, narrowest)?,
            down_blocks: down_blocks(&encoder.pp("down_blocks"), config, &dims)?,
            mid_block: MidBlock::new(&encoder.pp("mid_block"), widest)?,
            norm_out: ChannelNorm::new(&encoder.pp("norm_out"), widest, 3)?,
            conv_out: conv("conv_out", widest, z)?,
            quant_conv: CausalConv::new(&scope.pp("quant_conv"), z, z, &[1, 1, 1], ConvOptions::same(1))?,
            patch_size: config.patch_size(),
        })
    }

    /// Pixels a side that are gathered into channels.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }

    /// Records the encoding of a chunk, frames of patch channels `[h, w, 3 p^2]`, into one latent frame's moments `[H, W, 2 z]`: a
    /// clip's first chunk is one frame, each later one the temporal factor.
    pub fn forward(&self, rec: &mut Recorder, chunk: Chunk, frames: &[Tensor]) -> Result<Tensor> {
        let mut x =
            frames.iter().map(|f| self.conv_in.forward(rec, chunk, f, None)).collect::<Result<Vec<_>>>()?;
        for block in &self.down_blocks {
            x = block.forward(rec, chunk, x)?;
        }
        let [x] = x.as_slice() else {
            return Err(Error::ShapeMismatch {
                op: "encoder",
                what: "frames of a chunk",
                expected: vec![1],
                found: vec![x.len()],
            });
        };
        let x = self.mid_block.forward(rec, chunk, x)?;
        let x = self.norm_out.forward(rec, &x, true)?;
        let x = self.conv_out.forward(rec, chunk, &x, None)?;
        self.quant_conv.forward(rec, chunk, &x, None)
    }
}

fn down_blocks(scope: &Scope, config: &WanVaeConfig, dims: &[usize]) -> Result<Vec<DownBlock>> {
    // The 2.1 flavour numbers residual blocks and downsamplers through, the residual one has them inside a block.
    let mut flat = 0..;
    let mut next = || scope.pp(flat.next().unwrap_or(0));
    let mut blocks = Vec::new();
    for (i, pair) in dims.windows(2).enumerate() {
        let block = scope.pp(i);
        let mut resnets = Vec::new();
        for j in 0..config.num_res_blocks {
            let inputs = if j == 0 { pair[0] } else { pair[1] };
            let scope = if config.is_residual { block.pp("resnets").pp(j) } else { next() };
            resnets.push(ResidualBlock::new(&scope, inputs, pair[1])?);
        }
        let downsampler = match config.temperal_downsample.get(i) {
            Some(&temporal) if i + 2 < dims.len() => {
                let scope = if config.is_residual { block.pp("downsampler") } else { next() };
                Some(Downsample::new(&scope, pair[1], temporal)?)
            }
            _ => None,
        };
        blocks.push(DownBlock { resnets, downsampler, shortcut: config.is_residual });
    }
    Ok(blocks)
}

impl DownBlock {
    fn forward(&self, rec: &mut Recorder, chunk: Chunk, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let mut x = Vec::with_capacity(inputs.len());
        for input in &inputs {
            let mut frame = input.clone();
            for resnet in &self.resnets {
                frame = resnet.forward(rec, chunk, &frame)?;
            }
            if let Some(downsampler) = &self.downsampler {
                frame = downsampler.resample.forward(rec, chunk, &frame, None)?;
            }
            x.push(frame);
        }
        let time_conv = self.downsampler.as_ref().and_then(|d| d.time_conv.as_ref());
        if let Some(time_conv) = time_conv {
            x = halve_in_time(rec, chunk, time_conv, &x)?;
        }
        if !self.shortcut {
            return Ok(x);
        }
        let (time_factor, factor) = match &self.downsampler {
            None => (1, 1),
            Some(d) => (if d.time_conv.is_some() { 2 } else { 1 }, 2),
        };
        // A first chunk of one frame has a frame of zeros in front.
        let padding = (time_factor - inputs.len() % time_factor) % time_factor;
        let padded: Vec<Option<&Tensor>> =
            std::iter::repeat_n(None, padding).chain(inputs.iter().map(Some)).collect();
        padded
            .chunks(time_factor)
            .zip(&x)
            .map(|(frames, base)| rec.average_down(frames, factor, base))
            .collect()
    }
}

/// `time_conv` with stride 2: frame i of the result sees frames 2i - 1, 2i and 2i + 1 of the chunk, -1 being the last of the chunk
/// before. A clip's first frame passes by it.
fn halve_in_time(
    rec: &mut Recorder,
    chunk: Chunk,
    time_conv: &CausalConv,
    frames: &[Tensor],
) -> Result<Vec<Tensor>> {
    let mut out = Vec::new();
    if chunk.first {
        out.extend_from_slice(frames);
    } else {
        let shape = frames.first().map(Tensor::shape).unwrap_or_default();
        let [_, mut before] = chunk.history::<HISTORY>(time_conv.key(), shape);
        for pair in frames.chunks_exact(2) {
            out.push(time_conv.frames(rec, &[before.as_ref(), Some(&pair[0]), Some(&pair[1])], None)?);
            before = Some(pair[1].clone());
        }
    }
    if let Some(last) = frames.last() {
        chunk.remember(rec, time_conv.key(), last, HISTORY)?;
    }
    Ok(out)
}

impl Downsample {
    fn new(scope: &Scope, channels: usize, temporal: bool) -> Result<Self> {
        let halved = ConvOptions { stride: 2, pad_before: 0, pad_after: 1, upsample: false };
        Ok(Self {
            resample: CausalConv::new(&scope.pp("resample.1"), channels, channels, &[3, 3], halved)?,
            time_conv: match temporal {
                true => Some(CausalConv::new(
                    &scope.pp("time_conv"),
                    channels,
                    channels,
                    &[3, 1, 1],
                    ConvOptions::same(1),
                )?),
                false => None,
            },
        })
    }
}
