//! Which weights are on the device. Where all have room they stay; else the stages of a clip take turns, each with its own; and a stage
//! whose own are too many runs in parts, the weights of one loaded while the part before runs.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;
use futures_util::lock::Mutex;

use crate::executor::{Executor, Parts, Program};
use crate::gpu::buffer_bytes;
use crate::recording::{PartWeights, Recording};
use crate::tensor::{Lifetime, Tensor};
use crate::weights::{LoadProgress, Source, WeightSpec, load_weights};
use crate::{CancelFlag, Error, Result};

/// Weights of a part, unless one operation has more: with two of them on the device, two or three layers of the largest text encoder.
const PART_BYTES: u64 = 256 << 20;

/// What a stage runs, prepared when it first runs, and again when its weights have been away.
#[derive(Debug)]
pub(super) struct StageProgram {
    recording: Recording,
    prepared: Option<Prepared>,
}

#[derive(Debug)]
enum Prepared {
    Whole(Program),
    InParts(Parts, Vec<Part>),
}

/// Operations that follow each other, with the weights they use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    ops: Range<usize>,
    weights: HashSet<u64>,
    bytes: u64,
}

/// How the weights of a stage get their room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Room {
    /// All weights of the model stay.
    Together,
    /// Those of other stages go first.
    Turn,
    /// Those of a part at a time.
    InParts(Vec<Part>),
}

impl Room {
    /// Decides for a stage: `used` of `all` bytes of weights are its own, `other` bytes are taken by all else that exists while it runs,
    /// and `memory` is the most that may be.
    ///
    /// # Errors
    /// [`Error::DeviceTooSmall`] when not even single operations have room.
    pub(super) fn decide(
        recording: &Recording,
        bytes: &dyn Fn(u64) -> Option<u64>,
        [all, other]: [u64; 2],
        memory: Option<u64>,
    ) -> Result<Self> {
        let Some(memory) = memory else { return Ok(Self::Together) };
        if all + other <= memory {
            return Ok(Self::Together);
        }
        if used_bytes(recording, bytes) + other <= memory {
            return Ok(Self::Turn);
        }
        let parts = parts(recording, bytes, memory.saturating_sub(other) / 2);
        match other + largest_pair(&parts) {
            needed if needed > memory => Err(Error::DeviceTooSmall {
                what: "this clip, even with the weights of few layers at a time".into(),
                needed,
                allowed: memory,
            }),
            _ => Ok(Self::InParts(parts)),
        }
    }

    /// What a plan calls it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Turn => "turn",
            Self::InParts(_) => "parts",
        }
    }

    /// Bytes of weights that are on the device at the worst moment, of `all` that the model has.
    pub(super) fn weight_bytes(
        &self,
        recording: &Recording,
        bytes: &dyn Fn(u64) -> Option<u64>,
        all: u64,
    ) -> u64 {
        match self {
            Self::Together => all,
            Self::Turn => used_bytes(recording, bytes),
            Self::InParts(parts) => largest_pair(parts),
        }
    }
}

/// Bytes of the weights that a recording uses.
fn used_bytes(recording: &Recording, bytes: &dyn Fn(u64) -> Option<u64>) -> u64 {
    let used: HashMap<u64, u64> =
        recording.tensors().filter_map(|t| Some((t.id(), bytes(t.id())?))).collect();
    used.values().sum()
}

/// A recording in parts of at most `most` bytes of weights, but no more than are good for reading ahead; at least an operation each.
fn parts(recording: &Recording, bytes: &dyn Fn(u64) -> Option<u64>, most: u64) -> Vec<Part> {
    let most = most.min(PART_BYTES);
    let mut parts: Vec<Part> = Vec::new();
    for (index, op) in recording.ops().iter().enumerate() {
        let weights: HashSet<u64> =
            op.inputs().into_iter().map(Tensor::id).filter(|id| bytes(*id).is_some()).collect();
        let size = |ids: &HashSet<u64>| ids.iter().filter_map(|id| bytes(*id)).sum::<u64>();
        match parts.last_mut() {
            Some(last) if size(&last.weights.union(&weights).copied().collect()) <= most => {
                last.ops.end = index + 1;
                last.weights.extend(weights);
                last.bytes = size(&last.weights);
            }
            _ => parts.push(Part { ops: index..index + 1, bytes: size(&weights), weights }),
        }
    }
    parts
}

