//! One clip in the making.

use std::rc::Rc;

use web_time::Instant;

use super::model::Model;
use super::options::Clip;
use super::preview::Preview;
use super::prompt::embedding_rows;
use super::residency::StageProgram;
use super::stages::{self, Conditioning, DecoderState, SamplerState};
use crate::models::wan::PromptContext;
use crate::sampling::noise::randn_next;
use crate::sampling::{Mt19937, StepCache, StepCoefficients};
use crate::tensor::{DType, Tensor};
use crate::{CancelFlag, Error, Result};

/// A clip in the making: [`Session::encode`], then [`Session::step`] and [`Session::next_frames`] until each gives `None`.
pub struct Session {
    model: Rc<Model>,
    clip: Clip,
    cancel: CancelFlag,
    contexts: Vec<PromptContext>,
    sampler: SamplerState,
    decoder: DecoderState,
    noise: Option<Vec<f32>>,
    /// Torch's generator, after what has been drawn from it.
    generator: Mt19937,
    step_cache: Option<StepCache>,
    stage: Stage,
}

enum Stage {
    Prompt,
    /// Steps done, and the last step's program, with what it does.
    Steps(usize, Option<(Passes, StageProgram)>),
    /// Latent frames decoded, and the program of those after the first.
    Frames(usize, Option<StageProgram>),
}

/// What a step does besides the solver's update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passes {
    /// One pass with the prompt, one without.
    Guided,
    Plain,
    /// The last pass' result again.
    None,
}

/// The prompt has been encoded.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TextEvent {
    /// Tokens in use, the end of sequence included.
    pub tokens: usize,
    /// Whether the prompt had more tokens than the model takes.
    pub truncated: bool,
    /// Tokens left out.
    pub dropped: usize,
    /// Time taken.
    pub seconds: f64,
}

/// One denoising step has been made.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepEvent {
    /// From 0.
    pub index: usize,
    /// Steps in all.
    pub steps: usize,
    /// Noise share before the step.
    pub sigma: f64,
    /// What the transformer was given.
    pub timestep: f64,
    /// Whether the step went without a pass through the transformer (`step_cache`).
    pub cached: bool,
    /// Time taken.
    pub seconds: f64,
    /// Where the clip is going, as far as the model can tell by now; where it was asked for and the model knows how.
    #[serde(skip)]
    pub preview: Option<Preview>,
}

/// Some frames have been decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct FramesEvent {
    /// Index of the first of them in the clip.
    pub index: usize,
    /// How many.
    pub count: usize,
    /// RGBA bytes, `count * height * width * 4`.
    pub rgba: Vec<u8>,
    /// Time taken.
    pub seconds: f64,
}

impl Session {
    pub(super) fn new(model: Rc<Model>, clip: Clip, cancel: CancelFlag) -> Result<Self> {
        Ok(Self {
            sampler: SamplerState::new(&model.architecture, &clip)?,
            decoder: DecoderState::new(&model.architecture, &clip),
            contexts: Vec::new(),
            noise: None,
            generator: Mt19937::new(clip.seed),
            step_cache: clip.step_cache.map(|threshold| StepCache::new(threshold, clip.schedule.steps.len())),
            stage: Stage::Prompt,
            model,
            clip,
            cancel,
        })
    }

    /// What is being made.
    pub fn clip(&self) -> &Clip {
        &self.clip
    }

    /// Uses `noise` `[C, T, H, W]` instead of the seed's.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] for another number of values, [`Error::WrongState`] after the prompt was encoded.
    pub fn set_noise(&mut self, noise: Vec<f32>) -> Result<()> {
        let expected: usize = self.clip.latents.iter().product();
        if noise.len() != expected {
            return Err(Error::ShapeMismatch {
                op: "generate",
                what: "noise",
                expected: self.clip.latents.to_vec(),
                found: vec![noise.len()],
            });
        }
        if !matches!(self.stage, Stage::Prompt) {
            return Err(wrong_state("set_noise", "the prompt has been encoded already"));
        }
        self.noise = Some(noise);
        Ok(())
    }

