//! What can be asked for.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kinetoscope::bench::SUITES;
use kinetoscope::config::published::Published;
use kinetoscope::config::{ModelIndex, Solver};
use kinetoscope::gpu::Precision;
use kinetoscope::pipeline::{Configs, GenerateOptions, TimedPrompt};
use kinetoscope::weights::source::{FolderSource, exists};
use kinetoscope::weights::{Manifest, Overlay, PackedSource, Packing, Source};
use kinetoscope::{Error, Result};
use pollster::block_on;

use super::device_args::{BenchDevice, DeviceArg, MemoryArgs, bytes};
use super::footage::{Fit, GivenArg, load_edit};
use super::synth;

/// Video from text, on your own GPU.
#[derive(Debug, Parser)]
#[command(name = "kinetoscope", version, args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a clip from a prompt.
    Generate(Box<GenerateArgs>),
    /// Says what a clip takes on a device, from the model's headers alone.
    Plan(Box<PlanArgs>),
    /// Says what a weight file or a model folder is, and whether it can be run.
    Inspect(InspectArgs),
    /// Packs a model into a folder for any static host: parts, and a manifest with their hashes. --model takes it too.
    Pack(Box<PackArgs>),
    /// Writes a model of random weights at its full size: to measure with, and to test.
    Synth(SynthArgs),
    /// Measures how fast a device is: at best, at single operations and at whole models.
    Bench(BenchArgs),
}

#[derive(Debug, Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What the clip shows.
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// What it must not show; used when guidance is above 1.
    #[arg(long, value_name = "TEXT")]
    pub negative: Option<String>,
    #[command(flatten)]
    pub clip: ClipArgs,
    /// Timestep shift of the schedule.
    #[arg(long, value_name = "X")]
    pub shift: Option<f64>,
    /// Solver; the model's scheduler decides otherwise.
    #[arg(long)]
    pub solver: Option<SolverArg>,
    /// Sigmas to go through instead of the solver's own, falling from 1 or less to above 0, with commas between them.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "steps")]
    pub sigmas: Option<Vec<f64>>,
    /// The sigmas between which there is guidance.
    #[arg(long, value_name = "LOW,HIGH", value_parser = interval)]
    pub guidance_interval: Option<[f64; 2]>,
    /// Steps go without a pass through the transformer while its output is predicted to have changed by less than this share, such as
    /// 0.1: faster, and not quite the same clip. For models of many steps.
    #[arg(long, value_name = "X")]
    pub step_cache: Option<f64>,
    /// Tokens that prompts are cut and padded to.
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Picture that the clip begins with: a PNG.
    #[arg(long, value_name = "PNG", conflicts_with = "video")]
    pub image: Option<PathBuf>,
    /// Pictures that the clip is to contain: a PNG, a GIF or a folder of PNGs, the first of them at frame AT; below 0, the last of them
    /// counted from the end. -1=PATH is the clip's end. May be repeated.
    #[arg(long, value_name = "AT=PATH", allow_hyphen_values = true, conflicts_with = "video")]
    pub given: Vec<GivenArg>,
    /// Clip to change by the prompt: a GIF or a folder of PNGs.
    #[arg(long, value_name = "PATH")]
    pub video: Option<PathBuf>,
    /// How far it may be changed: 0 not at all, 1 altogether.
    #[arg(long, value_name = "X", default_value_t = 0.6, requires = "video")]
    pub strength: f64,
    /// Where it may be changed: white in this PNG, GIF or folder of PNGs.
    #[arg(long, value_name = "PATH", requires = "video")]
    pub mask: Option<PathBuf>,
    /// Length in seconds, up to 60: what is longer than --frames is made in windows, each going on from the end of the one before.
    #[arg(long, value_name = "X", conflicts_with_all = ["noise", "dump"])]
    pub seconds: Option<f64>,
    /// Frames that two windows share.
    #[arg(long, value_name = "N", requires = "seconds")]
    pub overlap: Option<usize>,
    /// Prompt that holds from a moment on. May be repeated.
    #[arg(long, value_name = "SECONDS=TEXT", value_parser = timed_prompt)]
    pub prompt_at: Vec<TimedPrompt>,
    /// How pictures of another shape are brought to the clip's.
    #[arg(long, default_value = "cover")]
    pub fit: Fit,
    /// Seed of the noise, as torch's CPU generator takes it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Where to compute: auto takes the GPU, or the CPU where there is none.
    #[arg(long, default_value = "auto")]
    pub device: DeviceArg,
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// What linear layers and convolutions may be multiplied in where the device is faster so; each allows what is before it, and costs
    /// more digits.
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    /// Safetensors file with the tensor `noise` [1,C,T,H,W] to begin with instead of the seed's.
    #[arg(long, value_name = "FILE")]
    pub noise: Option<PathBuf>,
    /// Safetensors file to write: noise, prompt_embeds, steps (latents after each step), frames; all f32.
    #[arg(long, value_name = "FILE")]
    pub dump: Option<PathBuf>,
    /// A .gif, a .png (contact sheet), or a folder for one PNG a frame.
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
}

