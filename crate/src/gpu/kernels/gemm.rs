//! What linear layers and convolutions share: the family of kernels, its grid, and the words of `shared/gemm.wgsl`.

use super::*;
use crate::gpu::limits::Fragment;
use crate::gpu::texels::{Rows, Source};
use crate::ops::Activation;
use crate::quants::Bits;

/// Rows up to which a whole tile would be wasted.
const SKINNY_ROWS: usize = 4;

/// Of a tile of those that read textures.
pub(super) const TEXEL_ROWS: usize = 32;
pub(super) const TEXEL_COLUMNS: usize = 64;

/// Rows of a tile of quads without textures' larger ones, and of octets for the last rows.
pub(super) const SHORT_ROWS: usize = 16;

/// How many times as wide as a matrix a tile is not to be; the widest tiles count as those of 64.
const NARROW: usize = 4;

/// A kernel of `shared/gemm_*.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// 128 x 64 results a workgroup.
    Tiled,
    /// 128 x 128 results a workgroup.
    Wide,
    /// 32 x 32 results a workgroup.
    Small,
    /// 128 x 64 results a workgroup, of rows that are rounded to 8 bits (`quantise_rows.wgsl`); chosen by linear layers.
    Bytes,
    /// 8 x 8 fragments of matrix units a workgroup; chosen by linear layers and convolutions.
    Matrix(Fragment),
    /// 8 x 8 results an invocation, without barriers; for a few columns on every device.
    Direct,
    /// 16 x 32 results four invocations that swap values, without barriers.
    Quad,
    /// 32 x 64 results four invocations, from textures: a dispatch of quads that is large enough.
    Tall,
    /// The same of eight invocations that broadcast values, where the device has octets.
    Octet,
    /// 16 x 64 results of them, for the last rows of a product.
    Short,
    /// 1 x 4 results an invocation, without barriers.
    Skinny,
}

/// What follows the product besides the bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combination {
    None = 0,
    Add = 1,
    Multiply = 2,
    GatedAdd = 3,
    /// Adds to what is in the output.
    Accumulate = 4,
}

/// The part of the uniform block that is the same for every gathering of rows.
#[derive(Debug, Clone)]
pub(super) struct Gemm {
    pub(super) rows: usize,
    /// The same with those of another dispatch, when the last ones have one of their own.
    pub(super) all_rows: usize,
    pub(super) columns: usize,
    pub(super) channels: usize,
    pub(super) taps: usize,
    /// Products one below the other, each with rows of the weight of its own.
    pub(super) products: usize,
    /// The weight's rows, with fewer elements than there are columns where it lies in panels, one below the other, or a texture can have
    /// it cut into them: octets read it so.
    pub(super) weight: Rows,
    /// Elements of an output row.
    pub(super) width: usize,
    /// First column of the output row that is written.
    pub(super) column: usize,
    pub(super) bias: bool,
    pub(super) activation: Activation,
    pub(super) combination: Combination,
    /// Whether what is below 0 becomes 0, after everything else.
    pub(super) relu: bool,
}

impl Family {
    /// The family for a product of this size.
    pub(super) fn choose(rows: usize, columns: usize, limits: &Limits) -> Self {
        let tiles = rows.div_ceil(128) * columns.div_ceil(64);
        let family = if rows <= SKINNY_ROWS {
            Self::Skinny
        } else if limits.barrier_free {
            if limits.quads { Self::Quad } else { Self::Direct }
        } else if tiles < limits.tiles.few {
            Self::Small
        } else if limits.tiles.wide {
            Self::Wide
        } else {
            Self::Tiled
        };
        // Three colours, say: a tile would be mostly empty.
        let (_, width, _) = family.tile();
        if columns * NARROW <= width.min(64) && family != Self::Skinny { Self::Direct } else { family }
    }

    /// The same by matrix units, where there are large tiles and the device is to use them.
    pub(super) fn by_matrix_units(self, vectors: bool, limits: &Limits) -> Self {
        match (self, limits.tiles.fragment) {
            (Self::Tiled | Self::Wide, Some(fragment)) if vectors => Self::Matrix(fragment),
            _ => self,
        }
    }

