//! The temporaries of one run: memory at the first write, given on to the next after the last read.

use std::collections::HashMap;

use super::memory::{Operands, Storage, allocate, missing};
use super::{
    Cpu, attention, blend, combination, conv, copy, heads, kept_bytes, latents, linear, norm, patchify,
    pixels, relative_bias, shortcut, silu, soft_clamp, softmax, transpose,
};
use crate::Result;
use crate::ops::Op;
use crate::tensor::{Lifetime, Tensor};

/// Freed buffers are kept for re-use up to this many bytes together; the oldest go first.
const KEPT_FREE: u64 = 64 << 20;

/// Temporaries of a run under way. Dropping it frees them, also when the run ends early.
pub(super) struct Workspace<'a> {
    cpu: &'a Cpu,
    temporaries: HashMap<u64, Storage>,
    free: Vec<Vec<f32>>,
}

impl<'a> Workspace<'a> {
    pub(super) fn new(cpu: &'a Cpu) -> Self {
        Self { cpu, temporaries: HashMap::new(), free: Vec::new() }
    }

    /// Runs one operation.
    pub(super) fn execute(&mut self, op: &Op) -> Result<()> {
        let tensor = op.output();
        // The output leaves its map while the operation reads from the maps; it never reads what it writes.
        let mut out = match tensor.lifetime() {
            Lifetime::Resident => {
                self.cpu.residents.borrow_mut().remove(&tensor.id()).ok_or_else(|| missing(op.name()))?
            }
            Lifetime::Temporary => match self.temporaries.remove(&tensor.id()) {
                Some(storage) => storage,
                None => self.take(tensor)?,
            },
        };
        let result = run(
            op,
            &Operands { residents: &self.cpu.residents.borrow(), temporaries: &self.temporaries },
            &mut out,
        );
        match tensor.lifetime() {
            Lifetime::Resident => self.cpu.residents.borrow_mut().insert(tensor.id(), out),
            Lifetime::Temporary => self.temporaries.insert(tensor.id(), out),
        };
        result
    }

    /// Ends the life of a temporary.
    pub(super) fn free(&mut self, id: u64) {
        let Some(Storage::F32(buffer)) = self.temporaries.remove(&id) else { return };
        self.free.push(buffer);
        while self.free.iter().map(|b| kept_bytes(b.capacity())).sum::<u64>() > KEPT_FREE {
            let oldest = self.free.remove(0);
            self.count(-(kept_bytes(oldest.capacity()) as i64));
        }
    }

    /// Memory for a temporary: the tightest free buffer that is at most twice as large, or a new one.
    fn take(&mut self, tensor: &Tensor) -> Result<Storage> {
        let n = tensor.allocation();
        let fits = |b: &&(usize, usize)| (n..=2 * n).contains(&b.1);
        let capacities: Vec<_> = self.free.iter().map(Vec::capacity).enumerate().collect();
        let mut buffer = match capacities.iter().filter(fits).min_by_key(|b| b.1) {
            Some(&(index, _)) => self.free.remove(index),
            None => {
                let buffer = allocate(n)?;
                self.count(kept_bytes(buffer.capacity()) as i64);
                buffer
            }
        };
        buffer.resize(n, 0.0);
        // Whatever reads an element that was never written shows in every test.
        if cfg!(debug_assertions) {
            buffer.fill(f32::NAN);
        }
        Ok(Storage::F32(buffer))
    }

    fn count(&self, bytes: i64) {
        let held = &self.cpu.temporary_bytes;
        held.set(held.get().saturating_add_signed(bytes));
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        let live = self.temporaries.values().map(|storage| match storage {
            Storage::F32(buffer) => buffer.capacity(),
            Storage::U32(buffer) => buffer.capacity(),
            Storage::Quants(_) => 0,
        });
        let held: u64 = live.chain(self.free.iter().map(Vec::capacity)).map(kept_bytes).sum();
        self.count(-(held as i64));
    }
}

