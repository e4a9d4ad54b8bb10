//! What a device can hold and which kernels it likes: detected, never assumed.

use crate::tensor::DType;
use crate::{Error, Result};

/// The part of a device that decides how a recording is planned. Plain data, so that a plan for any device is a unit test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Alignment of a binding's offset in bytes.
    pub offset_alignment: u64,
    /// Workgroups along one dimension of a dispatch.
    pub max_workgroups: u32,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Most work of one dispatch, where the operation can be split: two seconds of one dispatch are a hang to some
    /// drivers, and a page stutters long before.
    pub max_dispatch_flops: u64,
    /// Whether kernels without workgroup barriers are to be used: a software adapter runs invocations one after the other
    /// and pays 4-5 times for a barrier.
    pub barrier_free: bool,
    /// Whether four neighbouring invocations of a workgroup can swap values (`quad_probe.wgsl`).
    pub quads: bool,
    /// Whether eight neighbouring invocations, a workgroup, can have what any of them has (`octet_probe.wgsl`).
    pub octets: bool,
    /// Work of a dispatch from which those that swap values read tensors as textures (`shared/texels.wgsl`); `u64::MAX` for never.
    pub texel_flops: u64,
    /// Rows from which dispatches of as much work have their weights rearranged first: quantised ones are written as f32, and where there
    /// are octets, all are put into panels.
    pub rearranged_rows: usize,
    /// Which tiles matrices are cut into by kernels with barriers.
    pub tiles: Tiles,
    /// Channels, in and out, from which convolutions of 3 x 3 go by Winograd's transforms; `usize::MAX` for never.
    pub winograd_channels: usize,
}

/// Which of the tiles of `shared/gemm_tiled.wgsl` suit a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tiles {
    /// Whether large matrices are cut into 128 x 128 results, and not into 128 x 64.
    pub wide: bool,
    /// Tiles of 128 x 64 below which a matrix is cut into 32 x 32, which keep more of a device busy.
    pub few: usize,
    /// Whether linear layers and convolutions are multiplied in f16, with sums of 16 products in f16 and the sums of those in f32.
    pub halves: bool,
    /// Whether linear layers with weights in groups of 32 are multiplied in 8-bit integers, what they are multiplied with rounded to 8 bits
    /// in groups as well (`shared/gemm_bytes.wgsl`).
    pub bytes: bool,
    /// Which fragments matrix units multiply in, in f16 with f32 sums (`shared/gemm_matrix.wgsl`); natively, where linear layers and convolutions
    /// with many tiles go by them.
    pub fragment: Option<Fragment>,
}

/// Rows and columns that matrix units take at once, of all three matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Fragment {
    /// 8 x 8.
    Eight = 8,
    /// 16 x 16.
    Sixteen = 16,
}

/// What linear layers and convolutions may be multiplied in, where a device turns out to be faster so; each allows what is before
/// it. Long sums are f32 throughout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As the weights are.
    #[default]
    F32,
    /// In f16 ([`Tiles::halves`], [`Tiles::fragment`]), which has 11 bits and ends at 65,504.
    F16,
    /// Where weights are quantised, in 8-bit integers ([`Tiles::bytes`]).
    I8,
}

impl std::str::FromStr for Precision {
    type Err = Error;

    /// # Errors
    /// [`Error::OptionInvalid`] for anything but `f32`, `f16` and `i8`.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "i8" => Ok(Self::I8),
            _ => Err(Error::OptionInvalid {
                option: "precision".into(),
                expected: "\"f32\", \"f16\" or \"i8\"".into(),
                found: format!("{name:?}"),
            }),
        }
    }
}

impl Fragment {
    /// The largest that a device may have first.
    pub(super) const ALL: [Self; 2] = [Self::Sixteen, Self::Eight];

    /// Rows and columns.
    pub(super) fn side(self) -> usize {
        self as usize
    }

    /// Bytes of workgroup memory that `shared/gemm_matrix.wgsl` has.
    pub(super) fn workgroup_memory(self) -> u32 {
        match self {
            Self::Eight => 20_480,
            Self::Sixteen => 27_136,
        }
    }
}

impl Tiles {
    /// The least that is multiplied in.
    pub fn precision(self) -> Precision {
        match self {
            Self { bytes: true, .. } => Precision::I8,
            Self { halves: true, .. } | Self { fragment: Some(_), .. } => Precision::F16,
            _ => Precision::F32,
        }
    }

    /// Of a device that has not been tried.
    pub const UNTRIED: Self = Self { wide: false, few: 96, halves: false, bytes: false, fragment: None };
}

impl Limits {
    /// What every WebGPU device guarantees.
    pub const GUARANTEED: Self = Self {
        max_binding: 128 << 20,
        max_buffer: 256 << 20,
        offset_alignment: 256,
        max_workgroups: 65_535,
        workgroup_memory: 16 << 10,
        max_dispatch_flops: Self::HARDWARE_DISPATCH_FLOPS,
        barrier_free: false,
        quads: false,
        octets: false,
        texel_flops: u64::MAX,
        rearranged_rows: 0,
        tiles: Tiles::UNTRIED,
        winograd_channels: usize::MAX,
    };

