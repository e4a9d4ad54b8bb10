//! A loaded model.

use std::rc::Rc;

use super::architecture::Architecture;
use super::options::{Clip, GenerateOptions};
use super::plan::ClipPlan;
use super::session::Session;
use crate::executor::Executor;
use crate::text::TextTokenizer;
use crate::weights::source::read_all;
use crate::weights::{LoadProgress, Source, load_weights};
use crate::{CancelFlag, Error, Result};

/// Longest `tokenizer.json` that is read; UMT5's has 17 MB.
const TOKENIZER_BYTES: u64 = 64 << 20;

/// A model whose weights are on the device.
pub struct Model {
    pub(super) architecture: Architecture,
    pub(super) tokenizer: TextTokenizer,
    pub(super) source: Rc<dyn Source>,
    pub(super) executor: Rc<Executor>,
}

/// What a model is and what it makes when not told otherwise.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// Name in `kinetoscope.json`.
    pub name: Option<String>,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Frames.
    pub frames: usize,
    /// Frames a second.
    pub fps: f64,
    /// Denoising steps.
    pub steps: usize,
    /// Guidance scale.
    pub guidance: f64,
    /// Timestep shift.
    pub shift: f64,
    /// `unipc`, `euler` or `dmd`.
    pub solver: &'static str,
    /// Tokens that prompts are padded to.
    pub max_tokens: usize,
    /// Negative prompt.
    pub negative: String,
    /// Width and height are multiples of this.
    pub size_multiple: usize,
    /// A clip has a multiple of this, plus one, frames.
    pub frame_stride: usize,
    /// Bytes of the weights on the device.
    pub weight_bytes: u64,
}

impl Model {
    /// Loads a diffusers folder onto the device.
    ///
    /// # Errors
    /// A missing, damaged or unsupported file or tensor, by name; what the device reports; [`Error::Cancelled`]. Nothing is
    /// left on the device then.
    pub async fn load(
        source: Rc<dyn Source>,
        executor: Rc<Executor>,
        cancel: &CancelFlag,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Self> {
        let architecture = Architecture::open(&*source).await?;
        cancel.check()?;
        let json = read_all(&*source, TextTokenizer::PATH, TOKENIZER_BYTES).await?;
        let tokenizer = TextTokenizer::from_bytes(&json, TextTokenizer::PATH)?;
        // From here on dropping it releases what is on the device.
        let model = Self { architecture, tokenizer, source, executor };
        let statistics = &model.architecture.configs.vae;
        for (tensor, values) in model
            .architecture
            .latent_statistics
            .iter()
            .zip([&statistics.latents_mean, &statistics.latents_std])
        {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            model.executor.upload(tensor, bytemuck::cast_slice(&values))?;
        }
        let specs = model.architecture.weights.specs();
        load_weights(&specs, &*model.source, &model.executor, cancel, on_progress).await?;
        Ok(model)
    }

    /// Configs, models and weight places.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The device.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// What the model is and its defaults.
    pub fn info(&self) -> ModelInfo {
        let configs = &self.architecture.configs;
        let defaults = configs.defaults.clone();
        ModelInfo {
            name: defaults.name,
            width: defaults.width,
            height: defaults.height,
            frames: defaults.frames,
            fps: defaults.fps,
            steps: defaults.steps,
            guidance: defaults.guidance_scale,
            shift: defaults.shift.unwrap_or(configs.scheduler.shift),
            solver: configs.index.solver.name(),
            max_tokens: defaults.max_sequence_length,
            negative: defaults.negative_prompt,
            size_multiple: configs.size_multiple(),
            frame_stride: configs.vae.scale_factor_temporal,
            weight_bytes: self.architecture.weights.bytes(),
        }
    }

    /// What a clip takes on this device.
    ///
    /// # Errors
    /// As [`Model::session`].
    pub fn plan(&self, options: &GenerateOptions) -> Result<ClipPlan> {
        self.plan_clip(&Clip::new(options, &self.architecture.configs)?)
    }

    fn plan_clip(&self, clip: &Clip) -> Result<ClipPlan> {
        let count = |prompt: &str| Ok(self.tokenizer.encode(prompt, clip.max_tokens)?.ids.len());
        let tokens = [count(&clip.prompt)?, count(&clip.negative)?];
        let plan = ClipPlan::new(&self.architecture, clip, self.executor.limits(), Some(tokens))?;
        match self.executor.capacity() {
            Some(allowed) if plan.peak_bytes > allowed => {
                Err(Error::DeviceTooSmall { what: "this clip".into(), needed: plan.peak_bytes, allowed })
            }
            _ => Ok(plan),
        }
    }

    /// Begins a clip. Nothing runs yet.
    ///
    /// # Errors
    /// [`Error::SizeUnsupported`], [`Error::FramesUnsupported`], [`Error::OptionInvalid`], [`Error::DeviceTooSmall`].
    pub fn session(self: &Rc<Self>, options: &GenerateOptions, cancel: &CancelFlag) -> Result<Session> {
        let clip = Clip::new(options, &self.architecture.configs)?;
        self.plan_clip(&clip)?;
        Session::new(self.clone(), clip, cancel.clone())
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let specs = self.architecture.weights.specs();
        for tensor in specs.iter().map(|s| &s.tensor).chain(&self.architecture.latent_statistics) {
            self.executor.release(tensor);
        }
    }
}
