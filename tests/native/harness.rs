//! One recording on both executors: the CPU's result is the oracle of every shader.
//!
//! No adapter is a failure, never a skip.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::cell::RefCell;

use kinetoscope::CancelFlag;
use kinetoscope::cpu::Cpu;
use kinetoscope::executor::Executor;
use kinetoscope::gpu::{Gpu, GpuOptions, Tiles};
use kinetoscope::quants::{Bits, Quants};
use kinetoscope::recording::Recorder;
use kinetoscope::tensor::{DType, Lifetime, Tensor};
use pollster::block_on;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A device with some options; there has to be one.
pub fn gpu(options: &GpuOptions) -> Gpu {
    block_on(Gpu::create(options)).unwrap_or_else(|error| panic!("the tests need an adapter: {error}"))
}

/// The devices that an operation runs on: as detected, the other family of kernels, and limits so small that operations
/// are split, in both families.
fn devices(max_binding: u64, max_dispatch_flops: u64) -> Vec<Named> {
    let family = |barrier_free| GpuOptions { barrier_free: Some(barrier_free), ..GpuOptions::default() };
    let tiny = |barrier_free| GpuOptions {
        max_binding: Some(max_binding),
        max_dispatch_flops: Some(max_dispatch_flops),
        ..family(barrier_free)
    };
    // However few there are.
    let wide = with_tiles(Tiles { wide: true, few: 0, halves: false, bytes: false, fragment: None });
    let winograd = |least, options| GpuOptions { winograd_channels: Some(least), ..options };
    let from_textures = |options| GpuOptions { texel_flops: Some(0), ..options };
    let without_octets = |options| GpuOptions { octets: Some(false), ..options };
    let without_quads = |options| GpuOptions { quads: Some(false), ..options };
    [
        ("detected", GpuOptions::default()),
        ("with barriers", family(false)),
        ("with barriers, by Winograd's transforms", winograd(0, family(false))),
        ("with barriers, wide tiles, by Winograd's transforms", winograd(0, wide)),
        ("barrier-free", winograd(usize::MAX, family(true))),
        ("barrier-free, without quads", without_quads(family(true))),
        ("tiny bindings, with barriers, by Winograd's transforms", winograd(0, tiny(false))),
        ("tiny bindings, barrier-free", winograd(usize::MAX, tiny(true))),
        ("tiny bindings, barrier-free, from textures", from_textures(tiny(true))),
        (
            "tiny bindings, barrier-free, from textures, without octets",
            without_octets(from_textures(tiny(true))),
        ),
        ("tiny bindings, barrier-free, without quads", without_quads(tiny(true))),
    ]
    .into_iter()
    .map(|(name, options)| (name, gpu(&options).into()))
    .collect()
}

/// A device with a name.
pub type Named = (&'static str, Executor);

/// Options of a device with barriers and these tiles.
pub fn with_tiles(tiles: Tiles) -> GpuOptions {
    GpuOptions { barrier_free: Some(false), tiles: Some(tiles), ..GpuOptions::default() }
}

/// Devices that multiply in f16, by every kind of tiles that do.
pub fn in_halves() -> Vec<Named> {
    let halves =
        |wide, few| gpu(&with_tiles(Tiles { wide, few, halves: true, bytes: false, fragment: None })).into();
    vec![
        ("in halves", halves(false, 0)),
        ("in halves, wide tiles", halves(true, 0)),
        ("in halves, small tiles", halves(false, usize::MAX)),
    ]
}

/// Devices that multiply in 8-bit integers, one of which has to split everything.
pub fn in_bytes(max_dispatch_flops: u64) -> Vec<Named> {
    let whole = with_tiles(Tiles { wide: false, few: 0, halves: false, bytes: true, fragment: None });
    let split = GpuOptions { max_dispatch_flops: Some(max_dispatch_flops), ..whole.clone() };
    vec![("in bytes", gpu(&whole).into()), ("in bytes, split", gpu(&split).into())]
}

/// Options of a device that multiplies by matrix units, whatever the adapter has of them; it has to have some.
pub fn matrix_units() -> GpuOptions {
    let fragment = gpu(&GpuOptions::default()).info().fragment;
    assert!(fragment.is_some(), "the adapter has no matrix units: these tests need one that has");
    with_tiles(Tiles { wide: false, few: 0, halves: false, bytes: false, fragment })
}

/// Devices that multiply by matrix units, one of which has to split everything.
pub fn by_matrix_units(max_dispatch_flops: u64) -> Vec<Named> {
    let whole = matrix_units();
    let split = GpuOptions { max_dispatch_flops: Some(max_dispatch_flops), ..whole.clone() };
    vec![("by matrix units", gpu(&whole).into()), ("by matrix units, split", gpu(&split).into())]
}

/// Binding limit, in bytes, and work of a dispatch, in flops, of the devices that split everything.
pub const TINY: (u64, u64) = (4096, 20_000);

/// A recording in the making, with random inputs from a seed.
pub struct Case<'a> {
    pub recorder: Recorder,
    executor: &'a Executor,
    random: StdRng,
}

