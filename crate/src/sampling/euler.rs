//! Euler steps along the flow, as diffusers' `FlowMatchEulerDiscreteScheduler` takes them.

use super::schedule::{StepCoefficients, as_f32, linspace, shifted};
use crate::config::SchedulerConfig;

/// The sigmas of diffusers' `set_timesteps(steps)`.
///
/// Diffusers shifts twice: the ends of its grid are the first and the last training sigma, already shifted, and the grid
/// between them is shifted again. What it computes in f32 is computed in f32 here.
pub(super) fn grid(config: &SchedulerConfig, steps: usize, shift: f64) -> Vec<f64> {
    let train = config.num_train_timesteps as f64;
    let end = |timestep: f64| f64::from(shifted_f32((timestep / train) as f32, shift)) * train;
    let (first, last) = (end(train), end(1.0));
    (0..steps).map(|i| as_f32(shifted(linspace(first, last, steps, i) / train, shift))).collect()
}

/// The coefficients of every step.
pub(super) fn steps(config: &SchedulerConfig, sigmas: &[f64]) -> Vec<StepCoefficients> {
    let train = config.num_train_timesteps as f64;
    let next = sigmas.iter().skip(1).copied().chain(std::iter::once(0.0));
    sigmas
        .iter()
        .zip(next)
        .map(|(&sigma, next)| StepCoefficients::first_order(as_f32(sigma * train), sigma, next))
        .collect()
}

/// [`shifted`] as it comes out of an f32 tensor.
fn shifted_f32(sigma: f32, shift: f64) -> f32 {
    shift as f32 * sigma / (1.0 + (shift - 1.0) as f32 * sigma)
}