/// A number above 0.
fn positive(text: &str) -> std::result::Result<f64, String> {
    let number = text.trim().parse::<f64>().ok().filter(|number| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "expected a number above 0".into())
}

/// Two numbers with a comma between them.
fn interval(text: &str) -> std::result::Result<[f64; 2], String> {
    let number = |part: &str| part.trim().parse::<f64>().ok();
    let pair = text.split_once(',').and_then(|(low, high)| Some([number(low)?, number(high)?]));
    pair.ok_or_else(|| "expected two numbers, such as 0.2,0.8".into())
}

/// Two numbers with a colon between them, or one.
fn aspect(text: &str) -> std::result::Result<f64, String> {
    let number = |part: &str| part.trim().parse::<f64>().ok();
    let found = match text.split_once(':') {
        Some((width, height)) => number(width).zip(number(height)).map(|(width, height)| width / height),
        None => number(text),
    };
    found.ok_or_else(|| "expected a shape, such as 16:9".into())
}

/// A moment and a prompt.
fn timed_prompt(text: &str) -> std::result::Result<TimedPrompt, String> {
    let (at, prompt) = text.split_once('=').ok_or("expected SECONDS=TEXT, such as 4=it snows")?;
    let at = at.trim().parse().map_err(|_| format!("{at} is no number of seconds"))?;
    Ok(TimedPrompt { at, prompt: prompt.into() })
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub clip: ClipArgs,
    /// Largest storage binding of the device, in bytes or with a unit, such as 1GiB; WebGPU guarantees 128 MiB.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_binding: Option<u64>,
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// What linear layers and convolutions may be multiplied in; 8-bit integers take some memory.
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A safetensors or GGUF file, the folder of a component, or the folder of a pipeline.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PackArgs {
    /// Folder of a pipeline, packed or not.
    #[arg(value_name = "SOURCE")]
    pub source: PathBuf,
    /// Folder to write.
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
    /// Number format of the transformer's weights; embeddings, norms, modulation and the head stay in floats.
    #[arg(long, value_name = "FORMAT", default_value = "keep", value_parser = packing())]
    pub transformer: String,
    /// Number format of the text encoder's weights.
    #[arg(long, value_name = "FORMAT", default_value = "keep", value_parser = packing())]
    pub text_encoder: String,
    /// Number format of the VAE's weights; without it what has 32 bits becomes f16.
    #[arg(long, value_name = "FORMAT", value_parser = packing())]
    pub vae: Option<String>,
    /// Transformer to take in the place of the folder's own: a safetensors or GGUF file, or a folder of parts.
    #[arg(long, value_name = "FILE")]
    pub transformer_file: Option<PathBuf>,
    /// Text encoder to take, as above.
    #[arg(long, value_name = "FILE")]
    pub text_encoder_file: Option<PathBuf>,
    /// VAE to take, as above.
    #[arg(long, value_name = "FILE")]
    pub vae_file: Option<PathBuf>,
    /// A tokenizer.json to take.
    #[arg(long, value_name = "FILE")]
    pub tokenizer_file: Option<PathBuf>,
    /// Licence, for whoever downloads it.
    #[arg(long, value_name = "TEXT")]
    pub licence: Option<String>,
    /// Name to show; the model's own, or its folder's, otherwise.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Writes over a packed model.
    #[arg(long)]
    pub force: bool,
}

impl PackArgs {
    /// What to read from, as [`ModelArgs`] puts it together.
    pub fn model(&self) -> ModelArgs {
        ModelArgs {
            model: Some(self.source.clone()),
            transformer: self.transformer_file.clone(),
            text_encoder: self.text_encoder_file.clone(),
            vae: self.vae_file.clone(),
            tokenizer: self.tokenizer_file.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub struct SynthArgs {
    /// Which model's sizes.
    #[arg(long, value_name = "NAME")]
    pub config: Published,
    /// Number format of its weights; what stays in floats is as pack has it, and the VAE stays at f16 unless it is written alone.
    #[arg(long, value_name = "FORMAT", default_value = "f16", value_parser = PossibleValuesParser::new(synth::FORMATS))]
    pub quant: String,
    /// Writes the weights of this component alone; others can be added to the folder after it.
    #[arg(long, value_parser = ["transformer", "text_encoder", "vae"])]
    pub only: Option<String>,
    /// Seed of the weights.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Folder to write.
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure; gpu is everything, quick what a software adapter does in some minutes. May be repeated.
    #[arg(long, value_name = "NAME", default_value = "quick", value_parser = PossibleValuesParser::new(SUITES))]
    pub suite: Vec<String>,
    /// Only the cases whose names contain this.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Names the cases instead of running them.
    #[arg(long)]
    pub list: bool,
    /// File for the results as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// What to measure on.
    #[arg(long, default_value = "gpu")]
    pub device: BenchDevice,
    /// What linear layers and convolutions may be multiplied in where the device is faster so.
    #[arg(long, default_value = "f32")]
    pub precision: Precision,
    /// Seconds that a case may take: what would take longer is reported as skipped.
    #[arg(long, value_name = "X", default_value_t = 10.0, value_parser = positive)]
    pub seconds_per_case: f64,
}

fn packing() -> PossibleValuesParser {
    PossibleValuesParser::new(Packing::NAMES)
}

/// Where a model comes from: a folder, files, or a folder of which files take some parts' places.
#[derive(Debug, Args)]
#[group(required = default_model().is_none(), multiple = true)]
pub struct ModelArgs {
    /// Folder of a diffusers pipeline; where the working directory has models/small, that one if nothing else is given.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Transformer to take: a safetensors or GGUF file, or a folder of parts. It stands in the place of the folder's own.
    #[arg(long, value_name = "FILE")]
    pub transformer: Option<PathBuf>,
    /// Text encoder to take, as above.
    #[arg(long, value_name = "FILE")]
    pub text_encoder: Option<PathBuf>,
    /// VAE to take, as above.
    #[arg(long, value_name = "FILE")]
    pub vae: Option<PathBuf>,
    /// A tokenizer.json to take; GGUF files of a text encoder have their own, and so have Comfy's.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
}

/// The repository's own model, for whoever runs the program there.
fn default_model() -> Option<&'static str> {
    Some("models/small").filter(|folder| Path::new(folder).is_dir())
}

impl ModelArgs {
    /// What to read from.
    ///
    /// # Errors
    /// [`Error::FileMissing`] for a folder that is not there: the source knows paths inside of it, which would not tell.
    /// [`Error::ReadFailed`] and [`Error::FileInvalid`] for a file that is not there, or is no weight file.
    pub fn source(&self) -> Result<Overlay> {
        let components = [
            ("transformer", &self.transformer),
            ("text_encoder", &self.text_encoder),
            ("vae", &self.vae),
            ("tokenizer", &self.tokenizer),
        ];
        let folder = match &self.model {
            Some(folder) => Some(folder.as_path()),
            None if components.iter().any(|(_, file)| file.is_some()) => None,
            None => default_model().map(Path::new),
        };
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(Error::FileMissing { path: folder.join(ModelIndex::PATH).display().to_string() });
        }
        let mut overlay = Overlay::new(folder.map(folder_source).transpose()?);
        for (component, path) in components {
            let Some(path) = path else { continue };
            if path.is_dir() {
                overlay.mount_folder(component, Box::new(FolderSource::new(path)));
                continue;
            }
            let (source, name) = file_source(path)?;
            match component {
                "tokenizer" => overlay.mount_file(component, "tokenizer.json", Box::new(source), &name),
                _ => block_on(overlay.mount_weights(component, Box::new(source), &name))?,
            }
        }
        Ok(overlay)
    }
}

/// A folder as a source: what its manifest names, where it is a packed model.
///
/// # Errors
/// Those of the manifest.
pub fn folder_source(folder: &Path) -> Result<Box<dyn Source>> {
    let source = Box::new(FolderSource::new(folder));
    match block_on(exists(&*source, Manifest::PATH))? {
        true => Ok(Box::new(block_on(PackedSource::open(source))?)),
        false => Ok(source),
    }
}

/// The folder that a file lies in, and its name there.
///
/// # Errors
/// [`Error::ReadFailed`] where there is none.
pub fn file_source(path: &Path) -> Result<(FolderSource, String)> {
    let failed = |reason: String| Error::ReadFailed { path: path.display().to_string(), reason };
    let found = path.metadata().map_err(|error| failed(error.to_string()))?;
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) if found.is_file() => Ok((FolderSource::new(folder), name.to_owned())),
        _ => Err(failed("it is no file, or its name is no UTF-8".to_owned())),
    }
}