    /// 50 ms at 400 GFLOP/s, the slowest integrated GPUs. On a fast device a dispatch as small leaves most of it idle at its end:
    /// it has its own, found by trying.
    pub const HARDWARE_DISPATCH_FLOPS: u64 = 20_000_000_000;

    /// 50-100 ms at the 5-10 GFLOP/s of the software adapters.
    pub const SOFTWARE_DISPATCH_FLOPS: u64 = 500_000_000;

    /// 30-60 ms at the rates of those that have octets.
    pub const OCTETS_DISPATCH_FLOPS: u64 = 2_000_000_000;

    /// Where software adapters gain by textures, which are filled before a dispatch. From 4 MFLOP on they would make the embedded model's
    /// steps and decoding a quarter and a sixth faster in Chromium, but for its first clip their kernels take 1.4 s more to compile.
    pub const SOFTWARE_TEXEL_FLOPS: u64 = 100_000_000;

    /// Where software adapters that have octets gain by that: it takes the time of some hundred rows. Those that have not gain by widened
    /// weights with any.
    pub const OCTETS_REARRANGED_ROWS: usize = 256;

    /// Fewest channels with which Winograd's transforms are tried on hardware.
    pub const HARDWARE_WINOGRAD_CHANNELS: usize = 96;

    /// Channels from which the software adapters gain by them.
    pub const SOFTWARE_WINOGRAD_CHANNELS: usize = 16;

    /// Elements of `dtype` that fit one binding wherever it starts: the start is rounded down to the offset alignment and
    /// the end up to whole vectors.
    pub fn binding_elements(&self, dtype: DType) -> usize {
        let bytes = self.max_binding.saturating_sub(self.offset_alignment + 16);
        let elements = match dtype {
            DType::F32 | DType::U32 => bytes / 4,
            DType::F16 | DType::Bf16 => bytes / 2,
            // Never in parts: as many as if each took a whole byte, which is more than they do.
            DType::Quants(_) => bytes,
        };
        usize::try_from(elements).unwrap_or(usize::MAX)
    }

    /// How many rows of `row` elements of `dtype` fit one binding.
    ///
    /// # Errors
    /// [`Error::DeviceTooSmall`] when one row does not.
    pub fn binding_rows(&self, op: &'static str, dtype: DType, row: usize) -> Result<usize> {
        match self.binding_elements(dtype) / row.max(1) {
            0 => Err(Error::DeviceTooSmall {
                what: format!("one row of {op}"),
                needed: dtype.bytes(row) + self.offset_alignment,
                allowed: self.max_binding,
            }),
            rows => Ok(rows),
        }
    }

    /// Rows that one dispatch may work on when a row costs `flops`; at least one.
    pub fn dispatch_rows(&self, flops: u64) -> usize {
        usize::try_from(self.max_dispatch_flops / flops.max(1)).unwrap_or(usize::MAX).max(1)
    }

    /// The grid of `workgroups` in a row, folded into two dimensions where one is too short: shaders take the index from
    /// `shared/grid.wgsl` and leave the tail.
    ///
    /// # Errors
    /// [`Error::DeviceTooSmall`] when two are too short as well.
    pub fn fold(&self, workgroups: usize) -> Result<[u32; 3]> {
        let most = self.max_workgroups as usize;
        let rows = workgroups.div_ceil(most.max(1)).max(1);
        let columns = workgroups.div_ceil(rows);
        match (u32::try_from(columns), u32::try_from(rows)) {
            (Ok(columns), Ok(rows)) if rows <= self.max_workgroups => Ok([columns, rows, 1]),
            _ => Err(Error::DeviceTooSmall {
                what: "a grid of workgroups".into(),
                needed: workgroups as u64,
                allowed: (most as u64).pow(2),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::shaders::reflections;

    #[test]
    fn matrix_units_need_what_the_shaders_have() {
        for (fragment, flag) in [(Fragment::Eight, "MATRIX8"), (Fragment::Sixteen, "MATRIX16")] {
            let mut all = reflections().iter().filter(|r| r.flags.contains(&flag)).peekable();
            assert!(all.peek().is_some() && all.all(|r| r.workgroup_bytes == fragment.workgroup_memory()));
        }
    }

    #[test]
    fn grids_fold() {
        let limits = Limits { max_workgroups: 10, ..Limits::GUARANTEED };
        for n in 1..=100 {
            let [x, y, z] = limits.fold(n).unwrap();
            assert!(x <= 10 && y <= 10 && z == 1 && (x * y) as usize >= n, "{n}");
        }
        assert!(limits.fold(101).is_err());
    }

    #[test]
    fn rows_fit_a_binding_wherever_it_starts() {
        let limits = Limits { max_binding: 4096, ..Limits::GUARANTEED };
        let rows = limits.binding_rows("test", DType::F32, 10).unwrap();
        assert_eq!(rows, (4096 - 272) / 40);
        assert!(limits.binding_rows("test", DType::F32, 1000).is_err());
    }
}
