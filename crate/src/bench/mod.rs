//! How fast a device is: what it can multiply and add at best, single operations at the sizes of Wan's models, whole models.
//!
//! **Method.** A case runs on random values that are the same every time. It is warmed up, and then timed by the clock from a submit to the
//! news of its completion, [`Spread`] being of up to fifteen runs. What is short is repeated in one program until a run takes 50 ms and ten
//! times the latency of a submit: what submitting costs is below a tenth then, and is not taken off. Repetitions take turns between two
//! sets of inputs, so that each begins as a layer of a model does, with a weight that the one before did not have: textures are filled anew.
//! What a cache holds of both comes out faster than in a model. Rates are multiplications and additions by the
//! median. Every rate is compared with the f32 peak of the same device, which runs in turns with the case: each run of the case with the mean
//! of the peak's directly before and after, and the share is the median of theirs, because clocks and what else a machine does change within a
//! second. A peak is compared with the best that was seen when the bench was opened. What would take more than the time given, at half of that
//! best, or more memory than the device has, is reported as skipped.
//!
//! | module | what it is |
//! |---|---|
//! | [`cases`] | every case, as data |
//! | [`peak`] | arithmetic alone |
//! | [`operation`] | one operation: what it reads, and what comes out in f64 |
//! | [`gemm`], [`attention`], [`conv`] | the operations |
//! | [`model`], [`profile`] | whole models, and where their time goes |
//! | [`random`] | values by index |
//! | [`measure`] | time |
//! | [`report`] | what is said, as JSON |

pub mod attention;
pub mod cases;
pub mod conv;
pub mod gemm;
pub mod measure;
pub mod model;
pub mod operation;
pub mod peak;
pub mod profile;
pub mod random;
pub mod report;

use std::collections::BTreeMap;

use futures_util::future::LocalBoxFuture;

use crate::executor::{DeviceChoice, Executor, Program};
use crate::gpu::GpuOptions;
use crate::recording::Recorder;
use crate::{CancelFlag, Error, Result};
use cases::{Case, Work};
use measure::{Budget, Spread, Turns};
use model::RecordedModel;
use peak::{Arithmetic, Peak, PeakRun, kernel_name};
use report::{CaseInfo, CaseReport, DeviceReport, ErrorReport, Header, Measurement, Outcome, VERSION};

/// Suites that are made of others: everything, and what a software adapter does in a few minutes.
const ALL: &str = "gpu";
const QUICK: &str = "quick";

/// All suites by name.
pub const SUITES: [&str; 7] = ["peak", "gemm", "attention", "conv", "model", ALL, QUICK];

/// Runs of a long case: one for the error, two to find out how often to repeat it and to warm up, three that count.
const LONG_RUNS: f64 = 6.0;

/// Share of the peak that is taken for granted before a case has run.
const ASSUMED_SHARE: f64 = 0.5;

/// An open device and the cases.
#[derive(Debug)]
pub struct Bench {
    executor: Executor,
    cases: Vec<Case>,
    peak_run: PeakRun,
    peak: f64,
    seconds_per_case: f64,
    budget: Budget,
}

impl Bench {
    /// Opens a device and measures what everything else is compared with.
    ///
    /// # Errors
    /// As [`Executor::open`], and those of the executor.
    pub async fn open(
        choice: DeviceChoice,
        options: GpuOptions,
        seconds_per_case: f64,
        cancel: &CancelFlag,
    ) -> Result<Self> {
        let options = GpuOptions { timings: true, ..options };
        Self::on(Executor::open(choice, &options).await?, cases::all()?, seconds_per_case, cancel).await
    }

