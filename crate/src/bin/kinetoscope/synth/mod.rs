//! `kinetoscope synth`.

mod random;
mod tokenizer;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use kinetoscope::config::published;
use kinetoscope::pipeline::{Architecture, Configs};
use kinetoscope::weights::gguf_writer::{GgufTensor, gguf_header};
use kinetoscope::weights::source::FolderSource;
use kinetoscope::weights::{FileDtype, FileTensor, Packing};
use kinetoscope::{Error, Result};
use pollster::block_on;

use super::args::SynthArgs;
use super::generate::{BYTES, progress};
use super::output::failed;
use super::pack::{ggml_architecture, gguf_path};
use random::Weights;

/// Number formats that weights can be written in: all that GGUF files hold and the library reads.
pub const FORMATS: [&str; 11] =
    ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0"];

/// Writes a model of random weights.
///
/// # Errors
/// [`Error::WriteFailed`], also where a file is there already.
pub fn run(args: &SynthArgs) -> Result<()> {
    for (path, json) in published::files(args.config) {
        config(&args.out, path, &json)?;
    }
    config(&args.out, kinetoscope::text::TextTokenizer::PATH, &tokenizer::json())?;
    let configs = block_on(Configs::read(&FolderSource::new(&args.out)))?;
    let tensors = Architecture::assumed(configs)?.weights.tensors();
    for (index, component) in ["text_encoder", "transformer", "vae"].into_iter().enumerate() {
        if args.only.as_deref().is_some_and(|only| only != component) {
            continue;
        }
        let quant = Packing::To(FileDtype::from_name(args.quant.to_ascii_uppercase()));
        let packing = if component == "vae" && args.only.is_none() { Packing::AtMost16 } else { quant };
        let tensors: Vec<&FileTensor> =
            tensors.iter().filter(|tensor| tensor.component == component).collect();
        // Components do not depend on whether others are written with them.
        let weights = Weights::new(args.seed.wrapping_mul(3).wrapping_add(index as u64));
        write(&args.out, component, &tensors, &packing, weights)?;
    }
    Ok(())
}

/// Writes a config, or finds the same one there: components of one model can be written one after the other.
fn config(folder: &Path, path: &str, json: &serde_json::Value) -> Result<()> {
    let path = folder.join(path);
    let text = format!("{json:#}\n");
    match fs::read_to_string(&path) {
        Ok(found) if found == text => return Ok(()),
        Ok(_) => return Err(taken(&path)),
        Err(_) => {}
    }
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(|error| failed(&path, &error))?;
    fs::write(&path, text).map_err(|error| failed(&path, &error))
}

fn write(
    folder: &Path,
    component: &str,
    tensors: &[&FileTensor],
    packing: &Packing,
    mut weights: Weights,
) -> Result<()> {
    let described: Vec<GgufTensor> = tensors
        .iter()
        .map(|tensor| GgufTensor {
            name: tensor.key.clone(),
            shape: tensor.shape.clone(),
            dtype: packing.target(&tensor.key, &tensor.shape, &FileDtype::F32, false),
        })
        .collect();
    let header = gguf_header(ggml_architecture(component), &described)?;
    let path = folder.join(gguf_path(component));
    if path.exists() {
        return Err(taken(&path));
    }
    // Under another name until it is whole.
    let unfinished = path.with_extension("unfinished");
    let mut file = File::create(&unfinished).map_err(|error| failed(&unfinished, &error))?;
    let bar = progress(BYTES, component.to_owned().into());
    let lengths = described.iter().map(GgufTensor::padded_bytes).collect::<Result<Vec<_>>>()?;
    bar.set_length(lengths.iter().sum());
    let mut put = |bytes: &[u8]| {
        bar.inc(bytes.len() as u64);
        file.write_all(bytes).map_err(|error| failed(&unfinished, &error))
    };
    put(&header)?;
    for (tensor, padded) in described.iter().zip(lengths) {
        let bytes = tensor.bytes()?;
        weights.write(tensor, bytes, &mut put)?;
        put(&vec![0; (padded - bytes) as usize])?;
    }
    bar.finish_and_clear();
    fs::rename(&unfinished, &path).map_err(|error| failed(&path, &error))
}

fn taken(path: &Path) -> Error {
    let reason = "it is there already: choose a new folder".to_owned();
    Error::WriteFailed { path: path.display().to_string(), reason }
}
