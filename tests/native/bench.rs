//! The bench at tiny sizes: every kind of case is right against f64, what cannot run says so, and the JSON is what it is said to be. No time is
//! asserted.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests are not an interface, and fail by panicking"
)]

mod harness;

use std::collections::HashSet;

use kinetoscope::CancelFlag;
use kinetoscope::bench::attention::Attention;
use kinetoscope::bench::cases::{self, Case, case, model};
use kinetoscope::bench::conv::Conv;
use kinetoscope::bench::gemm::Gemm;
use kinetoscope::bench::model::{Part, Sizes};
use kinetoscope::bench::operation::{Operation, error, input_set, release, upload};
use kinetoscope::bench::random::Format;
use kinetoscope::bench::report::{Measurement, Outcome};
use kinetoscope::bench::{Bench, SUITES};
use kinetoscope::config::published::Published;
use kinetoscope::cpu::Cpu;
use kinetoscope::executor::Executor;
use kinetoscope::gpu::GpuOptions;
use pollster::block_on;
use serde_json::{Value, json};

/// Sums of up to 600 products in f32 of values that deviate by 1: each of the roundings, of 6e-8 at most, adds about its square, and the
/// square root of 600 of them is 1.5e-6; the worst of 64 elements is three times as far off, and the exponentials of attention add as
/// much again.
const TOLERANCE: f64 = 1e-5;

/// A model's many layers add up; the same tolerance as its golden tests have, and not f64 but the CPU executor to compare with.
const MODEL_TOLERANCE: f64 = 1e-3;

/// More than any tiny case takes, so that nothing is skipped on a busy machine.
const SECONDS: f64 = 1000.0;

fn gemms() -> impl Iterator<Item = Gemm> {
    let sizes = [[3, 256, 36], [37, 512, 20], [130, 256, 70]];
    let all = Format::ALL.into_iter().flat_map(move |format| sizes.map(|size| (format, size)));
    all.map(|(format, [rows, inputs, columns])| Gemm { rows, inputs, columns, format })
}

fn attentions() -> impl Iterator<Item = Attention> {
    let all = [[2, 48, 33, 33], [3, 64, 9, 70], [1, 128, 70, 9]].into_iter();
    all.map(|[heads, d, queries, keys]| Attention { heads, d, queries, keys })
}

fn convs() -> impl Iterator<Item = Conv> {
    let conv = |frames, kernel, [channels_in, channels_out]: [usize; 2], upsample, format| Conv {
        frames,
        kernel,
        channels_in,
        channels_out,
        height: 6,
        width: 10,
        upsample,
        format,
    };
    let all = [
        conv(3, 3, [20, 24], false, Format::F32),
        conv(3, 3, [5, 3], false, Format::F16),
        conv(1, 3, [12, 8], true, Format::F16),
        conv(1, 1, [7, 9], false, Format::F32),
    ];
    all.into_iter()
}

/// One case of each kind of operation.
fn tiny() -> Vec<Case> {
    let gemm = gemms().last().map(|gemm| case("gemm", "last".into(), Some(gemm.format), true, gemm));
    let few = gemms().next().map(|gemm| case("gemm", "first".into(), Some(gemm.format), true, gemm));
    let attention = attentions().nth(1).map(|op| case("attention", "second".into(), None, true, op));
    let conv = convs().next().map(|conv| case("conv", "first".into(), Some(conv.format), true, conv));
    [few, gemm, attention, conv].into_iter().flatten().collect()
}

fn bench(executor: Executor, cases: Vec<Case>, seconds: f64) -> Bench {
    block_on(Bench::on(executor, cases, seconds, &CancelFlag::new())).unwrap()
}

fn gpu(options: &GpuOptions) -> Executor {
    harness::gpu(options).into()
}

fn measured(bench: &Bench, id: &str) -> Measurement {
    match block_on(bench.run(id, &CancelFlag::new())).unwrap().outcome {
        Outcome::Measured(measurement) => *measurement,
        other => panic!("{id}: {other:?}"),
    }
}

