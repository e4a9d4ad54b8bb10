//! The browser's WebGPU against the CPU executor, both as wasm: one recording of each hot operation on random odd shapes.
//! Options and splits have their tests natively; these see that the browser compiles and runs the same shaders.

use kinetoscope::CancelFlag;
use kinetoscope::executor::{DeviceChoice, Executor};
use kinetoscope::gpu::{GpuOptions, Kernel, Tiles, shaders};
use kinetoscope::ops::{Activation, Affine, Combine, ConvOptions, ConvWeight, LinearWeight, NormKind};
use kinetoscope::recording::Recorder;
use kinetoscope::sampling::noise::Mt19937;
use kinetoscope::sampling::randn;
use kinetoscope::tensor::{DType, Tensor};
use kinetoscope::weights::blocks::Block;
use wasm_bindgen_test::wasm_bindgen_test;

/// f32 sums of up to a thousand terms in another order are off by some 1e-6 of the largest; a browser may contract
/// multiply-adds and has exp to 3 ulp.
const TOLERANCE: f32 = 1e-5;

const SEEDS: u64 = 3;

/// A recording in the making. The same seed gives every executor the same shapes and values.
struct Case<'a> {
    recorder: Recorder,
    executor: &'a Executor,
    random: Mt19937,
}

impl Case<'_> {
    fn size(&mut self, most: usize) -> usize {
        1 + self.random.next_u32() as usize % most
    }

    fn random(&mut self, shape: &[usize]) -> Tensor {
        let tensor = Tensor::resident(DType::F32, shape);
        let values = randn(self.random.next_u32().into(), tensor.len());
        self.executor.upload(&tensor, bytemuck::cast_slice(&values)).unwrap();
        tensor
    }
}

async fn outcome(executor: &Executor, seed: u64, record: fn(&mut Case) -> Tensor) -> Vec<f32> {
    let mut case = Case { recorder: Recorder::new(), executor, random: Mt19937::new(seed) };
    let result = record(&mut case);
    let kept = Tensor::resident(DType::F32, result.shape());
    case.recorder.copy(&result, &kept).unwrap();
    let program = executor.prepare(&case.recorder.finish()).unwrap();
    executor.run(&program, &CancelFlag::new()).await.unwrap();
    bytemuck::pod_collect_to_vec(&executor.read(&kept).await.unwrap())
}

async fn agree(record: fn(&mut Case) -> Tensor) {
    // What a hardware GPU runs, however small the matrix.
    let barriers = GpuOptions { barrier_free: Some(false), ..GpuOptions::default() };
    let tiles = |wide| GpuOptions {
        tiles: Some(Tiles { wide, few: 0, halves: false, bytes: false, fragment: None }),
        winograd_channels: Some(0),
        ..barriers.clone()
    };
    agree_on(&[GpuOptions::default(), barriers.clone(), tiles(false), tiles(true)], record).await;
}

async fn agree_on(devices: &[GpuOptions], record: fn(&mut Case) -> Tensor) {
    let cpu = open(DeviceChoice::Cpu, &GpuOptions::default()).await;
    for options in devices {
        let gpu = open(DeviceChoice::WebGpu, options).await;
        for seed in 0..SEEDS {
            let (expected, found) = (outcome(&cpu, seed, record).await, outcome(&gpu, seed, record).await);
            assert_eq!(expected.len(), found.len());
            let scale = expected.iter().fold(1.0, |most: f32, v| most.max(v.abs()));
            assert!(expected.iter().any(|v| *v != 0.0), "seed {seed}: nothing was computed");
            for (i, (e, f)) in expected.iter().zip(&found).enumerate() {
                // NaN is not within anything.
                let within = (e - f).abs() <= TOLERANCE * scale;
                assert!(within, "{options:?}, seed {seed}, element {i} of {}: {f}, not {e}", expected.len());
            }
        }
    }
}

async fn open(choice: DeviceChoice, options: &GpuOptions) -> Executor {
    Executor::open(choice, options).await.unwrap()
}

/// Whatever naga accepts, browsers have a compiler of their own, with rules of its own.
#[wasm_bindgen_test]
async fn the_browser_accepts_every_shader() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await.unwrap();
    let required_features = adapter.features() & wgpu::Features::SHADER_F16;
    let request = wgpu::DeviceDescriptor { required_features, ..Default::default() };
    let (device, _queue) = adapter.request_device(&request).await.unwrap();
    let mut accepted = 0;
    for reflection in shaders::reflections() {
        let flags = reflection.flags;
        let any = |wanted: &[&str]| flags.iter().any(|flag| wanted.contains(flag));
        // The parity tests of the page run those with quads and octets: wgpu's device has no subgroups here. Matrix units no browser has.
        let left_out = any(&["QUAD", "OCTET", "MATRIX8", "MATRIX16"]);
        if left_out || any(&["F16", "HALVES"]) && required_features.is_empty() {
            continue;
        }
        let text = shaders::source(&Kernel::new(reflection.shader, flags.iter().copied())).unwrap();
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let _module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let fault = scope.pop().await;
        assert!(fault.is_none(), "{} {flags:?}: {fault:?}", reflection.shader);
        accepted += 1;
    }
    assert!(accepted > 100, "{accepted}");
}