/// Size and effort; the model's own defaults otherwise.
#[derive(Debug, Args)]
pub struct ClipArgs {
    /// Pixels.
    #[arg(long, value_name = "N")]
    pub width: Option<usize>,
    /// Pixels.
    #[arg(long, value_name = "N")]
    pub height: Option<usize>,
    /// Shape of the clip, such as 16:9, for a side that is not stated.
    #[arg(long, value_name = "W:H", value_parser = aspect)]
    pub aspect: Option<f64>,
    /// Frames of the clip.
    #[arg(long, value_name = "N")]
    pub frames: Option<usize>,
    /// Denoising steps.
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Classifier-free guidance scale; up to 1 is none.
    #[arg(long, value_name = "X")]
    pub guidance: Option<f64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SolverArg {
    Unipc,
    Euler,
    /// For models distilled for a few steps.
    Dmd,
}

impl From<SolverArg> for Solver {
    fn from(arg: SolverArg) -> Self {
        match arg {
            SolverArg::Unipc => Self::UniPc,
            SolverArg::Euler => Self::Euler,
            SolverArg::Dmd => Self::Dmd,
        }
    }
}

impl ClipArgs {
    /// The same as options of the pipeline.
    pub fn options(&self) -> GenerateOptions {
        GenerateOptions {
            width: self.width,
            height: self.height,
            aspect: self.aspect,
            frames: self.frames,
            steps: self.steps,
            guidance: self.guidance,
            ..GenerateOptions::default()
        }
    }
}

impl GenerateArgs {
    /// The same as options of the pipeline, pictures and clips read and fitted to the clip's size. A clip to be changed decides the length
    /// where none is asked for.
    ///
    /// # Errors
    /// A picture that cannot be read or decoded.
    pub fn options(&self, configs: &Configs) -> Result<GenerateOptions> {
        let size = configs.size(&self.clip.options())?;
        let first = self.image.as_deref().map(GivenArg::first);
        let given = first.iter().chain(&self.given).map(|arg| arg.load(size, self.fit));
        let given = given.collect::<Result<Vec<_>>>()?;
        let edit = match &self.video {
            Some(video) => Some(load_edit(video, self.mask.as_deref(), self.strength, size, self.fit)?),
            None => None,
        };
        let stride = configs.vae.scale_factor_temporal;
        let length = edit.as_ref().map(|edit| edit.footage.frames().saturating_sub(1) / stride * stride + 1);
        Ok(GenerateOptions {
            given,
            edit,
            frames: self.clip.frames.or(length),
            prompt: self.prompt.clone(),
            negative: self.negative.clone(),
            shift: self.shift,
            solver: self.solver.map(Into::into),
            sigmas: self.sigmas.clone(),
            guidance_interval: self.guidance_interval,
            step_cache: self.step_cache,
            max_tokens: self.max_tokens,
            seed: Some(self.seed),
            seconds: self.seconds,
            overlap: self.overlap,
            prompts: self.prompt_at.clone(),
            ..self.clip.options()
        })
    }
}
