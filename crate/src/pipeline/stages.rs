//! The recordings of a clip's stages. The session runs them; the planner measures them.

use super::architecture::Architecture;
use super::options::Clip;
use crate::Result;
use crate::config::Solver;
use crate::models::causal::{CausalCache, Chunk};
use crate::models::wan::PromptContext;
use crate::ops::Rope;
use crate::recording::{Recorder, Recording};
use crate::sampling::StepCoefficients;
use crate::tensor::{DType, Tensor};

/// What the sampling keeps on the device between steps.
#[derive(Debug)]
pub(crate) struct SamplerState {
    /// `[C, T, H, W]`, normalised.
    pub latents: Tensor,
    last_sample: Tensor,
    /// x0 of the step before, and of the one before that.
    pub m0: Tensor,
    m1: Tensor,
    /// Guidance (2), then [`StepCoefficients`]' x0 (2), corrected (5), next (3) and fresh (1), then the shares of given
    /// latents and noise, those of a difference, and those of a sum.
    pub coefficients: Tensor,
    /// `[timesteps, freq_dim]`.
    pub sinusoid: Tensor,
    pub rope: Rope,
    pub rope_values: Vec<f32>,
    /// Timesteps that are embedded: one, or one a latent frame (`expand_timesteps`).
    pub timesteps: usize,
    pub conditioning: Option<Conditioning>,
    /// `[C, T, H, W]`: new noise for the step, where the solver takes some.
    pub fresh: Option<Tensor>,
    /// Where steps may go without a pass.
    pub reuse: Option<Reuse>,
}

/// What the last pass through the transformer made, for steps without one.
#[derive(Debug)]
pub(crate) struct Reuse {
    /// `[C, T, H, W]`: the velocity, with guidance.
    pub velocity: Tensor,
    /// `[C, T, H, W]`: the velocity minus what the transformer looked at.
    added: Tensor,
}

/// Latents that are not sampled, put in their places at every step.
#[derive(Debug)]
pub(crate) struct Conditioning {
    /// `[C, T, H, W]`, normalised; whatever where `open` is 1.
    pub latents: Tensor,
    /// `[T * H * W]`: 1 where the clip is made.
    pub open: Tensor,
    /// `[C, T, H, W]`, where given latents are noised as far as the others: for a model that has one timestep for all, and for parts of
    /// frames. Without it they stay clean and have timestep 0, as in diffusers' `WanImageToVideoPipeline`.
    pub noise: Option<Tensor>,
}

/// Hidden states of guidance's two passes that are one batch, at most; larger ones fill a GPU by themselves. Some ten times as much is
/// added to what a step takes: where memory is counted, that is a twelfth of it.
const BATCH_BYTES: u64 = 32 << 20;
const BATCH_SHARE: u64 = 128;

const GUIDANCE: usize = 0;
const X0: usize = 2;
const CORRECTED: usize = 4;
const NEXT: usize = 9;
const NOISED: usize = 13;
const ADDED: usize = 15;
const REUSED: usize = 17;
const COEFFICIENTS: usize = 19;

impl SamplerState {
    pub fn new(architecture: &Architecture, clip: &Clip) -> Result<Self> {
        let [_, t, h, w] = clip.latents;
        let latents = || Tensor::resident(DType::F32, &clip.latents);
        let transformer = &architecture.transformer;
        let (rope, rope_values) = transformer.rope([t, h, w])?;
        let by_frame = architecture.configs.index.expand_timesteps;
        let timesteps = if by_frame { t } else { 1 };
        let conditioning = clip.open.as_ref().map(|open| Conditioning {
            latents: latents(),
            open: Tensor::resident(DType::F32, &[open.len()]),
            noise: (!by_frame || clip.timeline.is_none()).then(latents),
        });
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
            conditioning,
            fresh: (clip.schedule.solver == Solver::Dmd).then(latents),
            reuse: clip.step_cache.map(|_| Reuse { velocity: latents(), added: latents() }),
        })
    }

    /// What `coefficients` holds for a step.
    pub fn coefficients(step: &StepCoefficients, guidance: f64) -> Vec<f32> {
        let solver = step.x0.into_iter().chain(step.corrected).chain(step.next).chain([step.fresh]);
        let all = [1.0 - guidance, guidance].into_iter().chain(solver).chain([1.0 - step.sigma, step.sigma]);
        let all = all.chain([1.0, -1.0, 1.0, 1.0]);
        all.map(|c| c as f32).collect()
    }

    /// Everything that is released with the clip.
    pub fn tensors(&self) -> Vec<Tensor> {
        let Self { latents, last_sample, m0, m1, coefficients, sinusoid, rope, .. } = self;
        let conditioning =
            self.conditioning.iter().flat_map(|c| [&c.latents, &c.open].into_iter().chain(&c.noise));
        let always = [latents, last_sample, m0, m1, coefficients, sinusoid, &rope.table];
        let reuse = self.reuse.iter().flat_map(|reuse| [&reuse.velocity, &reuse.added]);
        always.into_iter().chain(conditioning).chain(&self.fresh).chain(reuse).cloned().collect()
    }
}

