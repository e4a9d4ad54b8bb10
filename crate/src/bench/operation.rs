//! One operation as a case: what it reads, how it is recorded, and what comes out, in f64.

use crate::Result;
use crate::bench::random::{Input, Random};
use crate::executor::Executor;
use crate::recording::Recorder;
use crate::tensor::{DType, Tensor};
use crate::{CancelFlag, Error};

/// Rows of the output that are looked at, and elements of each: the first and the last, where edges of tiles are, and random ones.
const SAMPLES: usize = 8;

/// Bytes of inputs that are uploaded a second time: more are not in a cache anyway, and may not fit.
const TWICE: u64 = 256 << 20;

/// An operation that is measured.
pub trait Operation: std::fmt::Debug {
    /// Sizes, by the names that the module's documentation has for them.
    fn shape(&self) -> Vec<(&'static str, usize)>;

    /// Multiplications and additions of one run.
    fn flops(&self) -> u64;

    /// What it reads.
    fn inputs(&self) -> Vec<Input>;

    /// Records it on the inputs' tensors; the output is `[rows, columns]` once the inner dimensions are put together.
    ///
    /// # Errors
    /// A shape that does not fit.
    fn record(&self, rec: &mut Recorder, inputs: &[Input]) -> Result<Tensor>;

    /// Some elements of a row of the output, computed in f64.
    fn expected(&self, inputs: &[Input], row: usize, columns: &[usize]) -> Vec<f64>;
}

/// Runs an operation once; the largest difference of sampled outputs from their values in f64, relative to the root of the mean square of
/// the latter.
///
/// # Errors
/// Those of the executor.
pub async fn error(
    operation: &dyn Operation,
    inputs: &[Input],
    executor: &Executor,
    cancel: &CancelFlag,
) -> Result<f64> {
    let mut rec = Recorder::new();
    let result = operation.record(&mut rec, inputs)?;
    let rows = result.shape().first().copied().unwrap_or(0).max(1);
    let out = Tensor::resident(DType::F32, result.shape());
    rec.copy(&result, &out)?;
    let outcome = async {
        let program = executor.prepare(&rec.finish())?;
        executor.run(&program, cancel).await?;
        let columns = out.len() / rows;
        let matrix = out.reshape(&[rows, columns])?;
        let random = Random::new(0x5eed);
        let (mut worst, mut squares, mut count) = (0f64, 0f64, 0f64);
        for (sample, row) in sample(rows, random).into_iter().enumerate() {
            let wanted = self::sample(columns, Random::new(sample as u64));
            let bytes = executor.read(&matrix.rows(row, 1)?).await?;
            let found: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
            for (column, expected) in wanted.iter().zip(operation.expected(inputs, row, &wanted)) {
                let found = found.get(*column).copied().map_or(f64::NAN, f64::from);
                let difference = (found - expected).abs();
                // A NaN must not pass for small.
                worst = if difference > worst || difference.is_nan() { difference } else { worst };
                squares += expected * expected;
                count += 1.0;
            }
        }
        Ok(worst / (squares / count).sqrt())
    };
    let outcome = outcome.await;
    executor.release(&out);
    outcome
}

/// The first index, the last and random ones.
fn sample(count: usize, random: Random) -> Vec<usize> {
    let ends = [0, count.saturating_sub(1)];
    ends.into_iter().chain((2..SAMPLES).map(|i| random.below(i, count))).collect()
}

/// Inputs of repeated operations, in turns.
pub type Sets = Vec<Vec<Input>>;

/// The inputs on the device, twice unless they are more than [`TWICE`].
///
/// # Errors
/// Those of the executor; nothing is left on the device then.
pub fn upload(operation: &dyn Operation, executor: &Executor) -> Result<Sets> {
    let mut sets = vec![operation.inputs()];
    let bytes: u64 = sets.iter().flatten().map(|input| input.tensor.allocation_bytes()).sum();
    if bytes <= TWICE {
        sets.push(operation.inputs());
    }
    let uploaded = sets.iter().flatten().try_for_each(|input| input.upload(executor));
    if uploaded.is_err() {
        release(&sets, executor);
    }
    uploaded.map(|()| sets)
}

/// Frees what [`upload`] put there.
pub fn release(sets: &Sets, executor: &Executor) {
    sets.iter().flatten().for_each(|input| executor.release(&input.tensor));
}

/// The inputs of the nth repetition.
///
/// # Errors
/// [`Error::WrongState`] when there are none.
pub fn input_set(sets: &Sets, nth: usize) -> Result<&[Input]> {
    let missing = || Error::WrongState { call: "bench", reason: "there are no inputs".into() };
    sets.get(nth % sets.len().max(1)).map(Vec::as_slice).ok_or_else(missing)
}

/// An input by its place.
///
/// # Errors
/// [`Error::WrongState`] when there are not as many.
pub(super) fn input(inputs: &[Input], index: usize) -> Result<&Input> {
    inputs.get(index).ok_or(Error::WrongState { call: "bench", reason: format!("there is no input {index}") })
}