    /// The same of some cases on an executor that is open; its device times dispatches where [`GpuOptions::timings`] asked for it.
    ///
    /// # Errors
    /// Those of the executor.
    pub async fn on(
        executor: Executor,
        cases: Vec<Case>,
        seconds_per_case: f64,
        cancel: &CancelFlag,
    ) -> Result<Self> {
        if let Executor::Gpu(gpu) = &executor {
            gpu.time_dispatches(false);
        }
        let latency = measure::latency(&executor, cancel).await?;
        let budget = Budget { seconds: seconds_per_case / 2.0, latency };
        let peak_run = PeakRun::new(Arithmetic::F32, &executor, budget, cancel).await?;
        let found = peak_run.measure(&executor, budget, cancel).await?;
        // What is in the way of the others is none of a peak's.
        let peak = found.flops as f64 / found.seconds.min;
        Ok(Self { executor, cases, peak_run, peak, seconds_per_case, budget })
    }

    /// What is true of all cases.
    pub fn header(&self) -> Header {
        Header {
            version: VERSION,
            kinetoscope: env!("CARGO_PKG_VERSION"),
            device: DeviceReport::new(&self.executor),
            latency: self.budget.latency,
            peak: self.peak,
            seconds_per_case: self.seconds_per_case,
        }
    }

    /// The cases of some suites, in order.
    ///
    /// # Errors
    /// [`Error::OptionInvalid`] for a suite that there is not.
    pub fn select(&self, suites: &[String]) -> Result<Vec<CaseInfo>> {
        if let Some(unknown) = suites.iter().find(|suite| !SUITES.contains(&suite.as_str())) {
            return Err(Error::OptionInvalid {
                option: "suite".into(),
                expected: SUITES.join(", "),
                found: unknown.clone(),
            });
        }
        let wanted = |case: &&CaseInfo| {
            suites.iter().any(|suite| match suite.as_str() {
                ALL => true,
                QUICK => case.quick,
                suite => suite == case.suite,
            })
        };
        Ok(self.cases.iter().map(|case| &case.info).filter(wanted).cloned().collect())
    }

    /// Runs a case.
    ///
    /// # Errors
    /// [`Error::OptionInvalid`] for a case that there is not, [`Error::Cancelled`], [`Error::DeviceLost`]; whatever else goes wrong is in the
    /// report.
    pub async fn run(&self, id: &str, cancel: &CancelFlag) -> Result<CaseReport> {
        cancel.check()?;
        let Some(case) = self.cases.iter().find(|case| case.info.id == id) else {
            return Err(Error::OptionInvalid {
                option: "case".into(),
                expected: "one of those that are listed".into(),
                found: id.into(),
            });
        };
        let outcome = match self.obstacle(case) {
            Some(reason) => Outcome::Skipped { reason },
            None => match self.measure(case, cancel).await {
                Ok(measurement) => Outcome::Measured(Box::new(measurement)),
                Err(error @ (Error::Cancelled | Error::DeviceLost { .. })) => return Err(error),
                Err(error @ (Error::DeviceTooSmall { .. } | Error::OutOfMemory { .. })) => {
                    Outcome::Skipped { reason: error.to_string() }
                }
                Err(error) => Outcome::Failed { code: error.code(), reason: error.to_string() },
            },
        };
        Ok(CaseReport { case: case.info.clone(), outcome })
    }

    /// Why a case is not tried.
    fn obstacle(&self, case: &Case) -> Option<String> {
        if let Work::Peak(arithmetic) = &case.work {
            return arithmetic.obstacle(&self.executor).map(str::to_owned);
        }
        let once = case.info.flops as f64 / (self.peak * ASSUMED_SHARE);
        (once * LONG_RUNS > self.seconds_per_case).then(|| {
            format!(
                "one run would take about {once:.1} s at half of the measured peak, and {LONG_RUNS} do not fit the {} s that a case may take",
                self.seconds_per_case
            )
        })
    }

