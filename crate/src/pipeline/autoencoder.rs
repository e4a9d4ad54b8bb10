//! The autoencoders that a pipeline can have: the Wan VAE, or the tiny one in its place.

use super::given::frames_of;
use crate::Result;
use crate::config::WanVaeConfig;
use crate::models::causal::Chunk;
use crate::models::taehv::{TaehvDecoder, TaehvEncoder};
use crate::models::wan::{VaeDecoder, VaeEncoder};
use crate::ops::PixelForm;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::Scope;

/// Latents to pixels.
#[derive(Debug)]
pub enum Decoder {
    /// AutoencoderKLWan.
    Wan(Box<VaeDecoder>),
    /// TAEHV.
    Tiny(Box<TaehvDecoder>),
}

/// Pixels to latents.
#[derive(Debug)]
pub enum Encoder {
    /// AutoencoderKLWan.
    Wan(Box<VaeEncoder>),
    /// TAEHV.
    Tiny(Box<TaehvEncoder>),
}

impl Decoder {
    /// Takes the layers from the root of the autoencoder's names.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn new(scope: &Scope, config: &WanVaeConfig) -> Result<Self> {
        Ok(match &config.tiny {
            None => Self::Wan(Box::new(VaeDecoder::new(scope, config)?)),
            Some(tiny) => Self::Tiny(Box::new(TaehvDecoder::new(scope, tiny)?)),
        })
    }

    /// Records the decoding of one latent frame `[H, W, z]`; `emit` is called with each frame's patch channels: once for a clip's
    /// first latent frame, as often as the temporal factor says for each later one.
    pub(super) fn forward(
        &self,
        rec: &mut Recorder,
        chunk: Chunk,
        latent: &Tensor,
        emit: &mut dyn FnMut(&mut Recorder, &Tensor) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Wan(decoder) => decoder.forward(rec, chunk, latent, emit),
            Self::Tiny(decoder) => decoder.forward(rec, chunk, latent, emit),
        }
    }

    /// Records a frame's patch channels as RGB `[H, W, 3]` in 0..1.
    pub(super) fn pixels(&self, rec: &mut Recorder, channels: &Tensor, out: &Tensor) -> Result<()> {
        let (patch, form) = match self {
            Self::Wan(decoder) => (decoder.patch_size(), PixelForm::Wan),
            Self::Tiny(decoder) => (decoder.patch_size(), PixelForm::Unit),
        };
        rec.pixels(channels, patch, form, out)
    }
}

impl Encoder {
    /// Takes the layers from the root of the autoencoder's names.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn new(scope: &Scope, config: &WanVaeConfig) -> Result<Self> {
        Ok(match &config.tiny {
            None => Self::Wan(Box::new(VaeEncoder::new(scope, config)?)),
            Some(tiny) => Self::Tiny(Box::new(TaehvEncoder::new(scope, tiny)?)),
        })
    }

    /// Which of a clip's `frames` a latent frame is made of, `stride` being the temporal factor. The Wan VAE takes those that the
    /// latent frame stands for; TAEHV the last of these and those up to the next one's last, the clip's last frame again where
    /// there are no more (`encode_video` of `taehv.py`).
    pub(super) fn takes(&self, latent: usize, frames: usize, stride: usize) -> Vec<usize> {
        match self {
            Self::Wan(_) => frames_of(latent, stride).collect(),
            Self::Tiny(_) => {
                (latent * stride..(latent + 1) * stride).map(|i| i.min(frames.saturating_sub(1))).collect()
            }
        }
    }

    /// Records the encoding of RGB frames `[H, W, 3]` in -1..1 into one latent frame, `[h, w, >= z]`, of which the first z channels
    /// are the latents.
    pub(super) fn forward(&self, rec: &mut Recorder, chunk: Chunk, frames: &[Tensor]) -> Result<Tensor> {
        let mut patches = |patch, form| {
            frames
                .iter()
                .map(|frame| match (patch, form) {
                    (1, PixelForm::Wan) => Ok(frame.clone()),
                    _ => rec.pixel_patches(frame, patch, form),
                })
                .collect::<Result<Vec<_>>>()
        };
        match self {
            Self::Wan(encoder) => {
                let patches = patches(encoder.patch_size(), PixelForm::Wan)?;
                encoder.forward(rec, chunk, &patches)
            }
            Self::Tiny(encoder) => {
                let patches = patches(encoder.patch_size(), PixelForm::Unit)?;
                encoder.forward(rec, chunk, &patches)
            }
        }
    }
}
