//! Which kernels suit a device, and how much work it does in the time of a dispatch: found by trying, once.
//!
//! The tiles are tried on matrices with many of them, large against wide, in f32 and what else may be, then matrix units, and with few, large
//! against small; Winograd's transforms on convolutions with many channels first, because with fewer they take more of the time.
//! Runs are long enough for the clocks of browsers, which are coarse, and the time of an empty submit is taken off.

use serde::{Deserialize, Serialize};
use web_time::Instant;

use super::device::Gpu;
use super::limits::{Limits, Precision, Tiles};
use super::program::Program;
use super::shaders;
use crate::Result;
use crate::ops::{Activation, Combine, ConvOptions, ConvWeight, LinearWeight};
use crate::recording::Recorder;
use crate::tensor::{DType, Tensor};
use crate::weights::blocks::Block;

/// K of the matrices that are tried; on a software adapter so small, one group of quants, that trying takes seconds and not a minute.
const DEPTH: usize = 384;
const SOFTWARE_DEPTH: usize = 32;

/// M and N of a matrix with so many tiles that no device has work for but a few of them at a time: 1,120 of 128 x 64.
const MANY: [usize; 2] = [1024, 8960];

/// M and N of matrices of 24, 96 and 384 tiles.
const FEW: [[usize; 2]; 3] = [[128, 1536], [512, 1536], [2048, 1536]];

/// Channels, in and out, of convolutions, and width and height of their frames on hardware: with fewer channels they are larger, as
/// in a VAE.
const CONVOLUTIONS: [[usize; 2]; 3] = [[384, 32], [192, 64], [Limits::HARDWARE_WINOGRAD_CHANNELS, 128]];

/// Width and height of all of them on a software adapter.
const SOFTWARE_SIDE: usize = 8;

/// Seconds of a timed run, and how many there are; the shortest counts.
const SECONDS: f64 = 0.010;
const RUNS: usize = 3;

/// Operations of a run.
const MOST_REPETITIONS: f64 = 256.0;

/// Seconds that a dispatch may take where it can be split. At the rate of whole matrices; other operations are slower, and no submit is
/// to be longer than [`super::execute`] wants it.
const DISPATCH_SECONDS: f64 = 0.025;

/// Bounds of the work of a dispatch: what even a slow device does at once, and enough for any.
const DISPATCH_FLOPS: [u64; 2] = [1 << 32, 1 << 41];

/// What suits a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tuning {
    /// Of which adapter, driver and shaders this is true.
    pub key: String,
    /// The fastest tiles.
    pub tiles: Tiles,
    /// Most work of a dispatch.
    pub max_dispatch_flops: u64,
    /// Channels from which convolutions go by Winograd's transforms.
    pub winograd_channels: usize,
}

impl Gpu {
    /// Sets the limits that are found by trying, from what is remembered of this device or by trying now.
    ///
    /// # Errors
    /// The device's own.
    pub(super) async fn tune(&mut self) -> Result<()> {
        let info = self.info();
        let precision = self.options.precision;
        let key =
            format!("{} {} {} {:016x} {precision:?}", info.backend, info.name, info.driver, shaders::hash());
        let remembered = self.options.tunings.iter().find(|tuning| tuning.key == key).cloned();
        let before = self.limits.clone();
        let found = match remembered {
            Some(tuning) => Ok(tuning),
            None => self.try_all(key).await,
        };
        self.limits = before;
        let found = found?;
        self.limits.tiles = self.options.tiles.unwrap_or(found.tiles);
        self.limits.max_dispatch_flops = self.options.max_dispatch_flops.unwrap_or(found.max_dispatch_flops);
        self.limits.winograd_channels = self.options.winograd_channels.unwrap_or(found.winograd_channels);
        self.tuning = Some(found);
        Ok(())
    }

    async fn try_all(&mut self, key: String) -> Result<Tuning> {
        let [_, most] = DISPATCH_FLOPS;
        self.limits.max_dispatch_flops = most;
        let latency = self.latency().await?;
        let mut shortest = f64::INFINITY;
        let mut tiles = Tiles::UNTRIED;
        let may_halve = self.info().f16 && self.options.precision >= Precision::F16;
        let all = [(false, false), (false, true), (true, false), (true, true)];
        for (halves, wide) in all.into_iter().filter(|(halves, _)| may_halve || !halves) {
            let tried = Tiles { wide, few: 0, halves, bytes: false, fragment: None };
            let seconds = self.seconds(MANY, tried, DType::F16, latency).await?;
            if seconds < shortest {
                (shortest, tiles) = (seconds, tried);
            }
        }
        if self.options.precision >= Precision::F16
            && let Some(fragment) = self.info().fragment
        {
            let tried = Tiles { fragment: Some(fragment), ..tiles };
            if let Some(seconds) = self.matrix_seconds(tried, latency).await?.filter(|s| *s < shortest) {
                (shortest, tiles) = (seconds, tried);
            }
        }
        let large = Tiles { wide: false, ..tiles };
        tiles.few = tiles_of(MANY);
        for size in FEW {
            let at_large = self.seconds(size, large, DType::F16, latency).await?;
            let small = Tiles { few: usize::MAX, ..large };
            if at_large <= self.seconds(size, small, DType::F16, latency).await? {
                tiles.few = tiles_of(size);
                break;
            }
        }
        tiles.bytes = self.options.precision >= Precision::I8 && self.gains_by_bytes(tiles, latency).await?;
        self.limits.tiles = tiles;
        let winograd_channels = self.winograd_channels(latency).await?;
        let flops = 2.0 * self.depth() as f64 * MANY.into_iter().product::<usize>() as f64;
        let rate = flops / shortest;
        Ok(Tuning { key, tiles, max_dispatch_flops: dispatch_flops(rate), winograd_channels })
    }

