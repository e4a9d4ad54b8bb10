//! Latents to pixels (`TAEHV.decoder`, `decode_video`).

use super::blocks::{Conv, MemBlock, grow};
use crate::Result;
use crate::config::TaehvConfig;
use crate::models::causal::Chunk;
use crate::models::layers::Bias;
use crate::ops::ConvOptions;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::Scope;

/// What `Clamp` bounds latents by.
const LIMIT: f32 = 3.0;

/// `decoder`.
#[derive(Debug)]
pub struct TaehvDecoder {
    conv_in: Conv,
    stages: Vec<UpStage>,
    conv_out: Conv,
    patch_size: usize,
    /// Frames of a latent frame.
    time_factor: usize,
}

/// Three blocks, `Upsample`, `TGrow` and a convolution.
#[derive(Debug)]
struct UpStage {
    blocks: [MemBlock; 3],
    grow: Vec<Conv>,
    conv: Conv,
}

impl TaehvDecoder {
    /// Takes the layers from the root of the autoencoder's names.
    pub fn new(scope: &Scope, config: &TaehvConfig) -> Result<Self> {
        let decoder = scope.pp("decoder");
        let same = ConvOptions::same(3);
        let [widest, .., narrowest] = config.decoder_dims;
        let stages = config.decoder_stages().map(|(index, dims, frames)| {
            let [inputs, _] = dims;
            let doubled = ConvOptions { upsample: true, ..same };
            Ok(UpStage {
                blocks: MemBlock::stage(&decoder, index, inputs)?,
                grow: grow(&decoder.pp(index + 4), inputs, frames)?,
                conv: Conv::new(&decoder.pp(index + 5), dims, Bias::No, doubled)?,
            })
        });
        Ok(Self {
            conv_in: Conv::new(&decoder.pp(1), [config.z_dim, widest], Bias::Yes, same)?,
            stages: stages.collect::<Result<_>>()?,
            conv_out: Conv::new(&decoder.pp(22), [narrowest, config.channels()], Bias::Yes, same)?,
            patch_size: config.patch_size,
            time_factor: config.scale_factor_temporal(),
        })
    }

    /// Pixels a side that a frame's channels are spread over.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }

    /// Records the decoding of one latent frame `[H, W, z]` into frames of patch channels `[h, w, 3 p^2]`: one for a clip's first
    /// latent frame (`frames_to_trim`), the temporal factor for each later one. `emit` is called with every frame as it is made.
    pub fn forward(
        &self,
        rec: &mut Recorder,
        chunk: Chunk,
        latent: &Tensor,
        emit: &mut dyn FnMut(&mut Recorder, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let mut trimmed = if chunk.first { self.time_factor - 1 } else { 0 };
        let x = rec.soft_clamp(latent, LIMIT)?;
        let x = self.conv_in.relu(rec, &[Some(&x)], None)?;
        self.up(rec, chunk, &x, &self.stages, &mut trimmed, emit)
    }

    fn up(
        &self,
        rec: &mut Recorder,
        chunk: Chunk,
        x: &Tensor,
        stages: &[UpStage],
        trimmed: &mut usize,
        emit: &mut dyn FnMut(&mut Recorder, &Tensor) -> Result<()>,
    ) -> Result<()> {
        let Some((stage, rest)) = stages.split_first() else {
            let x = self.conv_out.forward(rec, &[Some(x)])?;
            return emit(rec, &x);
        };
        let mut x = x.clone();
        for block in &stage.blocks {
            x = block.forward(rec, chunk, &x)?;
        }
        let last = rest.is_empty();
        for grow in &stage.grow {
            // Of a frame that is left out only the blocks' memory matters, and there are no blocks behind the last stage.
            if last && *trimmed > 0 {
                *trimmed -= 1;
                continue;
            }
            // A convolution of single pixels gives the same before the upsampling, which is part of the next one.
            let frame = grow.forward(rec, &[Some(&x)])?;
            let frame = match last {
                true => stage.conv.relu(rec, &[Some(&frame)], None)?,
                false => stage.conv.forward(rec, &[Some(&frame)])?,
            };
            self.up(rec, chunk, &frame, rest, trimmed, emit)?;
        }
        Ok(())
    }
}
