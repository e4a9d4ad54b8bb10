//! The whole pipeline against diffusers, on tiny random pipelines and on the shipped model (`tests/golden/README.md`).
//!
//! Tolerances are the project's: 1e-3 relative for embeddings and latents (RMS of the difference over RMS), 2/255 for frames.
//! Both executors compute in f32, so on weights that they read exactly they come closer; the CPU executor is held to
//! 1e-4, which also tells the tanh GELU from the exact one. With products in f16, whose 11 bits every layer rounds to, it is 1e-2 and
//! 6/255, twice what is found.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod compare;
mod harness;
mod models;

use std::path::{Path, PathBuf};

use compare::{relative, worst};
use harness::{matrix_units, with_tiles};
use kinetoscope::CancelFlag;
use kinetoscope::config::Solver;
use kinetoscope::executor::DeviceChoice;
use kinetoscope::gpu::{GpuOptions, Tiles};
use kinetoscope::pipeline::{Edit, Footage, GenerateOptions, Given, Mask};
use models::{executor, load};
use pollster::block_on;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    pipeline: String,
    prompt: String,
    negative_prompt: String,
    width: usize,
    height: usize,
    frames: usize,
    steps: usize,
    guidance_scale: f64,
    seed: u64,
    max_sequence_length: usize,
    solver: String,
    shift: f64,
}

