//! From a plan to what the device runs: pipelines, buffers, bind groups, one uniform buffer.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use super::device::Gpu;
use super::dispatch::{Dispatch, Kernel};
use super::kernels::lower;
use super::memory::Allocation;
use super::plan::{Plan, uniform_slot};
use super::shaders::{self, Access};
use super::texels::{self, Fill, Slot, Source, Texture};
use crate::recording::Recording;
use crate::tensor::{Lifetime, Tensor};
use crate::{CancelFlag, Error, Result};

/// A compiled kernel.
#[derive(Debug)]
pub(super) struct Pipeline {
    layout: wgpu::BindGroupLayout,
    pub(super) pipeline: wgpu::ComputePipeline,
}

/// A recording ready to run, with the memory of its temporaries.
#[derive(Debug)]
pub struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) residents: Vec<(u64, Rc<Allocation>)>,
    parts: Parts,
    bytes: u64,
}

/// A recording with the memory of its temporaries, whose operations are bound when their turn comes: weights may come and go meanwhile.
#[derive(Debug)]
pub struct Parts {
    plan: Box<Plan>,
    memory: Pool,
    /// All uniform blocks, and where each begins; none without a dispatch.
    uniforms: Option<(Allocation, Vec<u64>)>,
}

/// What the temporaries and textures of a plan live in.
#[derive(Debug)]
struct Pool {
    buffers: Vec<Allocation>,
    textures: HashMap<Slot, Texture>,
}

/// Where a tensor is: a resident by its id, or one of the pooled buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Resident(u64),
    Pooled(usize),
}

/// What the textures hold after the dispatches so far.
type Filled = HashMap<Slot, (Place, Source)>;

/// One dispatch, bound.
#[derive(Debug)]
pub(super) struct Step {
    /// Before the dispatch.
    pub(super) fills: Vec<Fill>,
    pub(super) pipeline: Rc<Pipeline>,
    pub(super) group: wgpu::BindGroup,
    pub(super) grid: [u32; 3],
    pub(super) cost: u64,
    pub(super) shader: &'static str,
}

impl Program {
    /// Bytes that this program alone holds: temporaries and uniforms.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of dispatches of one run.
    pub fn dispatches(&self) -> usize {
        self.steps.len()
    }

    /// The kernel of each dispatch of one run.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.parts.plan.dispatches.iter().map(|dispatch| &dispatch.kernel)
    }
}

impl Plan {
    fn find(&self, tensor: &Tensor) -> Option<Place> {
        let id = tensor.id();
        match tensor.lifetime() {
            Lifetime::Resident => Some(Place::Resident(id)),
            Lifetime::Temporary => self.place.get(&id).copied().map(Place::Pooled),
        }
    }
}

impl Gpu {
    /// Plans a recording, gives it memory and compiles what it needs. Missing residents are made, zeroed.
    ///
    /// # Errors
    /// As [`Plan::new`], and the device's own.
    pub fn prepare(&self, recording: &Recording) -> Result<Program> {
        self.bind_whole(self.prepare_parts(recording, &|_| false)?)
    }

    /// As [`Gpu::prepare`], of dispatches that are no operation's: on residents alone.
    ///
    /// # Errors
    /// As [`Gpu::prepare`].
    pub fn prepare_dispatches(&self, dispatches: Vec<Dispatch>) -> Result<Program> {
        self.status.check()?;
        let plan = Plan::of_dispatches(dispatches, &self.limits)?;
        self.bind_whole(self.allocate_plan(plan, &|_| false)?)
    }

    fn bind_whole(&self, parts: Parts) -> Result<Program> {
        let residents = self.residents.borrow();
        let ids = parts.plan.residents.iter().map(Tensor::id);
        let residents = ids.filter_map(|id| Some((id, residents.get(&id)?.clone()))).collect();
        let steps = self.bind_ops(&parts, 0..parts.plan.ends.len())?;
        let bytes = parts.plan.temporary_bytes + parts.plan.uniform_bytes;
        self.status.check()?;
        Ok(Program { steps, residents, parts, bytes })
    }

    /// Plans a recording and gives it memory, but for the residents that are `absent`: they have some when they are bound. Other missing
    /// residents are made, zeroed.
    ///
    /// # Errors
    /// As [`Plan::new`], and the device's own.
    pub fn prepare_parts(&self, recording: &Recording, absent: &dyn Fn(u64) -> bool) -> Result<Parts> {
        self.status.check()?;
        self.allocate_plan(Plan::new(recording, &self.limits)?, absent)
    }