    /// Encodes the prompt (with guidance the negative one too) and draws the noise.
    ///
    /// # Errors
    /// [`Error::WrongState`] the second time, [`Error::Cancelled`], what source and device report.
    pub async fn encode(&mut self) -> Result<TextEvent> {
        self.cancel.check()?;
        if !matches!(self.stage, Stage::Prompt) {
            return Err(wrong_state("encode", "the prompt has been encoded already"));
        }
        let started = Instant::now();
        // Before anything else of the clip is on the device.
        let known = self.encode_known().await?;
        let (prompt, negative) = (self.clip.prompt.clone(), self.clip.negative.clone());
        let mut event = self.encode_prompt(&prompt).await?;
        if self.clip.guided() {
            self.encode_prompt(&negative).await?;
        }
        for context in &self.contexts {
            let mut stage = StageProgram::new(stages::context(&self.model.architecture, context)?);
            self.model.residency.run(&mut stage, &self.cancel).await?;
        }
        let executor = &self.model.executor;
        let count = self.clip.latents.iter().product();
        let noise = self.noise.take().unwrap_or_else(|| randn_next(&mut self.generator, count));
        let start = match (&self.clip.edit, &known) {
            (Some(_), Some(known)) => Some(noised(known, &noise, self.clip.schedule.steps.first())),
            _ => None,
        };
        executor.upload(&self.sampler.latents, bytemuck::cast_slice(start.as_ref().unwrap_or(&noise)))?;
        if let (Some(conditioning), Some(open), Some(known)) =
            (&self.sampler.conditioning, &self.clip.open, &known)
        {
            executor.upload(&conditioning.latents, bytemuck::cast_slice(known))?;
            executor.upload(&conditioning.open, bytemuck::cast_slice(open))?;
            if let Some(tensor) = &conditioning.noise {
                executor.upload(tensor, bytemuck::cast_slice(&noise))?;
            }
        }
        executor.upload(&self.sampler.rope.table, bytemuck::cast_slice(&self.sampler.rope_values))?;
        self.stage = Stage::Steps(0, None);
        if self.clip.schedule.steps.is_empty() {
            self.leave_steps();
        }
        event.seconds = started.elapsed().as_secs_f64();
        Ok(event)
    }

    /// The latents `[C, T, H, W]` of what the clip is made from: the clip to change, or the given frames with zeros elsewhere.
    async fn encode_known(&self) -> Result<Option<Vec<f32>>> {
        let Clip { width, height, frames, latents, .. } = self.clip;
        let (pixels, encoded) = match (&self.clip.timeline, &self.clip.edit) {
            (Some(timeline), _) => (timeline.pixels(&self.clip.given), timeline.encoded_frames()),
            (None, Some(edit)) => (edit.pixels(frames), frames),
            (None, None) => return Ok(None),
        };
        let found = self.model.encode_video(&pixels, [encoded, height, width], &self.cancel).await?;
        let [channels, t, h, w] = latents;
        let mut all = Vec::with_capacity(channels * t * h * w);
        for channel in found.chunks_exact((found.len() / channels.max(1)).max(1)) {
            all.extend_from_slice(channel);
            all.resize(all.len() + t * h * w - channel.len().min(t * h * w), 0.0);
        }
        Ok(Some(all))
    }

    async fn encode_prompt(&mut self, prompt: &str) -> Result<TextEvent> {
        let model = &self.model;
        let tokens = model.tokenizer.encode(prompt, self.clip.max_tokens)?;
        let context = model.architecture.transformer.prompt_context(tokens.ids.len(), self.clip.max_tokens);
        // Kept first, so that it is released with the session whatever happens next.
        self.contexts.push(context.clone());
        let rows = context.rows.rows(0, tokens.ids.len())?;
        let known = model.prompts.borrow().get(&tokens.ids);
        match known {
            Some(hidden) => model.executor.upload(&rows, &hidden)?,
            None => {
                let width = model.architecture.configs.text_encoder.d_model;
                let embeddings = Tensor::resident(DType::F32, &[tokens.ids.len(), width]);
                let run = async {
                    let table = embedding_rows(&model.architecture, &*model.source, &tokens.ids).await?;
                    model.executor.upload(&embeddings, bytemuck::cast_slice(&table))?;
                    let recording = stages::text(&model.architecture, &embeddings, &context)?;
                    model.residency.run(&mut StageProgram::new(recording), &self.cancel).await
                };
                let result = run.await;
                model.executor.release(&embeddings);
                result?;
                let hidden = model.executor.read(&rows).await?;
                model.prompts.borrow_mut().keep(&tokens.ids, hidden);
            }
        }
        Ok(TextEvent {
            tokens: tokens.ids.len(),
            truncated: tokens.truncated,
            dropped: tokens.dropped,
            seconds: 0.0,
        })
    }