    /// The flag of the permutation table.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Tiled => "TILED",
            Self::Wide => "WIDE",
            Self::Small => "SMALL",
            Self::Bytes => "BYTES",
            Self::Matrix(Fragment::Eight) => "MATRIX8",
            Self::Matrix(Fragment::Sixteen) => "MATRIX16",
            Self::Direct => "DIRECT",
            Self::Quad | Self::Tall => "QUAD",
            Self::Octet | Self::Short => "OCTET",
            Self::Skinny => "SKINNY",
        }
    }

    /// Rows that one dispatch may take when a row costs `flops`: whole tiles.
    pub(super) fn dispatch_rows(self, flops: u64, limits: &Limits) -> usize {
        let rows = limits.dispatch_rows(flops);
        let tile = if rows >= self.whole_rows() { self.whole_rows() } else { self.tile().0 };
        (rows - rows % tile).max(tile)
    }

    /// Rows and columns of a tile, and tiles of a workgroup.
    pub(super) fn tile(self) -> (usize, usize, usize) {
        match self {
            Self::Tiled | Self::Bytes => (128, 64, 1),
            Self::Wide => (128, 128, 1),
            Self::Small => (32, 32, 1),
            Self::Matrix(fragment) => (8 * fragment.side(), 8 * fragment.side(), 1),
            Self::Direct => (8, 8, 32),
            Self::Quad => (SHORT_ROWS, 32, 8),
            Self::Tall => (TEXEL_ROWS, TEXEL_COLUMNS, 2),
            Self::Octet => (TEXEL_ROWS, TEXEL_COLUMNS, 1),
            Self::Short => (SHORT_ROWS, TEXEL_COLUMNS, 1),
            Self::Skinny => (1, 4, 64),
        }
    }

    /// Rows that are whole tiles, whether a dispatch is large enough for larger ones or not.
    pub(super) fn whole_rows(self) -> usize {
        match self {
            Self::Quad => TEXEL_ROWS,
            _ => self.tile().0,
        }
    }

    fn grid(self, rows: usize, columns: usize, limits: &Limits) -> Result<[u32; 3]> {
        let (tile_rows, tile_columns, tiles) = self.tile();
        limits.fold((rows.div_ceil(tile_rows) * columns.div_ceil(tile_columns)).div_ceil(tiles))
    }
}

impl Gemm {
    /// The family of quads that read textures; of octets alone when the weight is to lie in panels.
    fn texel_family(&self, in_panels: bool, limits: &Limits) -> Family {
        // Whether tiles are full but for such a part, and their rows of one product alone.
        let fills = |rows: usize, tile: usize, part: usize| {
            let full = |size: usize, tile| size.next_multiple_of(tile) - size <= size / part;
            let whole = self.products == 1 || self.rows.is_multiple_of(self.products * TEXEL_ROWS);
            whole && full(rows, tile) && full(self.columns, TEXEL_COLUMNS)
        };
        let apart = self.rows < self.all_rows || self.rows <= SHORT_ROWS;
        let last = if apart { SHORT_ROWS } else { TEXEL_ROWS };
        let octets = in_panels || (limits.octets && fills(self.all_rows, last, 4));
        match octets {
            true if self.rows <= SHORT_ROWS => Family::Short,
            true => Family::Octet,
            false if fills(self.rows, TEXEL_ROWS, 8) => Family::Tall,
            false => Family::Quad,
        }
    }

