//! What happens around the transformer: the noise a clip starts from, the sigmas it goes through, and the solver.
//!
//! Everything here is plain numbers; the solvers' arithmetic on latents is recorded from their coefficients.

mod dmd;
mod euler;
pub mod noise;
pub mod schedule;
mod step_cache;
mod unipc;

pub use noise::{Mt19937, randn};
pub use schedule::{Schedule, ScheduleOptions, StepCoefficients};
pub use step_cache::StepCache;
