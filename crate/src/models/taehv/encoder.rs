//! Pixels to latents (`TAEHV.encoder`, `encode_video`).

use super::blocks::{Conv, MemBlock};
use crate::config::TaehvConfig;
use crate::models::causal::Chunk;
use crate::models::layers::Bias;
use crate::ops::ConvOptions;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::Scope;
use crate::{Error, Result};

/// `encoder`.
#[derive(Debug)]
pub struct TaehvEncoder {
    conv_in: Conv,
    stages: Vec<DownStage>,
    conv_out: Conv,
    patch_size: usize,
    time_factor: usize,
}

/// `TPool`, a convolution with stride 2 and three blocks.
#[derive(Debug)]
struct DownStage {
    pool: Conv,
    /// Frames that `pool` makes one of.
    frames: usize,
    conv: Conv,
    blocks: [MemBlock; 3],
}

impl TaehvEncoder {
    /// Takes the layers from the root of the autoencoder's names.
    pub fn new(scope: &Scope, config: &TaehvConfig) -> Result<Self> {
        let encoder = scope.pp("encoder");
        let same = ConvOptions::same(3);
        let [narrowest, .., widest] = config.encoder_dims;
        let stages = config.encoder_stages().map(|(index, dims, frames)| {
            let [inputs, outputs] = dims;
            let pool = encoder.pp(index).pp("conv");
            let halved = ConvOptions { stride: 2, ..same };
            Ok(DownStage {
                pool: Conv::of_frames(&pool, frames, [inputs; 2], 1, Bias::No, ConvOptions::same(1))?,
                frames,
                conv: Conv::new(&encoder.pp(index + 1), dims, Bias::No, halved)?,
                blocks: MemBlock::stage(&encoder, index + 2, outputs)?,
            })
        });
        Ok(Self {
            conv_in: Conv::new(&encoder.pp(0), [config.channels(), narrowest], Bias::Yes, same)?,
            stages: stages.collect::<Result<_>>()?,
            conv_out: Conv::new(&encoder.pp(17), [widest, config.z_dim], Bias::Yes, same)?,
            patch_size: config.patch_size,
            time_factor: config.scale_factor_temporal(),
        })
    }

    /// Pixels a side that are gathered into channels.
    pub fn patch_size(&self) -> usize {
        self.patch_size
    }

    /// Records the encoding of one latent frame `[H, W, z]` from as many frames of patch channels `[h, w, 3 p^2]` as the temporal
    /// factor says; a clip's last frame stands for those after it.
    pub fn forward(&self, rec: &mut Recorder, chunk: Chunk, frames: &[Tensor]) -> Result<Tensor> {
        if frames.len() != self.time_factor {
            return Err(Error::ShapeMismatch {
                op: "encoder",
                what: "frames of a chunk",
                expected: vec![self.time_factor],
                found: vec![frames.len()],
            });
        }
        let x = self.down(rec, chunk, frames, &self.stages)?;
        self.conv_out.forward(rec, &[Some(&x)])
    }

    /// What `stages` make of `frames`, which are as many as they pool. One frame after the other, so that few of them are in memory
    /// at full size.
    fn down(
        &self,
        rec: &mut Recorder,
        chunk: Chunk,
        frames: &[Tensor],
        stages: &[DownStage],
    ) -> Result<Tensor> {
        let Some((stage, before)) = stages.split_last() else {
            return self.conv_in.relu(rec, &frames.iter().map(Some).collect::<Vec<_>>(), None);
        };
        let share = (frames.len() / stage.frames).max(1);
        let pooled = frames
            .chunks(share)
            .map(|frames| self.down(rec, chunk, frames, before))
            .collect::<Result<Vec<_>>>()?;
        let x = stage.pool.forward(rec, &pooled.iter().map(Some).collect::<Vec<_>>())?;
        let mut x = stage.conv.forward(rec, &[Some(&x)])?;
        for block in &stage.blocks {
            x = block.forward(rec, chunk, &x)?;
        }
        Ok(x)
    }
}
