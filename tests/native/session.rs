//! A session when things go wrong or in the wrong order: it says so, stays usable, and leaves nothing on the device.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod models;
mod tiny;

use std::path::Path;
use std::rc::Rc;

use kinetoscope::config::Solver;
use kinetoscope::executor::{DeviceChoice, Executor};
use kinetoscope::gpu::GpuOptions;
use kinetoscope::pipeline::{Edit, Footage, GenerateOptions, Given, Mask, Model};
use kinetoscope::weights::source::FolderSource;
use kinetoscope::{CancelFlag, Error};
use models::{executor, load};
use pollster::block_on;
use tiny::{TINY, finish, models};

fn options() -> GenerateOptions {
    GenerateOptions {
        prompt: "a red ball".into(),
        width: Some(64),
        height: Some(32),
        frames: Some(9),
        steps: Some(2),
        guidance: Some(3.0),
        ..GenerateOptions::default()
    }
}

fn whole_clip(model: &Rc<Model>) -> Vec<u8> {
    let mut session = model.session(&options(), &CancelFlag::new()).unwrap();
    block_on(session.encode()).unwrap();
    finish(&mut session)
}

/// A clip of the model's own size and settings has nothing left to compile.
#[test]
fn kernels_are_compiled_while_the_model_loads() {
    let model = load("models/small", executor(DeviceChoice::WebGpu, &GpuOptions::default()));
    let Executor::Gpu(gpu) = model.executor() else { panic!("no GPU") };
    let loaded = gpu.compiled();
    assert!(loaded > 10, "{loaded}");
    let options =
        GenerateOptions { prompt: "a red ball bouncing on sand, daytime".into(), ..Default::default() };
    let mut session = model.session(&options, &CancelFlag::new()).unwrap();
    block_on(session.encode()).unwrap();
    finish(&mut session);
    assert_eq!(gpu.compiled(), loaded);
}

/// Guidance in no step is none, in every step the whole; the same options give the same bytes, whatever the mode.
#[test]
fn guidance_in_an_interval_and_every_mode_twice() {
    for model in models() {
        let make = |options: GenerateOptions| {
            let mut session = model.session(&options, &CancelFlag::new()).unwrap();
            block_on(session.encode()).unwrap();
            finish(&mut session)
        };
        let within = |low, high| make(GenerateOptions { guidance_interval: Some([low, high]), ..options() });
        let (guided, plain) = (make(options()), make(GenerateOptions { guidance: Some(1.0), ..options() }));
        assert!(within(0.0, 1.0) == guided && within(0.0, 0.01) == plain && guided != plain);
        // The first of two steps begins at sigma 1, the second below 0.9.
        let (first, second) = (within(0.95, 1.0), within(0.0, 0.95));
        assert!(![&guided, &plain].contains(&&first) && ![&guided, &plain, &first].contains(&&second));

        let footage = Footage { width: 64, height: 32, rgb: (0..9 * 64 * 32 * 3).map(|i| i as u8).collect() };
        let picture = Footage { rgb: footage.rgb[..64 * 32 * 3].into(), ..footage.clone() };
        let mask = Mask { width: 64, height: 32, values: (0..64 * 32).map(|i| (i % 64 * 4) as u8).collect() };
        let edit = |mask| Some(Edit { footage: footage.clone(), strength: 0.5, mask });
        for options in [
            GenerateOptions { given: vec![Given { at: 0, footage: picture.clone() }], ..options() },
            GenerateOptions { given: vec![Given { at: -1, footage: picture.clone() }], ..options() },
            GenerateOptions { edit: edit(None), ..options() },
            GenerateOptions { edit: edit(Some(mask)), ..options() },
            GenerateOptions { solver: Some(Solver::Dmd), ..options() },
        ] {
            let clip = make(options.clone());
            assert!(clip == make(options.clone()) && clip != guided, "{options:?}");
        }
    }
}

/// A step without a pass moves the latents by what the transformer last made plus their own way since; Euler's steps show what that was.
#[test]
fn steps_without_a_pass_go_on_with_what_the_last_one_added() {
    for model in models() {
        let options = |step_cache| GenerateOptions {
            steps: Some(12),
            solver: Some(Solver::Euler),
            step_cache,
            ..options()
        };
        let clip = |step_cache| {
            let mut session = model.session(&options(step_cache), &CancelFlag::new()).unwrap();
            block_on(session.encode()).unwrap();
            let mut latents = vec![block_on(session.latents()).unwrap()];
            let mut events = Vec::new();
            while let Some(event) = block_on(session.step()).unwrap() {
                events.push(event);
                latents.push(block_on(session.latents()).unwrap());
            }
            (latents, events)
        };
        let (every, _) = clip(None);
        let (never, events) = clip(Some(1e-9));
        assert!(every == never && events.iter().all(|event| !event.cached));

        let (latents, events) = clip(Some(1.0));
        let cached: Vec<usize> =
            events.iter().filter(|event| event.cached).map(|event| event.index).collect();
        assert!(cached.len() > 4 && cached.iter().all(|index| (3..11).contains(index)), "{cached:?}");
        let mut pass = (&latents[0], Vec::new());
        for (index, pair) in latents.windows(2).enumerate() {
            let after = events.get(index + 1).map_or(0.0, |event| event.sigma);
            let step = (after - events[index].sigma) as f32;
            let velocity: Vec<f32> = pair[1].iter().zip(&pair[0]).map(|(b, a)| (b - a) / step).collect();
            if !events[index].cached {
                pass = (&pair[0], velocity);
                continue;
            }
            for (i, found) in velocity.iter().enumerate() {
                let expected = pair[0][i] + pass.1[i] - pass.0[i];
                // Latents of a few units lose 1e-6 to rounding, which dividing by a step of 0.05 makes 2e-5.
                assert!((found - expected).abs() < 2e-4, "step {index}: {found} and {expected}");
            }
        }
    }
}

