//! The tiny model of the golden clips, for the tests of what happens to a clip in the making.

use std::rc::Rc;

use kinetoscope::executor::DeviceChoice;
use kinetoscope::gpu::GpuOptions;
use kinetoscope::pipeline::{Model, Session};
use pollster::block_on;

use crate::models::{executor, load};

/// Its folder, from the top of the repository.
pub const TINY: &str = "tests/golden/wan22/pipeline";

/// It on both executors.
#[allow(dead_code, reason = "every test binary uses its own part")]
pub fn models() -> [Rc<Model>; 2] {
    [DeviceChoice::Cpu, DeviceChoice::WebGpu]
        .map(|choice| load(TINY, executor(choice, &GpuOptions::default())))
}

/// Makes the rest of the clip and gives its bytes.
#[allow(dead_code, reason = "every test binary uses its own part")]
pub fn finish(session: &mut Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    while block_on(session.step()).unwrap().is_some() {}
    while let Some(event) = block_on(session.next_frames()).unwrap() {
        bytes.extend(event.rgba);
    }
    bytes
}
