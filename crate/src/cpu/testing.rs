//! What the tests of the operations share: random inputs, one run, and a comparison with a formula in f64.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Cpu;
use crate::recording::Recorder;
use crate::tensor::{DType, Lifetime, Tensor};
use crate::{CancelFlag, Result};

pub(super) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Values in -1..1.
pub(super) fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// A recording under test with its inputs.
pub(super) struct Case {
    pub(super) recorder: Recorder,
    pub(super) rng: StdRng,
    inputs: Vec<(Tensor, Vec<f32>)>,
}

impl Case {
    pub(super) fn new(seed: u64) -> Self {
        Self { recorder: Recorder::new(), rng: StdRng::seed_from_u64(seed), inputs: Vec::new() }
    }

    /// A resident input of random values in -1..1.
    pub(super) fn random(&mut self, shape: &[usize]) -> (Tensor, Vec<f32>) {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|_| self.rng.random_range(-1.0..1.0)).collect();
        (self.input(shape, &values), values)
    }

    /// A resident input of the given values.
    pub(super) fn input(&mut self, shape: &[usize], values: &[f32]) -> Tensor {
        let tensor = Tensor::resident(DType::F32, shape);
        self.inputs.push((tensor.clone(), values.to_vec()));
        tensor
    }

    /// A size in 1..=most.
    pub(super) fn size(&mut self, most: usize) -> usize {
        self.rng.random_range(1..=most)
    }

    /// Runs the recording and gives the bytes of `out`.
    pub(super) fn bytes(mut self, out: &Tensor) -> Result<Vec<u8>> {
        let result = match out.lifetime() {
            Lifetime::Resident => out.clone(),
            Lifetime::Temporary => {
                let result = Tensor::resident(DType::F32, out.shape());
                self.recorder.copy(out, &result)?;
                result
            }
        };
        let cpu = Cpu::new();
        for (tensor, values) in &self.inputs {
            cpu.upload(tensor, &bytes(values))?;
        }
        let program = cpu.prepare(&self.recorder.finish())?;
        pollster::block_on(async {
            cpu.run(&program, &CancelFlag::new()).await?;
            cpu.read(&result).await
        })
    }

    /// Runs the recording and gives the values of `out`.
    pub(super) fn run(self, out: &Tensor) -> Vec<f32> {
        floats(&self.bytes(out).unwrap())
    }
}

/// Every value is within `tolerance * max(1, |expected|)`.
pub(super) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*f) - e).abs();
        assert!(error <= tolerance * e.abs().max(1.0), "element {i} is {f}, expected {e}");
    }
}
