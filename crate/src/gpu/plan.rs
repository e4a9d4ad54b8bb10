//! Where every tensor of a recording lives, and how many bytes that takes, known without a GPU.

use std::collections::{HashMap, HashSet};

use super::dispatch::{Dispatch, buffer_bytes};
use super::kernels::lower;
use super::limits::Limits;
use super::texels::{self, Slot};
use crate::ops::Op;
use crate::recording::Recording;
use crate::tensor::{Lifetime, Tensor};
use crate::{Error, Result};

/// The dispatches of a recording and the memory they need.
#[derive(Debug)]
pub struct Plan {
    /// In order of execution.
    pub dispatches: Vec<Dispatch>,
    /// The uniform block of each dispatch.
    pub uniforms: Vec<Vec<u32>>,
    /// Dispatches up to the end of each operation.
    pub ends: Vec<usize>,
    /// Bytes of the pooled buffers that the temporaries share.
    pub buffers: Vec<u64>,
    /// The textures that dispatches share, with their bytes.
    pub textures: Vec<(Slot, u64)>,
    /// Pooled buffer of each temporary, by [`Tensor::id`].
    pub place: HashMap<u64, usize>,
    /// One view of every resident tensor, in order of first use.
    pub residents: Vec<Tensor>,
    /// Sum of `buffers` and `textures`: the peak of the temporaries.
    pub temporary_bytes: u64,
    /// Bytes of the residents.
    pub resident_bytes: u64,
    /// Bytes of the one buffer with all uniform blocks.
    pub uniform_bytes: u64,
    /// Largest storage binding in bytes.
    pub largest_binding: u64,
    /// Largest buffer in bytes.
    pub largest_buffer: u64,
}

impl Plan {
    /// Plans a recording for a device.
    ///
    /// # Errors
    /// [`Error::DeviceTooSmall`] when a tensor is larger than a buffer can be, or an operation cannot be split below the binding
    /// limit.
    pub fn new(recording: &Recording, limits: &Limits) -> Result<Self> {
        Self::make(recording, limits, true)
    }

