//! `kinetoscope pack`.

use std::collections::BTreeMap;
use std::collections::HashSet;

use indicatif::ProgressBar;
use kinetoscope::config::{
    GenerationDefaults, ModelIndex, SchedulerConfig, Umt5Config, WanTransformerConfig, WanVaeConfig,
};
use kinetoscope::pipeline::Architecture;
use kinetoscope::text::TextTokenizer;
use kinetoscope::weights::gguf_writer::{GgufTensor, gguf_header};
use kinetoscope::weights::source::{exactly, exists, read_all};
use kinetoscope::weights::{FileDtype, FileTensor, ManifestComponent, Packing, Source, TensorLocation};
use kinetoscope::{Error, Result};
use pollster::block_on;
use serde_json::{Map, Value};

use super::args::PackArgs;
use super::convert::Conversion;
use super::generate::{BYTES, progress};
use super::parts::PartsFolder;

/// What is copied where it is there.
const FILES: [&str; 8] = [
    ModelIndex::PATH,
    GenerationDefaults::PATH,
    SchedulerConfig::PATH,
    WanTransformerConfig::PATH,
    Umt5Config::PATH,
    WanVaeConfig::PATH,
    TextTokenizer::PATH,
    "tokenizer/tokenizer_config.json",
];

/// Longest of them; UMT5's tokenizer has 17 MB.
const FILE_BYTES: u64 = 64 << 20;

/// Bytes that are copied at once.
const COPY_BYTES: u64 = 4 << 20;

/// Packs a model.
///
/// # Errors
/// Those of the pipeline, [`Error::WriteFailed`].
pub fn run(args: &PackArgs) -> Result<()> {
    block_on(pack(args))
}

async fn pack(args: &PackArgs) -> Result<()> {
    let source = args.model().source()?;
    // Whatever is wrong with the model is found before anything is written.
    let architecture = Architecture::open(&source).await?;
    let components = components(&architecture)?;
    let mut folder = PartsFolder::create(&args.out, args.force)?;
    let bar = progress(BYTES, "pack".into());
    let stored = components.iter().flat_map(|(_, tensors)| tensors);
    bar.set_length(stored.map(|stored| stored.location.range.end - stored.location.range.start).sum());
    let mut defaults = Map::new();
    for path in FILES {
        let Some(bytes) = small_file(&source, &architecture, path).await? else { continue };
        if path == GenerationDefaults::PATH {
            defaults = serde_json::from_slice(&bytes)
                .map_err(|error| Error::FileInvalid { path: path.into(), reason: error.to_string() })?;
        }
        let mut file = folder.file(path, &path.replace(['/', '.'], "-"));
        file.write(&bytes)?;
        file.finish()?;
    }
    let mut listed = BTreeMap::new();
    for (component, tensors) in &components {
        let packing = packing(args, component);
        listed.insert(
            component.clone(),
            weights(&source, component, tensors, &packing, &mut folder, &bar).await?,
        );
    }
    bar.finish_and_clear();
    let name = args.name.clone().or_else(|| defaults.get("name").and_then(Value::as_str).map(str::to_owned));
    let name = name.unwrap_or_else(|| {
        let path = args.source.canonicalize().unwrap_or_else(|_| args.source.clone());
        path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
    });
    let manifest = folder.finish(name, args.licence.clone(), listed, defaults)?;
    for (name, component) in &manifest.components {
        eprintln!("{name:<13} {:>7} {:>9.1} MB", component.dtype, component.bytes as f64 / 1e6);
    }
    Ok(())
}

/// A tensor that is there.
struct Stored {
    tensor: FileTensor,
    location: TensorLocation,
}

/// What is read of each component, in the order in which the models were made.
fn components(architecture: &Architecture) -> Result<Vec<(String, Vec<Stored>)>> {
    let mut components: Vec<(String, Vec<Stored>)> = Vec::new();
    for tensor in architecture.weights.tensors() {
        let Some(location) = tensor.location.clone() else {
            return Err(Error::TensorMissing { component: tensor.component, tensor: tensor.key });
        };
        let place = components.iter().position(|(name, _)| *name == tensor.component);
        let place = place.unwrap_or_else(|| {
            components.push((tensor.component.clone(), Vec::new()));
            components.len() - 1
        });
        if let Some((_, tensors)) = components.get_mut(place) {
            tensors.push(Stored { tensor, location });
        }
    }
    Ok(components)
}

