//! Few-step sampling of a distilled model: every step goes to clean latents and back to the next sigma with fresh noise.
//!
//! Paper: "Improved Distribution Matching Distillation for Fast Image Synthesis", <https://arxiv.org/abs/2405.14867>, section 4.5. FastVideo's
//! `DmdDenoisingStage` runs FastWan's checkpoints so, at timesteps 1000, 757 and 522.

use super::schedule::{StepCoefficients, linspace, shifted};
use crate::config::SchedulerConfig;

/// What FastWan was distilled for.
const FASTWAN: [f64; 3] = [1.0, 0.757, 0.522];

/// The sigmas of a clip: FastWan's where there are three, else evenly spread and shifted.
pub(super) fn grid(steps: usize, shift: f64) -> Vec<f64> {
    match steps {
        3 => FASTWAN.to_vec(),
        _ => (0..steps).map(|i| shifted(linspace(1.0, 0.0, steps + 1, i), shift)).collect(),
    }
}

/// The coefficients of every step.
pub(super) fn steps(config: &SchedulerConfig, sigmas: &[f64]) -> Vec<StepCoefficients> {
    let next = sigmas.iter().skip(1).copied().chain(std::iter::once(0.0));
    let step = |(&sigma, next_sigma): (&f64, f64)| StepCoefficients {
        next: [0.0, 1.0 - next_sigma, 0.0],
        fresh: next_sigma,
        ..StepCoefficients::first_order(sigma * config.num_train_timesteps as f64, sigma, next_sigma)
    };
    sigmas.iter().zip(next).map(step).collect()
}
