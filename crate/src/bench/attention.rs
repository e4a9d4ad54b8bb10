//! Softmax attention: `heads` of `d` values, `queries` and `keys`.

use super::operation::{Operation, input};
use super::random::Input;
use crate::Result;
use crate::recording::Recorder;
use crate::tensor::Tensor;

/// Queries and keys are of deviation 1; scores deviate by this, so that some keys count for more than others.
const SCORES: f32 = 2.0;

/// Attention without bias.
#[derive(Debug)]
pub struct Attention {
    /// Heads.
    pub heads: usize,
    /// Values a head.
    pub d: usize,
    /// Tokens that look.
    pub queries: usize,
    /// Tokens that are looked at.
    pub keys: usize,
}

impl Attention {
    fn scale(&self) -> f32 {
        SCORES / (self.d as f32).sqrt()
    }

    /// The softmax of a row of scores.
    fn weights(&self, q: &Input, k: &Input, head: usize, row: usize) -> Vec<f64> {
        let first = (head * self.queries + row) * self.d;
        let q: Vec<f64> = (0..self.d).map(|i| q.value(first + i)).collect();
        let score = |key: usize| {
            let first = (head * self.keys + key) * self.d;
            f64::from(self.scale()) * q.iter().enumerate().map(|(i, q)| q * k.value(first + i)).sum::<f64>()
        };
        let scores: Vec<f64> = (0..self.keys).map(score).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }
}

impl Operation for Attention {
    fn shape(&self) -> Vec<(&'static str, usize)> {
        vec![("heads", self.heads), ("d", self.d), ("queries", self.queries), ("keys", self.keys)]
    }

    fn flops(&self) -> u64 {
        4 * (self.heads * self.d) as u64 * self.queries as u64 * self.keys as u64
    }

    fn inputs(&self) -> Vec<Input> {
        let of = |tokens| [self.heads, tokens, self.d];
        vec![
            Input::activations(&of(self.queries), 1),
            Input::activations(&of(self.keys), 2),
            Input::activations(&of(self.keys), 3),
        ]
    }

    fn record(&self, rec: &mut Recorder, inputs: &[Input]) -> Result<Tensor> {
        let tensor = |index| input(inputs, index).map(|input| &input.tensor);
        rec.attention(tensor(0)?, tensor(1)?, tensor(2)?, self.scale(), None, 0.0)
    }

    fn expected(&self, inputs: &[Input], row: usize, columns: &[usize]) -> Vec<f64> {
        let [q, k, v] = inputs else { return Vec::new() };
        columns
            .iter()
            .map(|column| {
                let (head, i) = (column / self.d, column % self.d);
                let weights = self.weights(q, k, head, row);
                let value = |key: usize| v.value((head * self.keys + key) * self.d + i);
                weights.iter().enumerate().map(|(key, weight)| weight * value(key)).sum()
            })
            .collect()
    }
}