    /// The fewest channels with which convolutions gain by the transforms, as they do with all above.
    async fn winograd_channels(&mut self, latency: f64) -> Result<usize> {
        let mut least = usize::MAX;
        for size in CONVOLUTIONS {
            let direct = self.conv_seconds(size, usize::MAX, latency).await?;
            if direct <= self.conv_seconds(size, 0, latency).await? {
                break;
            }
            least = size[0];
        }
        Ok(least)
    }

    /// Whether quantised weights are multiplied faster in 8-bit integers.
    async fn gains_by_bytes(&mut self, tiles: Tiles, latency: f64) -> Result<bool> {
        let weights = DType::Quants(Block::Q8_0.on_device());
        let widened = self.seconds(MANY, tiles, weights, latency).await?;
        // Not every browser has the products.
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let in_bytes = self.seconds(MANY, Tiles { bytes: true, ..tiles }, weights, latency).await;
        if scope.pop().await.is_some() {
            return Ok(false);
        }
        Ok(in_bytes? < widened)
    }

    /// Seconds by matrix units; none where the device refuses their kernels or does not multiply by them what is right, because their
    /// interface is experimental.
    async fn matrix_seconds(&mut self, tiles: Tiles, latency: f64) -> Result<Option<f64>> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let right = self.multiplies_right(tiles).await;
        if scope.pop().await.is_some() || !right? {
            return Ok(None);
        }
        self.seconds(MANY, tiles, DType::F16, latency).await.map(Some)
    }

    /// Whether a product of small whole numbers, which any precision holds, is what it should be; of more than one tile, and of no whole ones.
    async fn multiplies_right(&mut self, tiles: Tiles) -> Result<bool> {
        const ROWS: usize = 132;
        const DEPTH: usize = 68;
        const COLUMNS: usize = 140;
        self.limits.tiles = tiles;
        let left: Vec<f32> = (0..ROWS * DEPTH).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
        let right: Vec<f32> = (0..DEPTH * COLUMNS).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
        let [x, matrix] = [[ROWS, DEPTH], [DEPTH, COLUMNS]].map(|shape| Tensor::resident(DType::F32, &shape));
        let out = Tensor::resident(DType::F32, &[ROWS, COLUMNS]);
        let outcome = async {
            self.upload(&x, bytemuck::cast_slice(&left))?;
            self.upload(&matrix, bytemuck::cast_slice(&right))?;
            let mut rec = Recorder::new();
            let weight = LinearWeight { matrix: matrix.clone(), columns: COLUMNS };
            let y = rec.linear(&x, &weight, None, Activation::None, Combine::None)?;
            rec.copy(&y, &out)?;
            self.run_whole(&self.prepare(&rec.finish())?).await?;
            self.read(&out).await
        };
        let found = outcome.await;
        [&x, &matrix, &out].into_iter().for_each(|tensor| self.release(tensor));
        let found = found?;
        let product = |row: usize, column: usize| -> f32 {
            (0..DEPTH).map(|k| left[row * DEPTH + k] * right[k * COLUMNS + column]).sum()
        };
        let expected = (0..ROWS * COLUMNS).map(|i| product(i / COLUMNS, i % COLUMNS));
        Ok(found.chunks_exact(4).map(bytemuck::pod_read_unaligned::<f32>).eq(expected))
    }

    fn depth(&self) -> usize {
        if self.info().software { SOFTWARE_DEPTH } else { DEPTH }
    }

    /// Seconds of a product of these M and N, cut into these tiles. Of zeros: all tiles do the same with them.
    async fn seconds(
        &mut self,
        [rows, columns]: [usize; 2],
        tiles: Tiles,
        weights: DType,
        latency: f64,
    ) -> Result<f64> {
        self.limits.tiles = tiles;
        let depth = self.depth();
        let x = Tensor::resident(DType::F32, &[rows, depth]);
        let shape = match weights {
            DType::Quants(_) => [columns, depth],
            _ => [depth, LinearWeight::stride(columns)],
        };
        let matrix = Tensor::resident(weights, &shape);
        let weight = LinearWeight { matrix: matrix.clone(), columns };
        let record = |rec: &mut Recorder| rec.linear(&x, &weight, None, Activation::None, Combine::None);
        let found = self.seconds_of(&record, latency).await;
        [&x, &matrix].into_iter().for_each(|tensor| self.release(tensor));
        found
    }

    /// Seconds of a convolution of three frames, of zeros, that goes by the transforms from so many channels on.
    async fn conv_seconds(
        &mut self,
        [channels, side]: [usize; 2],
        least: usize,
        latency: f64,
    ) -> Result<f64> {
        self.limits.winograd_channels = least;
        let side = if self.info().software { SOFTWARE_SIDE } else { side };
        let frame = Tensor::resident(DType::F32, &[side, side, channels]);
        let matrix = Tensor::resident(DType::F16, &[27 * channels, channels]);
        let weight = ConvWeight {
            matrix: matrix.clone(),
            channels_in: channels,
            channels_out: channels,
            kernel: [3, 3, 3],
        };
        let frames = [Some(&frame); 3];
        let record = |rec: &mut Recorder| rec.conv(&frames, &weight, None, ConvOptions::same(3), None);
        let found = self.seconds_of(&record, latency).await;
        [&frame, &matrix].into_iter().for_each(|tensor| self.release(tensor));
        found
    }

    /// Seconds of an operation.
    async fn seconds_of(
        &self,
        record: &dyn Fn(&mut Recorder) -> Result<Tensor>,
        latency: f64,
    ) -> Result<f64> {
        let of = |repetitions: usize| {
            let mut rec = Recorder::new();
            for _ in 0..repetitions {
                record(&mut rec)?;
            }
            self.prepare(&rec.finish())
        };
        // The first run compiles.
        let once = of(1)?;
        self.run_whole(&once).await?;
        let work = (self.run_whole(&once).await? - latency).max(1e-6);
        let repetitions = (SECONDS / work).ceil().clamp(1.0, MOST_REPETITIONS) as usize;
        let program = of(repetitions)?;
        let mut least = f64::INFINITY;
        for _ in 0..RUNS {
            least = least.min(self.run_whole(&program).await?);
        }
        Ok((least - latency).max(1e-9) / repetitions as f64)
    }

    /// Seconds of a submit of next to nothing.
    async fn latency(&self) -> Result<f64> {
        let [from, to] = [(); 2].map(|()| Tensor::resident(DType::F32, &[4]));
        let mut rec = Recorder::new();
        rec.copy(&from, &to)?;
        let program = self.prepare(&rec.finish())?;
        let mut least = f64::INFINITY;
        for _ in 0..=RUNS {
            least = least.min(self.run_whole(&program).await?);
        }
        [from, to].iter().for_each(|tensor| self.release(tensor));
        Ok(least)
    }

    /// Seconds of a program in one submit.
    async fn run_whole(&self, program: &Program) -> Result<f64> {
        let start = Instant::now();
        let submitted = self.submit(&program.steps, None);
        self.wait(submitted.submission, submitted.done).await?;
        self.status.check()?;
        Ok(start.elapsed().as_secs_f64())
    }
}

