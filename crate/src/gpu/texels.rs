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

/// The bytes of a buffer that a texture holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    start: u64,
    bytes: u64,
    texel: Texel,
    /// Texels of a row of the texture that hold something.
    width: u64,
    /// Rows of the tensor beside each other in a row of the texture, as a power of two.
    pub(super) shift: u32,
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

impl Source {
    /// Of the elements of a binding, when they are rows of `row` elements that a texture can hold; of a quantised matrix, all of it.
    pub(super) fn of(binding: &Binding, row: usize) -> Option<Self> {
        let texel = Texel::of(binding.tensor.dtype());
        let size = texel.bytes();
        let source = if texel == Texel::Words32 {
            Self { start: 0, bytes: buffer_bytes(&binding.tensor), texel, width: ROW, shift: 0 }
        } else {
            let (first, count) = (binding.first_element() as u64, binding.elements.len() as u64);
            let row = row as u64;
            let whole =
                row > 0 && row.is_multiple_of(4) && first.is_multiple_of(4) && count.is_multiple_of(row);
            let suits = |shift: &u32| {
                ((row / 4 * size) << shift).is_multiple_of(COPY_ALIGNMENT) && (count / row) >> shift < MOST
            };
            let shift = whole.then(|| (0..MOST.ilog2()).find(suits)).flatten()?;
            let element = size / 4;
            Self { start: first * element, bytes: count * element, texel, width: (row / 4) << shift, shift }
        };
        (source.width <= MOST && source.rows() <= MOST).then_some(source)
    }

    /// Where they are in the buffer.
    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.start + self.bytes
    }

    /// Rows of the texture that holds it.
    fn rows(&self) -> u64 {
        self.bytes.div_ceil(self.width * self.texel.bytes())
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
    /// Whole rows, then what is left of the last.
    pub(super) fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        let Source { start, bytes, texel, width, .. } = self.source;
        let texels = bytes / texel.bytes();
        let row = width * texel.bytes();
        let whole = texels / width;
        for (first, width, rows) in [(0, width, whole), (whole, texels % width, 1)] {
            if width * rows == 0 {
                continue;
            }
            let layout = wgpu::TexelCopyBufferLayout {
                offset: start + first * row,
                bytes_per_row: u32::try_from(row).ok(),
                rows_per_image: None,
            };
            let source = wgpu::TexelCopyBufferInfo { buffer: &self.buffer, layout };
            let target = wgpu::TexelCopyTextureInfo {
                origin: wgpu::Origin3d { y: first as u32, ..wgpu::Origin3d::ZERO },
                ..self.texture.as_image_copy()
            };
            encoder.copy_buffer_to_texture(source, target, extent(width, rows));
        }
    }
}

/// Both are at most [`MOST`].
fn extent(width: u64, height: u64) -> wgpu::Extent3d {
    wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tensor::Tensor;

    proptest! {
        #[test]
        fn a_row_is_where_the_shader_looks_for_it(
            vectors in 1..3000_usize,
            (first, rows) in (0..50_usize, 1..400_usize),
            dtype in prop::sample::select(vec![DType::F32, DType::F16, DType::Bf16]),
        ) {
            let width = vectors * 4;
            let tensor = Tensor::resident(dtype, &[first + rows, width]);
            let binding = Binding::read_range(&tensor, first * width..(first + rows) * width);
            let Some(source) = Source::of(&binding, width) else {
                // Too wide for as many beside each other as a copy needs.
                prop_assert!(vectors > (MOST / 32) as usize);
                return Ok(());
            };
            let size = source.texel.bytes();
            prop_assert!(source.width <= MOST && source.rows() <= MOST && (source.width * size).is_multiple_of(COPY_ALIGNMENT));
            let lines = source.pitch() * size / LINE;
            prop_assert!((source.width..=MOST).contains(&source.pitch()) && (lines % 2 == 1 || source.width == MOST));
            let element = size / 4;
            for row in 0..rows {
                let (x, y) = ((row & ((1 << source.shift) - 1)) * vectors, row >> source.shift);
                let texel = y as u64 * source.width + x as u64;
                let expected = ((first + row) * width) as u64 * element;
                prop_assert_eq!(source.range().start + texel * size, expected);
                prop_assert!((x + vectors) as u64 <= source.width && (y as u64) < source.rows());
            }
        }
    }
}
