//! Where the weights have no room together, stages take turns or run in parts: the clip is the same to the bit, and no more memory is
//! taken than is allowed and planned.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod models;
mod tiny;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use futures_util::future::{FutureExt, LocalBoxFuture};
use kinetoscope::executor::{DeviceChoice, Executor};
use kinetoscope::gpu::GpuOptions;
use kinetoscope::pipeline::{Footage, GenerateOptions, Given, Model};
use kinetoscope::weights::Source;
use kinetoscope::weights::source::FolderSource;
use kinetoscope::{CancelFlag, Result};
use models::{executor, load};
use pollster::block_on;
use tiny::{TINY, finish};

fn options() -> GenerateOptions {
    let picture = Footage { width: 64, height: 32, rgb: (0..64 * 32 * 3).map(|i| i as u8).collect() };
    GenerateOptions {
        prompt: "a red ball".into(),
        width: Some(64),
        height: Some(32),
        frames: Some(9),
        steps: Some(2),
        guidance: Some(3.0),
        given: vec![Given { at: 0, footage: picture }],
        ..GenerateOptions::default()
    }
}

fn within(choice: DeviceChoice, memory: Option<u64>) -> (Rc<Executor>, Rc<Model>) {
    let executor = executor(choice, &GpuOptions { max_memory: memory, ..GpuOptions::default() });
    (executor.clone(), load(TINY, executor))
}

fn clip(model: &Rc<Model>) -> Vec<u8> {
    let mut session = model.session(&options(), &CancelFlag::new()).unwrap();
    block_on(session.encode()).unwrap();
    finish(&mut session)
}

/// From all that is needed downwards, until it is said to be too little.
#[test]
fn the_clip_is_the_same_however_little_memory_there_is() {
    for choice in [DeviceChoice::Cpu, DeviceChoice::WebGpu] {
        let (_, model) = within(choice, None);
        let (expected, all) = (clip(&model), model.plan(&options()).unwrap().peak_bytes);
        drop(model);
        let mut seen = BTreeSet::new();
        let mut memory = all;
        let error = loop {
            let (executor, model) = within(choice, Some(memory));
            let plan = match model.plan(&options()) {
                Ok(plan) => plan,
                Err(error) => break error,
            };
            seen.extend(plan.stages.iter().map(|stage| stage.weights));
            assert!(plan.peak_bytes <= memory);
            assert!(clip(&model) == expected, "{choice:?}, {memory} bytes: another clip");
            if let Executor::Gpu(gpu) = &*executor {
                let (peak, planned) = (gpu.peak_bytes(), plan.peak_bytes);
                assert!(peak <= memory, "{peak} bytes of {memory} that are allowed");
                // Nothing less: a stage that is smaller at first, when only one prompt has been encoded, may leave more of the weights.
                assert!(peak >= planned / 100 * 98, "{memory} bytes: {peak} of {planned}");
            }
            // What is remembered of the prompt changes nothing, nor what the stages before have left.
            assert!(clip(&model) == expected, "{choice:?}, {memory} bytes: another clip the second time");
            drop(model);
            assert_eq!(executor.allocated_bytes(), 0, "{choice:?}, {memory} bytes: something is left");
            memory = if memory == all { all - 1 } else { memory / 10 * 9 };
        };
        assert_eq!(error.code(), "device_too_small");
        assert_eq!(seen, BTreeSet::from(["parts", "together", "turn"]), "{choice:?}");
    }
}

/// Two clips at once put each other's weights off the device.
#[test]
fn clips_in_turns_share_a_device_that_has_room_for_neither_whole() {
    for choice in [DeviceChoice::Cpu, DeviceChoice::WebGpu] {
        let (_, model) = within(choice, None);
        let (expected, all) = (clip(&model), model.plan(&options()).unwrap().peak_bytes);
        let (_, model) = within(choice, Some(all - 1));
        let cancel = CancelFlag::new();
        let mut sessions = [(); 2].map(|()| model.session(&options(), &cancel).unwrap());
        sessions.iter_mut().for_each(|session| _ = block_on(session.encode()).unwrap());
        for _ in 0..2 {
            sessions.iter_mut().for_each(|session| assert!(block_on(session.step()).unwrap().is_some()));
        }
        for session in &mut sessions {
            assert!(finish(session) == expected, "{choice:?}");
        }
    }
}

/// The tiny model's folder, of whose reads somebody is told; where they say so, a read never ends.
struct Watched<F>(FolderSource, F);

impl<F: Fn(&Range<u64>) -> bool> Watched<F> {
    fn new(told: F) -> Rc<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(TINY);
        Rc::new(Self(FolderSource::new(folder), told))
    }
}

impl<F: Fn(&Range<u64>) -> bool> Source for Watched<F> {
    fn size<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<u64>> {
        self.0.size(path)
    }

    fn read<'a>(&'a self, path: &'a str, range: Range<u64>) -> LocalBoxFuture<'a, Result<Vec<u8>>> {
        match (self.1)(&range) {
            true => self.0.read(path, range),
            false => Box::pin(std::future::pending()),
        }
    }
}

