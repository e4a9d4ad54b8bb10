//! What a device can multiply and add when it does nothing else: the denominator of everything else.
//!
//! On a GPU `shaders/peak.wgsl`: twelve chains an invocation, nothing but registers. On the CPU the same with the vectors that the GEMM
//! crate works with, on every core; in wasm on one.

use std::hint::black_box;

use futures_util::future::LocalBoxFuture;
use pulp::{Arch, Simd, WithSimd};
use serde::Serialize;

use super::measure::{Budget, Spread, repetitions, spread};
use crate::executor::{CpuChoice, Executor};
use crate::gpu::{Binding, Dispatch, Gpu, Kernel, Program};
use crate::tensor::{DType, Tensor};
use crate::{CancelFlag, Result};

/// Workgroups of a dispatch: every compute unit of any device has several.
const WORKGROUPS: usize = 2048;
const WORKGROUP: usize = 256;

/// Multiplications and additions of an invocation in a round, and of twice so many integers with four bytes each.
const ROUND: u64 = 12 * 8 * 2;

/// Kinds of arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// Fused multiply-add in single precision.
    F32,
    /// In half precision.
    F16,
    /// Products of four signed bytes each, added to a 32-bit integer.
    Dot4,
}

impl Arithmetic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Dot4];

    /// As reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Dot4 => "dot4",
        }
    }

    fn flag(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Dot4 => "DOT4",
        }
    }

    /// Why a device has no such arithmetic.
    pub fn obstacle(self, executor: &Executor) -> Option<&'static str> {
        match (self, executor) {
            (Self::F32, _) => None,
            (_, Executor::Cpu(_)) => Some("the CPU executor computes in f32 alone"),
            (Self::F16, Executor::Gpu(gpu)) if !gpu.info().f16 => Some("the device has no f16 arithmetic"),
            (_, Executor::Gpu(_)) => None,
        }
    }
}

/// What was found.
#[derive(Debug)]
pub struct Peak {
    /// Seconds of one repetition.
    pub seconds: Spread,
    /// Multiplications and additions of it.
    pub flops: u64,
    /// The kernel.
    pub kernel: String,
}

/// Arithmetic that is ready to run again and again.
#[derive(Debug)]
pub struct PeakRun {
    /// On a GPU, and what it writes.
    program: Option<(Program, Tensor)>,
    /// How often a run repeats it.
    repetitions: usize,
    /// Multiplications and additions of a repetition.
    flops: u64,
    kernel: String,
}

impl PeakRun {
    /// Finds out how long a run has to be.
    ///
    /// # Errors
    /// Those of the executor; nothing is left on the device then.
    pub async fn new(
        arithmetic: Arithmetic,
        executor: &Executor,
        budget: Budget,
        cancel: &CancelFlag,
    ) -> Result<Self> {
        match executor {
            Executor::Gpu(gpu) => Self::on_gpu(arithmetic, gpu, budget, cancel).await,
            Executor::Cpu(CpuChoice { .. }) => Self::on_cpu(budget).await,
        }
    }

    async fn on_gpu(arithmetic: Arithmetic, gpu: &Gpu, budget: Budget, cancel: &CancelFlag) -> Result<Self> {
        let invocations = WORKGROUPS * WORKGROUP;
        let operations = match arithmetic {
            Arithmetic::F32 | Arithmetic::F16 => ROUND,
            Arithmetic::Dot4 => ROUND * 4,
        };
        let round = invocations as u64 * operations;
        let rounds = (gpu.limits().max_dispatch_flops / round).clamp(4, 1 << 20) as u32;
        let out = Tensor::resident(DType::F32, &[invocations]);
        let dispatch = Dispatch {
            kernel: Kernel::new("peak", [arithmetic.flag()]),
            bindings: vec![Binding::write(&out)],
            // Chains that neither grow nor vanish, in half precision too.
            params: vec![rounds, 0.75f32.to_bits(), 0.25f32.to_bits(), 0x0103_ff02],
            grid: gpu.limits().fold(WORKGROUPS)?,
            flops: round * u64::from(rounds),
        };
        let (kernel, flops) = (kernel_name(&dispatch.kernel), dispatch.flops);
        let prepared = async {
            let program = gpu.prepare_dispatches(vec![dispatch.clone()])?;
            let count = repetitions(&|| Box::pin(gpu.run(&program, cancel)), 1, budget).await?;
            Ok((gpu.prepare_dispatches(vec![dispatch; count])?, count))
        };
        match prepared.await {
            Ok((program, repetitions)) => {
                Ok(Self { program: Some((program, out)), repetitions, flops, kernel })
            }
            Err(error) => {
                gpu.release(&out);
                Err(error)
            }
        }
    }