/// The frames that one decoding makes, and what it is told.
#[derive(Debug)]
pub(crate) struct DecoderState {
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

/// What a clip made from words alone keeps on the device, and the recordings of its stages but the decoding's.
#[derive(Debug)]
pub(super) struct Stages {
    pub sampler: SamplerState,
    pub decoder: DecoderState,
    pub prompt: PromptContext,
    pub negative: Option<PromptContext>,
    /// `[tokens, d_model]`: the prompt's embedding rows.
    pub embeddings: Tensor,
    pub text: Recording,
    pub context: Recording,
    pub step: Recording,
}

impl Stages {
    /// For prompts of so many tokens, the negative one's second, and a device of which so many bytes may be taken.
    pub fn new(
        architecture: &Architecture,
        clip: &Clip,
        tokens: [usize; 2],
        memory: Option<u64>,
    ) -> Result<Self> {
        let sampler = SamplerState::new(architecture, clip)?;
        let [prompt, negative] =
            tokens.map(|tokens| architecture.transformer.prompt_context(tokens, clip.max_tokens));
        let negative = clip.guided().then_some(negative);
        let [tokens, _] = tokens;
        let width = architecture.configs.text_encoder.d_model;
        let embeddings = Tensor::resident(DType::F32, &[tokens, width]);
        Ok(Self {
            text: text(architecture, &embeddings, &prompt)?,
            context: context(architecture, &prompt)?,
            step: step(architecture, &sampler, &prompt, negative.as_ref(), memory)?,
            decoder: DecoderState::new(architecture, clip),
            sampler,
            prompt,
            negative,
            embeddings,
        })
    }

    /// The decoding of a clip's first latent frame, or of a later one.
    pub fn decode(&self, architecture: &Architecture, first: bool) -> Result<Recording> {
        decode(architecture, &self.sampler.latents, &self.decoder, first)
    }
}

/// The prompt's embedding rows `[tokens, d_model]` to the rows of `context`.
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
    Ok(rec.finish())
}

/// The rows of `context` to its keys and values.
pub(super) fn context(architecture: &Architecture, context: &PromptContext) -> Result<Recording> {
    let mut rec = Recorder::new();
    architecture.transformer.encode_context(&mut rec, context)?;
    Ok(rec.finish())
}

/// One denoising step: the passes, guidance and the solver's update.
///
/// With guidance both passes are one batch where that takes little; `memory` are the bytes of the device that may be taken, if they are
/// counted.
pub(super) fn step(
    architecture: &Architecture,
    state: &SamplerState,
    prompt: &PromptContext,
    negative: Option<&PromptContext>,
    memory: Option<u64>,
) -> Result<Recording> {
    let mut rec = Recorder::new();
    let transformer = &architecture.transformer;
    let time = transformer.embed_time(&mut rec, &state.sinusoid)?;
    let (seen, sample) = inputs(&mut rec, state)?;
    let velocity = match negative {
        None => {
            let [velocity] = transformer.forward(&mut rec, &seen, &time, [prompt], false, &state.rope)?;
            velocity
        }
        Some(negative) => {
            let tokens = state.rope.size.iter().product::<usize>();
            let hidden_bytes = 2 * 4 * (tokens * transformer.config().inner_dim()) as u64;
            let most = memory.map_or(BATCH_BYTES, |memory| BATCH_BYTES.min(memory / BATCH_SHARE));
            let batch = hidden_bytes <= most;
            let contexts = [negative, prompt];
            let velocities = transformer.forward(&mut rec, &seen, &time, contexts, batch, &state.rope)?;
            rec.combination(&velocities.each_ref(), &state.coefficients, GUIDANCE)?
        }
    };
    if let Some(reuse) = &state.reuse {
        let added = rec.combination(&[&velocity, &seen], &state.coefficients, ADDED)?;
        rec.copy(&added, &reuse.added)?;
        rec.copy(&velocity, &reuse.velocity)?;
    }
    update(&mut rec, state, &sample, &velocity)?;
    Ok(rec.finish())
}

