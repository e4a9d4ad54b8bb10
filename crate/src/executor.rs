//! The one interface over both executors: WebGPU (natively Vulkan, Metal, DirectX 12), and the CPU.

use std::ops::Range;
use std::str::FromStr;

use serde::Serialize;

use crate::cpu::{self, Cpu};
use crate::gpu::{self, Gpu, GpuOptions, Tuning};
use crate::recording::{PartWeights, Recording};
use crate::tensor::Tensor;
use crate::{CancelFlag, Error, Result};

/// Which executor the caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// WebGPU, or the CPU where there is no adapter or only a software one: that would compute on the same CPU, many times
    /// slower.
    #[default]
    Auto,
    /// WebGPU or an error.
    WebGpu,
    /// The CPU.
    Cpu,
}

impl FromStr for DeviceChoice {
    type Err = Error;

    /// # Errors
    /// [`Error::OptionInvalid`] for anything but `auto`, `webgpu` and `cpu`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "webgpu" => Ok(Self::WebGpu),
            "cpu" => Ok(Self::Cpu),
            other => Err(Error::OptionInvalid {
                option: "device".into(),
                expected: "\"auto\", \"webgpu\" or \"cpu\"".into(),
                found: format!("{other:?}"),
            }),
        }
    }
}

/// Runs recordings, and holds the memory of resident tensors.
#[derive(Debug)]
pub enum Executor {
    /// On a GPU, or a software adapter of one.
    Gpu(Box<Gpu>),
    /// In plain Rust.
    Cpu(CpuChoice),
}

/// The CPU executor, and why it was chosen.
#[derive(Debug, Default)]
pub struct CpuChoice {
    /// The executor.
    pub cpu: Cpu,
    /// Why it is not WebGPU, when that was wanted.
    pub reason: Option<Error>,
    /// See [`GpuOptions::max_memory`].
    pub max_memory: Option<u64>,
}

/// A recording that was prepared to run in parts by an executor, and runs on it alone.
#[derive(Debug)]
pub enum Parts {
    /// Of the GPU.
    Gpu(gpu::Parts),
    /// Of the CPU.
    Cpu(cpu::Program),
}

/// A recording that was prepared by an executor, and runs on it alone.
#[derive(Debug)]
pub enum Program {
    /// Of the GPU.
    Gpu(gpu::Program),
    /// Of the CPU.
    Cpu(cpu::Program),
}

/// What runs the work, for people and for bug reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutorInfo {
    /// `webgpu` or `cpu`.
    pub device: &'static str,
    /// The adapter's name; browsers may mask it.
    pub name: String,
    /// Whether it is a software adapter, which is far slower than the CPU executor.
    pub software: bool,
    /// Why it is not WebGPU, when that was wanted.
    pub reason: Option<String>,
}

impl From<Gpu> for Executor {
    fn from(gpu: Gpu) -> Self {
        Self::Gpu(Box::new(gpu))
    }
}

impl From<Cpu> for Executor {
    fn from(cpu: Cpu) -> Self {
        Self::Cpu(CpuChoice { cpu, ..CpuChoice::default() })
    }
}

impl Executor {
    /// Opens the device of the caller's choice.
    ///
    /// # Errors
    /// [`Error::DeviceUnavailable`] when WebGPU was asked for and there is no adapter.
    pub async fn open(choice: DeviceChoice, options: &GpuOptions) -> Result<Self> {
        let max_memory = options.max_memory;
        if choice == DeviceChoice::Cpu {
            return Ok(Self::Cpu(CpuChoice { max_memory, ..CpuChoice::default() }));
        }
        let reason = match Gpu::create(options).await {
            Ok(gpu) if choice == DeviceChoice::WebGpu || !gpu.info().software => return Ok(gpu.into()),
            Ok(gpu) => {
                // Browsers do not tell the name of every adapter.
                let name = match gpu.info().name.as_str() {
                    "" => "what WebGPU offers",
                    name => name,
                };
                let reason = format!("{name} is a software adapter, slower than the CPU executor");
                Error::DeviceUnavailable { reason }
            }
            Err(error) if choice == DeviceChoice::WebGpu => return Err(error),
            Err(error) => error,
        };
        Ok(Self::Cpu(CpuChoice { reason: Some(reason), max_memory, ..CpuChoice::default() }))
    }

