//! Finding a device, with its limits and features detected; errors that arrive later, as typed errors.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dispatch::Kernel;
use super::execute::Pace;
use super::limits::{Fragment, Limits, Precision, Tiles};
use super::memory::{Allocation, Uploads};
use super::program::Pipeline;
use super::tuning::Tuning;
use crate::{Error, Result};

/// The blocks that native buffers are cut from; larger ones are by themselves. The first are small, for models that are. The
/// last, half of this where the host sees the memory, fit what the matrices of large models leave of a block: two in Q8_0 of
/// a UMT5 XXL take 62 of 64 MB, while in blocks of 32 a fifth of the memory was in none.
const BLOCKS: std::ops::Range<u64> = 8 << 20..128 << 20;

/// Restrictions and switches, for tests and for measuring; the default asks the device for everything it has.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// Natively, the adapter whose name contains this, in any case; by default the one that `WGPU_ADAPTER_NAME` names, or
    /// else the fastest. Browsers choose themselves.
    pub adapter: Option<String>,
    /// At most this binding size in bytes, though the device allows more.
    pub max_binding: Option<u64>,
    /// At most this buffer size in bytes, though the device allows more.
    pub max_buffer: Option<u64>,
    /// Bytes that may be on the device in all, weights included: WebGPU does not tell how many there are. Where the weights of a model
    /// have no room beside a clip, its parts take turns.
    pub max_memory: Option<u64>,
    /// At most this much work in a dispatch that can be split; by default what was found by trying.
    pub max_dispatch_flops: Option<u64>,
    /// Which tiles to use; by default those that were found by trying.
    pub tiles: Option<Tiles>,
    /// What linear layers and convolutions may be multiplied in; less than f32 costs digits.
    pub precision: Precision,
    /// Channels, in and out, from which convolutions of 3 x 3 go by Winograd's transforms, `usize::MAX` for never; by default what was
    /// found by trying.
    pub winograd_channels: Option<usize>,
    /// What [`Gpu::tuning`] said when this and other devices were opened before: where one is of this device, nothing is tried again.
    pub tunings: Vec<Tuning>,
    /// Whether to try what suits the device, which takes up to a second; by default where kernels with barriers are used, but not
    /// on software adapters, which take far longer.
    pub tune: Option<bool>,
    /// Which family of kernels; by default the barrier-free one on software adapters only.
    pub barrier_free: Option<bool>,
    /// Whether barrier-free kernels swap values in quads; by default where the device turns out to have them.
    pub quads: Option<bool>,
    /// Whether those that swap values also broadcast them in octets; by default where the device turns out to have them.
    pub octets: Option<bool>,
    /// Work of a dispatch from which they read tensors as textures, `u64::MAX` for never; by default never but on software adapters,
    /// which read storage lane by lane.
    pub texel_flops: Option<u64>,
    /// Measure GPU time by shader ([`Gpu::timings`]); needs timestamp queries, and every dispatch becomes a pass of its own.
    pub timings: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterInfo {
    /// As the driver states it; browsers may mask it.
    pub name: String,
    /// Vulkan, Metal, Dx12 or BrowserWebGpu.
    pub backend: String,
    /// Whether it runs on the CPU.
    pub software: bool,
    /// Whether it has f16 arithmetic.
    pub f16: bool,
    /// Whether it has subgroup operations.
    pub subgroups: bool,
    /// Whether it can time its own work.
    pub timestamps: bool,
    /// The largest fragments that its matrix units multiply in f16 with f32 sums, natively by Vulkan; they are asked for where
    /// [`GpuOptions::precision`] allows f16.
    pub fragment: Option<Fragment>,
    /// Which driver, and its version; browsers do not say.
    pub driver: String,
}

/// A device with its queue, the resident tensors' buffers and the compiled pipelines.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// Of nearest texels.
    pub(super) sampler: wgpu::Sampler,
    pub(super) limits: Limits,
    pub(super) options: GpuOptions,
    pub(super) status: Status,
    pub(super) allocated: Rc<Cell<u64>>,
    pub(super) peak: Cell<u64>,
    pub(super) uploads: RefCell<Uploads>,
    pub(super) residents: RefCell<HashMap<u64, Rc<Allocation>>>,
    pub(super) pipelines: RefCell<HashMap<Kernel, Rc<Pipeline>>>,
    pub(super) pace: RefCell<Pace>,
    pub(super) timings: RefCell<HashMap<&'static str, f64>>,
    timed: Cell<bool>,
    info: AdapterInfo,
    pub(super) tuning: Option<Tuning>,
}