/// Tiles of 128 x 64.
fn tiles_of([rows, columns]: [usize; 2]) -> usize {
    rows.div_ceil(128) * columns.div_ceil(64)
}

/// A power of two, so that the same device mostly has the same.
fn dispatch_flops(rate: f64) -> u64 {
    let [least, most] = DISPATCH_FLOPS;
    let work = (rate * DISPATCH_SECONDS) as u64;
    (1 << work.max(1).ilog2()).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use pollster::block_on;

    use super::*;
    use crate::gpu::GpuOptions;

    #[test]
    #[ignore = "needs an adapter with matrix units: ./build.sh matrices"]
    fn matrix_units_multiply_right() {
        let options = GpuOptions {
            barrier_free: Some(false),
            precision: Precision::F16,
            tune: Some(false),
            ..GpuOptions::default()
        };
        let mut gpu = block_on(Gpu::create(&options)).unwrap();
        let fragment = gpu.info().fragment;
        assert!(fragment.is_some(), "the adapter has no matrix units: this test needs one that has");
        assert!(block_on(gpu.multiplies_right(Tiles { few: 0, fragment, ..Tiles::UNTRIED })).unwrap());
        assert_eq!(gpu.allocated_bytes(), 0);
    }

    #[test]
    fn dispatches_are_bounded_by_time_on_any_device() {
        for (rate, expected) in
            [(0.0, 1 << 32), (2e11, 1 << 32), (4e12, 1 << 36), (36e12, 1 << 39), (1e18, 1 << 41)]
        {
            assert_eq!(dispatch_flops(rate), expected, "{rate}");
        }
        assert_eq!(FEW.map(tiles_of), [24, 96, 384]);
    }
}
