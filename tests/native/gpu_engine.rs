//! The engine around the kernels: memory, uploads, readback, cancelling, a lost device.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests are not an interface, and fail by panicking"
)]

mod harness;

use harness::gpu;
use kinetoscope::gpu::{Gpu, GpuOptions, Plan, Precision, Tiles, Tuning};
use kinetoscope::ops::{Affine, NormKind};
use kinetoscope::recording::{Recorder, Recording};
use kinetoscope::tensor::{DType, Tensor};
use kinetoscope::{CancelFlag, Error};
use pollster::block_on;

fn device() -> Gpu {
    gpu(&GpuOptions::default())
}

fn floats(gpu: &Gpu, tensor: &Tensor) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&block_on(gpu.read(tensor)).unwrap())
}

/// `out = silu(...silu(x))`, `depth` times, with a norm in between.
fn chain(x: &Tensor, out: &Tensor, depth: usize) -> Recording {
    let mut recorder = Recorder::new();
    let mut y = recorder.norm(x, NormKind::Channel, Affine::None, false).unwrap();
    for _ in 0..depth {
        y = recorder.silu(&y).unwrap();
    }
    recorder.copy(&y, out).unwrap();
    recorder.finish()
}

#[test]
fn what_is_allocated_is_what_the_plan_says() {
    let gpu = device();
    let (x, out) = (Tensor::resident(DType::F32, &[37, 11]), Tensor::resident(DType::F32, &[37, 11]));
    let plan = Plan::new(&chain(&x, &out, 5), gpu.limits()).unwrap();
    assert_eq!(gpu.allocated_bytes(), 0);
    gpu.upload(&x, bytemuck::cast_slice(&[0.5_f32; 37 * 11])).unwrap();
    let program = gpu.prepare(&chain(&x, &out, 5)).unwrap();
    assert_eq!(gpu.allocated_bytes(), plan.total_bytes());
    assert_eq!(program.bytes(), plan.temporary_bytes + plan.uniform_bytes);
    block_on(gpu.run(&program, &CancelFlag::new())).unwrap();
    assert_eq!(gpu.allocated_bytes(), plan.total_bytes());
    assert!(floats(&gpu, &out).iter().all(|v| *v > 0.0));
    drop(program);
    assert_eq!(gpu.allocated_bytes(), plan.resident_bytes);
    gpu.release(&x);
    gpu.release(&out);
    assert_eq!(gpu.allocated_bytes(), 0);
}

