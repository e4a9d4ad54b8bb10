//! UniPC in data prediction, orders 1 and 2, as diffusers' `UniPCMultistepScheduler` takes its steps with flow sigmas.
//!
//! Paper: "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models",
//! <https://arxiv.org/abs/2302.04867>. Names follow diffusers' `multistep_uni_p_bh_update` and `multistep_uni_c_bh_update`.

use super::schedule::{StepCoefficients, as_f32, linspace, shifted};
use crate::config::{SchedulerConfig, UniPcBasis};

/// How far below 1 the first sigma is kept.
const EPSILON: f64 = 1e-6;

/// The sigmas of diffusers' `set_timesteps(steps)`, in f64.
pub(super) fn grid(config: &SchedulerConfig, steps: usize, shift: f64) -> Vec<f64> {
    let end = 1.0 / config.num_train_timesteps as f64;
    (0..steps).map(|i| shifted(linspace(1.0, end, steps + 1, i), shift)).collect()
}

/// The coefficients of every step but the first `skipped`, as if those that are left were all.
pub(super) fn steps(config: &SchedulerConfig, grid: &[f64], skipped: usize) -> Vec<StepCoefficients> {
    let steps = grid.len();
    // The first is kept below 1, where log(1 - sigma) has no value.
    let below_1 = |sigma: f64| if (sigma - 1.0).abs() < EPSILON { sigma - EPSILON } else { sigma };
    let grid: Vec<f64> = grid.iter().map(|&sigma| below_1(sigma)).collect();
    let sigmas: Vec<f64> = grid.iter().map(|&sigma| as_f32(sigma)).chain(std::iter::once(0.0)).collect();
    let sigma = |i: usize| sigmas.get(i).copied().unwrap_or(0.0);

    let mut coefficients = Vec::with_capacity(steps);
    let mut previous_order = 0;
    for (i, &unrounded) in grid.iter().enumerate().skip(skipped) {
        // Both updates of a step go over the interval that its predictor crossed, so the corrector has the order that the
        // previous step's predictor had: it rises from 1, and the last step is of order 1.
        let order = config.solver_order.min(steps - i).min(i - skipped + 1);
        let timestep = (unrounded * config.num_train_timesteps as f64).trunc();
        let mut step = StepCoefficients::first_order(timestep, sigma(i), sigma(i + 1));
        if i > skipped && !config.disable_corrector.contains(&(i - 1)) {
            let interval = Interval::new(config, sigma(i - 1), sigma(i));
            let before = (previous_order == 2).then(|| sigma(i.saturating_sub(2)));
            step.corrected = interval.corrector(before);
        }
        if order == 2 {
            let interval = Interval::new(config, sigma(i), sigma(i + 1));
            step.next = interval.predictor(sigma(i.saturating_sub(1)));
        }
        coefficients.push(step);
        previous_order = order;
    }
    coefficients
}

/// The way from sigma `s` down to sigma `t > 0`, and the functions of its length in log signal-to-noise that UniPC weighs
/// by.
struct Interval {
    lambda_s: f64,
    /// Length: lambda_t - lambda_s.
    h: f64,
    /// What is left of the sample at `s`: sigma_t / sigma_s. The rest, 1 - ratio, is -alpha_t expm1(-h).
    ratio: f64,
    /// alpha_t B(h).
    basis: f64,
    /// The right side of the order conditions, `b` in diffusers.
    b: [f64; 2],
}

/// Half the logarithm of the signal-to-noise ratio.
fn lambda(sigma: f64) -> f64 {
    (1.0 - sigma).ln() - sigma.ln()
}

impl Interval {
    fn new(config: &SchedulerConfig, s: f64, t: f64) -> Self {
        let lambda_s = lambda(s);
        let h = lambda(t) - lambda_s;
        let hh = -h;
        let basis = match config.solver_type {
            UniPcBasis::Bh1 => hh,
            UniPcBasis::Bh2 => hh.exp_m1(),
        };
        let phi_1 = hh.exp_m1() / hh - 1.0;
        let phi_2 = phi_1 / hh - 0.5;
        Self { lambda_s, h, ratio: t / s, basis: (1.0 - t) * basis, b: [phi_1 / basis, 2.0 * phi_2 / basis] }
    }

    /// Where sigma `before` lies, in lengths of this interval from its start: negative.
    fn position(&self, before: f64) -> f64 {
        (lambda(before) - self.lambda_s) / self.h
    }

    /// The second-order predictor: coefficients of `[corrected, x0, m0]`, with `m0` made at sigma `before`.
    fn predictor(&self, before: f64) -> [f64; 3] {
        let slope = 0.5 * self.basis / self.position(before);
        [self.ratio, 1.0 - self.ratio + slope, -slope]
    }

    /// The corrector: coefficients of `[sample, last_sample, m0, m1, x0]`, with `m1` made at sigma `before` and used where
    /// the predictor over this interval was of order 2.
    fn corrector(&self, before: Option<f64>) -> [f64; 5] {
        let [b1, b2] = self.b;
        let (of_m1, of_x0) = match before {
            None => (0.0, 0.5),
            Some(before) => {
                // The conditions rho_1 + rho_2 = b1 and r rho_1 + rho_2 = b2.
                let r = self.position(before);
                let rho_1 = (b1 - b2) / (1.0 - r);
                (rho_1 / r, b1 - rho_1)
            }
        };
        let (of_m1, of_x0) = (-self.basis * of_m1, -self.basis * of_x0);
        [0.0, self.ratio, 1.0 - self.ratio - of_m1 - of_x0, of_m1, of_x0]
    }
}