    /// See [`Gpu::tuning`].
    pub fn tuning(&self) -> Option<&Tuning> {
        match self {
            Self::Gpu(gpu) => gpu.tuning(),
            Self::Cpu(_) => None,
        }
    }

    /// What was opened.
    pub fn info(&self) -> ExecutorInfo {
        match self {
            Self::Gpu(gpu) => ExecutorInfo {
                device: "webgpu",
                name: gpu.info().name.clone(),
                software: gpu.info().software,
                reason: None,
            },
            Self::Cpu(CpuChoice { reason, .. }) => ExecutorInfo {
                device: "cpu",
                name: "CPU".into(),
                software: false,
                reason: reason.as_ref().map(|error| match error {
                    Error::DeviceUnavailable { reason } => reason.clone(),
                    other => other.to_string(),
                }),
            },
        }
    }

    /// Bytes that may be held in all, where that is known beforehand: what the caller allows, and in wasm, which addresses 4 GiB, the
    /// part of them that is ours.
    pub fn capacity(&self) -> Option<u64> {
        match self {
            Self::Gpu(gpu) => gpu.max_memory(),
            Self::Cpu(CpuChoice { max_memory, .. }) => {
                let wasm = cfg!(target_arch = "wasm32").then_some(3 << 30);
                wasm.into_iter().chain(*max_memory).min()
            }
        }
    }

    /// Bytes that a resident tensor takes.
    pub fn bytes_of(&self, tensor: &Tensor) -> u64 {
        match self {
            Self::Gpu(_) => gpu::buffer_bytes(tensor),
            Self::Cpu(_) => cpu::resident_bytes(tensor),
        }
    }

    /// Bytes that preparing and running a recording adds to [`Executor::allocated_bytes`]: residents that have no memory yet, but for
    /// those that are `absent`, and intermediate results.
    ///
    /// # Errors
    /// As [`Executor::prepare`].
    pub fn bytes_to_prepare(&self, recording: &Recording, absent: &dyn Fn(u64) -> bool) -> Result<u64> {
        match self {
            Self::Gpu(gpu) => gpu.bytes_to_prepare(recording, absent),
            Self::Cpu(CpuChoice { cpu, .. }) => Ok(cpu.bytes_to_prepare(recording, absent)),
        }
    }

    /// The limits that recordings are planned for; the CPU has none.
    pub fn limits(&self) -> Option<&gpu::Limits> {
        match self {
            Self::Gpu(gpu) => Some(gpu.limits()),
            Self::Cpu(_) => None,
        }
    }

