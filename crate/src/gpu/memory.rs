//! Buffers, counted: resident tensors, upload and readback.

use std::cell::Cell;
use std::rc::Rc;

use futures_channel::oneshot;

use super::device::Gpu;
use super::dispatch::buffer_bytes;
use super::plan::Plan;
use crate::recording::Recording;
use crate::tensor::{DType, Lifetime, Tensor};
use crate::{Error, Result};

/// Bytes of one `write_buffer`: larger pieces are slower in browsers (measured in Chromium: 4 MiB pieces go at 1,540 MB/s, 16 MiB
/// ones at 630).
const UPLOAD_PIECE: usize = 4 << 20;

/// Bytes written between two flushes, over all uploads; without them a native queue keeps a copy of everything until the next submit:
/// of a whole model, while it is loaded.
const UPLOAD_FLUSH: usize = 32 << 20;

/// Natively the copies of what is being uploaded are cut from the same blocks of memory as weights, and leave holes that larger ones
/// do not fit: weights of so many bytes wait until none are there. Without it lavapipe took 490 MB more than 4.3 GB of
/// weights, and takes 30 with it.
const UPLOAD_ALONE: u64 = 1 << 20;

/// What has been uploaded since the last flush, in bytes, and that flush.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    pending: usize,
    flushed: Option<wgpu::SubmissionIndex>,
}

/// A buffer that counts towards [`Gpu::allocated_bytes`] until it is freed.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) buffer: wgpu::Buffer,
    counted: Counted,
}

/// Bytes that count towards [`Gpu::allocated_bytes`] until they are given back, at the latest with this.
#[derive(Debug)]
pub(super) struct Counted {
    counter: Rc<Cell<u64>>,
    bytes: Cell<u64>,
}

