//! The tiny autoencoder against a reference in torch (`tests/golden/taehv.py`), frame by frame, and in the place of a pipeline's VAE.
//!
//! Tolerances as in `golden.rs`: both executors compute in f32; 1e-4 relative on the CPU, 1e-3 on a GPU, 2/255 for a whole clip's
//! frames.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod compare;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use compare::{relative, worst};
use kinetoscope::config::{TaehvConfig, WanVaeConfig};
use kinetoscope::executor::{DeviceChoice, Executor};
use kinetoscope::gpu::GpuOptions;
use kinetoscope::models::causal::{CausalCache, Chunk};
use kinetoscope::models::taehv::TaehvDecoder;
use kinetoscope::ops::PixelForm;
use kinetoscope::pipeline::{Configs, Edit, Footage, GenerateOptions, Given, Model};
use kinetoscope::recording::Recorder;
use kinetoscope::tensor::{DType, Tensor};
use kinetoscope::weights::source::FolderSource;
use kinetoscope::weights::{Checkpoint, Component, Scope, Source, Span, Weights, load_weights};
use kinetoscope::{CancelFlag, Error};
use pollster::block_on;
use safetensors::{Dtype, SafeTensors};

fn executor(choice: DeviceChoice, options: &GpuOptions) -> Rc<Executor> {
    Rc::new(block_on(Executor::open(choice, options)).unwrap())
}

/// The CPU, a GPU, and one whose bindings and dispatches are so small that every layer of the autoencoder is split.
fn devices() -> Vec<(&'static str, Rc<Executor>, f64)> {
    let tiny =
        GpuOptions { max_binding: Some(8192), max_dispatch_flops: Some(200_000), ..GpuOptions::default() };
    vec![
        ("CPU", executor(DeviceChoice::Cpu, &GpuOptions::default()), 1e-4),
        ("GPU", executor(DeviceChoice::WebGpu, &GpuOptions::default()), 1e-3),
        ("GPU, tiny bindings", executor(DeviceChoice::WebGpu, &tiny), 1e-3),
    ]
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

/// A tensor of a golden file as f32, and its shape.
fn tensor(path: &str, name: &str) -> (Vec<f32>, Vec<usize>) {
    let bytes = std::fs::read(golden(path)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let values = match view.dtype() {
        Dtype::F32 => view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => {
            view.data().as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()
        }
        other => panic!("{name} is {other:?}"),
    };
    (values, view.shape().to_vec())
}

/// A golden pipeline with the tiny autoencoder in place of its VAE; its config.json there or not.
struct Swapped {
    pipeline: FolderSource,
    tiny: FolderSource,
    with_config: bool,
}

impl Swapped {
    fn new(pipeline: &str, tiny: &str, with_config: bool) -> Self {
        Self {
            pipeline: FolderSource::new(golden(pipeline).join("pipeline")),
            tiny: FolderSource::new(golden("taehv").join(tiny)),
            with_config,
        }
    }

    fn of(&self, path: &str) -> &FolderSource {
        match path.starts_with("vae/") && !(self.with_config && path.ends_with(".json")) {
            true => &self.tiny,
            false => &self.pipeline,
        }
    }
}

type Future<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = Result<T, Error>> + 'a>>;

impl Source for Swapped {
    fn size<'a>(&'a self, path: &'a str) -> Future<'a, u64> {
        self.of(path).size(path)
    }

    fn read<'a>(&'a self, path: &'a str, range: Range<u64>) -> Future<'a, Vec<u8>> {
        self.of(path).read(path, range)
    }

    fn plan(&self, _spans: &[Span]) {}
}

fn load(source: Swapped, executor: Rc<Executor>) -> Result<Rc<Model>, Error> {
    block_on(Model::load(Rc::new(source), executor, &CancelFlag::new(), &mut |_| {})).map(Rc::new)
}

/// All frames of latents `[z, T, h, w]`, made one latent frame after the other.
fn decode(name: &str, executor: &Executor, latents: &[f32], shape: &[usize]) -> Vec<f32> {
    let [z, t, h, w] = *shape else { panic!("latents are {shape:?}") };
    let source = FolderSource::new(golden("taehv").join(name));
    let component = block_on(Component::open(&source, "vae", &["diffusion_pytorch_model"])).unwrap();
    let shapes = component.iter().map(|(key, location)| (key, location.shape.as_slice()));
    let config = TaehvConfig::from_shapes("vae", shapes).unwrap();
    let weights = Weights::new();
    let scope = Scope::new(Rc::new(Checkpoint::Files(component)), weights.clone());
    let decoder = TaehvDecoder::new(&scope, &config).unwrap();
    let specs = weights.specs();
    block_on(load_weights(&specs, &source, executor, &CancelFlag::new(), &mut |_| {})).unwrap();

    let scale = config.scale_factor_spatial();
    let latent = Tensor::resident(DType::F32, &[h, w, z]);
    let frame = || Tensor::resident(DType::F32, &[h * scale, w * scale, 3]);
    let outputs: Vec<Tensor> = (0..config.scale_factor_temporal()).map(|_| frame()).collect();
    let cache = CausalCache::new();
    let program = |first| {
        let mut rec = Recorder::new();
        let mut made = 0;
        let chunk = Chunk { cache: &cache, first };
        let mut emit = |rec: &mut Recorder, frame: &Tensor| {
            made += 1;
            rec.pixels(frame, decoder.patch_size(), PixelForm::Unit, &outputs[made - 1])
        };
        decoder.forward(&mut rec, chunk, &latent, &mut emit).unwrap();
        assert_eq!(made, if first { 1 } else { outputs.len() });
        (executor.prepare(&rec.finish()).unwrap(), made)
    };
    let programs = [program(true), program(false)];
    let mut frames = Vec::new();
    for index in 0..t {
        let channels_last: Vec<f32> =
            (0..h * w * z).map(|e| latents[(e % z * t + index) * h * w + e / z]).collect();
        executor.upload(&latent, bytemuck::cast_slice(&channels_last)).unwrap();
        let (program, made) = &programs[usize::from(index > 0)];
        block_on(executor.run(program, &CancelFlag::new())).unwrap();
        for output in &outputs[..*made] {
            let bytes = block_on(executor.read(output)).unwrap();
            frames.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes));
        }
    }
    let residents =
        specs.iter().map(|s| s.tensor.clone()).chain(outputs).chain(cache.tensors()).chain([latent]);
    residents.for_each(|tensor| executor.release(&tensor));
    drop(programs);
    assert_eq!(executor.allocated_bytes(), 0, "something is left");
    frames
}