    /// Fills a resident tensor, or the part that a view covers, allocating it on first use.
    ///
    /// # Errors
    /// As [`Gpu::upload`] and [`Cpu::upload`].
    pub fn upload(&self, tensor: &Tensor, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Gpu(gpu) => gpu.upload(tensor, bytes),
            Self::Cpu(CpuChoice { cpu, .. }) => cpu.upload(tensor, bytes),
        }
    }

    /// Makes a recording ready to run, allocating the residents that have no memory yet (zeroed).
    ///
    /// # Errors
    /// As [`Gpu::prepare`] and [`Cpu::prepare`].
    pub fn prepare(&self, recording: &Recording) -> Result<Program> {
        match self {
            Self::Gpu(gpu) => gpu.prepare(recording).map(Program::Gpu),
            Self::Cpu(CpuChoice { cpu, .. }) => cpu.prepare(recording).map(Program::Cpu),
        }
    }

    /// Makes a recording ready to run in parts: the residents that are `absent` have memory in their part only.
    ///
    /// # Errors
    /// As [`Executor::prepare`].
    pub fn prepare_parts(&self, recording: &Recording, absent: &dyn Fn(u64) -> bool) -> Result<Parts> {
        match self {
            Self::Gpu(gpu) => gpu.prepare_parts(recording, absent).map(Parts::Gpu),
            Self::Cpu(CpuChoice { cpu, .. }) => cpu.prepare_parts(recording, absent).map(Parts::Cpu),
        }
    }

    /// Runs ranges of operations that follow each other, each with its weights.
    ///
    /// # Errors
    /// As [`Executor::run`], and what loading reports.
    pub async fn run_parts(
        &self,
        program: &Parts,
        parts: &[Range<usize>],
        weights: &dyn PartWeights,
        cancel: &CancelFlag,
    ) -> Result<()> {
        match (self, program) {
            (Self::Gpu(gpu), Parts::Gpu(program)) => gpu.run_parts(program, parts, weights, cancel).await,
            (Self::Cpu(CpuChoice { cpu, .. }), Parts::Cpu(program)) => {
                cpu.run_parts(program, parts, weights, cancel).await
            }
            _ => Err(foreign("run_parts")),
        }
    }

    /// Whether all that a program was bound to when it was prepared is still there.
    pub fn is_current(&self, program: &Program) -> bool {
        match (self, program) {
            (Self::Gpu(gpu), Program::Gpu(program)) => gpu.is_current(program),
            (Self::Cpu(CpuChoice { cpu, .. }), Program::Cpu(program)) => cpu.is_current(program),
            _ => false,
        }
    }

    /// Runs a program once.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a program of the other executor, and as [`Gpu::run`] and [`Cpu::run`].
    pub async fn run(&self, program: &Program, cancel: &CancelFlag) -> Result<()> {
        match (self, program) {
            (Self::Gpu(gpu), Program::Gpu(program)) => gpu.run(program, cancel).await,
            (Self::Cpu(CpuChoice { cpu, .. }), Program::Cpu(program)) => cpu.run(program, cancel).await,
            _ => Err(foreign("run")),
        }
    }

    /// The elements of a resident tensor's view, little endian.
    ///
    /// # Errors
    /// As [`Gpu::read`] and [`Cpu::read`].
    pub async fn read(&self, tensor: &Tensor) -> Result<Vec<u8>> {
        match self {
            Self::Gpu(gpu) => gpu.read(tensor).await,
            Self::Cpu(CpuChoice { cpu, .. }) => cpu.read(tensor).await,
        }
    }

    /// Frees a resident tensor.
    pub fn release(&self, tensor: &Tensor) {
        match self {
            Self::Gpu(gpu) => gpu.release(tensor),
            Self::Cpu(CpuChoice { cpu, .. }) => cpu.release(tensor),
        }
    }

    /// Bytes of residents and of live programs.
    pub fn allocated_bytes(&self) -> u64 {
        match self {
            Self::Gpu(gpu) => gpu.allocated_bytes(),
            Self::Cpu(CpuChoice { cpu, .. }) => cpu.allocated_bytes(),
        }
    }

    /// The most that has been allocated on a GPU.
    pub fn peak_bytes(&self) -> Option<u64> {
        match self {
            Self::Gpu(gpu) => Some(gpu.peak_bytes()),
            Self::Cpu(_) => None,
        }
    }
}

fn foreign(call: &'static str) -> Error {
    Error::WrongState { call, reason: "the program was prepared by another executor".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_by_name() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("webgpu".parse(), Ok(DeviceChoice::WebGpu));
        assert_eq!("cpu".parse(), Ok(DeviceChoice::Cpu));
        assert_eq!("GPU".parse::<DeviceChoice>().unwrap_err().code(), "option_invalid");
    }

    #[test]
    fn without_an_adapter_auto_is_the_cpu_and_webgpu_an_error() {
        let options = GpuOptions { adapter: Some("no adapter has this name".into()), ..Default::default() };
        let open = |choice| pollster::block_on(Executor::open(choice, &options));
        assert_eq!(open(DeviceChoice::WebGpu).unwrap_err().code(), "device_unavailable");
        let info = open(DeviceChoice::Auto).unwrap().info();
        assert_eq!(info.device, "cpu");
        assert!(info.reason.is_some_and(|reason| reason.contains("no adapter has this name")));
    }

    #[test]
    fn the_cpu_says_that_it_is_the_cpu() {
        let executor = pollster::block_on(Executor::open(DeviceChoice::Cpu, &GpuOptions::default())).unwrap();
        let info = executor.info();
        assert_eq!((info.device, info.software, info.reason), ("cpu", false, None));
    }
}
