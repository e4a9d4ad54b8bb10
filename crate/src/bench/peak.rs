//! What a device can multiply and add when it does nothing else: the denominator of everything else.
//!
//! On a GPU `shaders/peak.wgsl`: twelve chains an invocation, nothing but registers. On the CPU the same with the vectors that the GEMM
//! crate works with, on every core; in wasm on one.

use std::hint::black_box;

use pulp::{Arch, Simd, WithSimd};
use serde::Serialize;

use super::measure::{Budget, Spread, repetitions, spread};
use crate::executor::{CpuChoice, Executor};
use crate::gpu::{Binding, Dispatch, Gpu, Kernel};
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

impl Peak {
    /// Operations a second, by the median.
    pub fn rate(&self) -> f64 {
        self.flops as f64 / self.seconds.median
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
    match executor {
        Executor::Gpu(gpu) => on_gpu(arithmetic, gpu, budget, cancel).await,
        Executor::Cpu(CpuChoice { .. }) => on_cpu(budget).await,
    }
}

async fn on_gpu(arithmetic: Arithmetic, gpu: &Gpu, budget: Budget, cancel: &CancelFlag) -> Result<Peak> {
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
    let outcome = async {
        let program = gpu.prepare_dispatches(vec![dispatch.clone()])?;
        let count = repetitions(&|| Box::pin(gpu.run(&program, cancel)), 1, budget).await?;
        let many = gpu.prepare_dispatches(vec![dispatch; count])?;
        spread(&|| Box::pin(gpu.run(&many, cancel)), count, budget).await
    };
    let seconds = outcome.await;
    gpu.release(&out);
    Ok(Peak { seconds: seconds?, flops, kernel })
}

/// A kernel and its flags in one line.
pub fn kernel_name(kernel: &Kernel) -> String {
    std::iter::once(kernel.shader).chain(kernel.flags.iter().copied()).collect::<Vec<_>>().join(" ")
}

/// Rounds of one repetition on the CPU.
const CPU_ROUNDS: usize = 1 << 16;

async fn on_cpu(budget: Budget) -> Result<Peak> {
    let threads = threads();
    let run = |count| on_all(threads, count);
    let count = repetitions(&|| Box::pin(std::future::ready(run(1))), 1, budget).await?;
    let seconds = spread(&|| Box::pin(std::future::ready(run(count))), count, budget).await?;
    let lanes = Arch::new().dispatch(Lanes) as u64;
    Ok(Peak {
        seconds,
        flops: ROUND * CPU_ROUNDS as u64 * lanes * threads as u64,
        kernel: format!("cpu, {threads} threads, vectors of {lanes}"),
    })
}

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