/// Weights that were on their way when nobody waited for them any more are taken off the device again.
#[test]
fn a_load_that_is_given_up_leaves_nothing() {
    for choice in [DeviceChoice::Cpu, DeviceChoice::WebGpu] {
        let mut most = 0;
        for reads in 0..30_usize {
            let executor = executor(choice, &GpuOptions::default());
            let left = Cell::new(reads);
            let source = Watched::new(move |_: &Range<u64>| left.replace(left.get().saturating_sub(1)) > 0);
            let (never, mut silent) = (CancelFlag::new(), |_| {});
            let mut load = Box::pin(Model::load(source, executor.clone(), &never, &mut silent));
            let waits = (&mut load).now_or_never().is_none();
            most = most.max(executor.allocated_bytes());
            drop(load);
            assert!(!waits || executor.allocated_bytes() == 0, "{choice:?}, {reads} reads");
        }
        assert!(most > 0, "{choice:?}: no load came as far as to weights");
    }
}

/// Both passes go through a block before its weights go.
#[test]
fn with_guidance_a_step_reads_its_weights_once() {
    // So small that weights are most of what the clip takes.
    let small = || GenerateOptions {
        width: Some(32),
        height: Some(32),
        frames: Some(1),
        given: Vec::new(),
        ..options()
    };
    for choice in [DeviceChoice::Cpu, DeviceChoice::WebGpu] {
        let (_, model) = within(choice, None);
        let all = model.plan(&small()).unwrap().peak_bytes;
        let step_of = |memory: u64, guidance: f64| {
            let options = GenerateOptions { guidance: Some(guidance), ..small() };
            let (executor, _) = within(choice, Some(memory));
            let (never, bytes) = (CancelFlag::new(), Rc::new(Cell::new(0)));
            let read = bytes.clone();
            let source = Watched::new(move |range: &Range<u64>| {
                read.set(read.get() + range.end - range.start);
                true
            });
            let model = Rc::new(block_on(Model::load(source, executor, &never, &mut |_| {})).ok()?);
            let plan = model.plan(&options).ok()?;
            plan.stages.iter().find(|s| s.stage == "step" && s.weights == "parts")?;
            let mut session = model.session(&options, &never).unwrap();
            block_on(session.encode()).unwrap();
            let before = bytes.get();
            block_on(session.step()).unwrap();
            Some(bytes.get() - before)
        };
        let sizes = (1..40).map(|n| all / 40 * (40 - n));
        let mut both = sizes.filter_map(|memory| Some((step_of(memory, 1.0)?, step_of(memory, 3.0)?)));
        let (plain, guided) = both.next_back().expect("a step in parts");
        // A part may end inside of a block, of which some weights are then needed in two parts.
        assert!(guided <= plain * 5 / 4, "{choice:?}: {guided} bytes with guidance, {plain} without");
    }
}

/// A clip that is cancelled while weights come and go leaves the model as it was.
#[test]
fn cancelling_while_weights_come_and_go_leaves_nothing() {
    for choice in [DeviceChoice::Cpu, DeviceChoice::WebGpu] {
        let (_, model) = within(choice, None);
        let (expected, plan) = (clip(&model), model.plan(&options()).unwrap());
        let has_parts = |memory: &u64| {
            let plan = within(choice, Some(*memory)).1.plan(&options());
            plan.is_ok_and(|plan| plan.stages.iter().any(|s| s.weights == "parts"))
        };
        let memory = (1..40).map(|n| plan.peak_bytes / 40 * (40 - n)).find(has_parts).expect("parts");
        let (executor, _) = within(choice, Some(memory));
        // Counts down to the read that cancels the clip, at one; at zero none does.
        let (left, cancelled) = (Rc::new(Cell::new(0_usize)), Rc::new(RefCell::<CancelFlag>::default()));
        let (reads, flag) = (left.clone(), cancelled.clone());
        let source = Watched::new(move |_: &Range<u64>| {
            match reads.get().checked_sub(1) {
                Some(0) => flag.borrow().cancel(),
                Some(left) => reads.set(left),
                None => {}
            }
            true
        });
        let never = CancelFlag::new();
        let model = Rc::new(block_on(Model::load(source, executor.clone(), &never, &mut |_| {})).unwrap());
        let before = executor.allocated_bytes();
        for reads in [1, 3, 8, 15] {
            let cancel = CancelFlag::new();
            cancelled.replace(cancel.clone());
            left.set(reads);
            let mut session = model.session(&options(), &cancel).unwrap();
            let run = async {
                session.encode().await?;
                while session.step().await?.is_some() {}
                while session.next_frames().await?.is_some() {}
                Ok::<_, kinetoscope::Error>(())
            };
            assert_eq!(block_on(run).unwrap_err().code(), "cancelled", "{choice:?}, read {reads}");
            drop(session);
            left.set(0);
            assert!(executor.allocated_bytes() <= before + plan.weight_bytes);
            assert!(clip(&model) == expected, "{choice:?}, read {reads}");
        }
        drop(model);
        assert_eq!(executor.allocated_bytes(), 0);
    }
}