#[test]
fn calls_in_the_wrong_order_are_refused_and_do_no_harm() {
    for model in models() {
        let expected = whole_clip(&model);
        assert_eq!(expected.len(), 9 * 64 * 32 * 4);
        let mut session = model.session(&options(), &CancelFlag::new()).unwrap();
        assert_eq!(block_on(session.step()).unwrap_err().code(), "wrong_state");
        assert_eq!(block_on(session.next_frames()).unwrap_err().code(), "wrong_state");
        assert_eq!(block_on(session.latents()).unwrap_err().code(), "wrong_state");
        block_on(session.encode()).unwrap();
        assert_eq!(block_on(session.encode()).unwrap_err().code(), "wrong_state");
        assert_eq!(session.set_noise(vec![0.0; 12 * 3 * 2 * 4]).unwrap_err().code(), "wrong_state");
        block_on(session.step()).unwrap();
        assert_eq!(block_on(session.next_frames()).unwrap_err().code(), "wrong_state");
        assert_eq!(finish(&mut session), expected);
        assert_eq!(block_on(session.step()), Ok(None));
        assert_eq!(block_on(session.next_frames()), Ok(None));
        assert_eq!(block_on(session.prompt_embeds()).unwrap_err().code(), "wrong_state");
    }
}

#[test]
fn cancelling_anywhere_leaves_nothing_and_the_next_clip_is_the_same() {
    for model in models() {
        let expected = whole_clip(&model);
        let weights = model.executor().allocated_bytes();
        for stop in 0..5 {
            let cancel = CancelFlag::new();
            let mut session = model.session(&options(), &cancel).unwrap();
            for call in 0..=stop {
                if call == stop {
                    cancel.cancel();
                }
                let result = match call {
                    0 => block_on(session.encode()).map(drop),
                    1 | 2 => block_on(session.step()).map(drop),
                    _ => block_on(session.next_frames()).map(drop),
                };
                assert_eq!(result, if call == stop { Err(Error::Cancelled) } else { Ok(()) });
            }
            drop(session);
            assert_eq!(model.executor().allocated_bytes(), weights, "stopped at call {stop}");
        }
        assert_eq!(whole_clip(&model), expected);
    }
}

#[test]
fn two_sessions_of_one_model_do_not_disturb_each_other() {
    for model in models() {
        let expected = whole_clip(&model);
        let other = GenerateOptions { seed: Some(9), prompt: "a blue boat".into(), ..options() };
        let mut first = model.session(&options(), &CancelFlag::new()).unwrap();
        let mut second = model.session(&other, &CancelFlag::new()).unwrap();
        block_on(first.encode()).unwrap();
        block_on(second.encode()).unwrap();
        block_on(first.step()).unwrap();
        block_on(second.step()).unwrap();
        assert_ne!(finish(&mut second), expected);
        assert_eq!(finish(&mut first), expected);
    }
}

#[test]
fn noise_that_is_not_finite_is_named() {
    for model in models() {
        let mut session = model.session(&options(), &CancelFlag::new()).unwrap();
        let count = session.clip().latents.iter().product();
        assert_eq!(session.set_noise(vec![0.0; count + 1]).unwrap_err().code(), "shape_mismatch");
        session.set_noise(vec![f32::NAN; count]).unwrap();
        block_on(session.encode()).unwrap();
        block_on(session.step()).unwrap();
        let error = block_on(session.step()).unwrap_err();
        assert_eq!(error.code(), "result_not_finite");
        assert!(error.to_string().contains("denoising"), "{error}");
    }
}

#[test]
fn a_device_too_small_refuses_the_clip_and_keeps_the_model() {
    let options_of_device = GpuOptions { max_buffer: Some(256 << 10), ..GpuOptions::default() };
    let model = load(TINY, executor(DeviceChoice::WebGpu, &options_of_device));
    let weights = model.executor().allocated_bytes();
    let large = GenerateOptions { width: Some(512), height: Some(512), ..options() };
    match model.session(&large, &CancelFlag::new()).map(drop) {
        Err(Error::DeviceTooSmall { needed, allowed, .. }) => assert!(needed > allowed),
        other => panic!("{other:?}"),
    }
    assert_eq!(model.executor().allocated_bytes(), weights);
    assert_eq!(
        whole_clip(&model),
        whole_clip(&load(TINY, executor(DeviceChoice::WebGpu, &GpuOptions::default())))
    );
}

#[test]
fn a_cancelled_load_leaves_nothing() {
    for choice in [DeviceChoice::Cpu, DeviceChoice::WebGpu] {
        let executor = executor(choice, &GpuOptions::default());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/small");
        let cancel = CancelFlag::new();
        let mut seen = 0;
        let mut on_progress = |progress: kinetoscope::weights::LoadProgress| {
            seen = progress.loaded;
            cancel.cancel();
        };
        let source = Rc::new(FolderSource::new(folder));
        let result = block_on(Model::load(source, executor.clone(), &cancel, &mut on_progress)).map(drop);
        assert_eq!(result, Err(Error::Cancelled));
        assert!(seen > 0);
        assert_eq!(executor.allocated_bytes(), 0);
    }
}
