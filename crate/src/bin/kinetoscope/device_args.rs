//! Where to compute, with how much memory and how many digits.

use clap::{Args, ValueEnum};
use kinetoscope::executor::DeviceChoice;

/// How much of the device may be used.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    /// Memory of the device that may be taken, in bytes or with a unit, such as 4GiB. Where a model's weights have no room beside the
    /// clip, its parts take turns and are read again. Without it everything stays on the device.
    #[arg(long = "memory", value_name = "BYTES", value_parser = bytes)]
    pub most: Option<u64>,
}

/// A number of bytes, or of KiB, MiB or GiB.
pub fn bytes(text: &str) -> std::result::Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let unit = units.into_iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)));
    let (number, unit) = unit.unwrap_or((text, 1));
    let number = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| "expected a number of bytes, such as 4294967296 or 4GiB".into())
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum DeviceArg {
    Auto,
    Webgpu,
    Cpu,
}

impl From<DeviceArg> for DeviceChoice {
    fn from(arg: DeviceArg) -> Self {
        match arg {
            DeviceArg::Auto => Self::Auto,
            DeviceArg::Webgpu => Self::WebGpu,
            DeviceArg::Cpu => Self::Cpu,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BenchDevice {
    Gpu,
    Cpu,
}

impl From<BenchDevice> for DeviceChoice {
    fn from(device: BenchDevice) -> Self {
        match device {
            BenchDevice::Gpu => Self::WebGpu,
            BenchDevice::Cpu => Self::Cpu,
        }
    }
}