    async fn measure(&self, case: &Case, cancel: &CancelFlag) -> Result<Measurement> {
        match &case.work {
            Work::Peak(arithmetic) => {
                let Peak { seconds, flops, kernel } =
                    peak::measure(*arithmetic, &self.executor, self.budget, cancel).await?;
                let rate = flops as f64 / seconds.median;
                let share = rate / self.peak;
                Ok(measurement(rate, seconds, self.peak, share, None, BTreeMap::from([(kernel, 1)])))
            }
            Work::Operation(operation) => {
                let operation = operation.as_ref();
                let sets = operation::upload(operation, &self.executor)?;
                let outcome = async {
                    let first = operation::input_set(&sets, 0)?;
                    let relative = operation::error(operation, first, &self.executor, cancel).await?;
                    let record = |rec: &mut Recorder, nth: usize| {
                        operation.record(rec, operation::input_set(&sets, nth)?).map(drop)
                    };
                    let beside = || self.peak_run.run(&self.executor, cancel);
                    let (turns, program) =
                        measure::repeated(&self.executor, &record, &beside, self.budget, cancel).await?;
                    let error = Some(ErrorReport { relative, against: "f64" });
                    Ok(self.compared(case.info.flops, &turns, error, kernels(&program)))
                };
                let outcome = outcome.await;
                operation::release(&sets, &self.executor);
                outcome
            }
            Work::Model(sizes, part, clip) => {
                let model = RecordedModel::new(*sizes, *part, *clip)?;
                model.upload(&self.executor)?;
                let outcome = self.measure_model(&model, cancel).await;
                model.release(&self.executor);
                outcome
            }
        }
    }

    async fn measure_model(&self, model: &RecordedModel, cancel: &CancelFlag) -> Result<Measurement> {
        let executor = &self.executor;
        let programs = model.prepare(executor)?;
        // Before anything else runs: a decoder remembers frames.
        model.run(&programs, executor, cancel).await?;
        let relative = model.error(executor, cancel).await?;
        let error = relative.map(|relative| ErrorReport { relative, against: "cpu" });
        let run = || -> LocalBoxFuture<'_, Result<()>> { Box::pin(model.run(&programs, executor, cancel)) };
        let beside = || self.peak_run.run(executor, cancel);
        let turns = measure::turns(&run, 1, &beside, self.budget).await?;
        let mut all = BTreeMap::new();
        for (program, (_, times)) in programs.iter().zip(&model.recordings) {
            for (name, count) in kernels(program) {
                *all.entry(name).or_default() += count * times;
            }
        }
        let operations = profile::profile(model, &programs, executor, cancel).await?;
        let measurement = self.compared(model.flops(), &turns, error, all);
        Ok(Measurement { operations: Some(operations), ..measurement })
    }

    /// What was timed in turns with the peak.
    fn compared(
        &self,
        flops: u64,
        turns: &Turns,
        error: Option<ErrorReport>,
        kernels: BTreeMap<String, usize>,
    ) -> Measurement {
        let flops = flops as f64;
        let peaks = turns.pairs.iter().map(|[_, beside]| self.peak_run.rate(*beside));
        let shares = turns.pairs.iter().map(|[time, beside]| flops / time / self.peak_run.rate(*beside));
        let (peak, share) = (measure::median(peaks), measure::median(shares));
        measurement(flops / turns.spread.median, turns.spread, peak, share, error, kernels)
    }
}

fn measurement(
    rate: f64,
    seconds: Spread,
    peak: f64,
    share: f64,
    error: Option<ErrorReport>,
    kernels: BTreeMap<String, usize>,
) -> Measurement {
    Measurement {
        seconds,
        gflops: rate / 1e9,
        peak: peak / 1e9,
        percent_of_peak: share * 100.0,
        error,
        dispatches: kernels.values().sum(),
        kernels,
        operations: None,
    }
}

/// Dispatches of a program by kernel; on the CPU operations.
fn kernels(program: &Program) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    let mut count = |name: String| *all.entry(name).or_default() += 1;
    match program {
        Program::Gpu(program) => program.kernels().for_each(|kernel| count(kernel_name(kernel))),
        Program::Cpu(program) => {
            program.recording().ops().iter().for_each(|op| count(format!("cpu {}", op.name())));
        }
    }
    all
}