impl Gpu {
    /// Opens the fastest adapter, or natively the one that [`GpuOptions::adapter`] or `WGPU_ADAPTER_NAME` names.
    ///
    /// # Errors
    /// [`Error::DeviceUnavailable`] when there is none, or it lacks what WebGPU guarantees.
    pub async fn create(options: &GpuOptions) -> Result<Self> {
        let unavailable = |reason: String| Error::DeviceUnavailable { reason };
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = find_adapter(&instance, options.adapter.as_deref()).await?;
        let info = describe(&adapter);
        let (guaranteed, has) = (wgpu::Limits::default(), adapter.limits());
        let required_limits = wgpu::Limits {
            max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
            max_buffer_size: has.max_buffer_size,
            max_compute_workgroup_storage_size: has.max_compute_workgroup_storage_size,
            ..guaranteed
        };
        let mut required_features = wgpu::Features::empty();
        required_features.set(wgpu::Features::TIMESTAMP_QUERY, options.timings && info.timestamps);
        required_features.set(wgpu::Features::SHADER_F16, info.f16);
        required_features.set(wgpu::Features::SUBGROUP, info.subgroups);
        let precision =
            options.tiles.map_or(options.precision, |tiles| tiles.precision().max(options.precision));
        let matrices = info.fragment.is_some() && precision >= Precision::F16;
        required_features.set(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX, matrices);
        // SAFETY: matrix units alone are asked for, where less precision is allowed; they are experimental in wgpu because it checks less of
        // them, and the build has checked the shaders.
        #[allow(unsafe_code, reason = "wgpu has matrix units only so")]
        let experimental = unsafe { wgpu::ExperimentalFeatures::enabled() };
        let experimental_features =
            if matrices { experimental } else { wgpu::ExperimentalFeatures::disabled() };
        let memory_hints = wgpu::MemoryHints::Manual { suballocated_device_memory_block_size: BLOCKS };
        let request = wgpu::DeviceDescriptor {
            required_limits,
            required_features,
            experimental_features,
            memory_hints,
            ..Default::default()
        };
        let (device, queue) =
            adapter.request_device(&request).await.map_err(|error| unavailable(error.to_string()))?;
        let limits = limits(&device.limits(), info.software, options);
        if limits.tiles.halves && !info.f16 {
            return Err(unavailable(format!("{} has no f16 arithmetic", info.name)));
        }
        if limits.tiles.fragment.is_some() && limits.tiles.fragment != info.fragment {
            return Err(unavailable(format!("{} has no such matrix units", info.name)));
        }
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor::default());
        let mut gpu = Self {
            status: Status::watch(&device),
            pace: RefCell::new(Pace::new(limits.max_dispatch_flops)),
            limits,
            options: options.clone(),
            allocated: Rc::default(),
            peak: Cell::default(),
            uploads: RefCell::default(),
            residents: RefCell::default(),
            pipelines: RefCell::default(),
            timings: RefCell::default(),
            timed: Cell::new(false),
            tuning: None,
            info,
            device,
            queue,
            sampler,
        };
        gpu.limits.quads =
            gpu.limits.barrier_free && options.quads.unwrap_or(true) && gpu.has_quads().await?;
        if gpu.limits.quads {
            let default = if gpu.info.software { Limits::SOFTWARE_TEXEL_FLOPS } else { u64::MAX };
            gpu.limits.texel_flops = options.texel_flops.unwrap_or(default);
            gpu.limits.octets = options.octets.unwrap_or(true) && gpu.has_octets().await?;
            if gpu.limits.octets {
                gpu.limits.max_dispatch_flops =
                    options.max_dispatch_flops.unwrap_or(Limits::OCTETS_DISPATCH_FLOPS);
                gpu.limits.rearranged_rows = Limits::OCTETS_REARRANGED_ROWS;
            }
        }
        if options.tune.unwrap_or(!gpu.info.software && !gpu.limits.barrier_free) {
            gpu.tune().await?;
        }
        // From here on: what was tried is not what anybody measures.
        gpu.time_dispatches(true);
        Ok(gpu)
    }

    /// What was found.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }

    /// What suits the device, where it was tried now or before; for [`GpuOptions::tunings`] the next time.
    pub fn tuning(&self) -> Option<&Tuning> {
        self.tuning.as_ref()
    }

    /// The limits that recordings are planned for.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// GPU seconds by shader since the device was opened; empty unless [`GpuOptions::timings`] is on and supported.
    pub fn timings(&self) -> HashMap<&'static str, f64> {
        self.timings.borrow().clone()
    }

    /// Ends the device as a driver reset would: every later call fails with [`Error::DeviceLost`].
    pub fn lose(&self) {
        self.status.lock().lost = Some("it was closed".into());
        self.device.destroy();
    }

    /// Whether dispatches are timed.
    pub(super) fn timed(&self) -> bool {
        self.timed.get()
    }

    /// Switches the timing of dispatches off, and on again where [`GpuOptions::timings`] has asked for it; whether they are timed now.
    pub fn time_dispatches(&self, on: bool) -> bool {
        self.timed.set(on && self.options.timings && self.info.timestamps);
        self.timed.get()
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("info", &self.info).field("limits", &self.limits).finish_non_exhaustive()
    }
}