    async fn on_cpu(budget: Budget) -> Result<Self> {
        let threads = threads();
        let repetitions =
            repetitions(&|| Box::pin(std::future::ready(on_all(threads, 1))), 1, budget).await?;
        let lanes = Arch::new().dispatch(Lanes) as u64;
        Ok(Self {
            program: None,
            repetitions,
            flops: ROUND * CPU_ROUNDS as u64 * lanes * threads as u64,
            kernel: format!("cpu, {threads} threads, vectors of {lanes}"),
        })
    }

    /// Runs it, on the executor that it was made for.
    pub fn run<'a>(
        &'a self,
        executor: &'a Executor,
        cancel: &'a CancelFlag,
    ) -> LocalBoxFuture<'a, Result<()>> {
        match (&self.program, executor) {
            (Some((program, _)), Executor::Gpu(gpu)) => Box::pin(gpu.run(program, cancel)),
            _ => Box::pin(std::future::ready(on_all(threads(), self.repetitions))),
        }
    }

    /// Operations a second when a run takes so many seconds.
    pub fn rate(&self, seconds: f64) -> f64 {
        self.flops as f64 * self.repetitions as f64 / seconds
    }

    /// Times it.
    ///
    /// # Errors
    /// Those of the executor.
    pub async fn measure(&self, executor: &Executor, budget: Budget, cancel: &CancelFlag) -> Result<Peak> {
        let seconds = spread(&|| self.run(executor, cancel), self.repetitions, budget).await?;
        Ok(Peak { seconds, flops: self.flops, kernel: self.kernel.clone() })
    }

    /// Frees what it has on the device.
    pub fn release(&self, executor: &Executor) {
        if let Some((_, out)) = &self.program {
            executor.release(out);
        }
    }
}

/// Measures a peak.
///
/// # Errors
/// Those of the executor.
pub async fn measure(
    arithmetic: Arithmetic,
    executor: &Executor,
    budget: Budget,
    cancel: &CancelFlag,
) -> Result<Peak> {
    let run = PeakRun::new(arithmetic, executor, budget, cancel).await?;
    let peak = run.measure(executor, budget, cancel).await;
    run.release(executor);
    peak
}

/// A kernel and its flags in one line.
pub fn kernel_name(kernel: &Kernel) -> String {
    std::iter::once(kernel.shader).chain(kernel.flags.iter().copied()).collect::<Vec<_>>().join(" ")
}

/// Rounds of one repetition on the CPU.
const CPU_ROUNDS: usize = 1 << 16;

#[cfg(not(target_arch = "wasm32"))]
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(not(target_arch = "wasm32"))]
fn on_all(threads: usize, count: usize) -> Result<()> {
    let joined = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(|| chains(count))).collect();
        all.into_iter().try_for_each(|thread| thread.join().map(drop))
    });
    joined.map_err(|_| crate::Error::DeviceError { reason: "a thread has panicked".into() })
}

#[cfg(target_arch = "wasm32")]
fn threads() -> usize {
    1
}

#[cfg(target_arch = "wasm32")]
fn on_all(_: usize, count: usize) -> Result<()> {
    chains(count);
    Ok(())
}

fn chains(count: usize) {
    for _ in 0..count {
        black_box(Arch::new().dispatch(Chains));
    }
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

struct Chains;

impl WithSimd for Chains {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let factor = simd.splat_f32s(black_box(0.75));
        let term = simd.splat_f32s(black_box(0.25));
        let mut x: [S::f32s; 12] = std::array::from_fn(|i| simd.splat_f32s(i as f32));
        for _ in 0..CPU_ROUNDS {
            for _ in 0..8 {
                for x in &mut x {
                    *x = simd.mul_add_f32s(*x, factor, term);
                }
            }
        }
        x.into_iter().map(|x| simd.reduce_sum_f32s(x)).sum()
    }
}