    fn allocate_plan(&self, plan: Plan, absent: &dyn Fn(u64) -> bool) -> Result<Parts> {
        let plan = Box::new(plan);
        for tensor in plan.residents.iter().filter(|tensor| !absent(tensor.id())) {
            self.resident(tensor)?;
        }
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let buffers = plan.buffers.iter().map(|bytes| self.allocate(*bytes, usage));
        let textures = plan.textures.iter().map(|(slot, bytes)| Ok((*slot, self.texture(*slot, *bytes)?)));
        let memory =
            Pool { buffers: buffers.collect::<Result<_>>()?, textures: textures.collect::<Result<_>>()? };
        if plan.dispatches.is_empty() {
            return Ok(Parts { plan, memory, uniforms: None });
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniforms = self.allocate(plan.uniform_bytes, usage)?;
        let mut offsets = Vec::with_capacity(plan.uniforms.len());
        let mut block = Vec::with_capacity(usize::try_from(plan.uniform_bytes).unwrap_or(0) / 4);
        for words in &plan.uniforms {
            offsets.push(block.len() as u64 * 4);
            let end = block.len() + (uniform_slot(words, &self.limits) / 4) as usize;
            block.extend(words);
            block.resize(end, 0_u32);
        }
        self.queue.write_buffer(&uniforms.buffer, 0, bytemuck::cast_slice(&block));
        Ok(Parts { plan, memory, uniforms: Some((uniforms, offsets)) })
    }

    /// The dispatches of some operations, bound to what is resident now.
    ///
    /// # Errors
    /// [`Error::WrongState`] when a resident has no memory, and the device's own.
    pub(super) fn bind_ops(&self, parts: &Parts, ops: Range<usize>) -> Result<Vec<Step>> {
        let Parts { plan, memory, uniforms: Some((uniforms, offsets)) } = parts else {
            return Ok(Vec::new());
        };
        let end = |op: usize| plan.ends.get(op).copied().unwrap_or(plan.dispatches.len());
        let first = ops.start.checked_sub(1).map_or(0, end);
        let last = ops.end.checked_sub(1).map_or(0, end);
        let dispatches = plan.dispatches.iter().zip(&plan.uniforms).zip(offsets);
        let mut filled = Filled::new();
        dispatches
            .skip(first)
            .take(last.saturating_sub(first))
            .map(|((dispatch, words), offset)| {
                let range = wgpu::BufferBinding {
                    buffer: &uniforms.buffer,
                    offset: *offset,
                    size: wgpu::BufferSize::new(words.len() as u64 * 4),
                };
                self.bind(plan, dispatch, range, memory, &mut filled)
            })
            .collect()
    }

    fn bind(
        &self,
        plan: &Plan,
        dispatch: &Dispatch,
        uniforms: wgpu::BufferBinding<'_>,
        memory: &Pool,
        filled: &mut Filled,
    ) -> Result<Step> {
        let reflection = dispatch.check(&self.limits)?;
        let pipeline = self.pipeline(&dispatch.kernel)?;
        let fault = || Error::WrongState { call: "bind", reason: "a tensor has no memory".into() };
        let residents = self.residents.borrow();
        let mut entries =
            vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(uniforms) }];
        let mut slots = texels::slots(&dispatch.bindings);
        let mut fills = Vec::new();
        for (binding, (number, _)) in dispatch.bindings.iter().zip(reflection.bindings) {
            let place = plan.find(&binding.tensor).ok_or_else(fault)?;
            let buffer = match place {
                Place::Resident(id) => residents.get(&id).map(|resident| &resident.buffer),
                Place::Pooled(index) => memory.buffers.get(index).map(|pooled| &pooled.buffer),
            };
            let buffer = buffer.ok_or_else(fault)?;
            let resource = if let Some(source) = binding.source() {
                let (slot, _) = slots.next().ok_or_else(fault)?;
                let texture = memory.textures.get(&slot).ok_or_else(fault)?;
                let holds = (place, source.clone());
                if filled.get(&slot) != Some(&holds) {
                    fills.push(texture.fill(source, buffer));
                    filled.insert(slot, holds);
                }
                wgpu::BindingResource::TextureView(&texture.view)
            } else {
                let (bytes, _) = binding.place(&self.limits);
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: bytes.start,
                    size: wgpu::BufferSize::new(bytes.end - bytes.start),
                })
            };
            if binding.writable {
                filled.retain(|_, (of, _)| *of != place);
            }
            entries.push(wgpu::BindGroupEntry { binding: *number, resource });
        }
        entries.extend(reflection.sampler.map(|binding| wgpu::BindGroupEntry {
            binding,
            resource: wgpu::BindingResource::Sampler(&self.sampler),
        }));
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(dispatch.kernel.shader),
            layout: &pipeline.layout,
            entries: &entries,
        });
        Ok(Step {
            fills,
            group,
            pipeline,
            grid: dispatch.grid,
            cost: dispatch.cost(),
            shader: dispatch.kernel.shader,
        })
    }

    /// Compiles the kernels of a recording that have not been yet; in a browser this is only begun, and goes on beside.
    ///
    /// # Errors
    /// As [`Plan::new`], [`Error::Cancelled`], and the device's own.
    pub fn compile_ahead(&self, recording: &Recording, cancel: &CancelFlag) -> Result<()> {
        for op in recording.ops() {
            for dispatch in lower(op, &self.limits)? {
                cancel.check()?;
                self.pipeline(&dispatch.kernel)?;
            }
        }
        self.status.check()
    }

    /// How many kernels are compiled.
    pub fn compiled(&self) -> usize {
        self.pipelines.borrow().len()
    }

    /// The pipeline of a kernel, compiled on first use.
    fn pipeline(&self, kernel: &Kernel) -> Result<Rc<Pipeline>> {
        if let Some(found) = self.pipelines.borrow().get(kernel) {
            return Ok(found.clone());
        }
        let made = Rc::new(self.compile(kernel)?);
        self.pipelines.borrow_mut().insert(kernel.clone(), made.clone());
        Ok(made)
    }

    fn compile(&self, kernel: &Kernel) -> Result<Pipeline> {
        let label = Some(kernel.shader);
        let reflection = shaders::reflection(kernel)
            .ok_or_else(|| Error::DeviceError { reason: format!("no shader {kernel:?}") })?;
        let mut text = shaders::source(kernel)?;
        // naga has them without, and takes the directive for a mistake.
        if cfg!(target_arch = "wasm32") && ["QUAD", "OCTET"].iter().any(|flag| kernel.flags.contains(flag)) {
            text.insert_str(0, "enable subgroups;\n");
        }
        let source = wgpu::ShaderSource::Wgsl(text.into());
        let descriptor = wgpu::ShaderModuleDescriptor { label, source };
        // SAFETY: the build validated this very text, kernels guard their ranges against the element counts in their
        // uniforms, and their loops end. The checks would clamp every access and bound every loop, at a price in the inner
        // loops; browsers keep their own checks.
        #[allow(unsafe_code, reason = "the shaders are this crate's own, fixed at build time")]
        let module = unsafe {
            self.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        };
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty,
            count: None,
        };
        let buffer = |ty, size: u32| wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: wgpu::BufferSize::new(size.into()),
        };
        let texture = |sample_type| wgpu::BindingType::Texture {
            sample_type,
            view_dimension: wgpu::TextureViewDimension::D2,
            multisampled: false,
        };
        let mut entries = vec![entry(0, buffer(wgpu::BufferBindingType::Uniform, reflection.uniform_bytes))];
        entries.extend(reflection.bindings.iter().map(|(number, access)| {
            let ty = match access {
                Access::Read => buffer(wgpu::BufferBindingType::Storage { read_only: true }, 0),
                Access::Write => buffer(wgpu::BufferBindingType::Storage { read_only: false }, 0),
                Access::Numbers => texture(wgpu::TextureSampleType::Float { filterable: false }),
                Access::Words => texture(wgpu::TextureSampleType::Uint),
                Access::Stored(texel) => wgpu::BindingType::StorageTexture {
                    access: wgpu::StorageTextureAccess::ReadOnly,
                    format: texel.format(),
                    view_dimension: wgpu::TextureViewDimension::D2,
                },
            };
            entry(*number, ty)
        }));
        let nearest = wgpu::BindingType::Sampler(wgpu::SamplerBindingType::NonFiltering);
        entries.extend(reflection.sampler.map(|number| entry(number, nearest)));
        let layout = self
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Ok(Pipeline { layout, pipeline })
    }
}