#[test]
fn frames_come_one_latent_after_the_other() {
    for name in ["wan21", "wan22"] {
        let file = format!("taehv/{name}/golden.safetensors");
        let (latents, shape) = tensor(&file, "latents");
        let (expected, _) = tensor(&file, "frames");
        for (device, executor, tolerance) in devices() {
            let frames = decode(name, &executor, &latents, &shape);
            let (off, worst) = (relative(&frames, &expected), worst(&frames, &expected));
            println!("{name} on the {device}: frames off by {off:.1e}, at worst {worst:.1e}");
            assert!(off < tolerance && worst < 1e-3, "{name}, {device}: {off:.2e}, {worst:.2e}");
        }
    }
}

#[test]
fn latents_are_those_of_the_reference() {
    for name in ["wan21", "wan22"] {
        let file = format!("taehv/{name}/golden.safetensors");
        let (video, shape) = tensor(&format!("{name}/encode.safetensors"), "video");
        let [_, height, width, _] = shape[..] else { panic!("video is {shape:?}") };
        for (device, executor, tolerance) in devices() {
            let model = load(Swapped::new(name, name, true), executor).unwrap();
            for frames in [1, 5, 17] {
                let rgb = &video[..frames * height * width * 3];
                let cancel = CancelFlag::new();
                let encoded = model.encode_video(rgb, [frames, height, width], &cancel);
                let off =
                    relative(&block_on(encoded).unwrap(), &tensor(&file, &format!("latents_f{frames}")).0);
                println!("{name} on the {device}: latents of {frames} frames off by {off:.1e}");
                assert!(off < tolerance, "{name}, {device}: latents of {frames} frames off by {off:.2e}");
            }
        }
    }
}

/// The clip of `wan21`'s case.
fn options() -> GenerateOptions {
    let case = std::fs::read(golden("wan21/case.json")).unwrap();
    let case: serde_json::Value = serde_json::from_slice(&case).unwrap();
    let number = |key: &str| Some(case[key].as_u64().unwrap() as usize);
    GenerateOptions {
        prompt: case["prompt"].as_str().unwrap().into(),
        width: number("width"),
        height: number("height"),
        frames: number("frames"),
        steps: number("steps"),
        seed: case["seed"].as_u64(),
        ..GenerateOptions::default()
    }
}