    /// A dispatch of `shader`, with the words of its own after those of the product. `bindings` are in the order of the shader,
    /// the weight second and the output last.
    pub(super) fn dispatch(
        &self,
        shader: &'static str,
        family: Family,
        vectors: bool,
        mut bindings: Vec<Binding>,
        own: Vec<u32>,
        limits: &Limits,
    ) -> Result<Dispatch> {
        let format = bindings.get(1).and_then(|weight| format_flag(weight.tensor.dtype()));
        let quants = bindings.get(1).map_or([0; 4], |weight| quant_words(&weight.tensor));
        let depth = self.taps * self.channels;
        let flops_of = |rows: usize| 2 * rows as u64 * self.columns as u64 * depth as u64;
        let flops = flops_of(self.rows);
        // Quantised weights are read from textures in octets alone: others have large ones widened.
        let quantised =
            bindings.get(1).is_some_and(|weight| matches!(weight.tensor.dtype(), DType::Quants(_)));
        let texel_family = self.texel_family(self.weight.panel < self.columns, limits);
        let lies_in_panels = self.weight.row < self.columns;
        let texels = vectors
            && family == Family::Quad
            && (lies_in_panels || flops_of(self.all_rows) >= limits.texel_flops)
            && (!quantised || matches!(texel_family, Family::Octet | Family::Short))
            && read_as_texels(&mut bindings, &[Rows::whole(self.channels), self.weight]);
        let stride = if texels { self.weight.panel } else { self.weight.row };
        let family = if texels { texel_family } else { family };
        let size = match family {
            Family::Tall => Some("TALL"),
            Family::Short => Some("SHORT"),
            _ => None,
        };
        let halves = in_halves(shader, family, vectors, limits).then_some("HALVES");
        let vectors = vectors.then_some("VEC4");
        let flags = [Some(family.flag()), vectors, format, texels.then_some("TEXELS"), size, halves];
        let activation = match self.activation {
            Activation::None => 0,
            Activation::GeluTanh => 1,
            Activation::Silu => 2,
        };
        let weight_rows = self.products * depth;
        let mut params =
            words([self.rows, self.columns, self.channels, self.taps, weight_rows, stride, self.width])?;
        params.extend([word(self.column)?, self.bias.into(), activation, self.combination as u32]);
        params.extend(words(quants)?);
        params.push(self.relu.into());
        params.extend(own);
        Ok(Dispatch {
            kernel: Kernel::new(shader, flags.into_iter().flatten()),
            grid: family.grid(self.rows, self.columns, limits)?,
            params,
            flops,
            bindings,
        })
    }
}

/// Whether a kernel multiplies in f16. Winograd's transforms would take too many of its digits.
fn in_halves(shader: &str, family: Family, vectors: bool, limits: &Limits) -> bool {
    let tiled = matches!(family, Family::Tiled | Family::Wide | Family::Small);
    limits.tiles.halves && tiled && vectors && shader != "winograd_product"
}

/// Of a quantised matrix, as shaders have it: the first words of scales and of outer scales (0: none), the shift from an element to its
/// group, and zero.
pub(super) fn quant_words(matrix: &Tensor) -> [usize; 4] {
    let DType::Quants(format) = matrix.dtype() else { return [0; 4] };
    let [_, scales, nests, _] = format.sections(matrix.allocation());
    let nests = if format.nested { nests / 4 } else { 0 };
    [scales / 4, nests, format.group.trailing_zeros() as usize, format.zero.into()]
}

/// The flag of a weight's format; f32 has none.
pub(super) fn format_flag(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F16 => Some("HALF"),
        DType::Bf16 => Some("BFLOAT"),
        DType::Quants(format) => Some(match format.bits {
            Bits::Eight => "QUANT8",
            Bits::Four => "QUANT4",
        }),
        DType::F32 | DType::U32 => None,
    }
}

/// Has the first bindings read as textures of such rows, if all of them can be.
pub(super) fn read_as_texels(bindings: &mut [Binding], rows: &[Rows]) -> bool {
    let mut pairs = bindings.iter().zip(rows);
    let can = pairs.all(|(binding, row)| Source::of(binding, *row).is_some());
    if can {
        bindings.iter_mut().zip(rows).for_each(|(binding, row)| binding.texels = Some(*row));
    }
    can
}

/// Something valid for a binding that a dispatch does not read.
pub(super) fn unused(tensor: &Tensor) -> Binding {
    Binding::read_range(tensor, 0..tensor.len().min(4))
}

/// Whether a tensor starts at a whole vector of its allocation.
pub(super) fn aligned(tensor: &Tensor) -> bool {
    tensor.offset().is_multiple_of(4)
}

/// # Errors
/// [`Error::ShapeMismatch`] when the tensor starts inside a vector of its allocation, where no kernel can read it.
pub(super) fn expect_aligned(op: &'static str, what: &'static str, tensor: &Tensor) -> Result<()> {
    if aligned(tensor) {
        return Ok(());
    }
    let offset = tensor.offset();
    Err(Error::ShapeMismatch { op, what, expected: vec![offset - offset % 4], found: vec![offset] })
}
