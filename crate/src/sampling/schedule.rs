//! The steps of a clip: timesteps, sigmas, and each step's arithmetic as coefficients of linear combinations.
//!
//! A flow model sees x_t = (1 - sigma) x0 + sigma noise and predicts the velocity noise - x0. Every solver here is linear
//! in what the passes gave, so a step is three small weighted sums (see [`StepCoefficients`]) and the numbers are known
//! before anything runs.

use super::{dmd, euler, unipc};
use crate::config::{SchedulerConfig, Solver};
use crate::error::{Error, Result};

/// One step: what the transformer is given, and how its velocity moves the sample.
///
/// With `sample` the latents before the step and `velocity` what the transformer (with guidance) gives for them:
///
/// ```text
/// x0        = x0 . [sample, velocity]
/// corrected = corrected . [sample, last_sample, m0, m1, x0]
/// next      = next . [corrected, x0, m0] + fresh * new noise
/// then: last_sample <- corrected, m1 <- m0, m0 <- x0, sample <- next
/// ```
///
/// `m0` is the previous step's x0 and `m1` the one before it. A coefficient of something that no step has made yet is
/// exactly 0. The coefficients of `corrected` add up to 1, those of `next` and `fresh` too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepCoefficients {
    /// What the transformer is given: sigma times the training timesteps, a whole number for UniPC.
    pub timestep: f64,
    /// Noise share of the sample, in (0, 1].
    pub sigma: f64,
    /// Noise share after the step; 0 after the last.
    pub next_sigma: f64,
    /// The clean latents from `[sample, velocity]`.
    pub x0: [f64; 2],
    /// The corrected sample from `[sample, last_sample, m0, m1, x0]`; the sample itself where nothing is corrected.
    pub corrected: [f64; 5],
    /// The next sample from `[corrected, x0, m0]`.
    pub next: [f64; 3],
    /// The share of new noise in it; 0 unless the solver is [`Solver::Dmd`].
    pub fresh: f64,
}

impl StepCoefficients {
    /// A step that takes the sample as it is and moves it from `sigma` to `next_sigma` towards x0.
    pub(super) fn first_order(timestep: f64, sigma: f64, next_sigma: f64) -> Self {
        let ratio = next_sigma / sigma;
        Self {
            timestep,
            sigma,
            next_sigma,
            x0: [1.0, -sigma],
            corrected: [1.0, 0.0, 0.0, 0.0, 0.0],
            next: [ratio, 1.0 - ratio, 0.0],
            fresh: 0.0,
        }
    }
}

/// All steps of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The solver the coefficients are of.
    pub solver: Solver,
    /// The timestep shift they are for.
    pub shift: f64,
    /// From pure noise to the clip.
    pub steps: Vec<StepCoefficients>,
}

/// What decides a schedule besides the config.
#[derive(Debug, Clone, Default)]
pub struct ScheduleOptions<'a> {
    /// The config's if there is none, or if the sigmas are given.
    pub shift: Option<f64>,
    /// These, falling from 1 or less to above 0, instead of a grid of the solver's; the last step then ends at 0.
    pub sigmas: Option<&'a [f64]>,
    /// Below 1, only the last `steps * strength` steps, rounded down: those that change a clip noised to where they begin. As
    /// `WanVideoToVideoPipeline.get_timesteps` in diffusers. `None` is 1.
    pub strength: Option<f64>,
}

impl Schedule {
    /// The schedule of `steps` steps (1 to 1,000; as many as there are, where the sigmas are given) with the config's shift, or with
    /// another (0.01 to 100).
    ///
    /// Equal to diffusers' `set_timesteps(steps)` and `step` of the solver's class. Where so many steps truncate to one
    /// timestep, diffusers leaves out the first step; here each runs.
    ///
    /// Fails with `OptionInvalid`.
    pub fn new(
        config: &SchedulerConfig,
        solver: Solver,
        steps: usize,
        options: &ScheduleOptions,
    ) -> Result<Self> {
        if !(1..=MAX_STEPS).contains(&steps) {
            return Err(invalid("steps", "1 to 1000", steps));
        }
        let shift = options.shift.unwrap_or(config.shift);
        let range = SchedulerConfig::SHIFT_RANGE;
        if !range.contains(&shift) {
            return Err(invalid("shift", &format!("{} to {}", range.start(), range.end()), shift));
        }
        let strength = options.strength.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&strength) {
            return Err(invalid("strength", "0 to 1", strength));
        }
        let sigmas = match options.sigmas {
            Some(sigmas) => checked(sigmas)?.to_vec(),
            None => match solver {
                Solver::UniPc => unipc::grid(config, steps, shift),
                Solver::Euler => euler::grid(config, steps, shift),
                Solver::Dmd => dmd::grid(steps, shift),
            },
        };
        let skipped = sigmas.len() - ((sigmas.len() as f64 * strength) as usize).min(sigmas.len());
        let steps = match solver {
            Solver::UniPc => unipc::steps(config, &sigmas, skipped),
            Solver::Euler => euler::steps(config, &sigmas).split_off(skipped),
            Solver::Dmd => dmd::steps(config, &sigmas).split_off(skipped),
        };
        Ok(Self { solver, shift, steps })
    }
}

