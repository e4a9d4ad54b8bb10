//! A recording: the plain list of operations of one forward pass, on virtual tensors.
//!
//! Models record; the planner and the two executors read. A recording is made once a shape and run many times; what
//! changes between runs (timestep, solver coefficients, frame index) is read from small resident tensors.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use crate::ops::Op;
use crate::tensor::{Lifetime, Tensor};
use crate::{Error, Result};

/// Collects operations; the methods that add one are beside each operation under [`crate::ops`].
#[derive(Debug, Default)]
pub struct Recorder {
    ops: Vec<Op>,
    written: HashSet<u64>,
}

/// A finished list of operations, in order of execution. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recording {
    ops: Rc<[Op]>,
}

/// Brings the weights of a part of a recording and takes them away again, where not all have room at once.
pub trait PartWeights {
    /// Puts the weights of part `index` on the device; nothing to do past the last part.
    fn load(&self, index: usize) -> LocalBoxFuture<'_, Result<()>>;

    /// Frees those that no later part which is loaded needs.
    fn release(&self, index: usize);
}

impl Recorder {
    /// An empty recorder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an operation whose shapes have been checked.
    ///
    /// # Errors
    /// [`Error::WrongState`] when it reads a temporary that nothing has written, or reads what it writes.
    pub(crate) fn push(&mut self, op: Op) -> Result<()> {
        let output = op.output().id();
        for input in op.inputs() {
            if input.lifetime() == Lifetime::Temporary && !self.written.contains(&input.id()) {
                return Err(Error::WrongState {
                    call: op.name(),
                    reason: "it reads a temporary tensor before anything wrote it".into(),
                });
            }
            // One buffer cannot be bound for reading and for writing in the same dispatch.
            if input.id() == output {
                return Err(Error::WrongState {
                    call: op.name(),
                    reason: "it would read the tensor it writes".into(),
                });
            }
        }
        self.written.insert(output);
        self.ops.push(op);
        Ok(())
    }

    /// Ends the recording.
    pub fn finish(self) -> Recording {
        Recording { ops: self.ops.into() }
    }
}

impl Recording {
    /// The operations in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Multiply-add operations of one run, times two.
    pub fn flops(&self) -> u64 {
        self.ops.iter().map(Op::flops).sum()
    }

    /// The most bytes of temporaries that are alive at once, each from its first write to its last use, in f32: what the CPU
    /// executor holds.
    pub fn live_bytes(&self) -> u64 {
        let mut last_use = HashMap::new();
        for (index, op) in self.ops.iter().enumerate() {
            last_use.extend(op.inputs().into_iter().chain([op.output()]).map(|t| (t.id(), index)));
        }
        let (mut alive, mut peak) = (HashMap::new(), 0);
        for (index, op) in self.ops.iter().enumerate() {
            let output = op.output();
            if output.lifetime() == Lifetime::Temporary {
                alive.insert(output.id(), output.allocation_bytes());
            }
            peak = peak.max(alive.values().sum());
            alive.retain(|id, _| last_use.get(id) != Some(&index));
        }
        peak
    }

    /// Every tensor that is read or written, views included, in order of use.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.ops.iter().flat_map(|op| op.inputs().into_iter().chain([op.output()]))
    }
}
