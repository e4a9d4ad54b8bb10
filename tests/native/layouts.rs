//! The whole table: every layout in every number format.
//!
//! Of transformer and text encoder each format's pipeline is the one whose latents diffusers computed from the dequantised weights (`blocks.rs`):
//! its tensors are written anew here, as the same bytes under each layout's names and in each container that holds them, and every one of these
//! files has to give those latents, and on the CPU the same bits. Of autoencoders, whose weights are random, every file has to give what the
//! f32 file of its dequantised numbers gives in the diffusers layout, which `golden.rs` and `taehv.rs` compare with diffusers and torch. What
//! files Python's libraries write themselves is in `files.rs`; the names of the layouts are diffusers' and gguf-py's (`names.json`).
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod compare;
mod program;
mod relaid;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use compare::relative;
use kinetoscope::CancelFlag;
use kinetoscope::config::{TaehvConfig, WanVaeConfig};
use kinetoscope::executor::{DeviceChoice, Executor};
use kinetoscope::gpu::GpuOptions;
use kinetoscope::pipeline::{Architecture, Configs, GenerateOptions, Model};
use kinetoscope::sampling::Mt19937;
use kinetoscope::weights::quantise::quantise;
use kinetoscope::weights::source::FolderSource;
use kinetoscope::weights::{FileDtype, Overlay, Source};
use pollster::block_on;
use program::{Scratch, copy, repository};
use relaid::{Stored, Tensors, narrowed, read, synth, write_gguf, write_parts, write_safetensors};
use safetensors::SafeTensors;

/// As in `blocks.rs`.
const TOLERANCE: f64 = 2e-3;

/// What only GGUF files hold.
const BLOCKS: [&str; 8] = ["q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0"];

/// What both containers hold.
const FLOATS: [&str; 3] = ["f32", "f16", "bf16"];

/// What only safetensors files hold, with scales.
const EIGHT_BITS: [&str; 2] = ["f8_e4m3", "f8_e5m2"];

fn formats() -> impl Iterator<Item = &'static str> {
    BLOCKS.into_iter().chain(FLOATS).chain(EIGHT_BITS)
}

/// Endings of the files that hold a format.
fn containers(format: &str) -> &'static [&'static str] {
    match format {
        _ if BLOCKS.contains(&format) => &["gguf"],
        _ if EIGHT_BITS.contains(&format) => &["safetensors"],
        _ => &["gguf", "safetensors"],
    }
}

fn write(folder: &Path, name: &str, ending: &str, tensors: &Tensors) -> String {
    let file = format!("{name}.{ending}");
    match ending {
        "gguf" => write_gguf(&folder.join(&file), tensors),
        _ => write_safetensors(&folder.join(&file), tensors),
    }
    file
}

/// The names of a layout by diffusers'.
fn layout(name: &str) -> BTreeMap<String, String> {
    let names = fs::read(repository().join("tests/golden/names.json")).unwrap();
    let names: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&names).unwrap();
    names[name].iter().map(|(theirs, ours)| (ours.clone(), theirs.clone())).collect()
}

/// The same tensors under a layout's names, with something before them. The names are of a transformer of one block, and of weights without
/// scales.
fn renamed(tensors: &Tensors, names: &BTreeMap<String, String>, prefix: &str) -> Tensors {
    let rename = |key: &String| {
        let end = ["scale_weight", "weight_scale"].into_iter().find(|end| key.ends_with(end));
        let plain = end.map_or(key.clone(), |end| format!("{}weight", key.strip_suffix(end).unwrap()));
        let block = plain.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
        let theirs = match block {
            Some((n, rest)) => {
                names[&format!("blocks.0.{rest}")].replacen("blocks.0.", &format!("blocks.{n}."), 1)
            }
            None => names[&plain].clone(),
        };
        let theirs =
            end.map_or(theirs.clone(), |end| format!("{}{end}", theirs.strip_suffix("weight").unwrap()));
        format!("{prefix}{theirs}")
    };
    tensors.iter().map(|(key, stored)| (rename(key), stored.clone())).collect()
}

fn load(source: impl Source + 'static) -> Rc<Model> {
    let executor = Rc::new(block_on(Executor::open(DeviceChoice::Cpu, &GpuOptions::default())).unwrap());
    Rc::new(block_on(Model::load(Rc::new(source), executor, &CancelFlag::new(), &mut |_| {})).unwrap())
}