impl Case<'_> {
    /// A random size in a range.
    pub fn size(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        self.random.random_range(range)
    }

    /// A resident with these values.
    pub fn input(&mut self, shape: &[usize], values: &[f32]) -> Tensor {
        let tensor = Tensor::resident(DType::F32, shape);
        self.executor.upload(&tensor, bytemuck::cast_slice(values)).unwrap();
        tensor
    }

    /// A resident with values in -1..1.
    pub fn random(&mut self, shape: &[usize]) -> Tensor {
        self.random_in(shape, -1.0, 1.0)
    }

    /// A resident with values in a range.
    pub fn random_in(&mut self, shape: &[usize], low: f32, high: f32) -> Tensor {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|_| self.random.random_range(low..high)).collect();
        self.input(shape, &values)
    }

    /// A view of random rows inside a larger random tensor, so that offsets are no multiple of anything.
    pub fn random_view(&mut self, shape: &[usize]) -> Tensor {
        let (before, after) = (self.size(0..=5), self.size(0..=3));
        let mut larger = shape.to_vec();
        larger[0] += before + after;
        self.random(&larger).rows(before, shape[0]).unwrap()
    }

    /// A resident of 16-bit weights with values in -1..1.
    pub fn random_half(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let tensor = Tensor::resident(dtype, shape);
        let count = tensor.len();
        let values: Vec<f32> = (0..count).map(|_| self.random.random_range(-1.0..1.0)).collect();
        let words: Vec<u16> = match dtype {
            DType::F16 => values.iter().map(|v| half::f16::from_f32(*v).to_bits()).collect(),
            DType::Bf16 => values.iter().map(|v| half::bf16::from_f32(*v).to_bits()).collect(),
            DType::F32 | DType::U32 | DType::Quants(_) => panic!("{dtype:?} is no 16-bit format"),
        };
        self.executor.upload(&tensor, bytemuck::cast_slice(&words)).unwrap();
        tensor
    }

    /// A resident quantised matrix with values in about -1..1: any quants, scales and offsets to go with them.
    pub fn random_quants(&mut self, format: Quants, shape: &[usize]) -> Tensor {
        let tensor = Tensor::resident(DType::Quants(format), shape);
        let [_, scales, nests, end] = format.sections(tensor.len());
        let mut bytes: Vec<u8> = (0..scales).map(|_| self.random.random()).collect();
        let most = match format.bits {
            Bits::Four => 16.0,
            Bits::Eight => 128.0,
        };
        let half = |value: f32| half::f16::from_f32(value).to_le_bytes();
        for _ in (scales..nests).step_by(4) {
            // Inner scales are whole numbers, as in the files.
            let [scale, offset] = [(); 2].map(|()| self.random.random_range(-1.0..1.0f32));
            let [scale, offset] = match format.nested {
                true => [(scale * 63.0).round(), (offset * 63.0).round()],
                false => [scale / most, offset],
            };
            bytes.extend([half(scale), half(offset)].concat());
        }
        for _ in (nests..end).step_by(4) {
            let [scale, offset] = [(); 2].map(|()| self.random.random_range(-1.0..1.0f32) / 63.0);
            bytes.extend([half(scale / most), half(offset)].concat());
        }
        self.executor.upload(&tensor, &bytes).unwrap();
        tensor
    }
}