const MAX_STEPS: usize = 1000;

/// Sigmas that a clip can go through.
fn checked(sigmas: &[f64]) -> Result<&[f64]> {
    let falls = sigmas.windows(2).all(|pair| pair[0] > pair[1]);
    let inside = sigmas.iter().all(|sigma| *sigma > 0.0 && *sigma <= 1.0);
    if falls && inside && (1..=MAX_STEPS).contains(&sigmas.len()) {
        return Ok(sigmas);
    }
    Err(invalid(
        "sigmas",
        "1 to 1000 numbers that fall from 1 or less and stay above 0",
        format!("{sigmas:?}"),
    ))
}

fn invalid(option: &str, expected: &str, found: impl ToString) -> Error {
    Error::OptionInvalid {
        option: option.to_owned(),
        expected: expected.to_owned(),
        found: found.to_string(),
    }
}

/// s' = shift s / (1 + (shift - 1) s).
pub(super) fn shifted(sigma: f64, shift: f64) -> f64 {
    shift * sigma / (1.0 + (shift - 1.0) * sigma)
}

/// The value as diffusers keeps it, in an f32 tensor: near sigma 1 the rounding of 1 - sigma shows in the coefficients.
pub(super) fn as_f32(value: f64) -> f64 {
    f64::from(value as f32)
}

