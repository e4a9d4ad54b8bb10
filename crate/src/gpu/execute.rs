//! Running a program in bounded submits, so that the page stays alive and a slow GPU is not taken for a hung one.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::rc::Rc;

use futures_channel::oneshot;
use futures_util::future::try_join;

use super::device::Gpu;
use super::memory::Allocation;
use super::program::{Parts, Program, Step};
use super::timings::Timer;
use crate::recording::PartWeights;
use crate::{CancelFlag, Error, Result};

/// Submits under way at a time: one runs while the next is encoded.
const IN_FLIGHT: usize = 2;

/// A submit shorter than this lets the next be larger; see [`Pace`].
const SHORT: f64 = 0.050;

/// A submit longer than this makes the next smaller.
const LONG: f64 = 0.100;

/// How much work goes into a submit, learned from the time that earlier submits took.
#[derive(Debug)]
pub(super) struct Pace {
    /// Work of the next submit, in the unit of [`super::Dispatch::cost`].
    budget: u64,
    /// Shortest time seen between submit and completion: some browsers look for completion every 33 to 100 ms only.
    latency: f64,
}

impl Pace {
    /// Starts with a twentieth of the longest dispatch: a few milliseconds.
    pub(super) fn new(max_dispatch_flops: u64) -> Self {
        Self { budget: (max_dispatch_flops / 20).max(1), latency: f64::INFINITY }
    }

    /// How many of `costs` go into the next submit; at least one.
    fn cut(&self, costs: impl Iterator<Item = u64>) -> usize {
        let mut sum = 0_u64;
        let within = |cost: &u64| {
            sum = sum.saturating_add(*cost);
            sum <= self.budget
        };
        costs.take_while(within).count().max(1)
    }

    /// A submit of `cost` took `seconds`.
    fn measured(&mut self, cost: u64, seconds: f64) {
        self.latency = self.latency.min(seconds);
        let work = seconds - self.latency;
        if work < SHORT && cost >= self.budget / 2 {
            self.budget = self.budget.saturating_mul(2);
        } else if work > LONG && seconds > 0.0 {
            // Towards the middle of the two, but not by more than a quarter at a time: costs are estimates.
            let towards = cost as f64 * 0.075 / work;
            self.budget = (towards as u64).clamp((self.budget / 4).max(1), self.budget);
        }
    }
}

/// A submit that was handed to the device.
pub(super) struct Submitted {
    pub(super) submission: wgpu::SubmissionIndex,
    pub(super) done: oneshot::Receiver<()>,
    cost: u64,
    start: f64,
}

impl Gpu {
    /// Runs a program once. The results are in the resident tensors it writes.
    ///
    /// # Errors
    /// [`Error::Cancelled`] after the submits under way have ended, [`Error::WrongState`] when a resident of the program was
    /// released, and the device's own.
    pub async fn run(&self, program: &Program, cancel: &CancelFlag) -> Result<()> {
        self.status.check()?;
        if !self.is_current(program) {
            let reason = "a tensor that the program uses was released".into();
            return Err(Error::WrongState { call: "run", reason });
        }
        self.run_steps(&program.steps, cancel).await
    }

    /// Runs a recording a part at a time, each while the weights of the next are loaded. `parts` are ranges of operations that follow each
    /// other.
    ///
    /// # Errors
    /// As [`Gpu::run`], and what loading reports. No weights of a part are left then.
    pub async fn run_parts(
        &self,
        program: &Parts,
        parts: &[Range<usize>],
        weights: &dyn PartWeights,
        cancel: &CancelFlag,
    ) -> Result<()> {
        let run = async {
            weights.load(0).await?;
            for (index, ops) in parts.iter().enumerate() {
                let steps = self.bind_ops(program, ops.clone())?;
                try_join(self.run_steps(&steps, cancel), weights.load(index + 1)).await?;
                weights.release(index);
            }
            Ok(())
        };
        let outcome = run.await;
        (0..parts.len()).for_each(|index| weights.release(index));
        outcome
    }

    async fn run_steps(&self, steps: &[Step], cancel: &CancelFlag) -> Result<()> {
        let mut under_way = VecDeque::new();
        let mut finished = 0.0;
        let mut rest = steps;
        let mut outcome = cancel.check();
        while outcome.is_ok() && !rest.is_empty() {
            let most = if self.timed() { Timer::MOST_STEPS } else { rest.len() };
            let count = self.pace.borrow().cut(rest.iter().take(most).map(|step| step.cost));
            let (steps, after) = rest.split_at(count);
            rest = after;
            let timer = self.timed().then(|| Timer::new(self, steps.len())).transpose()?;
            under_way.push_back(self.submit(steps, timer.as_ref()));
            if under_way.len() >= IN_FLIGHT
                && let Some(first) = under_way.pop_front()
            {
                self.complete(first, &mut finished).await?;
            }
            if let Some(timer) = timer {
                timer.collect(self, steps).await?;
            }
            outcome = cancel.check();
        }
        while let Some(next) = under_way.pop_front() {
            self.complete(next, &mut finished).await?;
        }
        outcome
    }

