//! A loaded model.

use std::cell::RefCell;
use std::rc::Rc;

use super::ahead;
use super::architecture::Architecture;
use super::film::Film;
use super::options::{Clip, GenerateOptions};
use super::plan::ClipPlan;
use super::prompt::EncodedPrompts;
use super::residency::Residency;
use super::session::Session;
use crate::executor::Executor;
use crate::text::TextTokenizer;
use crate::weights::source::read_all;
use crate::weights::{LoadProgress, Source, fetch_weights};
use crate::{CancelFlag, Error, Result};

/// Longest `tokenizer.json` that is read; UMT5's has 17 MB.
const TOKENIZER_BYTES: u64 = 64 << 20;

/// A loaded model: its weights are on the device, or where they have no room beside a clip, ready to be brought there.
pub struct Model {
    pub(super) architecture: Architecture,
    pub(super) tokenizer: TextTokenizer,
    pub(super) source: Rc<dyn Source>,
    pub(super) executor: Rc<Executor>,
    pub(super) residency: Residency,
    pub(super) prompts: RefCell<EncodedPrompts>,
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
    /// Whether steps can come with a small picture.
    pub preview: bool,
}

impl Model {
    /// Loads a pipeline onto the device: a diffusers folder, or components in files of their own (see [`crate::weights::Overlay`]).
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
        let tokenizer = tokenizer(&*source, &architecture).await?;
        // From here on dropping it releases what is on the device.
        let specs = architecture.weights.specs();
        let residency = Residency::new(executor.clone(), source.clone(), specs.clone());
        let model =
            Self { architecture, tokenizer, source, executor, residency, prompts: RefCell::default() };
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
        ahead::compile(&model.architecture, &model.executor, cancel)?;
        if model.has_room_for_all()? {
            model.residency.load_all(cancel, on_progress).await?;
        } else {
            fetch_weights(&specs, &*model.source, cancel, on_progress).await?;
        }
        Ok(model)
    }

    /// Whether all weights can stay on the device beside the model's own clip.
    fn has_room_for_all(&self) -> Result<bool> {
        let Some(memory) = self.executor.capacity() else { return Ok(true) };
        let clip = Clip::new(&GenerateOptions::default(), &self.architecture.configs)?;
        let plan = ClipPlan::new(&self.architecture, &clip, self.executor.limits(), None, None)?;
        Ok(plan.peak_bytes <= memory)
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
            preview: defaults.latent_rgb.is_some(),
        }
    }

    /// What a film takes on this device: its most demanding window does.
    ///
    /// # Errors
    /// As [`Model::film`].
    pub fn plan(&self, options: &GenerateOptions) -> Result<ClipPlan> {
        ClipPlan::of_film(&self.architecture, options, |clip| self.plan_clip(clip))
    }

    fn plan_clip(&self, clip: &Clip) -> Result<ClipPlan> {
        let count = |prompt: &str| Ok(self.tokenizer.encode(prompt, clip.max_tokens)?.ids.len());
        let tokens = [count(&clip.prompt)?, count(&clip.negative)?];
        let executor = &self.executor;
        ClipPlan::new(&self.architecture, clip, executor.limits(), Some(tokens), executor.capacity())
    }

    /// Begins a film: a clip as [`Model::session`] makes it, or several that follow each other. Nothing runs yet.
    ///
    /// # Errors
    /// As [`Model::session`], and [`Error::OptionInvalid`] for what [`super::windows`] cannot lay out.
    pub fn film(self: &Rc<Self>, options: &GenerateOptions, cancel: &CancelFlag) -> Result<Film> {
        Film::new(self.clone(), options.clone(), cancel.clone())
    }

    /// Begins a clip made in one window. Nothing runs yet.
    ///
    /// # Errors
    /// [`Error::SizeUnsupported`], [`Error::FramesUnsupported`], [`Error::OptionInvalid`], [`Error::DeviceTooSmall`].
    pub fn session(self: &Rc<Self>, options: &GenerateOptions, cancel: &CancelFlag) -> Result<Session> {
        let clip = Clip::new(options, &self.architecture.configs)?;
        self.plan_clip(&clip)?;
        Session::new(self.clone(), clip, cancel.clone())
    }
}

/// The folder's tokenizer, or that in the text encoder's own file.
async fn tokenizer(source: &dyn Source, architecture: &Architecture) -> Result<TextTokenizer> {
    match (read_all(source, TextTokenizer::PATH, TOKENIZER_BYTES).await, &architecture.own_tokenizer) {
        (Ok(json), _) => TextTokenizer::from_bytes(&json, TextTokenizer::PATH),
        (Err(Error::FileMissing { .. }), Some(own)) => own.read(source).await,
        (Err(error), _) => Err(error),
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        for tensor in &self.architecture.latent_statistics {
            self.executor.release(tensor);
        }
    }
}
