//! Models of the repository on an executor, for the tests of the whole pipeline.

use std::path::Path;
use std::rc::Rc;

use kinetoscope::CancelFlag;
use kinetoscope::executor::{DeviceChoice, Executor};
use kinetoscope::gpu::GpuOptions;
use kinetoscope::pipeline::Model;
use kinetoscope::weights::source::FolderSource;
use pollster::block_on;

/// The device of the test's choice; there has to be one.
pub fn executor(choice: DeviceChoice, options: &GpuOptions) -> Rc<Executor> {
    Rc::new(block_on(Executor::open(choice, options)).unwrap())
}

/// The model in a folder, by its path from the top of the repository.
pub fn load(folder: impl AsRef<Path>, executor: Rc<Executor>) -> Rc<Model> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let source = Rc::new(FolderSource::new(folder));
    Rc::new(block_on(Model::load(source, executor, &CancelFlag::new(), &mut |_| {})).unwrap())
}
