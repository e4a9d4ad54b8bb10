//! The CPU executor: the plain-Rust twin of every shader, one file an operation with the same name.
//!
//! It is what the shaders' tests compare with, and what runs a model where there is no WebGPU. Everything is computed in
//! f32 (16-bit weights are widened when they are uploaded); linear layers, attention and convolutions run on a GEMM
//! crate with SIMD, natively on all cores, in wasm on one thread.

mod attention;
mod blend;
mod combination;
mod conv;
mod copy;
mod exp;
mod heads;
mod latents;
mod linear;
mod matmul;
mod memory;
mod norm;
mod pacer;
mod patchify;
mod pixels;
mod relative_bias;
mod shortcut;
mod silu;
mod soft_clamp;
mod softmax;
#[cfg(test)]
mod testing;
mod transpose;
mod workspace;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::ops::Range;

use crate::recording::{PartWeights, Recording};
use crate::tensor::{DType, Lifetime, Tensor};
use crate::{CancelFlag, Error, Result};
use memory::Storage;
use pacer::Pacer;
use workspace::Workspace;

/// Runs recordings on the CPU and owns the memory of resident tensors.
#[derive(Debug, Default)]
pub struct Cpu {
    residents: RefCell<HashMap<u64, Storage>>,
    /// Bytes held by the temporaries of the runs under way.
    temporary_bytes: Cell<u64>,
}

/// A recording and, for each of its operations, the temporaries that nothing reads or writes after it.
#[derive(Debug)]
pub struct Program {
    recording: Recording,
    dying: Vec<Vec<u64>>,
}

impl Program {
    fn new(recording: Recording) -> Self {
        let mut seen = HashSet::new();
        let mut dying: Vec<Vec<u64>> = recording
            .ops()
            .iter()
            .rev()
            .map(|op| {
                op.inputs()
                    .into_iter()
                    .chain([op.output()])
                    .filter(|t| t.lifetime() == Lifetime::Temporary && seen.insert(t.id()))
                    .map(Tensor::id)
                    .collect()
            })
            .collect();
        dying.reverse();
        Self { recording, dying }
    }

    /// What it runs.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }
}

impl Cpu {
    /// An executor that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fills a resident tensor from little-endian bytes of its format, allocating it on first use. A view fills its part.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a temporary; [`Error::ShapeMismatch`] when the bytes are not those of the view's
    /// elements (a 16-bit format may be padded to whole 32-bit words); [`Error::OutOfMemory`].
    pub fn upload(&self, tensor: &Tensor, bytes: &[u8]) -> Result<()> {
        resident("upload", tensor)?;
        let mut residents = self.residents.borrow_mut();
        match residents.entry(tensor.id()) {
            Entry::Occupied(mut entry) => entry.get_mut().write(tensor, bytes),
            Entry::Vacant(entry) => {
                let mut storage = Storage::zeros(tensor.dtype(), tensor.allocation())?;
                storage.write(tensor, bytes)?;
                entry.insert(storage);
                Ok(())
            }
        }
    }