    /// Whether everything that a program is bound to is still there.
    pub fn is_current(&self, program: &Program) -> bool {
        let residents = self.residents.borrow();
        let same =
            |(id, held): &(u64, Rc<Allocation>)| residents.get(id).is_some_and(|now| Rc::ptr_eq(now, held));
        program.residents.iter().all(same)
    }

    /// One submit of some steps: one compute pass from each filling of textures to the next, in which WebGPU orders dispatches
    /// that touch the same buffer.
    pub(super) fn submit(&self, steps: &[Step], timer: Option<&Timer>) -> Submitted {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        match timer {
            None => {
                for steps in steps.chunk_by(|_, next| next.fills.is_empty()) {
                    steps.iter().flat_map(|step| &step.fills).for_each(|fill| fill.encode(&mut encoder));
                    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                    steps.iter().for_each(|step| dispatch(&mut pass, step));
                }
            }
            Some(timer) => {
                for (index, step) in steps.iter().enumerate() {
                    step.fills.iter().for_each(|fill| fill.encode(&mut encoder));
                    let descriptor =
                        wgpu::ComputePassDescriptor { label: None, timestamp_writes: timer.writes(index) };
                    dispatch(&mut encoder.begin_compute_pass(&descriptor), step);
                }
                timer.resolve(&mut encoder);
            }
        }
        let cost = steps.iter().map(|step| step.cost).sum();
        let start = now();
        let submission = self.queue.submit([encoder.finish()]);
        let (sender, done) = oneshot::channel();
        self.queue.on_submitted_work_done(move || {
            // The receiver is gone when the caller dropped the future.
            let _ = sender.send(());
        });
        Submitted { submission, done, cost, start }
    }

    /// Awaits a submit and learns from its time; `finished` is when the one before it ended.
    async fn complete(&self, submitted: Submitted, finished: &mut f64) -> Result<()> {
        let Submitted { submission, done, cost, start } = submitted;
        self.wait(submission, done).await?;
        let end = now();
        self.pace.borrow_mut().measured(cost, end - start.max(*finished));
        *finished = end;
        self.status.check()
    }

    /// Awaits what a callback of the device sends. Natively the callbacks run while the device is polled.
    pub(super) async fn wait<T>(
        &self,
        submission: wgpu::SubmissionIndex,
        receiver: impl Future<Output = std::result::Result<T, oneshot::Canceled>>,
    ) -> Result<T> {
        self.poll_until(submission)?;
        receiver.await.map_err(|_| self.fault(&"the device dropped its work"))
    }

    /// Natively returns when the device has done a submission; in a browser at once.
    pub(super) fn poll_until(&self, submission: wgpu::SubmissionIndex) -> Result<()> {
        let poll = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        self.device.poll(poll).map_err(|error| self.fault(&error))?;
        Ok(())
    }
}

fn dispatch(pass: &mut wgpu::ComputePass<'_>, step: &Step) {
    let [x, y, z] = step.grid;
    pass.set_pipeline(&step.pipeline.pipeline);
    pass.set_bind_group(0, &step.group, &[]);
    pass.dispatch_workgroups(x, y, z);
}

/// Seconds from some fixed moment.
#[cfg(not(target_arch = "wasm32"))]
fn now() -> f64 {
    use std::sync::LazyLock;
    use std::time::Instant;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_secs_f64()
}

/// Seconds from some fixed moment.
#[cfg(target_arch = "wasm32")]
fn now() -> f64 {
    js_sys::Date::now() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Submits of a device with this speed and latency, until the budget settles.
    fn settle(flops_per_second: f64, latency: f64) -> f64 {
        let mut pace = Pace::new(20_000_000_000);
        for _ in 0..60 {
            let count = pace.cut(std::iter::repeat_n(10_000_000, 1_000_000));
            let cost = count as u64 * 10_000_000;
            pace.measured(cost, latency + cost as f64 / flops_per_second);
        }
        pace.budget as f64 / flops_per_second
    }

    #[test]
    fn submits_settle_near_their_time() {
        for speed in [5e9, 1e11, 3e12] {
            for latency in [0.0, 0.002, 0.1] {
                let seconds = settle(speed, latency);
                assert!((0.03..0.25).contains(&seconds), "{speed} flop/s, latency {latency}: {seconds} s");
            }
        }
    }

    #[test]
    fn a_long_dispatch_goes_alone() {
        let pace = Pace::new(20_000);
        assert_eq!(pace.cut([5_000, 10].into_iter()), 1);
        assert_eq!(pace.cut([300, 300, 300, 300].into_iter()), 3);
    }
}
