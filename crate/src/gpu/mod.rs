//! The GPU executor: lowering, planning and running a recording with WebGPU.
//!
//! | module | what it is |
//! |---|---|
//! | [`limits`] | what a device can hold, as plain data |
//! | [`dispatch`] | one compute dispatch, as plain data |
//! | [`kernels`] | operations to dispatches, without a GPU |
//! | [`shaders`] | the table of shaders, and what each binds |
//! | [`plan`] | lifetimes to buffers, and the bytes that takes, without a GPU |
//! | `device` | finding a device; its errors |
//! | `memory` | buffers, upload, readback |
//! | `probe` | what a device only shows when it is tried |
//! | [`tuning`] | which kernels suit a device, by trying |
//! | `program` | pipelines and bind groups of a plan |
//! | `execute` | bounded submits |

mod device;
pub mod dispatch;
mod execute;
pub mod kernels;
pub mod limits;
mod memory;
pub mod plan;
mod preprocess;
mod probe;
mod program;
pub mod shaders;
mod texels;
mod timings;
pub mod tuning;

pub use device::{AdapterInfo, Gpu, GpuOptions};
pub use dispatch::{Binding, Dispatch, Kernel, buffer_bytes};
pub use kernels::lower;
pub use limits::{Fragment, Limits, Precision, Tiles};
pub use plan::Plan;
pub use program::{Parts, Program};
pub use tuning::Tuning;