    /// As [`Plan::new`], but without the dispatches, of which a large clip has a million where they are kept short: for the bytes alone.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn measure(recording: &Recording, limits: &Limits) -> Result<Self> {
        Self::make(recording, limits, false)
    }

    /// As [`Plan::new`], of dispatches that are no operation's: on residents alone.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn of_dispatches(dispatches: Vec<Dispatch>, limits: &Limits) -> Result<Self> {
        let mut plan = Self::empty();
        let mut seen = HashSet::new();
        for dispatch in dispatches {
            let bound = dispatch.bindings.iter().map(|binding| &binding.tensor);
            plan.residents.extend(bound.filter(|tensor| seen.insert(tensor.id())).cloned());
            plan.take_in(dispatch, limits, true)?;
        }
        plan.ends.push(plan.dispatches.len());
        plan.sum(limits)
    }

    fn make(recording: &Recording, limits: &Limits, keeps_dispatches: bool) -> Result<Self> {
        let mut plan = Self::empty();
        let last_use = plan.uses(recording, limits)?;
        let mut free = Vec::new();
        for (index, op) in recording.ops().iter().enumerate() {
            let dispatches = lower(op, limits)?;
            plan.assign(op, &dispatches, |tensor| last_use.get(&tensor.id()) == Some(&index), &mut free);
            for dispatch in dispatches {
                plan.take_in(dispatch, limits, keeps_dispatches)?;
            }
            plan.ends.push(plan.dispatches.len());
        }
        plan.sum(limits)
    }

    fn empty() -> Self {
        Self {
            dispatches: Vec::new(),
            uniforms: Vec::new(),
            ends: Vec::new(),
            buffers: Vec::new(),
            textures: Vec::new(),
            place: HashMap::new(),
            residents: Vec::new(),
            temporary_bytes: 0,
            resident_bytes: 0,
            uniform_bytes: 0,
            largest_binding: 0,
            largest_buffer: 0,
        }
    }

    fn take_in(&mut self, dispatch: Dispatch, limits: &Limits, keeps: bool) -> Result<()> {
        let uniforms = dispatch.uniforms(limits)?;
        self.uniform_bytes += uniform_slot(&uniforms, limits);
        for (slot, bytes) in texels::slots(&dispatch.bindings) {
            match self.textures.iter_mut().find(|(other, _)| *other == slot) {
                Some((_, most)) => *most = bytes.max(*most),
                None => self.textures.push((slot, bytes)),
            }
        }
        let bound = dispatch.bindings.iter().map(|b| b.place(limits).0);
        self.largest_binding = bound.map(|b| b.end - b.start).fold(self.largest_binding, u64::max);
        if keeps {
            self.uniforms.push(uniforms);
            self.dispatches.push(dispatch);
        }
        Ok(())
    }

    /// The sums, when everything has been taken in.
    fn sum(mut self, limits: &Limits) -> Result<Self> {
        if self.uniform_bytes > limits.max_buffer {
            return Err(Error::DeviceTooSmall {
                what: "the buffer of uniform blocks".into(),
                needed: self.uniform_bytes,
                allowed: limits.max_buffer,
            });
        }
        let textures = self.textures.iter().map(|(_, bytes)| bytes);
        self.temporary_bytes = self.buffers.iter().chain(textures).sum();
        self.resident_bytes = self.residents.iter().map(buffer_bytes).sum();
        let residents = self.residents.iter().map(buffer_bytes);
        self.largest_buffer =
            self.buffers.iter().copied().chain(residents).fold(self.uniform_bytes, u64::max);
        Ok(self)
    }

    /// Bytes of everything that exists while a program of this plan is alive.
    pub fn total_bytes(&self) -> u64 {
        self.temporary_bytes + self.resident_bytes + self.uniform_bytes
    }

    /// The last operation that uses each tensor; the residents are listed.
    fn uses(&mut self, recording: &Recording, limits: &Limits) -> Result<HashMap<u64, usize>> {
        let mut last_use = HashMap::new();
        for (index, op) in recording.ops().iter().enumerate() {
            for tensor in op.inputs().into_iter().chain([op.output()]) {
                let bytes = buffer_bytes(tensor);
                if bytes > limits.max_buffer {
                    return Err(Error::DeviceTooSmall {
                        what: format!("a tensor of {} elements ({})", tensor.allocation(), op.name()),
                        needed: bytes,
                        allowed: limits.max_buffer,
                    });
                }
                let seen = last_use.insert(tensor.id(), index).is_some();
                if tensor.lifetime() == Lifetime::Resident && !seen {
                    self.residents.push(tensor.clone());
                }
            }
        }
        Ok(last_use)
    }

    /// Gives the temporaries that an operation writes pooled buffers, and takes back those of the ones that end with it. A buffer
    /// freed by an operation is not taken by the same operation's output: one dispatch cannot read and write the same
    /// buffer. What only its dispatches know of lives as long as the operation.
    fn assign(
        &mut self,
        op: &Op,
        dispatches: &[Dispatch],
        ends: impl Fn(&Tensor) -> bool,
        free: &mut Vec<usize>,
    ) {
        let own: HashSet<_> = op.inputs().into_iter().chain([op.output()]).map(Tensor::id).collect();
        let bound = dispatches.iter().flat_map(|dispatch| &dispatch.bindings).map(|binding| &binding.tensor);
        let mut inner = Vec::new();
        for tensor in [op.output()].into_iter().chain(bound) {
            if tensor.lifetime() == Lifetime::Temporary && !self.place.contains_key(&tensor.id()) {
                let buffer = self.take(free, buffer_bytes(tensor));
                self.place.insert(tensor.id(), buffer);
                inner.extend((!own.contains(&tensor.id())).then_some(buffer));
            }
        }
        free.extend(inner);
        for tensor in op.inputs().into_iter().chain([op.output()]).filter(|tensor| ends(tensor)) {
            if let Some(buffer) = self.place.get(&tensor.id())
                && !free.contains(buffer)
            {
                free.push(*buffer);
            }
        }
    }

    /// The smallest free buffer that is large enough, else the largest one, grown, else a new one.
    fn take(&mut self, free: &mut Vec<usize>, bytes: u64) -> usize {
        let size = |buffer: &usize| self.buffers.get(*buffer).copied().unwrap_or(0);
        let fits = free.iter().enumerate().filter(|(_, b)| size(b) >= bytes).min_by_key(|(_, b)| size(b));
        let chosen = fits.or_else(|| free.iter().enumerate().max_by_key(|(_, b)| size(b)));
        let Some((position, _)) = chosen else {
            self.buffers.push(bytes);
            return self.buffers.len() - 1;
        };
        let buffer = free.swap_remove(position);
        if let Some(size) = self.buffers.get_mut(buffer) {
            *size = bytes.max(*size);
        }
        buffer
    }
}

/// Bytes that a uniform block takes in the shared buffer.
pub(super) fn uniform_slot(words: &[u32], limits: &Limits) -> u64 {
    (words.len() as u64 * 4).next_multiple_of(limits.offset_alignment.max(1))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