/// Latents after the last step of the golden clip.
fn latents(source: impl Source + 'static) -> Vec<f32> {
    let options = GenerateOptions {
        prompt: "a red ball bounces on green grass".into(),
        negative: Some("blurry".into()),
        guidance: Some(3.0),
        seed: Some(11),
        ..GenerateOptions::default()
    };
    let mut session = load(source).session(&options, &CancelFlag::new()).unwrap();
    block_on(session.encode()).unwrap();
    while block_on(session.step()).unwrap().is_some() {}
    block_on(session.latents()).unwrap()
}

/// Files of a folder in the place of components of another.
fn over(base: &Path, folder: &Path, files: &[(&str, &str)]) -> Overlay {
    let mut overlay = Overlay::new(Some(Box::new(FolderSource::new(base))));
    for (component, file) in files {
        let source = Box::new(FolderSource::new(folder));
        block_on(overlay.mount_weights(component, source, file)).unwrap();
    }
    overlay
}

#[test]
fn transformers_and_text_encoders_in_every_layout_and_format() {
    let golden = fs::read(repository().join("tests/golden/blocks.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let wan = layout("transformer");
    let (wan_umt5, ggml) = (layout("umt5"), layout("umt5_ggml"));
    let mut cells = 0;
    for format in formats() {
        let scratch = Scratch::new();
        let folder = scratch.path("model");
        synth(&folder, format);
        let steps = golden.tensor(&format!("{format}.steps")).unwrap().data();
        let steps: Vec<f32> = steps.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let first = latents(FolderSource::new(&folder));
        let off = relative(&first, &steps[steps.len() / 2..]);
        println!("{format}: off by {off:.1e}");
        assert!(off < TOLERANCE, "{format}: latents off by {off:.1e}");
        let transformer = read(&folder, "transformer");
        let text_encoder = read(&folder, "text_encoder");
        for tensors in [&transformer, &text_encoder] {
            let stored = tensors.values().filter(|stored| stored.dtype.name().eq_ignore_ascii_case(format));
            assert!(stored.count() >= 14, "{format}");
        }
        for ending in containers(format) {
            for (cell, transformer, text_encoder) in [
                ("diffusers", transformer.clone(), text_encoder.clone()),
                ("wan", renamed(&transformer, &wan, ""), renamed(&text_encoder, &wan_umt5, "")),
                (
                    "comfy",
                    renamed(&transformer, &wan, "model.diffusion_model."),
                    renamed(&text_encoder, &ggml, ""),
                ),
                ("comfy, short", renamed(&transformer, &wan, "diffusion_model."), text_encoder.clone()),
            ] {
                let transformer = write(&scratch.0, "transformer", ending, &transformer);
                let text_encoder = write(&scratch.0, "text_encoder", ending, &text_encoder);
                let files = [("transformer", &*transformer), ("text_encoder", &*text_encoder)];
                let found = latents(over(&folder, &scratch.0, &files));
                assert!(found == first, "{format}, {cell} in {ending}");
                cells += 1;
            }
        }
        if containers(format).contains(&"safetensors") {
            let parts = scratch.path("parts");
            copy(&folder, &parts);
            for (component, name, tensors) in [
                ("transformer", "diffusion_pytorch_model", &transformer),
                ("text_encoder", "model", &text_encoder),
            ] {
                let folder = parts.join(component);
                for ending in ["gguf", "safetensors"] {
                    let _ = fs::remove_file(folder.join(format!("{name}.{ending}")));
                }
                write_parts(&folder, name, tensors);
            }
            assert!(latents(FolderSource::new(&parts)) == first, "{format} in parts");
            cells += 1;
        }
    }
    // Eight formats in one container, three in two, two in the other; five in parts.
    assert_eq!(cells, 4 * (8 + 2 * 3 + 2) + 5);
}

/// What an autoencoder makes: latents of a clip, and the frames of one.
fn coded(source: impl Source + 'static) -> (Vec<f32>, Vec<u8>) {
    let model = load(source);
    let [frames, height, width] = [5, 32, 32];
    let rgb: Vec<f32> =
        (0..frames * height * width * 3).map(|i| ((i * 7919) % 997) as f32 / 498.5 - 1.0).collect();
    let encoded = block_on(model.encode_video(&rgb, [frames, height, width], &CancelFlag::new())).unwrap();
    let options = GenerateOptions {
        prompt: "a red ball".into(),
        width: Some(width),
        height: Some(height),
        frames: Some(frames),
        steps: Some(1),
        guidance: Some(1.0),
        ..GenerateOptions::default()
    };
    let mut session = model.session(&options, &CancelFlag::new()).unwrap();
    block_on(session.encode()).unwrap();
    while block_on(session.step()).unwrap().is_some() {}
    let mut rgba = Vec::new();
    while let Some(event) = block_on(session.next_frames()).unwrap() {
        rgba.extend(event.rgba);
    }
    (encoded, rgba)
}

/// Random weights of an autoencoder, in f32.
fn random(configs: &Configs) -> Tensors {
    let mut random = Mt19937::new(3);
    let tensors = Architecture::assumed(configs.clone()).unwrap().weights.tensors();
    let stored = tensors.into_iter().filter(|tensor| tensor.component == "vae").map(|tensor| {
        let inputs: usize = tensor.shape.iter().skip(1).product();
        let (mean, most) = match tensor.shape.len() {
            _ if tensor.key.ends_with("gamma") => (1.0, 0.2),
            1 => (0.0, 0.2),
            _ => (0.0, (6.0 / inputs as f32).sqrt()),
        };
        let count = tensor.shape.iter().product();
        let bytes = (0..count).flat_map(|_| (mean + most * (2.0 * random.uniform_f32() - 1.0)).to_le_bytes());
        (tensor.key, Stored { dtype: FileDtype::F32, bytes: bytes.collect(), shape: tensor.shape })
    });
    stored.collect()
}

/// Numbers in a format of blocks. Those of Q5_0 and Q5_1, which are only read, are made of Q4_0's and Q4_1's: the same values, on a grid twice as
/// fine with Q5_1.
fn blocks(values: &[f32], dtype: &FileDtype) -> Vec<u8> {
    let (from, header, finer) = match dtype.name() {
        "Q5_0" => ("Q4_0", 2, None),
        "Q5_1" => ("Q4_1", 4, Some(2u8)),
        _ => return quantise(values, dtype).unwrap(),
    };
    let four = quantise(values, &FileDtype::from_name(from.into())).unwrap();
    let mut out = Vec::new();
    for block in four.chunks_exact(header + 16) {
        let (head, nibbles) = block.split_at(header);
        let scale = half::f16::from_le_bytes([head[0], head[1]]);
        let scale = if finer.is_some() { half::f16::from_f32(scale.to_f32() / 2.0) } else { scale };
        let quants: Vec<u8> = nibbles.iter().map(|n| n & 15).chain(nibbles.iter().map(|n| n >> 4)).collect();
        // Zero is 16 in Q5_0, and 8 in Q4_0.
        let quants: Vec<u8> = quants.iter().map(|q| finer.map_or(q + 8, |twice| twice * q)).collect();
        let high = quants.iter().enumerate().fold(0u32, |bits, (i, q)| bits | u32::from(q >> 4) << i);
        out.extend(scale.to_le_bytes());
        out.extend(&head[2..]);
        out.extend(high.to_le_bytes());
        out.extend((0..16).map(|i| quants[i] & 15 | (quants[i + 16] & 15) << 4));
    }
    out
}

/// The same weights in a format, as far as they are whole blocks, the rest in F16; and in f32 what the numbers in that format are.
fn typed(tensors: &Tensors, format: &str) -> (Tensors, Tensors) {
    let format = FileDtype::from_name(format.to_ascii_uppercase());
    let (mut typed, mut dequantised) = (Tensors::new(), Tensors::new());
    let mut count = 0;
    for (key, stored) in tensors {
        let elements: usize = stored.shape.iter().product();
        // The scales of norms, which have as many extents, stay too.
        let whole =
            key.ends_with("weight") && stored.shape.len() > 1 && format.bytes(elements as u64).is_some();
        let values = FileDtype::F32.to_f32(&stored.bytes);
        let dtype = if whole { format.clone() } else { FileDtype::F16 };
        let (found, scale) = match dtype {
            FileDtype::F8E4M3 | FileDtype::F8E5M2 => {
                let (narrow, scale) = narrowed(stored, &dtype);
                typed.insert(key.replace("weight", "scale_weight"), scale.clone());
                (narrow, FileDtype::F32.to_f32(&scale.bytes)[0])
            }
            _ => (Stored { bytes: blocks(&values, &dtype), dtype, shape: stored.shape.clone() }, 1.0),
        };
        count += usize::from(whole);
        let values = found.dtype.to_f32(&found.bytes).into_iter();
        let bytes = values.flat_map(|value| (value * scale).to_le_bytes()).collect();
        let wide = Stored { dtype: FileDtype::F32, bytes, shape: stored.shape.clone() };
        dequantised.insert(key.clone(), wide);
        typed.insert(key.clone(), found);
    }
    assert!(count >= 20, "{count} tensors in {format:?}");
    (typed, dequantised)
}

/// All formats of an autoencoder beside the folder `base`, of which it is none, in every container and under all names. `config` is its config.json,
/// where it has one.
fn autoencoder(
    base: &Path,
    tensors: &Tensors,
    config: Option<&[u8]>,
    names: &[Option<BTreeMap<String, String>>],
) {
    let scratch = Scratch::new();
    let with = |file: &dyn Fn(&Path)| {
        let folder = scratch.path("vae");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        if let Some(json) = config {
            fs::write(folder.join("config.json"), json).unwrap();
        }
        file(&folder);
        let mut overlay = Overlay::new(Some(Box::new(FolderSource::new(base))));
        overlay.mount_folder("vae", Box::new(FolderSource::new(&folder)));
        coded(overlay)
    };
    const NAME: &str = "diffusion_pytorch_model";
    let mut before = None;
    for format in formats() {
        let (typed, dequantised) = typed(tensors, format);
        let expected = with(&|folder| drop(write(folder, NAME, "safetensors", &dequantised)));
        assert!(expected.0.iter().all(|v| v.is_finite()) && before.as_ref() != Some(&expected), "{format}");
        for ending in containers(format) {
            for names in names {
                let tensors = names.as_ref().map_or(typed.clone(), |names| renamed(&typed, names, ""));
                let found = with(&|folder| drop(write(folder, NAME, ending, &tensors)));
                assert!(found == expected, "{format} in {ending}, other names: {}", names.is_some());
            }
        }
        if containers(format).contains(&"safetensors") {
            let found = with(&|folder| write_parts(folder, NAME, &typed));
            assert!(found == expected, "{format} in parts");
        }
        before = Some(expected);
    }
}

fn configs(folder: &Path) -> Configs {
    block_on(Configs::read(&FolderSource::new(folder))).unwrap()
}

/// A golden pipeline, with more channels in its VAE, so that there are whole blocks of 256.
fn wider(scratch: &Scratch, case: &str) -> (std::path::PathBuf, Vec<u8>) {
    let folder = scratch.path(case);
    copy(&repository().join("tests/golden").join(case).join("pipeline"), &folder);
    fs::remove_file(folder.join("vae/diffusion_pytorch_model.safetensors")).unwrap();
    let path = folder.join(WanVaeConfig::PATH);
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    json["base_dim"] = 16.into();
    json["decoder_base_dim"] = serde_json::Value::Null;
    fs::write(&path, json.to_string()).unwrap();
    (folder, json.to_string().into_bytes())
}

#[test]
fn vaes_in_every_layout_and_format() {
    let scratch = Scratch::new();
    for (case, names) in [("wan21", "vae21"), ("wan22", "vae22")] {
        let (folder, config) = wider(&scratch, case);
        let tensors = random(&configs(&folder));
        autoencoder(&folder, &tensors, Some(&config), &[None, Some(layout(names))]);
    }
}

#[test]
fn tiny_autoencoders_in_every_format() {
    for (case, published) in [("wan21", TaehvConfig::WAN_2_1), ("wan22", TaehvConfig::WAN_2_2)] {
        let folder = repository().join("tests/golden").join(case).join("pipeline");
        let configs = configs(&folder);
        let (encoder_dims, decoder_dims) = ([16; 4], [32, 16, 16, 16]);
        let tiny = TaehvConfig { z_dim: configs.vae.z_dim, encoder_dims, decoder_dims, ..published };
        let tensors = random(&Configs { vae: tiny.into(), ..configs });
        autoencoder(&folder, &tensors, None, &[None]);
    }
}