/// The clip's bytes, and with `values` its frames before rounding.
fn finish(model: &Rc<Model>, options: &GenerateOptions, values: bool) -> (Vec<u8>, Vec<f32>) {
    let mut session = model.session(options, &CancelFlag::new()).unwrap();
    block_on(session.encode()).unwrap();
    while block_on(session.step()).unwrap().is_some() {}
    let (mut bytes, mut frames) = (Vec::new(), Vec::new());
    while let Some(event) = block_on(session.next_frames()).unwrap() {
        if values {
            frames.extend(block_on(session.frame_values(event.count)).unwrap());
        }
        bytes.extend(event.rgba);
    }
    (bytes, frames)
}

/// The latents are diffusers', the pixels the reference's: with and without a config.json of the VAE that was there before.
#[test]
fn a_pipeline_has_it_in_place_of_its_vae() {
    let (expected, _) = tensor("taehv/wan21/golden.safetensors", "clip");
    for (device, executor, _) in devices().into_iter().take(2) {
        for with_config in [true, false] {
            let model = load(Swapped::new("wan21", "wan21", with_config), executor.clone()).unwrap();
            assert!(model.architecture().configs.vae.tiny.is_some());
            let off = worst(&finish(&model, &options(), true).1, &expected) * 255.0;
            println!("{device}: frames off by {off:.3}/255");
            assert!(off < 2.0, "{device}: frames off by {off}/255");
        }
    }
}

#[test]
fn pictures_and_clips_are_taken_and_the_stated_peak_is_what_is_allocated() {
    for name in ["wan21", "wan22"] {
        let executor = executor(DeviceChoice::WebGpu, &GpuOptions::default());
        let model = load(Swapped::new(name, name, false), executor.clone()).unwrap();
        let footage =
            |frames: usize| Footage { width: 64, height: 32, rgb: vec![99; frames * 64 * 32 * 3].into() };
        let given = |at, frames| vec![Given { at, footage: footage(frames) }];
        let mut peak = 0;
        for (frames, given, edit) in [
            (1, vec![], None),
            (9, vec![], None),
            (1, given(0, 1), None),
            (9, given(0, 1), None),
            (9, given(-1, 5), None),
            (9, vec![], Some(Edit { footage: footage(9), strength: 1.0, mask: None })),
        ] {
            let options = GenerateOptions {
                width: Some(64),
                height: Some(32),
                frames: Some(frames),
                steps: Some(2),
                given,
                edit,
                ..GenerateOptions::default()
            };
            let plan = model.plan(&options).unwrap();
            assert_eq!(executor.allocated_bytes(), plan.weight_bytes, "{name}: weights");
            assert_eq!(finish(&model, &options, false).0.len(), frames * 64 * 32 * 4);
            peak = plan.peak_bytes.max(peak);
            let Executor::Gpu(gpu) = &*executor else { panic!("a GPU was asked for") };
            // Of all so far.
            assert_eq!(gpu.peak_bytes(), peak, "{name}, {frames} frames");
        }
        drop(model);
        assert_eq!(executor.allocated_bytes(), 0, "{name}: something is left");
    }
}

/// A film's later windows begin with frames that are encoded again.
#[test]
fn a_film_is_made_window_by_window() {
    for (device, executor, _) in devices().into_iter().take(2) {
        let model = load(Swapped::new("wan22", "wan22", false), executor).unwrap();
        let options = GenerateOptions {
            width: Some(64),
            height: Some(32),
            frames: Some(9),
            seconds: Some(13.0 / 8.0),
            steps: Some(1),
            ..GenerateOptions::default()
        };
        let mut film = model.film(&options, &CancelFlag::new()).unwrap();
        let (mut made, mut windows) = (0, 0);
        loop {
            block_on(film.encode()).unwrap();
            while block_on(film.step()).unwrap().is_some() {}
            while let Some(event) = block_on(film.next_frames()).unwrap() {
                assert_eq!((event.index, event.rgba.len()), (made, event.count * 64 * 32 * 4), "{device}");
                made += event.count;
            }
            windows += 1;
            if !film.next_window().unwrap() {
                break;
            }
        }
        assert_eq!((made, windows), (13, 2), "{device}");
    }
}

#[test]
fn latents_of_another_model_are_refused() {
    let cpu = executor(DeviceChoice::Cpu, &GpuOptions::default());
    let error = load(Swapped::new("wan22", "wan21", true), cpu).map(drop).unwrap_err();
    assert_eq!(error.code(), "config_unsupported");
    assert!(error.to_string().contains("in_channels is 12, expected 16"), "{error}");
    let configs = block_on(Configs::read(&Swapped::new("wan21", "wan21", false))).unwrap();
    let vae = WanVaeConfig::from(configs.vae.tiny.clone().unwrap());
    assert_eq!(configs.vae, vae);
    assert_eq!((vae.z_dim, vae.scale_factor_spatial, vae.scale_factor_temporal), (16, 8, 4));
}