#[test]
fn operations_are_right_against_f64() {
    let family = |barrier_free| GpuOptions { barrier_free: Some(barrier_free), ..GpuOptions::default() };
    let executors: [Executor; 3] = [Cpu::new().into(), gpu(&family(false)), gpu(&family(true))];
    let boxed = |operation| -> Box<dyn Operation> { operation };
    let all: Vec<_> = gemms()
        .map(|op| boxed(Box::new(op)))
        .chain(attentions().map(|op| boxed(Box::new(op))))
        .chain(convs().map(|op| boxed(Box::new(op))))
        .collect();
    for (executor, op) in executors.iter().flat_map(|executor| all.iter().map(move |op| (executor, op))) {
        let sets = upload(op.as_ref(), executor).unwrap();
        let inputs = input_set(&sets, 0).unwrap();
        let error = block_on(error(op.as_ref(), inputs, executor, &CancelFlag::new())).unwrap();
        release(&sets, executor);
        assert!(error < TOLERANCE, "{op:?}: {error}");
        // Sums in f32 are never right to the last bit of f64: nothing was compared with itself.
        assert!(error > 0.0, "{op:?}");
        assert_eq!(executor.allocated_bytes(), 0);
    }
}

#[test]
fn operations_are_measured_by_the_kernels_they_name() {
    let executor = gpu(&GpuOptions { barrier_free: Some(false), ..GpuOptions::default() });
    let bench = bench(executor, tiny(), SECONDS);
    for (id, kernel) in [
        ("gemm/first", "linear SKINNY VEC4"),
        ("gemm/last", "linear SMALL QUANT4"),
        ("attention/second", "attention HEAD64"),
        ("conv/first", "conv SMALL VEC4"),
    ] {
        let found = measured(&bench, id);
        assert!(found.gflops > 0.0 && found.percent_of_peak > 0.0, "{found:?}");
        assert!(found.error.is_some_and(|error| error.relative < TOLERANCE && error.against == "f64"));
        assert_eq!(found.kernels.keys().collect::<Vec<_>>(), [kernel]);
        assert_eq!(found.dispatches, found.kernels.values().sum::<usize>());
    }
}

#[test]
fn models_agree_with_the_cpu_and_say_where_the_time_goes() {
    let clip = Some([64, 32, 5]);
    let cases = || -> Vec<Case> {
        let sizes = Sizes::Of(Published::Tiny);
        [Part::Pass, Part::Decode].map(|part| model("tiny", sizes, part, clip).unwrap()).into()
    };
    let on_gpu = bench(gpu(&GpuOptions { timings: true, ..GpuOptions::default() }), cases(), SECONDS);
    let on_cpu = bench(Cpu::new().into(), cases(), SECONDS);
    for case in on_gpu.select(&["model".into()]).unwrap() {
        let found = measured(&on_gpu, &case.id);
        let error = found.error.unwrap();
        assert!(error.relative < MODEL_TOLERANCE && error.against == "cpu", "{}: {error:?}", case.id);
        let cpu = measured(&on_cpu, &case.id);
        assert_eq!(cpu.error, None);
        for (found, by) in [(found, "timestamps"), (cpu, "clock")] {
            let operations = found.operations.unwrap();
            assert_eq!(operations.by, by);
            let sum = |of: fn(&kinetoscope::bench::report::OperationTime) -> f64| -> f64 {
                operations.times.iter().map(of).sum()
            };
            assert!((sum(|time| time.percent) - 100.0).abs() < 1e-6, "{operations:?}");
            assert_eq!(sum(|time| time.dispatches as f64), found.dispatches as f64);
            assert_eq!(sum(|time| time.flops as f64), case.flops as f64);
        }
    }
}

