//! Tensors as textures: a software adapter reads storage invocation by invocation, and textures in vectors of them.

use std::ops::Range;

use super::device::Gpu;
use super::dispatch::{Binding, buffer_bytes};
use super::memory::Counted;
use crate::Result;
use crate::tensor::DType;

/// Texels of a texture's row where the tensor has no rows of its own, as `shared/texels.wgsl` has it.
const ROW: u64 = 4096;

/// Texels of a row, and rows, that every device has.
const MOST: u64 = 8192;

/// What the rows of a copy into a texture are a multiple of, in bytes.
const COPY_ALIGNMENT: u64 = wgpu::COPY_BYTES_PER_ROW_ALIGNMENT as u64;

/// Bytes of a line of a processor's cache.
const LINE: u64 = 64;

/// What a texture is made for: the nth of its kind in a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    texel: Texel,
    /// Texels of a row.
    pitch: u64,
    nth: usize,
}

/// What a texel holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Texel {
    /// Four numbers of 32 bits.
    Floats,
    /// Four numbers of 16 bits, which the device widens.
    Halves,
    /// Four numbers of 16 bits, as they are.
    Words16,
    /// Four words of a quantised matrix.
    Words32,
}

/// How a tensor lies in a texture: in rows of `row` elements, cut into panels of `panel` of them, one below the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// Elements of a row.
    pub row: usize,
    /// Elements of a panel's row, multiples of four; `row` where there is one panel.
    pub panel: usize,
}

/// The bytes of a buffer that a texture holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    start: u64,
    bytes: u64,
    texel: Texel,
    /// Texels of a row of the texture that hold something.
    width: u64,
    /// Rows of the tensor, or of a panel, beside each other in a row of the texture, as a power of two.
    pub(super) shift: u32,
    /// Where the tensor is cut.
    panels: Option<Panels>,
}

/// Columns of a tensor one below the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Panels {
    /// Texels of a row of the tensor, and of a panel, of which the last may have fewer.
    row: u64,
    panel: u64,
    /// Rows of the texture that a panel takes.
    rows: u64,
}

/// A part of a buffer that goes into a texture, in texels; of the first its bytes.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    start: u64,
    /// From one row in the buffer to the next.
    pitch: u64,
    size: (u64, u64),
    origin: (u64, u64),
}

/// A texture that counts towards [`Gpu::allocated_bytes`].
#[derive(Debug)]
pub(super) struct Texture {
    texture: wgpu::Texture,
    pub(super) view: wgpu::TextureView,
    _counted: Counted,
}

/// What fills a texture before a dispatch.
#[derive(Debug)]
pub(super) struct Fill {
    source: Source,
    buffer: wgpu::Buffer,
    texture: wgpu::Texture,
}

impl Texel {
    fn of(dtype: DType) -> Self {
        match dtype {
            DType::F32 | DType::U32 => Self::Floats,
            DType::F16 => Self::Halves,
            DType::Bf16 => Self::Words16,
            DType::Quants(_) => Self::Words32,
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::Floats | Self::Words32 => 16,
            Self::Halves | Self::Words16 => 8,
        }
    }

    pub(super) fn format(self) -> wgpu::TextureFormat {
        match self {
            Self::Floats => wgpu::TextureFormat::Rgba32Float,
            Self::Halves => wgpu::TextureFormat::Rgba16Float,
            Self::Words16 => wgpu::TextureFormat::Rgba16Uint,
            Self::Words32 => wgpu::TextureFormat::Rgba32Uint,
        }
    }
}

impl Rows {
    /// Rows that are not cut.
    pub const fn whole(row: usize) -> Self {
        Self { row, panel: row }
    }
}