    /// The prompt as the transformer sees it, `[max_tokens, text_dim]`, zero rows behind the tokens.
    ///
    /// # Errors
    /// [`Error::WrongState`] before [`Session::encode`] and after the last step, when they have been released.
    pub async fn prompt_embeds(&self) -> Result<Vec<f32>> {
        let Some(context) = self.contexts.first() else {
            return Err(wrong_state("prompt_embeds", "it is there from the encoding to the last step"));
        };
        let mut values = self.read_f32(&context.rows).await?;
        let width = self.model.architecture.configs.text_encoder.d_model;
        values.resize(self.clip.max_tokens * width, 0.0);
        Ok(values)
    }

    /// The latents `[C, T, H, W]` as the transformer sees them: noise first, the clip's after the last step.
    ///
    /// # Errors
    /// [`Error::WrongState`] before [`Session::encode`].
    pub async fn latents(&self) -> Result<Vec<f32>> {
        if matches!(self.stage, Stage::Prompt) {
            return Err(wrong_state("latents", "encode the prompt first"));
        }
        self.read_f32(&self.sampler.latents).await
    }

    async fn read_f32(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.model.executor.read(tensor).await?))
    }

    /// Makes one denoising step; `None` after the last.
    ///
    /// # Errors
    /// [`Error::WrongState`] before [`Session::encode`], [`Error::ResultNotFinite`], [`Error::Cancelled`], what the device reports.
    pub async fn step(&mut self) -> Result<Option<StepEvent>> {
        self.cancel.check()?;
        let Stage::Steps(index, program) = &mut self.stage else {
            return match self.stage {
                Stage::Prompt => Err(wrong_state("step", "encode the prompt first")),
                _ => Ok(None),
            };
        };
        let steps = self.clip.schedule.steps.len();
        let Some(step) = self.clip.schedule.steps.get(*index).copied() else {
            return Ok(None);
        };
        let started = Instant::now();
        let model = &self.model;
        let spared = match &mut self.step_cache {
            Some(cache) => {
                let latents = model.executor.read(&self.sampler.latents).await?;
                cache.spares(*index, bytemuck::pod_collect_to_vec(&latents))
            }
            None => false,
        };
        let passes = match self.clip.guided_at(step.sigma) {
            _ if spared => Passes::None,
            true => Passes::Guided,
            false => Passes::Plain,
        };
        if program.as_ref().is_some_and(|(other, _)| *other != passes) {
            *program = None; // before the other one takes its memory
        }
        let (_, program) = match program {
            Some(program) => program,
            None => {
                let [prompt, negative @ ..] = self.contexts.as_slice() else {
                    return Err(wrong_state("step", "encode the prompt first"));
                };
                let negative = negative.first().filter(|_| passes == Passes::Guided);
                let recording = match &self.sampler.reuse {
                    Some(reuse) if passes == Passes::None => stages::step_without_pass(&self.sampler, reuse)?,
                    _ => {
                        let memory = model.executor.capacity();
                        stages::step(&model.architecture, &self.sampler, prompt, negative, memory)?
                    }
                };
                program.insert((passes, StageProgram::new(recording)))
            }
        };
        if let Some(fresh) = self.sampler.fresh.as_ref().filter(|_| step.fresh != 0.0) {
            let noise = randn_next(&mut self.generator, fresh.len());
            model.executor.upload(fresh, bytemuck::cast_slice(&noise))?;
        }
        let coefficients = SamplerState::coefficients(&step, self.clip.guidance);
        model.executor.upload(&self.sampler.coefficients, bytemuck::cast_slice(&coefficients))?;
        let sinusoid = sinusoids(model, &self.sampler, &self.clip, step.timestep);
        model.executor.upload(&self.sampler.sinusoid, bytemuck::cast_slice(&sinusoid))?;
        model.residency.run(program, &self.cancel).await?;
        if let (Some(cache), Some(reuse), false) = (&mut self.step_cache, &self.sampler.reuse, spared) {
            let velocity = model.executor.read(&reuse.velocity).await?;
            cache.passed(bytemuck::pod_collect_to_vec(&velocity));
        }
        let preview = match &model.architecture.configs.defaults.latent_rgb {
            Some(map) if self.clip.preview => {
                let latents = bytemuck::pod_collect_to_vec(&model.executor.read(&self.sampler.m0).await?);
                Some(Preview::new(&latents, self.clip.latents, map))
            }
            _ => None,
        };
        let event = StepEvent {
            index: *index,
            steps,
            sigma: step.sigma,
            timestep: step.timestep,
            cached: spared,
            seconds: started.elapsed().as_secs_f64(),
            preview,
        };
        *index += 1;
        if *index == steps {
            self.leave_steps();
            if let Some(conditioning) = &self.sampler.conditioning {
                let recording = stages::finish(&self.sampler.latents, conditioning)?;
                self.model.residency.run(&mut StageProgram::new(recording), &self.cancel).await?;
            }
            self.check_finite(event.index).await?;
        }
        Ok(Some(event))
    }

    /// Frees the step's intermediate results before the decoder's are allocated.
    fn leave_steps(&mut self) {
        self.stage = Stage::Frames(0, None);
        for context in std::mem::take(&mut self.contexts) {
            release_context(&self.model, &context);
        }
    }

    async fn check_finite(&self, index: usize) -> Result<()> {
        let latents = self.read_f32(&self.sampler.latents).await?;
        if latents.iter().all(|v| v.is_finite()) {
            return Ok(());
        }
        Err(Error::ResultNotFinite { stage: format!("denoising (found after step {})", index + 1) })
    }

    /// Decodes one latent frame into its frames: 1 for the first, 4 for each later one; `None` after the last.
    ///
    /// # Errors
    /// [`Error::WrongState`] before the last step, [`Error::Cancelled`], what the device reports.
    pub async fn next_frames(&mut self) -> Result<Option<FramesEvent>> {
        self.cancel.check()?;
        let Stage::Frames(index, later) = &mut self.stage else {
            return Err(wrong_state("next_frames", "make all steps first"));
        };
        let [_, latent_frames, _, _] = self.clip.latents;
        if *index >= latent_frames {
            return Ok(None);
        }
        let started = Instant::now();
        let model = &self.model;
        let (latents, state) = (&self.sampler.latents, &self.decoder);
        let first = *index == 0;
        let record = || Ok(StageProgram::new(stages::decode(&model.architecture, latents, state, first)?));
        let mut only_once;
        let program = match later {
            _ if first => {
                only_once = record()?;
                &mut only_once
            }
            Some(program) => program,
            None => later.insert(record()?),
        };
        model.executor.upload(&state.frame, bytemuck::cast_slice(&[*index as f32]))?;
        model.residency.run(program, &self.cancel).await?;
        let stride = model.architecture.configs.vae.scale_factor_temporal;
        let (start, count) = if first { (0, 1) } else { (1 + (*index - 1) * stride, stride) };
        let mut rgba = Vec::with_capacity(count * self.clip.width * self.clip.height * 4);
        for frame in state.rgba.iter().take(count) {
            rgba.extend(model.executor.read(frame).await?);
        }
        *index += 1;
        if *index == latent_frames {
            *later = None;
        }
        Ok(Some(FramesEvent { index: start, count, rgba, seconds: started.elapsed().as_secs_f64() }))
    }

    /// The frames of the last [`Session::next_frames`] before rounding to bytes: `count` times `[H, W, 3]` in 0..1.
    ///
    /// # Errors
    /// What the device reports.
    pub async fn frame_values(&self, count: usize) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for frame in self.decoder.pixels.iter().take(count) {
            values.extend(self.read_f32(frame).await?);
        }
        Ok(values)
    }
}

