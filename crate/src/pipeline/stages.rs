//! The recordings of a clip's stages. The session runs them; the planner measures them.

use super::architecture::Architecture;
use super::options::Clip;
use crate::Result;
use crate::models::wan::PromptContext;
use crate::models::wan::vae::{CausalCache, Chunk};
use crate::ops::Rope;
use crate::recording::{Recorder, Recording};
use crate::sampling::StepCoefficients;
use crate::tensor::{DType, Tensor};

/// What the sampling keeps on the device between steps.
#[derive(Debug)]
pub(super) struct SamplerState {
    /// `[C, T, H, W]`, normalised.
    pub latents: Tensor,
    last_sample: Tensor,
    /// x0 of the step before and of the one before that.
    m0: Tensor,
    m1: Tensor,
    /// Guidance (2), then [`StepCoefficients`]' x0 (2), corrected (5), next (3).
    pub coefficients: Tensor,
    /// `[timesteps, freq_dim]`.
    pub sinusoid: Tensor,
    pub rope: Rope,
    pub rope_values: Vec<f32>,
    /// Timesteps that are embedded: one, or one a latent frame (`expand_timesteps`).
    pub timesteps: usize,
}

const GUIDANCE: usize = 0;
const X0: usize = 2;
const CORRECTED: usize = 4;
const NEXT: usize = 9;
const COEFFICIENTS: usize = 12;

impl SamplerState {
    pub fn new(architecture: &Architecture, clip: &Clip) -> Result<Self> {
        let [_, t, h, w] = clip.latents;
        let latents = || Tensor::resident(DType::F32, &clip.latents);
        let transformer = &architecture.transformer;
        let (rope, rope_values) = transformer.rope([t, h, w])?;
        let timesteps = if architecture.configs.index.expand_timesteps { t } else { 1 };
        Ok(Self {
            latents: latents(),
            last_sample: latents(),
            m0: latents(),
            m1: latents(),
            coefficients: Tensor::resident(DType::F32, &[COEFFICIENTS]),
            sinusoid: Tensor::resident(DType::F32, &[timesteps, transformer.config().freq_dim]),
            rope,
            rope_values,
            timesteps,
        })
    }

    /// What `coefficients` holds for a step.
    pub fn coefficients(step: &StepCoefficients, guidance: f64) -> Vec<f32> {
        let all =
            [1.0 - guidance, guidance].into_iter().chain(step.x0).chain(step.corrected).chain(step.next);
        all.map(|c| c as f32).collect()
    }

    /// Everything that is released with the clip.
    pub fn tensors(&self) -> Vec<Tensor> {
        let Self { latents, last_sample, m0, m1, coefficients, sinusoid, rope, .. } = self;
        [latents, last_sample, m0, m1, coefficients, sinusoid, &rope.table].map(Clone::clone).to_vec()
    }
}

/// The frames that one decoding makes, and what it is told.
#[derive(Debug)]
pub(super) struct DecoderState {
    /// `[1]`: index of the latent frame.
    pub frame: Tensor,
    /// `[H, W, 3]` in 0..1, one for each frame of a latent frame.
    pub pixels: Vec<Tensor>,
    /// `[H, W]` RGBA words, likewise.
    pub rgba: Vec<Tensor>,
    pub cache: CausalCache,
}

impl DecoderState {
    pub fn new(architecture: &Architecture, clip: &Clip) -> Self {
        let frames = clip.frames.min(architecture.configs.vae.scale_factor_temporal);
        let (h, w) = (clip.height, clip.width);
        Self {
            frame: Tensor::resident(DType::F32, &[1]),
            pixels: (0..frames).map(|_| Tensor::resident(DType::F32, &[h, w, 3])).collect(),
            rgba: (0..frames).map(|_| Tensor::resident(DType::U32, &[h, w])).collect(),
            cache: CausalCache::new(),
        }
    }