#[test]
fn a_fresh_resident_is_zero_and_views_are_read_and_written() {
    let gpu = device();
    let whole = Tensor::resident(DType::F32, &[5, 3]);
    let program = gpu.prepare(&chain(&whole, &Tensor::resident(DType::F32, &[5, 3]), 1)).unwrap();
    assert_eq!(floats(&gpu, &whole), [0.0; 15]);
    gpu.upload(&whole.rows(2, 2).unwrap(), bytemuck::cast_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]))
        .unwrap();
    assert_eq!(floats(&gpu, &whole.rows(1, 2).unwrap()), [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    drop(program);

    let half = Tensor::resident(DType::F16, &[5, 1]);
    let bytes: Vec<u8> = (1..=10).collect();
    gpu.upload(&half, &bytes).unwrap();
    assert_eq!(block_on(gpu.read(&half)).unwrap(), bytes);
    assert_eq!(block_on(gpu.read(&half.rows(1, 3).unwrap())).unwrap(), [3, 4, 5, 6, 7, 8]);
    gpu.upload(&half.rows(4, 1).unwrap(), &[20, 21]).unwrap();
    gpu.upload(&half.rows(2, 2).unwrap(), &[30, 31, 32, 33]).unwrap();
    assert_eq!(block_on(gpu.read(&half)).unwrap(), [1, 2, 3, 4, 30, 31, 32, 33, 20, 21]);
    let error = gpu.upload(&half.rows(1, 2).unwrap(), &[0; 4]).unwrap_err();
    assert_eq!(error.code(), "shape_mismatch");
}

#[test]
fn uploads_of_many_pieces_arrive_whole() {
    let gpu = device();
    let count = (9 << 20) + 5;
    let tensor = Tensor::resident(DType::U32, &[count]);
    let words: Vec<u32> = (0..count as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
    gpu.upload(&tensor, bytemuck::cast_slice(&words)).unwrap();
    assert!(block_on(gpu.read(&tensor)).unwrap() == bytemuck::cast_slice::<_, u8>(&words));
}

#[test]
fn wrong_calls_are_typed_errors() {
    let gpu = device();
    let x = Tensor::resident(DType::F32, &[4, 4]);
    assert_eq!(gpu.upload(&x, &[0; 60]).unwrap_err().code(), "shape_mismatch");
    assert_eq!(gpu.upload(&Tensor::temporary(&[1]), &[0; 4]).unwrap_err().code(), "wrong_state");
    assert_eq!(block_on(gpu.read(&x)).unwrap_err().code(), "wrong_state");
    assert_eq!(block_on(gpu.read(&Tensor::temporary(&[1]))).unwrap_err().code(), "wrong_state");
    assert_eq!(gpu.allocated_bytes(), 0);

    let program = gpu.prepare(&chain(&x, &Tensor::resident(DType::F32, &[4, 4]), 2)).unwrap();
    gpu.release(&x);
    assert_eq!(block_on(gpu.run(&program, &CancelFlag::new())).unwrap_err().code(), "wrong_state");
    // Another buffer under the same tensor is not the one the program has bound.
    gpu.upload(&x, &[0; 64]).unwrap();
    assert_eq!(block_on(gpu.run(&program, &CancelFlag::new())).unwrap_err().code(), "wrong_state");
}

#[test]
fn a_device_too_small_leaves_nothing_behind() {
    let gpu = gpu(&GpuOptions { max_buffer: Some(1 << 16), ..GpuOptions::default() });
    let x = Tensor::resident(DType::F32, &[200, 100]);
    let error = gpu.prepare(&chain(&x, &Tensor::resident(DType::F32, &[200, 100]), 2)).unwrap_err();
    assert_eq!(error.code(), "device_too_small");
    assert_eq!(gpu.upload(&x, &[0; 80_000]).unwrap_err().code(), "device_too_small");
    assert_eq!(gpu.allocated_bytes(), 0);
}

#[test]
fn cancelling_stops_between_submits_and_the_device_stays_usable() {
    // So small a budget that every dispatch is a submit of its own.
    let gpu =
        gpu(&GpuOptions { max_dispatch_flops: Some(1), max_binding: Some(4096), ..GpuOptions::default() });
    let (x, out) = (Tensor::resident(DType::F32, &[1, 8]), Tensor::resident(DType::F32, &[1, 8]));
    gpu.upload(&x, bytemuck::cast_slice(&[2.0_f32; 8])).unwrap();
    let program = gpu.prepare(&chain(&x, &out, 3)).unwrap();
    let cancel = CancelFlag::new();
    cancel.cancel();
    assert_eq!(block_on(gpu.run(&program, &cancel)), Err(Error::Cancelled));
    assert_eq!(floats(&gpu, &out), [0.0; 8]);
    block_on(gpu.run(&program, &CancelFlag::new())).unwrap();
    assert!(floats(&gpu, &out).iter().all(|v| *v > 0.1));
}

#[test]
fn a_lost_device_says_so_on_every_call() {
    let gpu = device();
    let (x, out) = (Tensor::resident(DType::F32, &[2, 2]), Tensor::resident(DType::F32, &[2, 2]));
    let program = gpu.prepare(&chain(&x, &out, 1)).unwrap();
    gpu.lose();
    for _ in 0..2 {
        assert_eq!(gpu.upload(&x, &[0; 16]).unwrap_err().code(), "device_lost");
        assert_eq!(block_on(gpu.run(&program, &CancelFlag::new())).unwrap_err().code(), "device_lost");
        assert_eq!(block_on(gpu.read(&out)).unwrap_err().code(), "device_lost");
        assert_eq!(gpu.prepare(&Recorder::new().finish()).unwrap_err().code(), "device_lost");
    }
}

#[test]
fn a_device_is_tried_once() {
    let options = |tunings: &[Tuning]| GpuOptions {
        barrier_free: Some(false),
        tune: Some(true),
        tunings: tunings.to_vec(),
        ..GpuOptions::default()
    };
    let first = gpu(&options(&[]));
    let found = first.tuning().unwrap().clone();
    assert_eq!(first.limits().tiles, found.tiles);
    assert_eq!(first.limits().max_dispatch_flops, found.max_dispatch_flops);
    assert_eq!(first.limits().winograd_channels, found.winograd_channels);
    assert!(found.key.contains(&first.info().name), "{found:?}");

    // What no device has: it is believed where it is of this device and these shaders, and tried again where not.
    let other =
        Tiles { wide: !found.tiles.wide, few: 1_000_001, halves: false, bytes: false, fragment: None };
    let remembered = Tuning { tiles: other, ..found.clone() };
    let stale = Tuning { key: "another".into(), ..remembered.clone() };
    assert_eq!(gpu(&options(&[stale.clone(), remembered])).limits().tiles, other);
    let stale = gpu(&options(&[stale]));
    assert_ne!(stale.limits().tiles, other);
    assert_eq!(stale.tuning().unwrap().key, found.key);
    // With leave to multiply in less it is tried anew.
    let halved = gpu(&GpuOptions { precision: Precision::I8, ..options(std::slice::from_ref(&found)) });
    let tuning = halved.tuning().unwrap();
    assert!(halved.info().f16 && tuning.key != found.key, "{tuning:?}");
    assert_eq!(halved.limits().tiles, tuning.tiles);
    // Nothing of it stays on the device.
    assert_eq!(stale.allocated_bytes(), 0);
}

#[test]
fn quads_are_found_where_there_are_subgroups() {
    let quads = |barrier_free, quads| {
        let gpu = gpu(&GpuOptions { barrier_free: Some(barrier_free), quads, ..GpuOptions::default() });
        (gpu.limits().quads, gpu.info().subgroups)
    };
    let (found, subgroups) = quads(true, None);
    assert_eq!(found, subgroups);
    assert!(!quads(true, Some(false)).0 && !quads(false, None).0);
}

#[test]
fn timings_name_the_shaders_that_ran() {
    let gpu = gpu(&GpuOptions { timings: true, ..GpuOptions::default() });
    assert!(gpu.info().timestamps, "the tests' adapter has timestamp queries");
    let (x, out) = (Tensor::resident(DType::F32, &[500, 100]), Tensor::resident(DType::F32, &[500, 100]));
    let program = gpu.prepare(&chain(&x, &out, 4)).unwrap();
    let before = gpu.allocated_bytes();
    block_on(gpu.run(&program, &CancelFlag::new())).unwrap();
    let timings = gpu.timings();
    let mut names: Vec<_> = timings.keys().copied().collect();
    names.sort_unstable();
    assert_eq!(names, ["copy", "norm", "silu"]);
    assert!(timings.values().all(|seconds| (0.0..10.0).contains(seconds)) && timings["silu"] > 0.0);
    assert_eq!(gpu.allocated_bytes(), before);
}
