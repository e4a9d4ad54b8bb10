//! Time of what repeats.

use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use web_time::Instant;

use crate::executor::{Executor, Program};
use crate::recording::{Recorder, Recording};
use crate::tensor::{DType, Tensor};
use crate::{CancelFlag, Result};

/// Runs that are timed, if the budget allows, and at least.
const RUNS: usize = 15;
const FEWEST_RUNS: usize = 3;

/// Warming up goes on for this long: clocks rise, pipelines are compiled, submits grow to their size ([`crate::gpu`]'s pace).
const WARM_UP: f64 = 0.2;

/// A timed run takes at least this long, and at least so many times the latency of a submit.
const SHORTEST: f64 = 0.05;
const LATENCIES: f64 = 10.0;

/// Dispatches of a recording of repetitions.
const MOST_DISPATCHES: usize = 2048;

/// Seconds of one repetition.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// The median of the runs.
    pub median: f64,
    /// The shortest run.
    pub min: f64,
    /// The longest run.
    pub max: f64,
    /// Timed runs.
    pub runs: usize,
    /// Repetitions in a run, whose time is divided by them.
    pub repetitions: usize,
}

/// What was timed in turns with something else.
#[derive(Debug)]
pub struct Turns {
    /// Of a repetition.
    pub spread: Spread,
    /// Seconds of a repetition in each run, and of the other directly before and after, the mean.
    pub pairs: Vec<[f64; 2]>,
}

/// How long measuring may take.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Seconds for all runs of a case.
    pub seconds: f64,
    /// Seconds between a submit and the news of its completion.
    pub latency: f64,
}

/// Something that can be run again and again.
pub type Run<'a> = dyn Fn() -> LocalBoxFuture<'a, Result<()>> + 'a;

/// Seconds that `run` takes.
///
/// # Errors
/// What it reports.
pub async fn seconds(run: &Run<'_>) -> Result<f64> {
    let start = Instant::now();
    run().await?;
    Ok(start.elapsed().as_secs_f64())
}

/// Warms up, and times `run`, which repeats something `repetitions` times.
///
/// # Errors
/// What it reports.
pub async fn spread(run: &Run<'_>, repetitions: usize, budget: Budget) -> Result<Spread> {
    let nothing: &Run<'_> = &|| Box::pin(std::future::ready(Ok(())));
    Ok(turns(run, repetitions, nothing, budget).await?.spread)
}

/// The same, with a run of `beside` before and after each.
///
/// # Errors
/// What either reports.
pub async fn turns(run: &Run<'_>, repetitions: usize, beside: &Run<'_>, budget: Budget) -> Result<Turns> {
    let start = Instant::now();
    let mut once = seconds(run).await?;
    while start.elapsed().as_secs_f64() + once < WARM_UP {
        once = seconds(run).await?;
    }
    let mut pairs = Vec::new();
    let start = Instant::now();
    let mut before = seconds(beside).await?;
    while pairs.len() < FEWEST_RUNS
        || (pairs.len() < RUNS && start.elapsed().as_secs_f64() + once + before < budget.seconds)
    {
        once = seconds(run).await?;
        let after = seconds(beside).await?;
        pairs.push([once / repetitions.max(1) as f64, f64::midpoint(before, after)]);
        before = after;
    }
    let times = || pairs.iter().map(|[time, _]| *time);
    let spread = Spread {
        median: median(times()),
        min: times().fold(f64::INFINITY, f64::min),
        max: times().fold(0.0, f64::max),
        runs: pairs.len(),
        repetitions,
    };
    Ok(Turns { spread, pairs })
}

/// The upper one of two; 0 of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Times a recording that is short, in turns with `beside`: so many of it in one program that submitting them does not count. `record` is
/// given how many there are already.
///
/// # Errors
/// Those of the executor.
pub async fn repeated(
    executor: &Executor,
    record: &dyn Fn(&mut Recorder, usize) -> Result<()>,
    beside: &Run<'_>,
    budget: Budget,
    cancel: &CancelFlag,
) -> Result<(Turns, Program)> {
    let recording = |repetitions: usize| {
        let mut rec = Recorder::new();
        (0..repetitions).try_for_each(|nth| record(&mut rec, nth))?;
        Ok::<Recording, crate::Error>(rec.finish())
    };
    let program = executor.prepare(&recording(1)?)?;
    let repetitions =
        repetitions(&|| Box::pin(executor.run(&program, cancel)), dispatches(&program), budget).await?;
    if repetitions == 1 {
        let turns = turns(&|| Box::pin(executor.run(&program, cancel)), 1, beside, budget).await?;
        return Ok((turns, program));
    }
    let many = executor.prepare(&recording(repetitions)?)?;
    let turns = turns(&|| Box::pin(executor.run(&many, cancel)), repetitions, beside, budget).await?;
    Ok((turns, program))
}

/// How often something is to be repeated in a run, `dispatches` being what it takes.
///
/// # Errors
/// What it reports.
pub async fn repetitions(run: &Run<'_>, dispatches: usize, budget: Budget) -> Result<usize> {
    let wanted = SHORTEST.max(LATENCIES * budget.latency);
    let mut once = seconds(run).await?;
    // The first run may have compiled.
    for _ in 0..2 {
        if once < 10.0 * wanted {
            once = once.min(seconds(run).await?);
        }
    }
    // What is within the latency may be next to nothing.
    let work = (once - budget.latency).max(once * 0.01).max(1e-6);
    Ok(((wanted / work).ceil() as usize).clamp(1, (MOST_DISPATCHES / dispatches.max(1)).max(1)))
}

/// Dispatches of a program; on the CPU operations.
pub fn dispatches(program: &Program) -> usize {
    match program {
        Program::Gpu(program) => program.dispatches(),
        Program::Cpu(program) => program.recording().ops().len(),
    }
}

/// Seconds between the submit of next to nothing and the news of its completion: the median of some.
///
/// # Errors
/// Those of the executor.
pub async fn latency(executor: &Executor, cancel: &CancelFlag) -> Result<f64> {
    let [from, to] = [(); 2].map(|()| Tensor::resident(DType::F32, &[4]));
    let mut rec = Recorder::new();
    rec.copy(&from, &to)?;
    let program = executor.prepare(&rec.finish())?;
    let nothing = Budget { seconds: 1.0, latency: 0.0 };
    let spread = spread(&|| Box::pin(executor.run(&program, cancel)), 1, nothing).await;
    [from, to].iter().for_each(|tensor| executor.release(tensor));
    Ok(spread?.median)
}
