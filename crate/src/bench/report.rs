//! What a bench says, as JSON: `version` rises when the meaning of a field changes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::measure::Spread;
use crate::executor::Executor;

/// Of the format of [`Report`].
pub const VERSION: u32 = 1;

/// What the bench ran on.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceReport {
    /// `webgpu` or `cpu`.
    pub device: &'static str,
    /// The adapter's name; browsers may mask it.
    pub name: String,
    /// Vulkan, Metal, Dx12 or BrowserWebGpu; on the CPU `cpu`.
    pub backend: String,
    /// Whether it is a software adapter.
    pub software: bool,
    /// What it has: `f16`, `subgroups`, `timestamps`.
    pub features: Vec<&'static str>,
    /// What recordings are planned for, by name; empty on the CPU.
    pub limits: BTreeMap<&'static str, u64>,
    /// Whether the kernels without barriers are used.
    pub barrier_free: bool,
}

impl DeviceReport {
    pub(super) fn new(executor: &Executor) -> Self {
        let info = executor.info();
        let Executor::Gpu(gpu) = executor else {
            return Self {
                device: info.device,
                name: info.name,
                backend: "cpu".into(),
                software: false,
                features: Vec::new(),
                limits: BTreeMap::new(),
                barrier_free: false,
            };
        };
        let (adapter, limits) = (gpu.info(), gpu.limits());
        let features =
            [("f16", adapter.f16), ("subgroups", adapter.subgroups), ("timestamps", adapter.timestamps)];
        Self {
            device: info.device,
            name: info.name,
            backend: adapter.backend.clone(),
            software: info.software,
            features: features.into_iter().filter_map(|(name, has)| has.then_some(name)).collect(),
            limits: BTreeMap::from([
                ("maxBinding", limits.max_binding),
                ("maxBuffer", limits.max_buffer),
                ("maxWorkgroups", limits.max_workgroups.into()),
                ("workgroupMemory", limits.workgroup_memory.into()),
                ("maxDispatchFlops", limits.max_dispatch_flops),
                ("offsetAlignment", limits.offset_alignment),
                ("tilesFew", limits.tiles.few as u64),
                ("tilesWide", limits.tiles.wide.into()),
                ("tilesHalves", limits.tiles.halves.into()),
                ("tilesBytes", limits.tiles.bytes.into()),
                ("tilesFragment", limits.tiles.fragment.map_or(0, |fragment| fragment as u64)),
                ("texelFlops", limits.texel_flops),
                ("winogradChannels", limits.winograd_channels as u64),
            ]),
            barrier_free: limits.barrier_free,
        }
    }
}

/// What is true of all cases of a bench.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Of this crate.
    pub kinetoscope: &'static str,
    /// What the bench ran on.
    pub device: DeviceReport,
    /// Seconds between a submit of next to nothing and the news of its completion.
    pub latency: f64,
    /// Operations a second in f32 at best, by the shortest run when the bench was opened.
    pub peak: f64,
    /// Seconds that a case may take.
    pub seconds_per_case: f64,
}

/// A case, before it is run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseInfo {
    /// Unique, such as `gemm/1560x1536x8960/f16`.
    pub id: String,
    /// `peak`, `gemm`, `attention`, `conv` or `model`.
    pub suite: &'static str,
    /// Sizes by name.
    pub shape: BTreeMap<&'static str, usize>,
    /// Of the weights: `f32`, `f16`, `q8_0`, `q4_k`; of a peak the kind of arithmetic; none without weights.
    pub format: Option<&'static str>,
    /// Multiplications and additions of one run; of `dot4` those of integers. 0 of a peak, which is as long as the device likes.
    pub flops: u64,
    /// Whether it is among the cases of `quick`.
    pub quick: bool,
}

/// A case that was run, or why it was not.
#[derive(Debug, Clone, Serialize)]
pub struct CaseReport {
    /// Which.
    #[serde(flatten)]
    pub case: CaseInfo,
    /// How it went.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a case went.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// It was measured.
    Measured(Box<Measurement>),
    /// It is too much for the device or for the time given.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It should have run, and did not.
    Failed {
        /// Of the error, [`crate::Error::code`].
        code: &'static str,
        /// What the error says.
        reason: String,
    },
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// Seconds of one run.
    pub seconds: Spread,
    /// 10^9 operations a second, by the median.
    pub gflops: f64,
    /// The f32 peak in turns with the case, in 10^9 operations a second, the median; of a peak the header's.
    pub peak: f64,
    /// Of the peak, in percent: the median of the shares of single runs.
    pub percent_of_peak: f64,
    /// How far the result is off; none where there is nothing to compare with.
    pub error: Option<ErrorReport>,
    /// Dispatches of one run; on the CPU operations.
    pub dispatches: usize,
    /// Dispatches by kernel: the shader and its flags.
    pub kernels: BTreeMap<String, usize>,
    /// Of a model: where the time goes, the longest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<Operations>,
}

/// How far a result is off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorReport {
    /// Largest difference, relative to the root of the mean square of what it should be.
    pub relative: f64,
    /// `f64`: 64 elements computed in f64; `cpu`: all elements by the CPU executor, in f32.
    pub against: &'static str,
}

/// Where the time of a run goes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Operations {
    /// `timestamps`: the GPU's own, without what is between dispatches; `clock`: around each operation, submitting included.
    pub by: &'static str,
    /// The longest first.
    pub times: Vec<OperationTime>,
}

/// All operations of a kind.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationTime {
    /// `linear`, `attention`, `conv`, ...
    pub name: &'static str,
    /// Dispatches; on the CPU operations.
    pub dispatches: usize,
    /// Multiplications and additions.
    pub flops: u64,
    /// Together.
    pub seconds: f64,
    /// Of all operations, in percent.
    pub percent: f64,
}