fn packing(args: &PackArgs, component: &str) -> Packing {
    let name = match component {
        "transformer" => Some(&args.transformer),
        "text_encoder" => Some(&args.text_encoder),
        _ => args.vae.as_ref(),
    };
    name.and_then(|name| Packing::from_name(name)).unwrap_or(Packing::AtMost16)
}

/// A config or the tokenizer, which may be in the text encoder's file.
async fn small_file(source: &dyn Source, architecture: &Architecture, path: &str) -> Result<Option<Vec<u8>>> {
    if exists(source, path).await? {
        return read_all(source, path, FILE_BYTES).await.map(Some);
    }
    match &architecture.own_tokenizer {
        Some(own) if path == TextTokenizer::PATH => Ok(Some(own.read(source).await?.to_json()?.into_bytes())),
        _ => Ok(None),
    }
}

/// Writes a component's weights: its own file where nothing changes, else a GGUF file.
async fn weights(
    source: &dyn Source,
    component: &str,
    tensors: &[Stored],
    packing: &Packing,
    folder: &mut PartsFolder,
    bar: &ProgressBar,
) -> Result<ManifestComponent> {
    let targets: Vec<FileDtype> = tensors
        .iter()
        .map(|Stored { tensor, location }| {
            packing.target(&tensor.key, &tensor.shape, &location.dtype, tensor.scale.is_some())
        })
        .collect();
    let files: HashSet<&str> = tensors.iter().map(|stored| stored.location.path.as_str()).collect();
    let changes = *packing != Packing::Keep
        && targets.iter().zip(tensors).any(|(target, stored)| *target != stored.location.dtype);
    let (bytes, dtype) = match (files.iter().next(), files.len()) {
        (Some(path), 1) if !changes => {
            let formats = tensors.iter().map(|stored| &stored.location.dtype);
            (copy(source, component, path, folder, bar).await?, most(formats.zip(tensors)))
        }
        _ => {
            let bytes = convert(source, component, tensors, &targets, folder, bar).await?;
            (bytes, most(targets.iter().zip(tensors)))
        }
    };
    Ok(ManifestComponent { bytes, dtype })
}

/// The format of most elements.
fn most<'a>(formats: impl Iterator<Item = (&'a FileDtype, &'a Stored)>) -> String {
    let mut elements = BTreeMap::<&str, usize>::new();
    for (format, stored) in formats {
        *elements.entry(format.name()).or_default() += stored.tensor.shape.iter().product::<usize>();
    }
    elements
        .iter()
        .max_by_key(|(_, count)| **count)
        .map_or_else(String::new, |(name, _)| name.to_ascii_lowercase())
}

async fn copy(
    source: &dyn Source,
    component: &str,
    path: &str,
    folder: &mut PartsFolder,
    bar: &ProgressBar,
) -> Result<u64> {
    let mut file = folder.file(path, component);
    let size = source.size(path).await?;
    for start in (0..size).step_by(COPY_BYTES as usize) {
        let range = start..size.min(start + COPY_BYTES);
        bar.inc(range.end - range.start);
        file.write(&exactly(source, path, range).await?)?;
    }
    file.finish()
}

async fn convert(
    source: &dyn Source,
    component: &str,
    tensors: &[Stored],
    targets: &[FileDtype],
    folder: &mut PartsFolder,
    bar: &ProgressBar,
) -> Result<u64> {
    let written: Vec<GgufTensor> = tensors
        .iter()
        .zip(targets)
        .map(|(Stored { tensor, .. }, target)| GgufTensor {
            name: tensor.key.clone(),
            shape: tensor.shape.clone(),
            dtype: target.clone(),
        })
        .collect();
    let header = gguf_header(ggml_architecture(component), &written)?;
    let mut file = folder.file(&gguf_path(component), component);
    file.write(&header)?;
    for (Stored { tensor, location }, written) in tensors.iter().zip(&written) {
        let conversion = Conversion { tensor, location, target: written.dtype.clone() };
        let mut take = |bytes: &[u8], read: u64| {
            bar.inc(read);
            file.write(bytes)
        };
        conversion.run(source, &mut take).await?;
        file.write(&vec![0; (written.padded_bytes()? - written.bytes()?) as usize])?;
    }
    file.finish()
}

/// What GGUF files of a component call themselves.
pub fn ggml_architecture(component: &str) -> &'static str {
    if component == "text_encoder" { "t5encoder" } else { "wan" }
}

/// Where a component's GGUF file is in a model's folder.
pub fn gguf_path(component: &str) -> String {
    let name = if component == "text_encoder" { "model" } else { "diffusion_pytorch_model" };
    format!("{component}/{name}.gguf")
}
