//! GPU time by shader, by timestamp queries around every dispatch; for measuring only.

use futures_channel::oneshot;

use super::device::Gpu;
use super::memory::Allocation;
use super::program::Step;
use crate::Result;

/// The timestamps of one submit.
pub(super) struct Timer {
    queries: wgpu::QuerySet,
    resolved: Allocation,
    staging: Allocation,
    count: u32,
}

impl Timer {
    /// Steps of a submit that can be timed: a query set holds at most 4,096 queries.
    pub(super) const MOST_STEPS: usize = 2048;

    pub(super) fn new(gpu: &Gpu, steps: usize) -> Result<Self> {
        let count = (steps.min(Self::MOST_STEPS) * 2) as u32;
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let bytes = u64::from(count) * 8;
        let (resolve, read) = (wgpu::BufferUsages::QUERY_RESOLVE, wgpu::BufferUsages::MAP_READ);
        Ok(Self {
            queries,
            resolved: gpu.allocate(bytes, resolve | wgpu::BufferUsages::COPY_SRC)?,
            staging: gpu.allocate(bytes, read | wgpu::BufferUsages::COPY_DST)?,
            count,
        })
    }

    /// Where step `index` writes its start and its end.
    pub(super) fn writes(&self, index: usize) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let first = u32::try_from(index * 2).ok().filter(|first| *first < self.count)?;
        Some(wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        })
    }

    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        encoder.resolve_query_set(&self.queries, 0..self.count, &self.resolved.buffer, 0);
        let bytes = u64::from(self.count) * 8;
        encoder.copy_buffer_to_buffer(&self.resolved.buffer, 0, &self.staging.buffer, 0, bytes);
    }

    /// Adds the times of a submit to the device's sums.
    pub(super) async fn collect(self, gpu: &Gpu, steps: &[Step]) -> Result<()> {
        let (sender, mapped) = oneshot::channel();
        self.staging.buffer.map_async(wgpu::MapMode::Read, .., |result| {
            // The receiver is gone when the caller dropped the future.
            let _ = sender.send(result);
        });
        let submission = gpu.queue.submit([]);
        gpu.wait(submission, mapped).await?.map_err(|error| gpu.fault(&error))?;
        let view = self.staging.buffer.get_mapped_range(..).map_err(|error| gpu.fault(&error))?;
        let period = f64::from(gpu.queue.get_timestamp_period()) * 1e-9;
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&view);
        let mut timings = gpu.timings.borrow_mut();
        for (step, pair) in steps.iter().zip(stamps.chunks_exact(2)) {
            if let [start, end] = pair {
                *timings.entry(step.shader).or_default() += end.saturating_sub(*start) as f64 * period;
            }
        }
        Ok(())
    }
}