/// Bytes of two neighbouring parts, which are on the device together.
fn largest_pair(parts: &[Part]) -> u64 {
    let pair = |index: usize| parts.iter().skip(index).take(2).map(|part| part.bytes).sum::<u64>();
    (0..parts.len()).map(pair).max().unwrap_or(0)
}

impl StageProgram {
    /// Nothing is prepared yet.
    pub(super) fn new(recording: Recording) -> Self {
        Self { recording, prepared: None }
    }
}

/// The weights of a model, on the device and off it.
pub(super) struct Residency {
    executor: Rc<Executor>,
    source: Rc<dyn Source>,
    specs: Vec<WeightSpec>,
    /// Bytes on the device, by tensor.
    bytes: HashMap<u64, u64>,
    /// Tensors that are on the device.
    present: RefCell<HashSet<u64>>,
    /// One stage at a time: another's weights must not go while it runs.
    turn: Mutex<()>,
}

impl Residency {
    pub(super) fn new(executor: Rc<Executor>, source: Rc<dyn Source>, specs: Vec<WeightSpec>) -> Self {
        let bytes = specs.iter().map(|spec| (spec.tensor.id(), executor.bytes_of(&spec.tensor))).collect();
        Self { executor, source, specs, bytes, present: RefCell::default(), turn: Mutex::new(()) }
    }