/// One denoising step without a pass: the transformer adds what it added the last time.
pub(super) fn step_without_pass(state: &SamplerState, reuse: &Reuse) -> Result<Recording> {
    let mut rec = Recorder::new();
    let (seen, sample) = inputs(&mut rec, state)?;
    let velocity = rec.combination(&[&seen, &reuse.added], &state.coefficients, REUSED)?;
    update(&mut rec, state, &sample, &velocity)?;
    Ok(rec.finish())
}

/// What the transformer looks at, and what the solver moves.
fn inputs(rec: &mut Recorder, state: &SamplerState) -> Result<(Tensor, Tensor)> {
    let SamplerState { latents, coefficients, conditioning, .. } = state;
    match conditioning {
        None => Ok((latents.clone(), latents.clone())),
        Some(Conditioning { latents: given, open, noise: None }) => {
            Ok((rec.blend(latents, given, open)?, latents.clone()))
        }
        Some(Conditioning { latents: given, open, noise: Some(noise) }) => {
            let noised = rec.combination(&[given, noise], coefficients, NOISED)?;
            let replaced = rec.blend(latents, &noised, open)?;
            Ok((replaced.clone(), replaced))
        }
    }
}

/// The solver's update.
fn update(rec: &mut Recorder, state: &SamplerState, sample: &Tensor, velocity: &Tensor) -> Result<()> {
    let SamplerState { latents, last_sample, m0, m1, coefficients, .. } = state;
    let x0 = rec.combination(&[sample, velocity], coefficients, X0)?;
    let corrected = rec.combination(&[sample, last_sample, m0, m1, &x0], coefficients, CORRECTED)?;
    let terms = [&corrected, &x0, m0].into_iter().chain(&state.fresh).collect::<Vec<_>>();
    let next = rec.combination(&terms, coefficients, NEXT)?;
    rec.copy(&corrected, last_sample)?;
    rec.copy(m0, m1)?;
    rec.copy(&x0, m0)?;
    rec.copy(&next, latents)
}

/// After the last step: what is given, in its places.
pub(super) fn finish(latents: &Tensor, conditioning: &Conditioning) -> Result<Recording> {
    let mut rec = Recorder::new();
    let whole = rec.blend(latents, &conditioning.latents, &conditioning.open)?;
    rec.copy(&whole, latents)?;
    Ok(rec.finish())
}

/// One latent frame to pixels; `first` is a clip's first latent frame, which makes one frame.
pub(crate) fn decode(
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
        decoder.pixels(rec, frame, pixels)?;
        rec.rgba(pixels, rgba)
    })?;
    Ok(rec.finish())
}

/// The frames that one encoding takes, and what it makes of them.
#[derive(Debug)]
pub(super) struct EncoderState {
    /// Of the clip.
    pub frames: usize,
    /// `[H, W, 3]` in -1..1, one for each frame that a latent frame is made of.
    pub inputs: Vec<Tensor>,
    /// `[z, H, W]` of the latents, normalised.
    pub out: Tensor,
    pub cache: CausalCache,
}

impl EncoderState {
    /// For clips `[frames, height, width]`.
    pub fn new(architecture: &Architecture, [frames, height, width]: [usize; 3]) -> Self {
        let config = &architecture.configs.vae;
        let (stride, scale) = (config.scale_factor_temporal, config.scale_factor_spatial);
        let last = frames.saturating_sub(1) / stride.max(1);
        let taken = architecture.encoder.takes(last, frames, stride).into_iter();
        Self {
            frames,
            inputs: taken.map(|_| Tensor::resident(DType::F32, &[height, width, 3])).collect(),
            out: Tensor::resident(DType::F32, &[config.z_dim, height / scale, width / scale]),
            cache: CausalCache::new(),
        }
    }

    /// Everything that is released when the clip is encoded.
    pub fn tensors(&self) -> Vec<Tensor> {
        self.inputs.iter().chain([&self.out]).cloned().chain(self.cache.tensors()).collect()
    }
}

/// The RGB frames that one latent frame is made of to it; `first` is the clip's first.
pub(super) fn encode(architecture: &Architecture, state: &EncoderState, first: bool) -> Result<Recording> {
    let mut rec = Recorder::new();
    let encoder = &architecture.encoder;
    let chunk = Chunk { cache: &state.cache, first };
    let stride = architecture.configs.vae.scale_factor_temporal;
    let taken = encoder.takes(if first { 0 } else { 1 }, state.frames, stride).len();
    let moments = encoder.forward(&mut rec, chunk, state.inputs.get(..taken).unwrap_or(&state.inputs))?;
    let [mean, std] = &architecture.latent_statistics;
    rec.to_latents(&moments, mean, std, &state.out)?;
    Ok(rec.finish())
}