#[wasm_bindgen_test]
async fn linear() {
    agree(|case| {
        let (m, k, n) = (case.size(130), case.size(200), case.size(90));
        let x = case.random(&[m, k]);
        let weight = LinearWeight { matrix: case.random(&[k, LinearWeight::stride(n)]), columns: n };
        let (bias, residual) = (case.random(&[n]), case.random(&[m, n]));
        let combine = Combine::Add(residual);
        case.recorder.linear(&x, &weight, Some(&bias), Activation::GeluTanh, combine).unwrap()
    })
    .await;
}

/// Whole numbers up to 127, which each group has, lose nothing when they are rounded.
#[wasm_bindgen_test]
async fn linear_in_bytes() {
    let tiles = Some(Tiles { wide: false, few: 0, halves: false, bytes: true, fragment: None });
    let options = GpuOptions { barrier_free: Some(false), tiles, ..GpuOptions::default() };
    agree_on(&[options], |case| {
        let (m, k, n) = (128 + case.size(20), 32 * case.size(4), 64 + 4 * case.size(5));
        let whole = |i: usize, word: u32| if i % 32 == 3 { 127.0 } else { (word % 255) as f32 - 127.0 };
        let values: Vec<f32> = (0..m * k).map(|i| whole(i, case.random.next_u32())).collect();
        let x = Tensor::resident(DType::F32, &[m, k]);
        case.executor.upload(&x, bytemuck::cast_slice(&values)).unwrap();
        let matrix = Tensor::resident(DType::Quants(Block::Q8_0.on_device()), &[n, k]);
        let mut bytes: Vec<u8> = (0..n * k).map(|_| case.random.next_u32() as u8).collect();
        // A scale of 0.5 and an offset of 1.
        bytes.extend([0x00, 0x38, 0x00, 0x3c].repeat(n * k / 32));
        case.executor.upload(&matrix, &bytes).unwrap();
        let weight = LinearWeight { matrix, columns: n };
        case.recorder.linear(&x, &weight, None, Activation::None, Combine::None).unwrap()
    })
    .await;
}

#[wasm_bindgen_test]
async fn attention() {
    agree(|case| {
        let (heads, queries, keys, d) = (case.size(4), case.size(90), case.size(120), case.size(16) * 4);
        let q = case.random(&[heads, queries, d]);
        let [k, v] = [0; 2].map(|_| case.random(&[heads, keys, d]));
        let bias = case.random(&[heads, queries + keys - 1]);
        case.recorder.attention(&q, &k, &v, 1.0 / (d as f32).sqrt(), Some(&bias), 0.0).unwrap()
    })
    .await;
}

#[wasm_bindgen_test]
async fn conv() {
    agree(|case| {
        let (h, w, c, n) = (case.size(20), case.size(20), case.size(24), case.size(30));
        let [before, now] = [0; 2].map(|_| case.random(&[h, w, c]));
        let weight = ConvWeight {
            matrix: case.random(&[3 * 9 * c, LinearWeight::stride(n)]),
            channels_in: c,
            channels_out: n,
            kernel: [3; 3],
        };
        let bias = case.random(&[n]);
        let frames = [None, Some(&before), Some(&now)];
        case.recorder.conv(&frames, &weight, Some(&bias), ConvOptions::same(3), None).unwrap()
    })
    .await;
}

#[wasm_bindgen_test]
async fn norm() {
    agree(|case| {
        let (m, c) = (case.size(90), case.size(200));
        let x = case.random(&[m, c]);
        let weight = Affine::Weight { weight: case.random(&[c]), bias: Some(case.random(&[c])) };
        let layer = case.recorder.norm(&x, NormKind::Layer { eps: 1e-6 }, weight, true).unwrap();
        let weight = Affine::Weight { weight: case.random(&[c]), bias: None };
        let rms = case.recorder.norm(&layer, NormKind::Rms { eps: 1e-6 }, weight, false).unwrap();
        case.recorder.norm(&rms, NormKind::Channel, Affine::None, false).unwrap()
    })
    .await;
}
