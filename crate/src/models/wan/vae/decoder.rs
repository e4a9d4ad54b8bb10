//! Latents to pixels (WanDecoder3d).

use super::blocks::{ChannelNorm, MidBlock, ResidualBlock};
use super::causal::{CausalConv, HISTORY};
use crate::Result;
use crate::config::WanVaeConfig;
use crate::models::causal::Chunk;
use crate::ops::ConvOptions;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::Scope;

/// `post_quant_conv` and `decoder` of AutoencoderKLWan.
#[derive(Debug)]
pub struct VaeDecoder {
    post_quant_conv: CausalConv,
    conv_in: CausalConv,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    norm_out: ChannelNorm,
    conv_out: CausalConv,
    patch_size: usize,
}

/// `WanUpBlock`, or `WanResidualUpBlock` where the shortcut is.
#[derive(Debug)]
struct UpBlock {
    resnets: Vec<ResidualBlock>,
    upsampler: Option<Upsample>,
    /// Whether `DupUp3D` carries the block's input around it.
    shortcut: bool,
}

/// `WanResample` in the modes `upsample2d` and `upsample3d`.
#[derive(Debug)]
struct Upsample {
    resample: CausalConv,
    time_conv: Option<[CausalConv; 2]>,
}

impl VaeDecoder {
    /// Takes the layers from the root of the VAE's names.
    pub fn new(scope: &Scope, config: &WanVaeConfig) -> Result<Self> {
        let z = config.z_dim;
        let dims = config.decoder_dims();
        let decoder = scope.pp("decoder");
        let conv = |name: &str, inputs, outputs| {
            CausalConv::new(&decoder.pp(name), inputs, outputs, &[3, 3, 3], ConvOptions::same(3))
        };
        let widest = dims.first().copied().unwrap_or(0);
        let last = dims.last().copied().unwrap_or(0);
        let temporal = config.temperal_upsample();
        let up_blocks = dims
            .windows(2)
            .enumerate()
            .map(|(i, pair)| {
                // The 2.1 flavour halves the channels in the upsampling before, the residual one keeps them.
                let inputs = if i > 0 && !config.is_residual { pair[0] / 2 } else { pair[0] };
                UpBlock::new(
                    &decoder.pp("up_blocks").pp(i),
                    config,
                    inputs,
                    pair[1],
                    temporal.get(i).copied(),
                )
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            post_quant_conv: CausalConv::new(
                &scope.pp("post_quant_conv"),
                z,
                z,
                &[1, 1, 1],
                ConvOptions::same(1),
            )?,
            conv_in: conv("conv_in", z, widest)?,
            mid_block: MidBlock::new(&decoder.pp("mid_block"), widest)?,
            up_blocks,
            norm_out: ChannelNorm::new(&decoder.pp("norm_out"), last, 3)?,
            conv_out: conv("conv_out", last, config.out_channels)?,
            patch_size: config.patch_size(),
        })
    }

    /// Records the decoding of one latent frame `[H, W, z]` (denormalised) into frames of patch channels `[h, w, 3 p^2]`: one for
    /// a clip's first latent frame, the temporal factor for each later one.
    ///
    /// `emit` is called with every frame as it is made; the frames after the last temporal upsampling go through the
    /// rest one after the other, so that only one of them is in memory at full size.
    pub fn forward(
        &self,
        rec: &mut Recorder,
        chunk: Chunk,
        latent: &Tensor,
        emit: &mut dyn FnMut(&mut Recorder, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let x = self.post_quant_conv.forward(rec, chunk, latent, None)?;
        let x = self.conv_in.forward(rec, chunk, &x, None)?;
        let x = self.mid_block.forward(rec, chunk, &x)?;
        self.up(rec, chunk, &x, &self.up_blocks, emit)
    }

    fn up(
        &self,
        rec: &mut Recorder,
        chunk: Chunk,
        x: &Tensor,
        blocks: &[UpBlock],
        emit: &mut dyn FnMut(&mut Recorder, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let Some((block, rest)) = blocks.split_first() else {
            let x = self.norm_out.forward(rec, x, true)?;
            let x = self.conv_out.forward(rec, chunk, &x, None)?;
            return emit(rec, &x);
        };
        block.forward(rec, chunk, x, &mut |rec, frame| self.up(rec, chunk, frame, rest, emit))
    }

    /// Pixels a side that a frame's channels are spread over.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }
}

impl UpBlock {
    /// `temporal` is `None` in the last block, which does not upsample.
    fn new(
        scope: &Scope,
        config: &WanVaeConfig,
        inputs: usize,
        outputs: usize,
        temporal: Option<bool>,
    ) -> Result<Self> {
        let resnets = (0..=config.num_res_blocks)
            .map(|i| {
                let inputs = if i == 0 { inputs } else { outputs };
                ResidualBlock::new(&scope.pp("resnets").pp(i), inputs, outputs)
            })
            .collect::<Result<_>>()?;
        let (name, resampled) =
            if config.is_residual { ("upsampler", outputs) } else { ("upsamplers.0", outputs / 2) };
        let upsampler = temporal
            .map(|temporal| Upsample::new(&scope.pp(name), outputs, resampled, temporal))
            .transpose()?;
        Ok(Self { resnets, upsampler, shortcut: config.is_residual })
    }

    fn forward(
        &self,
        rec: &mut Recorder,
        chunk: Chunk,
        input: &Tensor,
        emit: &mut dyn FnMut(&mut Recorder, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut x = input.clone();
        for resnet in &self.resnets {
            x = resnet.forward(rec, chunk, &x)?;
        }
        let Some(upsampler) = &self.upsampler else { return emit(rec, &x) };
        let time_factor = if upsampler.time_conv.is_some() { 2 } else { 1 };
        // A clip's first frame is not doubled in time: of the shortcut's frames it has the last.
        let skipped = if chunk.first { time_factor - 1 } else { 0 };
        for (i, frame) in upsampler.in_time(rec, chunk, &x)?.iter().enumerate() {
            let mut frame = upsampler.resample.forward(rec, chunk, frame, None)?;
            if self.shortcut {
                frame = rec.duplicate_up(input, time_factor, 2, i + skipped, &frame)?;
            }
            emit(rec, &frame)?;
        }
        Ok(())
    }
}

impl Upsample {
    fn new(scope: &Scope, channels: usize, resampled: usize, temporal: bool) -> Result<Self> {
        let doubled = ConvOptions { upsample: true, ..ConvOptions::same(3) };
        Ok(Self {
            resample: CausalConv::new(&scope.pp("resample.1"), channels, resampled, &[3, 3], doubled)?,
            time_conv: match temporal {
                true => Some(CausalConv::halves(&scope.pp("time_conv"), channels)?),
                false => None,
            },
        })
    }

    /// The frame itself, or the two that `time_conv` makes of it. It never sees a clip's first frame ("Rep" in diffusers):
    /// for it the clip begins with the second latent frame.
    fn in_time(&self, rec: &mut Recorder, chunk: Chunk, x: &Tensor) -> Result<Vec<Tensor>> {
        let Some([even, odd]) = self.time_conv.as_ref().filter(|_| !chunk.first) else {
            return Ok(vec![x.clone()]);
        };
        let [older, newer] = chunk.history::<HISTORY>(even.key(), x.shape());
        let frames = [older.as_ref(), newer.as_ref(), Some(x)];
        let out = vec![even.frames(rec, &frames, None)?, odd.frames(rec, &frames, None)?];
        chunk.remember(rec, even.key(), x, HISTORY)?;
        Ok(out)
    }
}