#[cfg_attr(target_arch = "wasm32", allow(unused_variables))]
async fn find_adapter(instance: &wgpu::Instance, wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let unavailable = |reason: String| Error::DeviceUnavailable { reason };
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(wanted) = wanted.map(str::to_owned).or_else(|| std::env::var("WGPU_ADAPTER_NAME").ok()) {
        let adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
        let name = |a: &wgpu::Adapter| a.get_info().name.to_lowercase();
        let found = adapters.into_iter().find(|a| name(a).contains(&wanted.to_lowercase()));
        return found.ok_or_else(|| unavailable(format!("no adapter is named {wanted}")));
    }
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..Default::default()
    };
    instance.request_adapter(&options).await.map_err(|error| unavailable(error.to_string()))
}

fn describe(adapter: &wgpu::Adapter) -> AdapterInfo {
    let (info, features) = (adapter.get_info(), adapter.features());
    let name = info.name.to_lowercase();
    // A browser may mask the type of the adapter, or its name; wgpu turns `isFallbackAdapter` into the type.
    let software = info.device_type == wgpu::DeviceType::Cpu
        || ["llvmpipe", "swiftshader", "microsoft basic"].iter().any(|n| name.contains(n));
    AdapterInfo {
        name: info.name,
        driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
        backend: format!("{:?}", info.backend),
        software,
        f16: features.contains(wgpu::Features::SHADER_F16),
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        fragment: fragment(adapter),
    }
}

/// The largest fragments of f16 with f32 sums that an adapter has, and the kernels room for.
fn fragment(adapter: &wgpu::Adapter) -> Option<Fragment> {
    // Metal has them as well, but for pointers to single numbers, and the kernels' tiles are of vectors.
    let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP;
    if adapter.get_info().backend != wgpu::Backend::Vulkan || !adapter.features().contains(needed) {
        return None;
    }
    let memory = adapter.limits().max_compute_workgroup_storage_size;
    let all = adapter.cooperative_matrix_properties();
    Fragment::ALL.into_iter().filter(|fragment| fragment.workgroup_memory() <= memory).find(|fragment| {
        let side = fragment.side() as u32;
        all.iter().any(|found| {
            [found.m_size, found.n_size, found.k_size] == [side; 3]
                && found.ab_type == wgpu::CooperativeScalarType::F16
                && found.cr_type == wgpu::CooperativeScalarType::F32
        })
    })
}

fn limits(device: &wgpu::Limits, software: bool, options: &GpuOptions) -> Limits {
    let cap = |limit: u64, most: Option<u64>| most.map_or(limit, |most| limit.min(most));
    let barrier_free = options.barrier_free.unwrap_or(software);
    let winograd = if barrier_free { Limits::SOFTWARE_WINOGRAD_CHANNELS } else { usize::MAX };
    let dispatch = if software { Limits::SOFTWARE_DISPATCH_FLOPS } else { Limits::HARDWARE_DISPATCH_FLOPS };
    Limits {
        // Whole vectors: some drivers state a limit one short of a power of two.
        max_binding: cap(device.max_storage_buffer_binding_size, options.max_binding) & !15,
        max_buffer: cap(device.max_buffer_size, options.max_buffer) & !15,
        offset_alignment: device
            .min_storage_buffer_offset_alignment
            .max(device.min_uniform_buffer_offset_alignment)
            .into(),
        max_workgroups: device.max_compute_workgroups_per_dimension,
        workgroup_memory: device.max_compute_workgroup_storage_size,
        max_dispatch_flops: options.max_dispatch_flops.unwrap_or(dispatch),
        barrier_free,
        quads: false,
        octets: false,
        texel_flops: u64::MAX,
        rearranged_rows: 0,
        tiles: options.tiles.unwrap_or(Tiles::UNTRIED),
        winograd_channels: options.winograd_channels.unwrap_or(winograd),
    }
}

/// What went wrong since the last call; the device reports through callbacks.
#[derive(Debug, Clone, Default)]
pub(super) struct Status(Arc<Mutex<Faults>>);

#[derive(Debug, Default)]
struct Faults {
    lost: Option<String>,
    error: Option<Error>,
}

impl Status {
    fn watch(device: &wgpu::Device) -> Self {
        let status = Self::default();
        let faults = status.clone();
        device.set_device_lost_callback(move |reason, message| {
            faults.lock().lost.get_or_insert(format!("{reason:?}: {message}"));
        });
        let faults = status.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let reason = error.to_string();
            let error = match error {
                wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory { reason },
                wgpu::Error::Validation { .. } | wgpu::Error::Internal { .. } => {
                    Error::DeviceError { reason }
                }
            };
            // The first fault is the cause; those after it are its consequences.
            faults.lock().error.get_or_insert(error);
        }));
        status
    }

    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first fault since the last check. A lost device stays lost; after any other error the device is usable.
    pub(super) fn check(&self) -> Result<()> {
        let mut faults = self.lock();
        if let Some(reason) = &faults.lost {
            return Err(Error::DeviceLost { reason: reason.clone() });
        }
        faults.error.take().map_or(Ok(()), Err)
    }
}
