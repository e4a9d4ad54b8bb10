//! Opening a device, with what was found out about devices kept between runs of the program.

use std::path::Path;
use std::{fs, io};

use kinetoscope::Result;
use kinetoscope::executor::{DeviceChoice, Executor};
use kinetoscope::gpu::{GpuOptions, Tuning};
use pollster::block_on;

/// Devices that are remembered: drivers and shaders change, and what was true of earlier ones is of no use.
const REMEMBERED: usize = 8;

/// As [`Executor::open`].
///
/// # Errors
/// As [`Executor::open`].
pub fn open(choice: DeviceChoice, options: GpuOptions) -> Result<Executor> {
    let path = dirs::cache_dir().map(|folder| folder.join("kinetoscope").join("devices.json"));
    let tunings = path.as_deref().map_or_else(Vec::new, read);
    let options = GpuOptions { tunings, ..options };
    let executor = block_on(Executor::open(choice, &options))?;
    if let (Some(path), Some(tuning)) = (path, executor.tuning())
        && !options.tunings.contains(tuning)
    {
        let mut all = options.tunings;
        all.insert(0, tuning.clone());
        all.truncate(REMEMBERED);
        // Where it cannot be kept it is found out again, which takes a second.
        let _ = write(&path, &all);
    }
    Ok(executor)
}

/// What is remembered; a file that is not there or of another version says nothing.
fn read(path: &Path) -> Vec<Tuning> {
    fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn write(path: &Path, tunings: &[Tuning]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, serde_json::to_vec_pretty(tunings)?)
}

#[cfg(test)]
mod tests {
    use kinetoscope::gpu::Tiles;

    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_is_damaged_is_not() {
        let folder = std::env::temp_dir().join(format!("kinetoscope-devices-{}", std::process::id()));
        let path = folder.join("below").join("devices.json");
        assert_eq!(read(&path), []);
        let tuning = Tuning {
            key: "a".into(),
            tiles: Tiles { wide: true, few: 24, halves: false, bytes: false, fragment: None },
            max_dispatch_flops: 1 << 40,
            winograd_channels: usize::MAX,
        };
        write(&path, std::slice::from_ref(&tuning)).unwrap();
        assert_eq!(read(&path), [tuning]);
        fs::write(&path, "[{}]").unwrap();
        assert_eq!(read(&path), []);
        fs::remove_dir_all(folder).unwrap();
    }
}
