//! Where the time of a model goes, by operation.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use futures_util::future::{LocalBoxFuture, ready};
use web_time::Instant;

use super::model::RecordedModel;
use super::report::{OperationTime, Operations};
use crate::executor::{Executor, Program};
use crate::recording::{PartWeights, Recording};
use crate::{CancelFlag, Result};

/// Runs a model once more, and tells what its operations take: by the GPU's own clock where it has one, else by the clock around each.
///
/// # Errors
/// Those of the executor.
pub async fn profile(
    model: &RecordedModel,
    programs: &[Program],
    executor: &Executor,
    cancel: &CancelFlag,
) -> Result<Operations> {
    let mut all: BTreeMap<&'static str, OperationTime> = BTreeMap::new();
    let mut of = |name: &'static str, add: &dyn Fn(&mut OperationTime)| {
        let nothing = OperationTime { name, dispatches: 0, flops: 0, seconds: 0.0, percent: 0.0 };
        add(all.entry(name).or_insert(nothing));
    };
    for (program, (recording, times)) in programs.iter().zip(&model.recordings) {
        for op in recording.ops() {
            of(op.name(), &|time| time.flops += op.flops() * *times as u64);
            if matches!(program, Program::Cpu(_)) {
                of(op.name(), &|time| time.dispatches += times);
            }
        }
        if let Program::Gpu(program) = program {
            program
                .kernels()
                .for_each(|kernel| of(operation(kernel.shader), &|time| time.dispatches += times));
        }
    }
    let (by, seconds) = match executor {
        Executor::Gpu(gpu) if gpu.time_dispatches(true) => {
            let before = gpu.timings();
            let outcome = model.run(programs, executor, cancel).await;
            gpu.time_dispatches(false);
            outcome?;
            let mut seconds = gpu.timings();
            for (name, before) in before {
                seconds.entry(name).and_modify(|seconds| *seconds -= before);
            }
            ("timestamps", seconds)
        }
        _ => ("clock", clocked(model, executor, cancel).await?),
    };
    for (name, seconds) in seconds {
        of(operation(name), &|time| time.seconds += seconds);
    }
    let sum: f64 = all.values().map(|time| time.seconds).sum();
    let share = |time: OperationTime| OperationTime { percent: time.seconds / sum * 100.0, ..time };
    let mut times: Vec<_> = all.into_values().filter(|time| time.dispatches > 0).map(share).collect();
    times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok(Operations { by, times })
}

/// The operation that a shader is of: it has its name, but for the parts of convolutions.
fn operation(shader: &'static str) -> &'static str {
    if shader.starts_with("winograd_") { "conv" } else { shader }
}

/// Seconds by operation, each of them run by itself.
async fn clocked(
    model: &RecordedModel,
    executor: &Executor,
    cancel: &CancelFlag,
) -> Result<HashMap<&'static str, f64>> {
    let mut seconds = HashMap::new();
    for (recording, times) in &model.recordings {
        let program = executor.prepare_parts(recording, &|_| false)?;
        let parts: Vec<_> = (0..recording.ops().len()).map(|op| op..op + 1).collect();
        for _ in 0..*times {
            let watch =
                Stopwatch { recording, last: RefCell::new(Instant::now()), seconds: RefCell::default() };
            executor.run_parts(&program, &parts, &watch, cancel).await?;
            for (name, time) in watch.seconds.into_inner() {
                *seconds.entry(name).or_default() += time;
            }
        }
    }
    Ok(seconds)
}

/// Reads the clock when a part of one operation is done with.
struct Stopwatch<'a> {
    recording: &'a Recording,
    last: RefCell<Instant>,
    seconds: RefCell<HashMap<&'static str, f64>>,
}

impl PartWeights for Stopwatch<'_> {
    fn load(&self, _: usize) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(ready(Ok(())))
    }

    fn release(&self, index: usize) {
        let now = Instant::now();
        let last = self.last.replace(now);
        if let Some(op) = self.recording.ops().get(index) {
            *self.seconds.borrow_mut().entry(op.name()).or_default() += (now - last).as_secs_f64();
        }
    }
}