    /// Everything that is released with the clip.
    pub fn tensors(&self) -> Vec<Tensor> {
        let frames = self.pixels.iter().chain(&self.rgba).chain([&self.frame]);
        frames.cloned().chain(self.cache.tensors()).collect()
    }
}

/// The prompt's embedding rows `[tokens, d_model]` to the keys and values of `context`.
pub(super) fn text(
    architecture: &Architecture,
    embeddings: &Tensor,
    context: &PromptContext,
) -> Result<Recording> {
    let mut rec = Recorder::new();
    let hidden = architecture.text_encoder.forward(&mut rec, embeddings)?;
    let [tokens, _] = hidden.dims("text", "hidden states")?;
    // The row behind them, where there is one, stays zero: it is the padding.
    rec.copy(&hidden, &context.rows.rows(0, tokens)?)?;
    architecture.transformer.encode_context(&mut rec, context)?;
    Ok(rec.finish())
}

/// One denoising step: the passes, guidance and the solver's update.
pub(super) fn step(
    architecture: &Architecture,
    state: &SamplerState,
    prompt: &PromptContext,
    negative: Option<&PromptContext>,
) -> Result<Recording> {
    let mut rec = Recorder::new();
    let SamplerState { latents, last_sample, m0, m1, coefficients, .. } = state;
    let transformer = &architecture.transformer;
    let time = transformer.embed_time(&mut rec, &state.sinusoid)?;
    let mut velocity = transformer.forward(&mut rec, latents, &time, prompt, &state.rope)?;
    if let Some(negative) = negative {
        let unconditional = transformer.forward(&mut rec, latents, &time, negative, &state.rope)?;
        velocity = rec.combination(&[&unconditional, &velocity], coefficients, GUIDANCE)?;
    }
    let x0 = rec.combination(&[latents, &velocity], coefficients, X0)?;
    let corrected = rec.combination(&[latents, last_sample, m0, m1, &x0], coefficients, CORRECTED)?;
    let next = rec.combination(&[&corrected, &x0, m0], coefficients, NEXT)?;
    rec.copy(&corrected, last_sample)?;
    rec.copy(m0, m1)?;
    rec.copy(&x0, m0)?;
    rec.copy(&next, latents)?;
    Ok(rec.finish())
}

/// One latent frame to pixels; `first` is a clip's first latent frame, which makes one frame.
pub(super) fn decode(
    architecture: &Architecture,
    latents: &Tensor,
    state: &DecoderState,
    first: bool,
) -> Result<Recording> {
    let mut rec = Recorder::new();
    let [mean, std] = &architecture.latent_statistics;
    let latent = rec.from_latents(latents, &state.frame, mean, std)?;
    let decoder = &architecture.decoder;
    let mut outputs = state.pixels.iter().zip(&state.rgba);
    let chunk = Chunk { cache: &state.cache, first };
    decoder.forward(&mut rec, chunk, &latent, &mut |rec, frame| {
        // More frames than the config's temporal factor would be a contradiction inside the config.
        let Some((pixels, rgba)) = outputs.next() else { return Ok(()) };
        rec.pixels(frame, decoder.patch_size(), pixels)?;
        rec.rgba(pixels, rgba)
    })?;
    Ok(rec.finish())
}

/// A chunk of RGB frames `[H, W, 3]` in -1..1 to one latent frame `[z, H, W]`, normalised.
pub(super) fn encode(
    architecture: &Architecture,
    frames: &[Tensor],
    chunk: Chunk,
    out: &Tensor,
) -> Result<Recording> {
    let mut rec = Recorder::new();
    let encoder = &architecture.encoder;
    let patches = frames
        .iter()
        .map(|f| match encoder.patch_size() {
            1 => Ok(f.clone()),
            patch => rec.pixel_patches(f, patch),
        })
        .collect::<Result<Vec<_>>>()?;
    let moments = encoder.forward(&mut rec, chunk, &patches)?;
    let [mean, std] = &architecture.latent_statistics;
    rec.to_latents(&moments, mean, std, out)?;
    Ok(rec.finish())
}