    /// Takes a recording for running: allocates the residents that have no memory yet, zeroed, and finds where every
    /// temporary dies. Temporaries get memory while a run needs them.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn prepare(&self, recording: &Recording) -> Result<Program> {
        self.prepare_parts(recording, &|_| false)
    }

    /// As [`Cpu::prepare`], but the residents that are `absent` get memory when they are uploaded.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn prepare_parts(&self, recording: &Recording, absent: &dyn Fn(u64) -> bool) -> Result<Program> {
        let mut residents = self.residents.borrow_mut();
        let wanted = |t: &&Tensor| t.lifetime() == Lifetime::Resident && !absent(t.id());
        for tensor in recording.tensors().filter(wanted) {
            if let Entry::Vacant(entry) = residents.entry(tensor.id()) {
                entry.insert(Storage::zeros(tensor.dtype(), tensor.allocation())?);
            }
        }
        Ok(Program::new(recording.clone()))
    }

    /// Bytes that running a recording adds: residents that have no memory yet, but for those that are `absent`, and the most
    /// temporaries that are alive at once.
    pub fn bytes_to_prepare(&self, recording: &Recording, absent: &dyn Fn(u64) -> bool) -> u64 {
        let residents = self.residents.borrow();
        let missing: HashMap<u64, u64> = recording
            .tensors()
            .filter(|t| t.lifetime() == Lifetime::Resident)
            .filter(|t| !residents.contains_key(&t.id()) && !absent(t.id()))
            .map(|t| (t.id(), resident_bytes(t)))
            .collect();
        missing.values().sum::<u64>() + recording.live_bytes()
    }

    /// Whether every resident of a program has memory.
    pub fn is_current(&self, program: &Program) -> bool {
        let residents = self.residents.borrow();
        let mut wanted = program.recording.tensors().filter(|t| t.lifetime() == Lifetime::Resident);
        wanted.all(|tensor| residents.contains_key(&tensor.id()))
    }

    /// Runs the operations in order. In wasm it gives the event loop a turn about every 20 ms.
    ///
    /// # Errors
    /// [`Error::Cancelled`] between two operations; [`Error::WrongState`] when a resident was released or a value read
    /// at run time is out of range; [`Error::OutOfMemory`].
    pub async fn run(&self, program: &Program, cancel: &CancelFlag) -> Result<()> {
        let mut workspace = Workspace::new(self);
        self.run_ops(program, 0..program.recording.ops().len(), &mut workspace, cancel).await
    }

    /// Runs a program a part at a time, with no more than the weights of one in memory. `parts` are ranges of operations that follow
    /// each other.
    ///
    /// # Errors
    /// As [`Cpu::run`], and what loading reports. No weights of a part are left then.
    pub async fn run_parts(
        &self,
        program: &Program,
        parts: &[Range<usize>],
        weights: &dyn PartWeights,
        cancel: &CancelFlag,
    ) -> Result<()> {
        let mut workspace = Workspace::new(self);
        for (index, ops) in parts.iter().enumerate() {
            let loaded = weights.load(index).await;
            let run = match loaded {
                Ok(()) => self.run_ops(program, ops.clone(), &mut workspace, cancel).await,
                Err(error) => Err(error),
            };
            weights.release(index);
            run?;
        }
        Ok(())
    }

    async fn run_ops(
        &self,
        program: &Program,
        ops: Range<usize>,
        workspace: &mut Workspace<'_>,
        cancel: &CancelFlag,
    ) -> Result<()> {
        let mut pacer = Pacer::new();
        let all = program.recording.ops().iter().zip(&program.dying);
        for (op, dying) in all.skip(ops.start).take(ops.len()) {
            cancel.check()?;
            workspace.execute(op)?;
            for &id in dying {
                workspace.free(id);
            }
            pacer.give_way().await;
        }
        Ok(())
    }

    /// The elements of a resident tensor or of a view of one, as little-endian bytes of its format.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a temporary or a tensor that has no memory.
    pub async fn read(&self, tensor: &Tensor) -> Result<Vec<u8>> {
        resident("read", tensor)?;
        match self.residents.borrow().get(&tensor.id()) {
            Some(storage) => storage.read(tensor),
            None => Err(memory::missing("read")),
        }
    }

    /// Frees a resident tensor; programs that use it fail until it is uploaded again.
    pub fn release(&self, tensor: &Tensor) {
        self.residents.borrow_mut().remove(&tensor.id());
    }

    /// Bytes of the residents and of the temporaries of the runs under way. Weights count as they are kept, in f32.
    pub fn allocated_bytes(&self) -> u64 {
        let residents: u64 = self.residents.borrow().values().map(Storage::bytes).sum();
        residents + self.temporary_bytes.get()
    }
}

fn resident(call: &'static str, tensor: &Tensor) -> Result<()> {
    match tensor.lifetime() {
        Lifetime::Resident => Ok(()),
        Lifetime::Temporary => {
            Err(Error::WrongState { call, reason: "a temporary tensor has memory only inside a run".into() })
        }
    }
}

/// Bytes of a tensor as the CPU keeps it: quantised ones as they are, all others in 32 bits an element.
pub fn resident_bytes(tensor: &Tensor) -> u64 {
    match tensor.dtype() {
        DType::Quants(_) => tensor.allocation_bytes(),
        _ => kept_bytes(tensor.allocation()),
    }
}

/// Bytes of `elements` elements as the CPU keeps them.
fn kept_bytes(elements: usize) -> u64 {
    DType::F32.bytes(elements)
}

#[cfg(test)]
mod tests {
    use super::testing::{bytes, floats};
    use super::*;
    use crate::recording::Recorder;

    /// x -> silu -> silu -> ... -> out, with every tensor of one size.
    fn chain(x: &Tensor, length: usize, out: &Tensor) -> Recording {
        let mut recorder = Recorder::new();
        let mut last = x.clone();
        for _ in 0..length {
            last = recorder.silu(&last).unwrap();
        }
        recorder.copy(&last, out).unwrap();
        recorder.finish()
    }

    #[test]
    fn temporaries_die_after_their_last_use() {
        let (x, out) = (Tensor::resident(DType::F32, &[4]), Tensor::resident(DType::F32, &[4]));
        let mut recorder = Recorder::new();
        let a = recorder.silu(&x).unwrap();
        let b = recorder.silu(&a).unwrap();
        let unread = recorder.silu(&x).unwrap();
        recorder.copy(&a, &out).unwrap();
        recorder.copy(&b, &out).unwrap();
        let program = Program::new(recorder.finish());
        assert_eq!(program.dying, [vec![], vec![], vec![unread.id()], vec![a.id()], vec![b.id()]]);
    }