    /// Bytes of all weights.
    pub(super) fn all_bytes(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// Puts all weights on the device.
    ///
    /// # Errors
    /// As [`load_weights`].
    pub(super) async fn load_all(
        &self,
        cancel: &CancelFlag,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<()> {
        let all = self.bytes.keys().copied().collect();
        self.load(&all, cancel, on_progress).await
    }

    /// Runs a stage once, with its weights on the device.
    ///
    /// # Errors
    /// [`Error::DeviceTooSmall`], as [`load_weights`], and as [`Executor::prepare`] and [`Executor::run`].
    pub(super) async fn run(&self, stage: &mut StageProgram, cancel: &CancelFlag) -> Result<()> {
        let _turn = self.turn.lock().await;
        if let Some(Prepared::InParts(program, parts)) = &stage.prepared {
            return self.run_parts(program, parts, cancel).await;
        }
        match self.room(stage)? {
            Room::InParts(parts) => {
                stage.prepared = None;
                self.keep(&HashSet::new());
                let program = self.executor.prepare_parts(&stage.recording, &|id| self.is_weight(id))?;
                let outcome = self.run_parts(&program, &parts, cancel).await;
                stage.prepared = Some(Prepared::InParts(program, parts));
                return outcome;
            }
            Room::Turn => self.keep(&self.used(&stage.recording)),
            Room::Together => {}
        }
        self.load(&self.used(&stage.recording), cancel, &mut |_| {}).await?;
        let program = match stage.prepared.take() {
            Some(Prepared::Whole(program)) if self.executor.is_current(&program) => program,
            stale => {
                drop(stale); // before the new one takes its memory
                self.executor.prepare(&stage.recording)?
            }
        };
        let outcome = self.executor.run(&program, cancel).await;
        stage.prepared = Some(Prepared::Whole(program));
        outcome
    }

    async fn run_parts(&self, program: &Parts, parts: &[Part], cancel: &CancelFlag) -> Result<()> {
        // A stage in between may have left some of its own.
        self.keep(&HashSet::new());
        let ops: Vec<Range<usize>> = parts.iter().map(|part| part.ops.clone()).collect();
        let weights = PartsLoader { residency: self, parts, loaded: RefCell::default(), cancel };
        self.executor.run_parts(program, &ops, &weights, cancel).await
    }

    fn room(&self, stage: &StageProgram) -> Result<Room> {
        let memory = self.executor.capacity();
        if memory.is_none() {
            return Ok(Room::Together);
        }
        let weights = |id: u64| self.bytes.get(&id).copied();
        let present: u64 = self.present.borrow().iter().filter_map(|id| weights(*id)).sum();
        let mut other = self.executor.allocated_bytes().saturating_sub(present);
        if stage.prepared.is_none() {
            other += self.executor.bytes_to_prepare(&stage.recording, &|id| self.is_weight(id))?;
        }
        Room::decide(&stage.recording, &weights, [self.all_bytes(), other], memory)
    }

    fn is_weight(&self, id: u64) -> bool {
        self.bytes.contains_key(&id)
    }

    /// The weights that a recording uses.
    fn used(&self, recording: &Recording) -> HashSet<u64> {
        let residents = recording.tensors().filter(|t| t.lifetime() == Lifetime::Resident);
        residents.map(Tensor::id).filter(|id| self.is_weight(*id)).collect()
    }

    /// Loads those of these weights that are not on the device. Nothing is kept of a load that fails.
    async fn load(
        &self,
        wanted: &HashSet<u64>,
        cancel: &CancelFlag,
        on_progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<()> {
        let missing = |spec: &&WeightSpec| {
            wanted.contains(&spec.tensor.id()) && !self.present.borrow().contains(&spec.tensor.id())
        };
        let specs: Vec<WeightSpec> = self.specs.iter().filter(missing).cloned().collect();
        if specs.is_empty() {
            return Ok(());
        }
        let loading = Loading { residency: self, specs };
        load_weights(&loading.specs, &*self.source, &self.executor, cancel, on_progress).await?;
        loading.finish();
        Ok(())
    }

    /// Frees all weights but these.
    fn keep(&self, kept: &HashSet<u64>) {
        let mut present = self.present.borrow_mut();
        for spec in self.specs.iter().filter(|spec| !kept.contains(&spec.tensor.id())) {
            if present.remove(&spec.tensor.id()) {
                self.executor.release(&spec.tensor);
            }
        }
    }
}

/// Weights on their way to the device. They are taken off it again unless all arrive: the load may fail, or nobody may wait for it any
/// more.
struct Loading<'a> {
    residency: &'a Residency,
    specs: Vec<WeightSpec>,
}

impl Loading<'_> {
    fn finish(mut self) {
        let ids = self.specs.drain(..).map(|spec| spec.tensor.id());
        self.residency.present.borrow_mut().extend(ids);
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        for spec in &self.specs {
            self.residency.executor.release(&spec.tensor);
        }
    }
}

impl Drop for Residency {
    fn drop(&mut self) {
        self.keep(&HashSet::new());
    }
}

/// Brings the weights of a stage's parts.
struct PartsLoader<'a> {
    residency: &'a Residency,
    parts: &'a [Part],
    /// Parts whose weights are on the device or on their way.
    loaded: RefCell<HashSet<usize>>,
    cancel: &'a CancelFlag,
}

impl PartWeights for PartsLoader<'_> {
    fn load(&self, index: usize) -> LocalBoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let Some(part) = self.parts.get(index) else { return Ok(()) };
            self.loaded.borrow_mut().insert(index);
            self.residency.load(&part.weights, self.cancel, &mut |_| {}).await
        })
    }

    fn release(&self, index: usize) {
        let mut loaded = self.loaded.borrow_mut();
        loaded.remove(&index);
        let needed = loaded.iter().filter_map(|index| self.parts.get(*index));
        self.residency.keep(&needed.flat_map(|part| part.weights.iter().copied()).collect());
    }
}

/// Bytes that tensors take on a GPU.
pub(super) fn device_bytes<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> u64 {
    tensors.into_iter().map(buffer_bytes).sum()
}