impl Counted {
    fn give_back(&self) {
        self.counter.set(self.counter.get() - self.bytes.replace(0));
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Allocation {
    /// Frees the memory now: waiting for JavaScript's collector would keep gigabytes.
    pub(super) fn free(&self) {
        self.counted.give_back();
        self.buffer.destroy();
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        self.free();
    }
}

impl Gpu {
    /// Makes a zeroed buffer.
    pub(super) fn allocate(&self, bytes: u64, usage: wgpu::BufferUsages) -> Result<Allocation> {
        if bytes > self.limits.max_buffer {
            return Err(Error::DeviceTooSmall {
                what: "a buffer".into(),
                needed: bytes,
                allowed: self.limits.max_buffer,
            });
        }
        let descriptor =
            wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        let allocation = Allocation { buffer, counted: self.count(bytes) };
        // Natively a failure is known at once; in a browser it arrives with the next awaited call.
        self.status.check()?;
        Ok(allocation)
    }

    /// Bytes that are there from now on.
    pub(super) fn count(&self, bytes: u64) -> Counted {
        self.allocated.set(self.allocated.get() + bytes);
        self.peak.set(self.peak.get().max(self.allocated.get()));
        Counted { counter: self.allocated.clone(), bytes: Cell::new(bytes) }
    }

    /// The buffer of a resident tensor, made (zeroed) on first use.
    pub(super) fn resident(&self, tensor: &Tensor) -> Result<Rc<Allocation>> {
        if let Some(found) = self.residents.borrow().get(&tensor.id()) {
            return Ok(found.clone());
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let made = Rc::new(self.allocate(buffer_bytes(tensor), usage)?);
        self.residents.borrow_mut().insert(tensor.id(), made.clone());
        Ok(made)
    }

    /// Fills a resident tensor, or the part of it that a view covers: its elements in order, little endian.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a temporary; [`Error::ShapeMismatch`] when the bytes are not those of the view's elements (a
    /// 16-bit format may be padded to whole 32-bit words), or a view of 16-bit elements cuts a word in two; and the device's
    /// own.
    pub fn upload(&self, tensor: &Tensor, bytes: &[u8]) -> Result<()> {
        self.status.check()?;
        resident_only("upload", tensor)?;
        let mismatch = |what, expected: u64, found: u64| Error::ShapeMismatch {
            op: "upload",
            what,
            expected: vec![usize::try_from(expected).unwrap_or(usize::MAX)],
            found: vec![usize::try_from(found).unwrap_or(usize::MAX)],
        };
        let (exact, length) = (element_bytes(tensor.dtype(), tensor.len()), bytes.len() as u64);
        if length != exact && length != tensor.dtype().bytes(tensor.len()) {
            return Err(mismatch("number of bytes", exact, length));
        }
        let bytes = bytes.get(..exact as usize).unwrap_or(bytes);
        let start = element_bytes(tensor.dtype(), tensor.offset());
        let to_the_end = tensor.offset() + tensor.len() == tensor.allocation();
        if !start.is_multiple_of(4) || (!exact.is_multiple_of(4) && !to_the_end) {
            return Err(mismatch(
                "start and length of a view in bytes (multiples)",
                4,
                start % 4 + exact % 4,
            ));
        }
        if buffer_bytes(tensor) >= UPLOAD_ALONE && !self.residents.borrow().contains_key(&tensor.id()) {
            self.settle()?;
        }
        let target = self.resident(tensor)?;
        let mut offset = start;
        for piece in bytes.chunks(UPLOAD_PIECE) {
            let (whole, tail) = piece.split_at(piece.len() & !3);
            self.queue.write_buffer(&target.buffer, offset, whole);
            if !tail.is_empty() {
                let mut word = [0; 4];
                word[..tail.len()].copy_from_slice(tail);
                self.queue.write_buffer(&target.buffer, offset + whole.len() as u64, &word);
            }
            offset += piece.len() as u64;
            self.uploads.borrow_mut().pending += piece.len();
            if self.uploads.borrow().pending >= UPLOAD_FLUSH {
                self.flush()?;
            }
        }
        self.status.check()
    }

    /// Hands pending writes to the device, once it has taken those before: two flushes' copies are all there ever are. In a browser
    /// nothing waits, and nothing needs to.
    fn flush(&self) -> Result<()> {
        let now = self.queue.submit([]);
        let Uploads { flushed, .. } = self.uploads.replace(Uploads { pending: 0, flushed: Some(now) });
        if let Some(before) = flushed {
            self.poll_until(before)?;
        }
        self.status.check()
    }

    /// Waits until the device has taken all there is; as [`Gpu::flush`] in a browser.
    fn settle(&self) -> Result<()> {
        if self.uploads.borrow().pending > 0 {
            self.flush()?;
        }
        let last = self.uploads.borrow_mut().flushed.take();
        if let Some(last) = last {
            self.poll_until(last)?;
        }
        self.status.check()
    }

    /// The elements of a resident tensor's view, little endian.
    ///
    /// # Errors
    /// [`Error::WrongState`] for a temporary or a tensor without memory, and the device's own.
    pub async fn read(&self, tensor: &Tensor) -> Result<Vec<u8>> {
        self.status.check()?;
        resident_only("read", tensor)?;
        let source = self.residents.borrow().get(&tensor.id()).cloned().ok_or_else(|| Error::WrongState {
            call: "read",
            reason: "nothing has written this tensor".into(),
        })?;
        if tensor.is_empty() {
            return Ok(Vec::new());
        }
        // Copies are of whole words; a view of 16-bit elements may start inside one.
        let start = element_bytes(tensor.dtype(), tensor.offset());
        let end = element_bytes(tensor.dtype(), tensor.offset() + tensor.len());
        let (first, last) = (start & !3, end.next_multiple_of(4));
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.allocate(last - first, usage)?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&source.buffer, first, &staging.buffer, 0, last - first);
        let submission = self.queue.submit([encoder.finish()]);
        let (sender, mapped) = oneshot::channel();
        staging.buffer.map_async(wgpu::MapMode::Read, .., |result| {
            // The receiver is gone when the caller dropped the future.
            let _ = sender.send(result);
        });
        self.wait(submission, mapped).await?.map_err(|error| self.fault(&error))?;
        let view = staging.buffer.get_mapped_range(..).map_err(|error| self.fault(&error))?;
        let range = (start - first) as usize..(end - first) as usize;
        let bytes = view.get(range).map(<[u8]>::to_vec);
        drop(view);
        staging.buffer.unmap();
        bytes.ok_or_else(|| self.fault(&"a mapped range is too short"))
    }

    /// Frees a resident tensor; programs that use it can no longer run.
    pub fn release(&self, tensor: &Tensor) {
        if let Some(allocation) = self.residents.borrow_mut().remove(&tensor.id()) {
            allocation.free();
        }
    }

    /// Bytes of every buffer and texture that exists: residents, and temporaries and uniforms of live programs.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated.get()
    }

    /// See [`super::GpuOptions::max_memory`].
    pub fn max_memory(&self) -> Option<u64> {
        self.options.max_memory
    }

    /// Bytes that preparing a recording adds: residents that have no memory yet, but for those that are `absent`, and the program's own.
    ///
    /// # Errors
    /// As [`Plan::measure`].
    pub fn bytes_to_prepare(&self, recording: &Recording, absent: &dyn Fn(u64) -> bool) -> Result<u64> {
        let plan = Plan::measure(recording, &self.limits)?;
        let residents = self.residents.borrow();
        let missing = plan.residents.iter().filter(|t| !residents.contains_key(&t.id()) && !absent(t.id()));
        Ok(missing.map(buffer_bytes).sum::<u64>() + plan.temporary_bytes + plan.uniform_bytes)
    }

    /// The most that [`Gpu::allocated_bytes`] has been.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.get()
    }

    /// The fault that the device reported, or else `reason`.
    pub(super) fn fault(&self, reason: &dyn std::fmt::Display) -> Error {
        self.status.check().err().unwrap_or_else(|| Error::DeviceError { reason: reason.to_string() })
    }
}

fn resident_only(call: &'static str, tensor: &Tensor) -> Result<()> {
    match tensor.lifetime() {
        Lifetime::Resident => Ok(()),
        Lifetime::Temporary => Err(Error::WrongState {
            call,
            reason: "the tensor is a temporary: it has memory only while its recording runs".into(),
        }),
    }
}

fn element_bytes(dtype: DType, elements: usize) -> u64 {
    match dtype {
        DType::F32 | DType::U32 => elements as u64 * 4,
        DType::F16 | DType::Bf16 => elements as u64 * 2,
        DType::Quants(format) => format.bytes(elements),
    }
}