impl Source {
    /// Of the elements of a binding, when a texture can hold them so; of a quantised matrix, all of it.
    pub(super) fn of(binding: &Binding, Rows { row, panel }: Rows) -> Option<Self> {
        let texel = Texel::of(binding.tensor.dtype());
        let size = texel.bytes();
        let source = if texel == Texel::Words32 {
            let bytes = buffer_bytes(&binding.tensor);
            Self { start: 0, bytes, texel, width: ROW, shift: 0, panels: None }
        } else {
            let (first, count) = (binding.first_element() as u64, binding.elements.len() as u64);
            let (row, panel) = (row as u64, panel as u64);
            let whole = panel > 0
                && row.is_multiple_of(4)
                && panel.is_multiple_of(4)
                && first.is_multiple_of(4)
                && count.is_multiple_of(row);
            let rows = count.checked_div(row)?;
            let panels = row.div_ceil(panel.max(1));
            let suits = |shift: &u32| {
                ((row / 4 * size) << shift).is_multiple_of(COPY_ALIGNMENT)
                    && (panels * rows) >> shift < MOST
                    && (panels == 1 || rows.is_multiple_of(1 << shift))
            };
            let shift = whole.then(|| (0..MOST.ilog2()).find(suits)).flatten()?;
            let panels = (panels > 1).then(|| Panels { row: row / 4, panel: panel / 4, rows: rows >> shift });
            let element = size / 4;
            let (start, bytes, width) = (first * element, count * element, (panel / 4) << shift);
            Self { start, bytes, texel, width, shift, panels }
        };
        (source.width <= MOST && source.rows() <= MOST).then_some(source)
    }

    /// Where they are in the buffer.
    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.start + self.bytes
    }

    /// Rows of the texture that holds it.
    fn rows(&self) -> u64 {
        match &self.panels {
            None => self.bytes.div_ceil(self.width * self.texel.bytes()),
            Some(panels) => panels.row.div_ceil(panels.panel) * panels.rows,
        }
    }

    /// How many [`Source::parts`] there are, at most.
    pub(super) fn copies(&self) -> u64 {
        self.panels.as_ref().map_or(2, |panels| panels.row.div_ceil(panels.panel) << self.shift)
    }

    /// What is copied: whole rows, then what is left of the last; of panels, rows that lie beside each other apart.
    fn parts(&self) -> Vec<Part> {
        let size = self.texel.bytes();
        let Some(Panels { row, panel, rows }) = self.panels else {
            let texels = self.bytes / size;
            let (width, whole) = (self.width, texels / self.width);
            let part = |first, width, rows| Part {
                start: self.start + first * self.width * size,
                pitch: self.width,
                size: (width, rows),
                origin: (0, first),
            };
            let parts = [part(0, width, whole), part(whole, texels % width, 1)];
            return parts.into_iter().filter(|part| part.size.0 * part.size.1 > 0).collect();
        };
        let beside = 0..1 << self.shift;
        let part = |index: u64, beside: u64| Part {
            start: self.start + (beside * row + index * panel) * size,
            pitch: row << self.shift,
            size: (panel.min(row - index * panel), rows),
            origin: (beside * panel, index * rows),
        };
        (0..row.div_ceil(panel)).flat_map(|index| beside.clone().map(move |nth| part(index, nth))).collect()
    }

    /// Texels from one row of the texture to the next: an odd number of [`LINE`]s where it can be, because neighbouring
    /// rows are read together, which with rows of 4 KiB would all be in one set of the cache.
    fn pitch(&self) -> u64 {
        let line = LINE / self.texel.bytes();
        let padded = (self.width.div_ceil(line) | 1) * line;
        if padded <= MOST { padded } else { self.width }
    }
}

/// The slot of each binding that is read as a texture, with the bytes that it needs.
pub(super) fn slots(bindings: &[Binding]) -> impl Iterator<Item = (Slot, u64)> {
    let sources: Vec<_> = bindings.iter().filter_map(Binding::source).collect();
    (0..sources.len()).filter_map(move |index| {
        let source = sources.get(index)?;
        let (texel, pitch) = (source.texel, source.pitch());
        let same = sources.iter().take(index).filter(|other| (other.texel, other.pitch()) == (texel, pitch));
        Some((Slot { texel, pitch, nth: same.count() }, source.rows() * pitch * texel.bytes()))
    })
}

