//! Weight files written anew: the same numbers under other names, in other containers and formats.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::program::{kinetoscope, succeeded};
use kinetoscope::weights::gguf_writer::{GgufTensor, gguf_header};
use kinetoscope::weights::source::{FolderSource, Source};
use kinetoscope::weights::{Component, FileDtype};
use pollster::block_on;
use safetensors::serialize;
use safetensors::tensor::{Dtype, TensorView};

/// A tensor as it is stored.
#[derive(Clone)]
pub struct Stored {
    pub dtype: FileDtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub type Tensors = BTreeMap<String, Stored>;

/// All tensors of a component of a folder, by diffusers' and transformers' names.
pub fn read(folder: &Path, component: &str) -> Tensors {
    let source = FolderSource::new(folder);
    let names = ["diffusion_pytorch_model", "model"];
    let component = block_on(Component::open(&source, component, &names)).unwrap();
    let stored = component.iter().map(|(key, location)| {
        let bytes = block_on(source.read(&location.path, location.range.clone())).unwrap();
        (key.to_owned(), Stored { dtype: location.dtype.clone(), shape: location.shape.clone(), bytes })
    });
    stored.collect()
}

/// The tiny pipeline whose latents `tests/golden/blocks.safetensors` has, in a number format.
pub fn synth(folder: &Path, format: &str) {
    let eight = FileDtype::from_name(format.to_ascii_uppercase());
    let eight = Some(eight).filter(|dtype| matches!(dtype, FileDtype::F8E4M3 | FileDtype::F8E5M2));
    let quant = if eight.is_some() { "f16" } else { format };
    let out = folder.to_str().unwrap();
    succeeded(&kinetoscope(&["synth", "--config", "tiny", "--quant", quant, "--seed", "5", out]));
    for (component, name) in [("transformer", "diffusion_pytorch_model"), ("text_encoder", "model")] {
        if let Some(dtype) = &eight {
            let narrow = eight_bits(&read(folder, component), dtype, "weight_scale");
            let folder = folder.join(component);
            fs::remove_file(folder.join(format!("{name}.gguf"))).unwrap();
            write_safetensors(&folder.join(format!("{name}.safetensors")), &narrow);
        }
    }
}

/// Writes a GGUF file.
pub fn write_gguf(path: &Path, tensors: &Tensors) {
    let described = tensors.iter().map(|(name, Stored { dtype, shape, .. })| GgufTensor {
        name: name.clone(),
        shape: shape.clone(),
        dtype: dtype.clone(),
    });
    let described: Vec<_> = described.collect();
    let mut file = gguf_header("wan", &described).unwrap();
    for (tensor, stored) in described.iter().zip(tensors.values()) {
        file.extend(&stored.bytes);
        file.resize(file.len() + (tensor.padded_bytes().unwrap() - tensor.bytes().unwrap()) as usize, 0);
    }
    fs::write(path, file).unwrap();
}

/// Writes a safetensors file.
pub fn write_safetensors<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a String, &'a Stored)>) {
    let views = tensors.into_iter().map(|(name, Stored { dtype, shape, bytes })| {
        let dtype = match dtype {
            FileDtype::F32 => Dtype::F32,
            FileDtype::F16 => Dtype::F16,
            FileDtype::BF16 => Dtype::BF16,
            FileDtype::F8E4M3 => Dtype::F8_E4M3,
            FileDtype::F8E5M2 => Dtype::F8_E5M2,
            other => panic!("{name} is {other:?}"),
        };
        (name.as_str(), TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// Writes two safetensors files and the index of them, as diffusers' and transformers' `save_pretrained` lay them out.
pub fn write_parts(folder: &Path, name: &str, tensors: &Tensors) {
    let files = ["00001", "00002"].map(|part| format!("{name}-{part}-of-00002.safetensors"));
    let mut map = BTreeMap::new();
    for (part, file) in files.iter().enumerate() {
        // Every other one: a layer's tensors are in different files.
        let own: Vec<_> = tensors.iter().skip(part).step_by(2).collect();
        map.extend(own.iter().map(|(key, _)| ((*key).clone(), file.clone())));
        write_safetensors(&folder.join(file), own);
    }
    let index = serde_json::json!({ "metadata": { "total_size": 0 }, "weight_map": map });
    fs::write(folder.join(format!("{name}.safetensors.index.json")), index.to_string()).unwrap();
}

/// The matrices of the blocks as 8-bit floats with a scale beside each, as torch makes them of the same numbers (`narrow` in
/// `tests/golden/blocks.py`): the nearest, of two as near the even one.
pub fn eight_bits(tensors: &Tensors, dtype: &FileDtype, scale_name: &str) -> Tensors {
    let matrices = ["attn1.to_", "attn2.to_", "ffn.net", "SelfAttention.", "DenseReluDense"];
    let mut narrow = tensors.clone();
    for (name, stored) in tensors {
        let wanted = matrices.iter().any(|part| name.contains(part)) && !name.contains("relative");
        if wanted && stored.shape.len() == 2 {
            let (eight, scale) = narrowed(stored, dtype);
            narrow.insert(name.clone(), eight);
            narrow.insert(name.replace("weight", scale_name), scale);
        }
    }
    narrow
}

/// A tensor in 8-bit floats, and its scale.
pub fn narrowed(stored: &Stored, dtype: &FileDtype) -> (Stored, Stored) {
    let values = stored.dtype.to_f32(&stored.bytes);
    let magnitudes: Vec<f32> = dtype.to_f32(&(0..0x7f).collect::<Vec<u8>>());
    let magnitudes: Vec<f32> = magnitudes.into_iter().take_while(|value| value.is_finite()).collect();
    let scale = values.iter().fold(0f32, |most, v| most.max(v.abs())) / magnitudes.last().unwrap();
    let nearest = |value: f32| {
        let above = magnitudes.partition_point(|m| *m < value).min(magnitudes.len() - 1);
        let below = above.saturating_sub(1);
        let (up, down) = (magnitudes[above] - value, value - magnitudes[below]);
        (if down < up || down == up && below % 2 == 0 { below } else { above }) as u8
    };
    let byte = |value: &f32| nearest((value / scale).abs()) | if value.is_sign_negative() { 0x80 } else { 0 };
    let bytes = values.iter().map(byte).collect();
    let scale = Stored { dtype: FileDtype::F32, shape: vec![1], bytes: scale.to_le_bytes().to_vec() };
    (Stored { dtype: dtype.clone(), shape: stored.shape.clone(), bytes }, scale)
}
