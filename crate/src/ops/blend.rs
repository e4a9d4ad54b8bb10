//! What is given in place of what is being made: frames, or parts of frames.

use super::Op;
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::{Error, Result};

/// `out[c, i] = given[c, i] + open[i] * (made[c, i] - given[c, i])`. Where `open` is exactly 0 or 1 the other tensor is not read, so
/// that what is given comes through bit by bit.
#[derive(Debug, Clone)]
pub struct Blend {
    /// `[C, ...]`.
    pub made: Tensor,
    /// The shape of `made`.
    pub given: Tensor,
    /// `[n]`, one a place of a channel: 1 where the clip is to be made, 0 where it is given.
    pub open: Tensor,
    /// The shape of `made`.
    pub out: Tensor,
}

impl Blend {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.made, &self.given, &self.open]
    }

    pub(super) fn flops(&self) -> u64 {
        self.out.len() as u64
    }
}

impl Recorder {
    /// Records putting `given` where `open` is 0 into a new tensor.
    ///
    /// # Shapes
    /// made and given `[C, ...]`, open `[n]` with n the elements of a channel.
    pub fn blend(&mut self, made: &Tensor, given: &Tensor, open: &Tensor) -> Result<Tensor> {
        const OP: &str = "blend";
        given.expect(OP, "given", made.shape())?;
        let channels = made.shape().first().copied().unwrap_or(0);
        let [n] = open.dims(OP, "open")?;
        if channels.checked_mul(n) != Some(made.len()) {
            return Err(Error::ShapeMismatch {
                op: OP,
                what: "open",
                expected: vec![made.len() / channels.max(1)],
                found: vec![n],
            });
        }
        let out = Tensor::temporary(made.shape());
        self.push(Op::Blend(Blend {
            made: made.clone(),
            given: given.clone(),
            open: open.clone(),
            out: out.clone(),
        }))?;
        Ok(out)
    }
}