/// Latents on their way from noise, where `step` begins; as they are if there is no step.
fn noised(latents: &[f32], noise: &[f32], step: Option<&StepCoefficients>) -> Vec<f32> {
    let sigma = step.map_or(0.0, |step| step.sigma as f32);
    latents.iter().zip(noise).map(|(x, n)| (1.0 - sigma) * x + sigma * n).collect()
}

/// What the transformer is told of time: the step's timestep, and 0 for given latent frames that stay clean.
fn sinusoids(model: &Model, sampler: &SamplerState, clip: &Clip, timestep: f64) -> Vec<f32> {
    let transformer = &model.architecture.transformer;
    let now = transformer.sinusoid(timestep);
    match (&clip.timeline, &sampler.conditioning) {
        (Some(timeline), Some(Conditioning { noise: None, .. })) => {
            let clean = transformer.sinusoid(0.0);
            timeline.given.iter().flat_map(|given| if *given { &clean } else { &now }).copied().collect()
        }
        _ => now.repeat(sampler.timesteps),
    }
}

fn release_context(model: &Model, context: &PromptContext) {
    model.executor.release(&context.rows);
    for (keys, values) in &context.keys_values {
        model.executor.release(keys);
        model.executor.release(values);
    }
}

fn wrong_state(call: &'static str, reason: &str) -> Error {
    Error::WrongState { call, reason: reason.into() }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Programs hold temporaries of their own, which go with them.
        for context in &self.contexts {
            release_context(&self.model, context);
        }
        for tensor in self.sampler.tensors().iter().chain(&self.decoder.tensors()) {
            self.model.executor.release(tensor);
        }
    }
}