#[test]
fn what_cannot_run_says_why() {
    let reason = |bench: &Bench, id: &str| match block_on(bench.run(id, &CancelFlag::new())).unwrap().outcome
    {
        Outcome::Skipped { reason } => reason,
        other => panic!("{id}: {other:?}"),
    };
    let all = || cases::all().unwrap();
    // No device does 2.9 TFLOP in this time.
    let hurried = bench(Cpu::new().into(), all(), 1e-4);
    assert!(reason(&hurried, "gemm/32760x3072x14336/f32").contains("half of the measured peak"));
    assert_eq!(reason(&hurried, "peak/f16"), "the CPU executor computes in f32 alone");
    let small = GpuOptions { max_buffer: Some(4 << 20), ..GpuOptions::default() };
    let small = bench(gpu(&small), all(), SECONDS);
    assert!(reason(&small, "gemm/80x1536x1536/f32").contains("buffer"));

    let unknown = block_on(hurried.run("gemm/1x1x1/f32", &CancelFlag::new())).unwrap_err();
    assert_eq!(unknown.code(), "option_invalid");
    let cancelled = CancelFlag::new();
    cancelled.cancel();
    assert_eq!(block_on(small.run("peak/f32", &cancelled)).unwrap_err().code(), "cancelled");
}

#[test]
fn cases_have_names_of_their_own_and_every_suite_has_some() {
    let bench = bench(Cpu::new().into(), cases::all().unwrap(), 0.1);
    let all = bench.select(&["gpu".into()]).unwrap();
    let ids: HashSet<_> = all.iter().map(|case| &case.id).collect();
    assert_eq!(ids.len(), all.len());
    for suite in SUITES {
        assert!(!bench.select(&[suite.into()]).unwrap().is_empty(), "{suite}");
    }
    assert!(all.iter().all(|case| (case.flops == 0) == (case.suite == "peak")));
    let error = bench.select(&["fast".into()]).unwrap_err();
    assert_eq!(error.code(), "option_invalid");
    // 2 N D and the attention: Wan 1.3B's 1.4 billion parameters, but for those that time and text alone go through.
    let pass = all.iter().find(|case| case.id == "model/wan2.1-1.3b/832x480x81/pass").unwrap();
    assert_eq!(pass.shape["tokens"], 32_760);
    assert!((2.4e14..3.2e14).contains(&(pass.flops as f64)), "{}", pass.flops);
}

/// The keys of an object, sorted.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// A change here is a new version of the format.
#[test]
fn json_keeps_its_form() {
    let cases = || -> Vec<Case> {
        let sizes = Sizes::Of(Published::Tiny);
        let pass = model("tiny", sizes, Part::Pass, Some([64, 32, 1])).unwrap();
        tiny().into_iter().take(1).chain([pass]).collect()
    };
    let bench = bench(Cpu::new().into(), cases(), SECONDS);
    let header = json!(bench.header());
    assert_eq!(keys(&header), ["device", "kinetoscope", "latency", "peak", "secondsPerCase", "version"]);
    assert_eq!(header["version"], 1);
    let device = ["backend", "barrierFree", "device", "features", "limits", "name", "software"];
    assert_eq!(keys(&header["device"]), device);

    let run = |id: &str| json!(block_on(bench.run(id, &CancelFlag::new())).unwrap());
    let report = run("gemm/first");
    let case = ["flops", "format", "id", "quick", "shape", "suite"];
    let measurement =
        ["dispatches", "error", "gflops", "kernels", "outcome", "peak", "percentOfPeak", "seconds"];
    let mut all: Vec<_> = case.into_iter().chain(measurement).collect();
    all.sort_unstable();
    assert_eq!(keys(&report), all);
    assert_eq!(report["outcome"], "measured");
    assert_eq!(report["shape"], json!({ "m": 3, "k": 256, "n": 36 }));
    assert_eq!(keys(&report["seconds"]), ["max", "median", "min", "repetitions", "runs"]);
    assert_eq!(keys(&report["error"]), ["against", "relative"]);

    let report = run("model/tiny/64x32x1/pass");
    assert_eq!(keys(&report["operations"]), ["by", "times"]);
    let time = &report["operations"]["times"][0];
    assert_eq!(keys(time), ["dispatches", "flops", "name", "percent", "seconds"]);
}