/// `numpy.linspace(start, stop, count)[i]`, rounded as numpy rounds it: a timestep is truncated to a whole number, so that
/// the last bit counts.
pub(super) fn linspace(start: f64, stop: f64, count: usize, i: usize) -> f64 {
    match count {
        0 | 1 => start,
        _ if i + 1 == count => stop,
        _ => i as f64 * ((stop - start) / (count - 1) as f64) + start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UniPcBasis;
    use proptest::prelude::*;
    use serde::Deserialize;

    /// A run of diffusers' scheduler over eight values whose velocity is sin(3 x + t / 250); see tests/golden.
    #[derive(Deserialize)]
    struct Golden {
        solver: String,
        shift: f64,
        order: Option<usize>,
        r#type: Option<String>,
        steps: usize,
        timesteps: Vec<f64>,
        sigmas: Vec<f64>,
        samples: Vec<Vec<Option<f64>>>,
    }

    fn golden() -> Vec<Golden> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/schedules.json");
        // Python writes NaN where diffusers' B(h) = h meets sigma 0.
        let text = std::fs::read_to_string(path).unwrap().replace("NaN", "null");
        serde_json::from_str(&text).unwrap()
    }

    fn config(order: usize, solver_type: UniPcBasis, shift: f64) -> SchedulerConfig {
        SchedulerConfig {
            class: None,
            num_train_timesteps: 1000,
            shift,
            solver_order: order,
            solver_type,
            disable_corrector: Vec::new(),
        }
    }

    fn shifted_by(shift: f64) -> ScheduleOptions<'static> {
        ScheduleOptions { shift: Some(shift), ..Default::default() }
    }

    /// What the recording of a session does with the coefficients, on plain numbers.
    fn walk(schedule: &Schedule, mut sample: f64, velocity: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (mut last_sample, mut m0, mut m1) = (0.0, 0.0, 0.0);
        let mut samples = Vec::new();
        for step in &schedule.steps {
            let x0 = dot(&step.x0, &[sample, velocity(sample, step.timestep)]);
            let corrected = dot(&step.corrected, &[sample, last_sample, m0, m1, x0]);
            let next = dot(&step.next, &[corrected, x0, m0]);
            (last_sample, m1, m0, sample) = (corrected, m0, x0, next);
            samples.push(next);
        }
        samples
    }

    #[test]
    fn equals_diffusers() {
        let mut compared = 0;
        for golden in golden() {
            let order = golden.order.unwrap_or(2);
            if order > 2 {
                continue; // refused by SchedulerConfig::parse
            }
            let basis =
                if golden.r#type.as_deref() == Some("bh1") { UniPcBasis::Bh1 } else { UniPcBasis::Bh2 };
            let solver = if golden.solver == "euler" { Solver::Euler } else { Solver::UniPc };
            // The shift by the config and as the caller's override have to be one.
            let schedule = Schedule::new(
                &config(order, basis, golden.shift),
                solver,
                golden.steps,
                &ScheduleOptions::default(),
            )
            .unwrap();
            let over =
                Schedule::new(&config(order, basis, 7.0), solver, golden.steps, &shifted_by(golden.shift))
                    .unwrap();
            assert_eq!(schedule, over);

            let what = format!(
                "{} order {order} {basis:?}, {} steps, shift {}",
                golden.solver, golden.steps, golden.shift
            );
            let timesteps: Vec<f64> = schedule.steps.iter().map(|step| step.timestep).collect();
            if solver == Solver::UniPc {
                assert_eq!(timesteps, golden.timesteps, "{what}");
            }
            assert_eq!(timesteps.len(), golden.timesteps.len(), "{what}");
            for (found, expected) in timesteps.iter().zip(&golden.timesteps) {
                assert!((found - expected).abs() < 1e-4, "{what}: timestep {found} {expected}");
            }
            let last = schedule.steps.last().map(|step| step.next_sigma);
            let sigmas: Vec<f64> = schedule.steps.iter().map(|step| step.sigma).chain(last).collect();
            assert_eq!(sigmas.len(), golden.sigmas.len(), "{what}");
            for (found, expected) in sigmas.iter().zip(&golden.sigmas) {
                assert!((found - expected).abs() < 1e-8, "{what}: sigma {found} {expected}");
            }
            // Diffusers keeps its coefficients in f32: with 50 steps 1e-5 of rounding is what they add up to.
            for value in 0..8 {
                let start = -2.0 + value as f64 * 4.0 / 7.0;
                let samples = walk(&schedule, start, |x, t| (3.0 * x + t / 250.0).sin());
                for (i, (found, expected)) in samples.iter().zip(&golden.samples).enumerate() {
                    let Some(expected) = expected[value] else {
                        assert!(basis == UniPcBasis::Bh1 && i + 1 == golden.steps, "{what}: NaN at step {i}");
                        continue;
                    };
                    assert!((found - expected).abs() < 5e-5, "{what}: step {i}: {found} {expected}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 4000, "only {compared} values in the golden file");
    }

    #[test]
    fn corrector_left_out() {
        let mut config = config(2, UniPcBasis::Bh2, 3.0);
        config.disable_corrector = vec![0, 2];
        let steps = Schedule::new(&config, Solver::UniPc, 5, &ScheduleOptions::default()).unwrap().steps;
        let plain = steps.iter().map(|step| step.corrected == [1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(plain.collect::<Vec<_>>(), [true, true, false, true, false]);
    }

    #[test]
    fn a_part_of_a_schedule_has_its_sigmas_and_begins_anew() {
        let config = config(2, UniPcBasis::Bh2, 3.0);
        for solver in [Solver::UniPc, Solver::Euler, Solver::Dmd] {
            let of = |strength| {
                let options = ScheduleOptions { strength: Some(strength), ..Default::default() };
                Schedule::new(&config, solver, 10, &options).unwrap().steps
            };
            let (whole, part) = (of(1.0), of(0.65));
            assert_eq!((whole.len(), part.len(), of(0.05).len()), (10, 6, 0));
            for (a, b) in whole[4..].iter().zip(&part) {
                assert_eq!((a.sigma, a.next_sigma, a.timestep), (b.sigma, b.next_sigma, b.timestep));
            }
            assert_eq!(part[0].corrected, [1.0, 0.0, 0.0, 0.0, 0.0]);
            assert_eq!(part[0].next[2], 0.0);
        }
    }

    #[test]
    fn sigmas_of_the_caller_s() {
        let config = config(2, UniPcBasis::Bh2, 3.0);
        let options = ScheduleOptions { sigmas: Some(&[1.0, 0.6, 0.2]), ..Default::default() };
        for solver in [Solver::UniPc, Solver::Euler, Solver::Dmd] {
            let steps = Schedule::new(&config, solver, 50, &options).unwrap().steps;
            let found: Vec<f64> = steps.iter().map(|step| step.sigma).collect();
            assert!(found.iter().zip([1.0, 0.6, 0.2]).all(|(a, b)| (a - b).abs() < 2e-6), "{found:?}");
            assert_eq!(steps[2].next_sigma, 0.0);
            let all = steps.iter().flat_map(|s| s.x0.into_iter().chain(s.corrected).chain(s.next));
            assert!(all.into_iter().all(f64::is_finite));
        }
    }

    #[test]
    fn fresh_noise_takes_the_place_of_the_old() {
        let steps =
            Schedule::new(&config(2, UniPcBasis::Bh2, 3.0), Solver::Dmd, 3, &ScheduleOptions::default());
        let steps = steps.unwrap().steps;
        let of = |f: fn(&StepCoefficients) -> f64| steps.iter().map(f).collect::<Vec<_>>();
        assert_eq!(of(|s| s.timestep), [1000.0, 757.0, 522.0]);
        assert_eq!(of(|s| s.fresh), [0.757, 0.522, 0.0]);
        assert!(steps.iter().all(|s| s.next[0] == 0.0 && (s.next[1] + s.fresh - 1.0).abs() < 1e-12));
    }

    #[test]
    fn options_out_of_range() {
        let config = config(2, UniPcBasis::Bh2, 3.0);
        for (steps, shift) in [(0, None), (1001, None), (4, Some(0.0)), (4, Some(f64::NAN)), (4, Some(1e6))] {
            let options = ScheduleOptions { shift, ..Default::default() };
            let error = Schedule::new(&config, Solver::UniPc, steps, &options).unwrap_err();
            assert_eq!(error.code(), "option_invalid");
        }
        let nan = f64::NAN;
        for sigmas in [&[][..], &[1.1, 0.5], &[0.5, 0.5], &[0.5, 0.6], &[1.0, 0.0], &[nan], &[0.5, nan]] {
            let options = ScheduleOptions { sigmas: Some(sigmas), ..Default::default() };
            let error = Schedule::new(&config, Solver::Dmd, 4, &options).unwrap_err();
            assert_eq!(error.code(), "option_invalid", "{sigmas:?}");
        }
        for strength in [-0.1, 1.1, nan] {
            let options = ScheduleOptions { strength: Some(strength), ..Default::default() };
            assert!(Schedule::new(&config, Solver::Euler, 4, &options).is_err());
        }
    }

    proptest! {
        /// Each weighted sum keeps a constant, nothing is taken from before the start, and sigma falls to 0.
        #[test]
        fn every_schedule_is_consistent(
            steps in 1usize..=1000,
            shift in 0.01f64..=100.0,
            order in 1usize..=2,
            bh1: bool,
            euler: bool,
        ) {
            let basis = if bh1 { UniPcBasis::Bh1 } else { UniPcBasis::Bh2 };
            let solver = if euler { Solver::Euler } else { Solver::UniPc };
            let schedule =
                Schedule::new(&config(order, basis, shift), solver, steps, &ScheduleOptions::default()).unwrap();
            prop_assert_eq!(schedule.steps.len(), steps);
            let mut sigma = f64::INFINITY;
            for (i, step) in schedule.steps.iter().enumerate() {
                prop_assert!(step.sigma < sigma && step.next_sigma < step.sigma, "step {}: {:?}", i, step);
                sigma = step.sigma;
                for sum in [step.corrected.iter().sum::<f64>(), step.next.iter().sum()] {
                    prop_assert!((sum - 1.0).abs() < 1e-6, "step {}: {:?}", i, step);
                }
                if i == 0 {
                    prop_assert_eq!(step.corrected, [1.0, 0.0, 0.0, 0.0, 0.0]);
                    prop_assert_eq!(step.next[2], 0.0);
                }
                if i == 1 {
                    prop_assert_eq!(step.corrected[3], 0.0);
                }
            }
            let last = schedule.steps[steps - 1];
            prop_assert_eq!((last.next_sigma, last.next), (0.0, [0.0, 1.0, 0.0]));
        }

        /// A model that knows x0 and the noise is followed exactly, whatever the solver.
        #[test]
        fn straight_flow_is_exact(steps in 1usize..60, shift in 0.5f64..12.0, x0 in -3.0f64..3.0, noise in -3.0f64..3.0) {
            for solver in [Solver::UniPc, Solver::Euler] {
                let schedule =
                    Schedule::new(&config(2, UniPcBasis::Bh2, shift), solver, steps, &ScheduleOptions::default()).unwrap();
                let start = schedule.steps[0].sigma;
                let samples = walk(&schedule, (1.0 - start) * x0 + start * noise, |_, _| noise - x0);
                for (step, sample) in schedule.steps.iter().zip(samples) {
                    let expected = (1.0 - step.next_sigma) * x0 + step.next_sigma * noise;
                    prop_assert!((sample - expected).abs() < 1e-9, "{} {}", sample, expected);
                }
            }
        }
    }
}
