//! Linear layers at the sizes of Wan's: `[rows, inputs]` by `[inputs, columns]`.

use super::operation::{Operation, input};
use super::random::{Format, Input};
use crate::Result;
use crate::ops::{Activation, Combine, LinearWeight};
use crate::recording::Recorder;
use crate::tensor::Tensor;

/// Tokens: the embedded model's clip; one latent frame at 832x480; 416x240x33 and so many more.
pub const ROWS: [usize; 4] = [80, 1_560, 8_190, 32_760];

/// Inputs and outputs of the projections and of the feed-forward network, of 1.3B and of 5B.
pub const WIDTHS: [[usize; 2]; 6] =
    [[1_536, 1_536], [1_536, 8_960], [8_960, 1_536], [3_072, 3_072], [3_072, 14_336], [14_336, 3_072]];

/// A product without bias and activation.
#[derive(Debug)]
pub struct Gemm {
    /// M.
    pub rows: usize,
    /// K.
    pub inputs: usize,
    /// N.
    pub columns: usize,
    /// Of the weight.
    pub format: Format,
}

impl Operation for Gemm {
    fn shape(&self) -> Vec<(&'static str, usize)> {
        vec![("m", self.rows), ("k", self.inputs), ("n", self.columns)]
    }

    fn flops(&self) -> u64 {
        2 * self.rows as u64 * self.inputs as u64 * self.columns as u64
    }

    fn inputs(&self) -> Vec<Input> {
        let x = Input::activations(&[self.rows, self.inputs], 1);
        vec![x, Input::weight(self.format, self.inputs, self.columns, 2)]
    }

    fn record(&self, rec: &mut Recorder, inputs: &[Input]) -> Result<Tensor> {
        let weight = LinearWeight { matrix: input(inputs, 1)?.tensor.clone(), columns: self.columns };
        rec.linear(&input(inputs, 0)?.tensor, &weight, None, Activation::None, Combine::None)
    }

    fn expected(&self, inputs: &[Input], row: usize, columns: &[usize]) -> Vec<f64> {
        let [x, weight] = inputs else { return Vec::new() };
        let x: Vec<f64> = (0..self.inputs).map(|k| x.value(row * self.inputs + k)).collect();
        let dot =
            |column: &usize| x.iter().zip(weight.column(*column, self.inputs)).map(|(x, w)| x * w).sum();
        columns.iter().map(dot).collect()
    }
}
