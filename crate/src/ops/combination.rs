//! Linear combinations whose coefficients change from run to run: guidance and the solver's updates.

use super::Op;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// Most inputs of one combination.
pub const MAX_TERMS: usize = 5;

/// `out = sum_i coefficients[first + i] * inputs[i]`, element by element. A coefficient of exactly 0 leaves its input unread, so that
/// a tensor not yet filled cannot leak in.
#[derive(Debug, Clone)]
pub struct Combination {
    /// One to five tensors of one shape.
    pub terms: Vec<Tensor>,
    /// `[>= first + terms]`, read at run time.
    pub coefficients: Tensor,
    /// Index of the first coefficient.
    pub first: usize,
    /// The shape of the terms.
    pub out: Tensor,
}

impl Combination {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        self.terms.iter().chain([&self.coefficients]).collect()
    }

    pub(super) fn flops(&self) -> u64 {
        self.out.len() as u64 * self.terms.len() as u64
    }
}

impl Recorder {
    /// Records a linear combination into a new tensor.
    ///
    /// # Shapes
    /// terms: one to five of one shape; coefficients `[n]` with `first + terms.len() <= n`.
    pub fn combination(&mut self, terms: &[&Tensor], coefficients: &Tensor, first: usize) -> Result<Tensor> {
        const OP: &str = "combination";
        let [n] = coefficients.dims(OP, "coefficients")?;
        let Some(shape) = terms.first().map(|t| t.shape().to_vec()) else {
            return Err(Error::ShapeMismatch { op: OP, what: "terms", expected: vec![1], found: vec![0] });
        };
        if terms.len() > MAX_TERMS || first + terms.len() > n {
            return Err(Error::ShapeMismatch {
                op: OP,
                what: "coefficients",
                expected: vec![first + terms.len()],
                found: vec![n],
            });
        }
        for term in terms {
            term.expect(OP, "term", &shape)?;
        }
        let out = Tensor::temporary(&shape);
        self.push(Op::Combination(Combination {
            terms: terms.iter().map(|&t| t.clone()).collect(),
            coefficients: coefficients.clone(),
            first,
            out: out.clone(),
        }))?;
        Ok(out)
    }
}