impl Case {
    fn options(&self) -> GenerateOptions {
        GenerateOptions {
            prompt: self.prompt.clone(),
            negative: Some(self.negative_prompt.clone()),
            width: Some(self.width),
            height: Some(self.height),
            frames: Some(self.frames),
            steps: Some(self.steps),
            guidance: Some(self.guidance_scale),
            max_tokens: Some(self.max_sequence_length),
            seed: Some(self.seed),
            ..Default::default()
        }
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

/// A tensor of a golden file as f32.
fn tensor(path: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    match view.dtype() {
        Dtype::F32 => view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => {
            view.data().as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()
        }
        other => panic!("{name} is {other:?}"),
    }
}

/// Within `tolerance` of diffusers, and frames within so many of 255.
fn run(name: &str, choice: DeviceChoice, gpu: &GpuOptions, tolerance: f64, levels: f32) {
    let folder = golden(name);
    let case: Case = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
    let file = folder.join("golden.safetensors");
    let model = load(folder.join(&case.pipeline), executor(choice, gpu));
    let options = case.options();
    let mut session = model.session(&options, &CancelFlag::new()).unwrap();
    // Solver and shift come from the folder: the case only says what diffusers found there.
    let solver = if case.solver == "unipc" { Solver::UniPc } else { Solver::Euler };
    assert_eq!(session.clip().schedule.solver, solver);
    assert_eq!(session.clip().schedule.shift, case.shift);

    block_on(session.encode()).unwrap();
    let embeds = relative(&block_on(session.prompt_embeds()).unwrap(), &tensor(&file, "prompt_embeds"));
    assert!(embeds < tolerance, "{name}: prompt_embeds off by {embeds:.2e}");
    let noise = worst(&block_on(session.latents()).unwrap(), &tensor(&file, "noise"));
    assert!(noise < 1e-6, "{name}: noise off by {noise:.2e}");

    let steps = tensor(&file, "steps");
    let mut expected = steps.chunks_exact(steps.len() / case.steps);
    let mut latents = 0f64;
    while let Some(event) = block_on(session.step()).unwrap() {
        latents = relative(&block_on(session.latents()).unwrap(), expected.next().unwrap());
        assert!(latents < tolerance, "{name}: latents after step {} off by {latents:.2e}", event.index);
    }
    assert!(expected.next().is_none());

    let (mut frames, mut bytes) = (Vec::new(), Vec::new());
    while let Some(event) = block_on(session.next_frames()).unwrap() {
        assert_eq!(event.index * case.width * case.height * 3, frames.len());
        frames.extend(block_on(session.frame_values(event.count)).unwrap());
        bytes.extend(event.rgba.as_chunks().0.iter().flat_map(|&[r, g, b, a]| {
            assert_eq!(a, 255);
            [r, g, b]
        }));
    }
    let expected = tensor(&file, "frames");
    let worst_frame = worst(&frames, &expected) * 255.0;
    assert!(worst_frame < levels, "{name}: frames off by {worst_frame}/255");
    let rounded: Vec<f32> = bytes.iter().map(|&b| f32::from(b) / 255.0).collect();
    assert!(worst(&rounded, &frames) * 255.0 < 0.501, "{name}: RGBA is not the rounded frame");
    println!("{name}: embeds {embeds:.1e}, last latents {latents:.1e}, frames {worst_frame:.3}/255");

    // Nothing of the clip stays on the device.
    drop(session);
    let before = model.executor().allocated_bytes();
    let again = model.session(&options, &CancelFlag::new()).unwrap();
    drop(again);
    assert_eq!(model.executor().allocated_bytes(), before);
}

fn encode(name: &str, choice: DeviceChoice, tolerance: f64) {
    let folder = golden(name);
    let file = folder.join("encode.safetensors");
    let case: Case = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
    let model = load(folder.join(case.pipeline), executor(choice, &GpuOptions::default()));
    let bytes = std::fs::read(&file).unwrap();
    let shape = SafeTensors::deserialize(&bytes).unwrap().tensor("video").unwrap().shape().to_vec();
    let [_, height, width, _] = shape[..] else { panic!("video is {shape:?}") };
    let video = tensor(&file, "video");
    for frames in [1, 5, 17] {
        let rgb = &video[..frames * height * width * 3];
        let latents = block_on(model.encode_video(rgb, [frames, height, width], &CancelFlag::new())).unwrap();
        let off = relative(&latents, &tensor(&file, &format!("latents_f{frames}")));
        println!("{name}: {frames} frames encoded, latents off by {off:.1e}");
        assert!(off < tolerance, "{name}: latents of {frames} frames off by {off:.2e}");
    }
}

/// Pictures and clips in the place of noise alone: what `modes.py` says diffusers makes of them.
fn modes(name: &str, choice: DeviceChoice, tolerance: f64) {
    let folder = golden(name);
    let file = folder.join("modes.safetensors");
    let case: Case = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
    let model = load(folder.join(&case.pipeline), executor(choice, &GpuOptions::default()));
    let bytes = std::fs::read(&file).unwrap();
    let goldens = SafeTensors::deserialize(&bytes).unwrap();
    let rgb = goldens.tensor("footage").unwrap().data();
    let (width, height) = (case.width, case.height);
    let footage = |frames: std::ops::Range<usize>| {
        let len = width * height * 3;
        Footage { width, height, rgb: rgb[frames.start * len..frames.end * len].into() }
    };
    let edit = |strength| Edit { footage: footage(0..case.frames), strength, mask: None };
    let mut compared = 0;
    for key in goldens.names().into_iter().filter(|key| *key != "footage") {
        let mut options = case.options();
        match key {
            "first_frame" => options.given = vec![Given { at: 0, footage: footage(0..1) }],
            "ends" => {
                let last = footage(case.frames - 1..case.frames);
                options.given =
                    vec![Given { at: -1, footage: last }, Given { at: 0, footage: footage(0..1) }];
            }
            "masked_edit_0.6" => {
                let values = (0..width * height).map(|i| if i % width < width / 2 { 0 } else { 255 });
                let mask = Mask { width, height, values: values.collect() };
                options.edit = Some(Edit { mask: Some(mask), ..edit(0.6) });
            }
            "dmd" => {
                (options.solver, options.steps, options.guidance) = (Some(Solver::Dmd), Some(3), Some(1.0));
            }
            _ => options.edit = Some(edit(key.strip_prefix("edit_").unwrap().parse().unwrap())),
        }
        let mut session = model.session(&options, &CancelFlag::new()).unwrap();
        block_on(session.encode()).unwrap();
        while block_on(session.step()).unwrap().is_some() {}
        let off = relative(&block_on(session.latents()).unwrap(), &tensor(&file, key));
        println!("{name}: {key} off by {off:.1e}");
        assert!(off < tolerance, "{name}: {key} off by {off:.2e}");
        compared += 1;
    }
    assert!(compared > 0);
}

/// A first frame comes back as the VAE's own reconstruction of it, on a model with a timestep for every latent frame and on one without.
#[test]
fn a_given_frame_comes_back() {
    for name in ["wan21", "wan22"] {
        let folder = golden(name);
        let case: Case = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
        let model = load(folder.join(&case.pipeline), executor(DeviceChoice::Cpu, &GpuOptions::default()));
        let bytes = std::fs::read(folder.join("modes.safetensors")).unwrap();
        let rgb = SafeTensors::deserialize(&bytes).unwrap().tensor("footage").unwrap().data().to_vec();
        let picture = Footage {
            width: case.width,
            height: case.height,
            rgb: rgb[..case.width * case.height * 3].into(),
        };
        let first = |frames, steps| {
            let given = vec![Given { at: 0, footage: picture.clone() }];
            let options =
                GenerateOptions { given, frames: Some(frames), steps: Some(steps), ..case.options() };
            let mut session = model.session(&options, &CancelFlag::new()).unwrap();
            block_on(session.encode()).unwrap();
            while block_on(session.step()).unwrap().is_some() {}
            block_on(session.next_frames()).unwrap().unwrap().rgba
        };
        // A clip of one frame that is given is the picture through encoder and decoder.
        assert_eq!(first(case.frames, 3), first(1, 1), "{name}");
    }
}

macro_rules! modes {
    ($($name:ident: $case:literal, $choice:ident, $tolerance:literal;)*) => {
        $(#[test] fn $name() { modes($case, DeviceChoice::$choice, $tolerance); })*
    };
}
modes! {
    modes_2_1_on_the_cpu: "wan21", Cpu, 1e-4;
    modes_2_2_on_the_cpu: "wan22", Cpu, 1e-4;
    modes_2_1_on_the_gpu: "wan21", WebGpu, 1e-3;
    modes_2_2_on_the_gpu: "wan22", WebGpu, 1e-3;
}

/// What software adapters have that swap values in quads, as Chromium's does: everything that can be from textures.
fn textures() -> GpuOptions {
    GpuOptions {
        barrier_free: Some(true),
        texel_flops: Some(0),
        octets: Some(false),
        ..GpuOptions::default()
    }
}

/// Products in f16 wherever they can be.
fn halves() -> GpuOptions {
    with_tiles(Tiles { wide: false, few: 96, halves: true, bytes: false, fragment: None })
}

/// The shipped model's weights are quantised.
#[test]
fn small_in_bytes() {
    let gpu = with_tiles(Tiles { wide: false, few: 0, halves: false, bytes: true, fragment: None });
    run("small", DeviceChoice::WebGpu, &gpu, 2e-2, 12.0);
}

macro_rules! cases {
    ($($case:ident),*) => {
        mod cpu {
            use super::*;
            $(#[test] fn $case() { run(stringify!($case), DeviceChoice::Cpu, &GpuOptions::default(), 1e-4, 2.0); })*
        }
        mod gpu {
            use super::*;
            $(#[test] fn $case() { run(stringify!($case), DeviceChoice::WebGpu, &GpuOptions::default(), 1e-3, 2.0); })*
        }
        mod gpu_from_textures {
            use super::*;
            $(#[test] fn $case() { run(stringify!($case), DeviceChoice::WebGpu, &textures(), 1e-3, 2.0); })*
        }
        mod gpu_in_halves {
            use super::*;
            $(#[test] fn $case() { run(stringify!($case), DeviceChoice::WebGpu, &halves(), 1e-2, 6.0); })*
        }
        mod gpu_by_matrix_units {
            use super::*;
            $(
                #[test]
                #[ignore = "needs an adapter with matrix units: ./build.sh matrices"]
                fn $case() { run(stringify!($case), DeviceChoice::WebGpu, &matrix_units(), 1e-2, 6.0); }
            )*
        }
    };
}
cases!(wan21, wan22, odd, head128, small);

macro_rules! encoders {
    ($($name:ident: $case:literal, $choice:ident, $tolerance:literal;)*) => {
        $(#[test] fn $name() { encode($case, DeviceChoice::$choice, $tolerance); })*
    };
}
encoders! {
    encoder_2_1_on_the_cpu: "wan21", Cpu, 1e-4;
    encoder_2_2_on_the_cpu: "wan22", Cpu, 1e-4;
    encoder_2_1_on_the_gpu: "wan21", WebGpu, 1e-3;
    encoder_2_2_on_the_gpu: "wan22", WebGpu, 1e-3;
}