impl Gpu {
    /// A texture for a slot of so many bytes, whole rows.
    pub(super) fn texture(&self, slot: Slot, bytes: u64) -> Result<Texture> {
        let rows = bytes / (slot.pitch * slot.texel.bytes());
        let mut usage = wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST;
        usage.set(wgpu::TextureUsages::STORAGE_BINDING, self.limits.octets);
        let texture = self.device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: extent(slot.pitch, rows),
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: slot.texel.format(),
            usage,
            view_formats: &[],
        });
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        let counted = self.count(bytes);
        self.status.check()?;
        Ok(Texture { texture, view, _counted: counted })
    }
}

impl Texture {
    pub(super) fn fill(&self, source: Source, buffer: &wgpu::Buffer) -> Fill {
        Fill { source, buffer: buffer.clone(), texture: self.texture.clone() }
    }
}

impl Drop for Texture {
    fn drop(&mut self) {
        self.texture.destroy();
    }
}

impl Fill {
    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        for Part { start, pitch, size, origin } in self.source.parts() {
            let layout = wgpu::TexelCopyBufferLayout {
                offset: start,
                bytes_per_row: u32::try_from(pitch * self.source.texel.bytes()).ok(),
                rows_per_image: None,
            };
            let source = wgpu::TexelCopyBufferInfo { buffer: &self.buffer, layout };
            let target = wgpu::TexelCopyTextureInfo {
                origin: wgpu::Origin3d { x: origin.0 as u32, y: origin.1 as u32, z: 0 },
                ..self.texture.as_image_copy()
            };
            encoder.copy_buffer_to_texture(source, target, extent(size.0, size.1));
        }
    }
}

/// Both are at most [`MOST`].
fn extent(width: u64, height: u64) -> wgpu::Extent3d {
    wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::tensor::Tensor;

    /// Where the shader looks for a texel of a row.
    fn texel(source: &Source, rows: u64, row: u64, column: u64) -> (u64, u64) {
        let panel = source.width >> source.shift;
        let row = column / panel * rows + row;
        ((row & ((1 << source.shift) - 1)) * panel + column % panel, row >> source.shift)
    }

    proptest! {
        #[test]
        fn a_row_is_where_the_shader_looks_for_it(
            vectors in 1..3000_usize,
            panel in prop::option::of(1..40_usize),
            (first, rows) in (0..50_usize, 1..400_usize),
            dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::Bf16]),
        ) {
            let row = vectors * 4;
            let tensor = Tensor::resident(dtype, &[first + rows, row]);
            let binding = Binding::read_range(&tensor, first * row..(first + rows) * row);
            let panel = panel.map_or(row, |panel| (4 * panel).min(row));
            let Some(source) = Source::of(&binding, Rows { row, panel }) else {
                // Too wide for as many beside each other as a copy needs, or not as many in whole rows of the texture.
                prop_assert!(vectors > (MOST / 32) as usize || (panel < row && rows % 32 != 0));
                return Ok(());
            };
            let size = source.texel.bytes();
            prop_assert!(source.width <= MOST && source.rows() <= MOST);
            let lines = source.pitch() * size / LINE;
            prop_assert!((source.width..=MOST).contains(&source.pitch()) && (lines % 2 == 1 || source.width == MOST));
            prop_assert!(source.parts().len() as u64 <= source.copies());
            // Which texel of the buffer each texel of the texture is filled with.
            let mut found = HashMap::new();
            for Part { start, pitch, size: (width, height), origin } in source.parts() {
                prop_assert!((pitch * size).is_multiple_of(COPY_ALIGNMENT) && start.is_multiple_of(size));
                prop_assert!(origin.0 + width <= source.width && origin.1 + height <= source.rows());
                for y in 0..height {
                    for x in 0..width {
                        found.insert((origin.0 + x, origin.1 + y), start / size + y * pitch + x);
                    }
                }
            }
            prop_assert_eq!(found.len(), rows * vectors);
            for y in 0..rows {
                for x in [0, vectors / 2, vectors - 1] {
                    let at = texel(&source, rows as u64, y as u64, x as u64);
                    prop_assert_eq!(found.get(&at), Some(&(((first + y) * vectors + x) as u64)));
                }
            }
        }
    }
}