    #[test]
    fn memory_is_counted_reused_and_given_back() {
        const N: usize = 1000;
        let (x, out) = (Tensor::resident(DType::F32, &[N]), Tensor::resident(DType::F32, &[N]));
        let cpu = Cpu::new();
        let program = cpu.prepare(&chain(&x, 50, &out)).unwrap();
        assert_eq!(cpu.allocated_bytes(), 8 * N as u64);

        let mut workspace = Workspace::new(&cpu);
        let mut peak = 0;
        for (op, dying) in program.recording.ops().iter().zip(&program.dying) {
            workspace.execute(op).unwrap();
            peak = peak.max(cpu.allocated_bytes());
            dying.iter().for_each(|&id| workspace.free(id));
        }
        assert_eq!(peak, 8 * N as u64 + 2 * 4 * N as u64, "two temporaries are alive at a time");
        drop(workspace);
        assert_eq!(cpu.allocated_bytes(), 8 * N as u64);
        cpu.release(&x);
        assert_eq!(cpu.allocated_bytes(), 4 * N as u64);
    }

    #[test]
    fn cancelling_stops_a_run_and_leaves_the_executor_usable() {
        let (x, out) = (Tensor::resident(DType::F32, &[1]), Tensor::resident(DType::F32, &[1]));
        let cpu = Cpu::new();
        cpu.upload(&x, &bytes(&[1.0])).unwrap();
        let program = cpu.prepare(&chain(&x, 1, &out)).unwrap();
        let cancel = CancelFlag::new();
        cancel.cancel();
        assert_eq!(pollster::block_on(cpu.run(&program, &cancel)), Err(Error::Cancelled));
        assert_eq!(floats(&pollster::block_on(cpu.read(&out)).unwrap()), [0.0]);
        pollster::block_on(cpu.run(&program, &CancelFlag::new())).unwrap();
        assert!((floats(&pollster::block_on(cpu.read(&out)).unwrap())[0] - 0.731_058_6).abs() < 1e-6);
    }

    #[test]
    fn sixteen_bit_weights_are_widened_and_read_back_unchanged() {
        let cpu = Cpu::new();
        let values = [1.5f32, -0.333_251_95, 65504.0];
        let f16: Vec<u8> = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
        let weight = Tensor::resident(DType::F16, &[3]);
        // The allocation is whole words; both lengths are the same tensor.
        cpu.upload(&weight, &[&f16[..], &[0, 0]].concat()).unwrap();
        cpu.upload(&weight, &f16).unwrap();
        assert_eq!(pollster::block_on(cpu.read(&weight)).unwrap(), f16);
        assert_eq!(pollster::block_on(cpu.read(&weight.rows(1, 1).unwrap())).unwrap(), f16[2..4]);
        let out = Tensor::resident(DType::F32, &[3]);
        let mut recorder = Recorder::new();
        recorder.copy(&weight, &out).unwrap();
        let program = cpu.prepare(&recorder.finish()).unwrap();
        pollster::block_on(cpu.run(&program, &CancelFlag::new())).unwrap();
        assert_eq!(floats(&pollster::block_on(cpu.read(&out)).unwrap()), values);

        let bf16: Vec<u8> = values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect();
        let weight = Tensor::resident(DType::Bf16, &[3]);
        cpu.upload(&weight, &bf16).unwrap();
        assert_eq!(pollster::block_on(cpu.read(&weight)).unwrap(), bf16);
    }

    #[test]
    fn wrong_calls_are_errors() {
        let cpu = Cpu::new();
        let x = Tensor::resident(DType::F32, &[2, 2]);
        assert_eq!(cpu.upload(&x, &[0; 15]).unwrap_err().code(), "shape_mismatch");
        assert_eq!(cpu.upload(&Tensor::temporary(&[1]), &[0; 4]).unwrap_err().code(), "wrong_state");
        assert_eq!(pollster::block_on(cpu.read(&x)).unwrap_err().code(), "wrong_state");
        let out = Tensor::resident(DType::F32, &[2, 2]);
        let program = cpu.prepare(&chain(&x, 1, &out)).unwrap();
        cpu.release(&x);
        let run = pollster::block_on(cpu.run(&program, &CancelFlag::new()));
        assert_eq!(run.unwrap_err().code(), "wrong_state");
        cpu.upload(&x.rows(1, 1).unwrap(), &bytes(&[3.0, 4.0])).unwrap();
        assert_eq!(floats(&pollster::block_on(cpu.read(&x)).unwrap()), [0.0, 0.0, 3.0, 4.0]);
        // The output that the failed run could not write is still there.
        pollster::block_on(cpu.run(&program, &CancelFlag::new())).unwrap();
    }
}