/// Runs what `record` records on one executor and reads what it returns.
fn outcome(
    executor: &Executor,
    seed: u64,
    record: &dyn Fn(&mut Case) -> Vec<Tensor>,
) -> Result<Vec<Vec<u32>>, kinetoscope::Error> {
    let mut case = Case { recorder: Recorder::new(), executor, random: StdRng::seed_from_u64(seed) };
    let results: Vec<Tensor> = record(&mut case)
        .into_iter()
        .map(|result| match result.lifetime() {
            Lifetime::Resident => result,
            Lifetime::Temporary => {
                let kept = Tensor::resident(result.dtype(), result.shape());
                case.recorder.copy(&result, &kept).unwrap();
                kept
            }
        })
        .collect();
    let recording = case.recorder.finish();
    let residents: RefCell<Vec<Tensor>> = RefCell::default();
    residents
        .borrow_mut()
        .extend(recording.tensors().filter(|t| t.lifetime() == Lifetime::Resident).cloned());
    let run = || {
        let program = executor.prepare(&recording)?;
        block_on(executor.run(&program, &CancelFlag::new()))?;
        let read = |tensor: &Tensor| {
            let bytes = block_on(executor.read(tensor))?;
            Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        };
        results.iter().map(read).collect()
    };
    let outcome = run();
    residents.into_inner().iter().for_each(|tensor| executor.release(tensor));
    outcome
}

/// What is wrong with a device's words (second), given the CPU's.
type Compare<'a> = dyn Fn(&[u32], &[u32]) -> Result<(), String> + 'a;

/// Runs every seed on the CPU and on every one of the devices; `compare` says what is wrong with a device's words.
fn each(devices: &[Named], seeds: u64, record: &dyn Fn(&mut Case) -> Vec<Tensor>, compare: &Compare<'_>) {
    let cpu: Executor = Cpu::new().into();
    for seed in 0..seeds {
        let expected = outcome(&cpu, seed, record).unwrap();
        for (name, device) in devices {
            let found = outcome(device, seed, record).unwrap_or_else(|e| panic!("{name}, seed {seed}: {e}"));
            assert_eq!(expected.len(), found.len());
            for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
                assert_eq!(expected.len(), found.len());
                if let Err(reason) = compare(expected, found) {
                    panic!("{name}, seed {seed}, result {index}: {reason}");
                }
            }
        }
    }
}

/// Every f32 result within `tolerance` of the CPU's, relative to the largest value of the result (or to 1, if that is less).
pub fn agree(seeds: u64, tolerance: f32, record: impl Fn(&mut Case) -> Vec<Tensor>) {
    agree_within(TINY, seeds, tolerance, record);
}

/// As [`agree`], with other limits for the devices that split.
pub fn agree_within(tiny: (u64, u64), seeds: u64, tolerance: f32, record: impl Fn(&mut Case) -> Vec<Tensor>) {
    each(&devices(tiny.0, tiny.1), seeds, &record, &close(tolerance));
}

/// As [`agree`], on these devices.
pub fn agree_on(devices: &[Named], seeds: u64, tolerance: f32, record: impl Fn(&mut Case) -> Vec<Tensor>) {
    each(devices, seeds, &record, &close(tolerance));
}

/// What `record` gives on each of these devices.
pub fn outcomes_on(devices: &[Named], record: impl Fn(&mut Case) -> Tensor) -> Vec<(&'static str, Vec<f32>)> {
    let of = |device: &Executor| {
        let words = outcome(device, 0, &|case: &mut Case| vec![record(case)]).unwrap();
        words.concat().into_iter().map(f32::from_bits).collect()
    };
    devices.iter().map(|(name, device)| (*name, of(device))).collect()
}

fn close(tolerance: f32) -> impl Fn(&[u32], &[u32]) -> Result<(), String> {
    move |expected, found| {
        let scale = expected.iter().map(|v| f32::from_bits(*v).abs()).fold(1.0, f32::max);
        for (i, (e, f)) in expected.iter().zip(found).enumerate() {
            let (e, f) = (f32::from_bits(*e), f32::from_bits(*f));
            let within = (e - f).abs() <= tolerance * scale;
            // NaN is not within anything.
            if !within {
                return Err(format!("element {i} of {} is {f}, expected {e}", expected.len()));
            }
        }
        Ok(())
    }
}

/// Every word of the results equal to the CPU's: for operations that only move values.
pub fn equal(seeds: u64, record: impl Fn(&mut Case) -> Vec<Tensor>) {
    each(&devices(TINY.0, TINY.1), seeds, &record, &|expected, found| {
        let differs = expected.iter().zip(found).position(|(e, f)| e != f);
        differs.map_or(Ok(()), |i| {
            Err(format!("word {i} of {} is {}, expected {}", expected.len(), found[i], expected[i]))
        })
    });
}