fn run(op: &Op, operands: &Operands, out: &mut Storage) -> Result<()> {
    let view = op.output();
    match op {
        Op::Linear(op) => linear::linear(op, operands, out.floats_mut(view)?),
        Op::Attention(op) => attention::attention(op, operands, out.floats_mut(view)?),
        Op::Norm(op) => norm::norm(op, operands, out.floats_mut(view)?),
        Op::Heads(op) => heads::heads(op, operands, out.floats_mut(view)?),
        Op::Conv(op) => conv::conv(op, operands, out.floats_mut(view)?),
        Op::Softmax(op) => softmax::softmax(op, operands, out.floats_mut(view)?),
        Op::Transpose(op) => transpose::transpose(op, operands, out.floats_mut(view)?),
        Op::Silu(op) => silu::silu(op, operands, out.floats_mut(view)?),
        Op::SoftClamp(op) => soft_clamp::soft_clamp(op, operands, out.floats_mut(view)?),
        Op::Combination(op) => combination::combination(op, operands, out.floats_mut(view)?),
        Op::Blend(op) => blend::blend(op, operands, out.floats_mut(view)?),
        Op::Copy(op) => copy::copy(op, operands, out.floats_mut(view)?),
        Op::RelativeBias(op) => relative_bias::relative_bias(op, operands, out.floats_mut(view)?),
        Op::Patchify(op) => patchify::patchify(op, operands, out.floats_mut(view)?),
        Op::Unpatchify(op) => patchify::unpatchify(op, operands, out.floats_mut(view)?),
        Op::FromLatents(op) => latents::from_latents(op, operands, out.floats_mut(view)?),
        Op::ToLatents(op) => latents::to_latents(op, operands, out.floats_mut(view)?),
        Op::PixelPatches(op) => pixels::pixel_patches(op, operands, out.floats_mut(view)?),
        Op::Pixels(op) => pixels::pixels(op, operands, out.floats_mut(view)?),
        Op::Rgba(op) => pixels::rgba(op, operands, out.words_mut(view)?),
        Op::AverageDown(op) => shortcut::average_down(op, operands, out.floats_mut(view)?),
        Op::DuplicateUp(op) => shortcut::duplicate_up(op, operands, out.floats_mut(view)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live<'a>(cpu: &'a Cpu, workspace: &mut Workspace<'a>, elements: usize) -> (u64, u64) {
        let tensor = Tensor::temporary(&[elements]);
        let storage = workspace.take(&tensor).unwrap();
        workspace.temporaries.insert(tensor.id(), storage);
        (tensor.id(), cpu.allocated_bytes() / 4)
    }

    #[test]
    fn a_free_buffer_serves_what_fits_it_well() {
        let cpu = Cpu::new();
        let mut workspace = Workspace::new(&cpu);
        let (small, held) = live(&cpu, &mut workspace, 600);
        assert_eq!(held, 600);
        workspace.free(small);
        // Too small a buffer, then too large a one, then one that fits.
        assert_eq!(live(&cpu, &mut workspace, 1000).1, 1600);
        let (tiny, held) = live(&cpu, &mut workspace, 299);
        assert_eq!(held, 1899);
        assert_eq!(live(&cpu, &mut workspace, 300).1, 1899);
        workspace.free(tiny);
        drop(workspace);
        assert_eq!(cpu.allocated_bytes(), 0);
    }

    #[test]
    fn free_buffers_beyond_the_limit_are_given_back() {
        let cpu = Cpu::new();
        let mut workspace = Workspace::new(&cpu);
        let (large, held) = live(&cpu, &mut workspace, (KEPT_FREE / 4) as usize + 1);
        assert_eq!(held, KEPT_FREE / 4 + 1);
        workspace.free(large);
        assert_eq!(cpu.allocated_bytes(), 0);
    }
}
