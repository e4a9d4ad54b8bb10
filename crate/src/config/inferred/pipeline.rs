//! What goes with a transformer that comes without a pipeline: solver, schedule and defaults of the model it has the sizes of.

use crate::config::{
    GenerationDefaults, ModelIndex, SchedulerConfig, Solver, UniPcBasis, WanTransformerConfig,
};

impl WanTransformerConfig {
    /// Whether it is Wan 2.2's for text and images, by the 48 channels of its latents: no other published model has them.
    pub fn is_ti2v(&self) -> bool {
        self.in_channels == 48
    }
}

/// Models distilled for a few steps have the sizes of those that they were made from: only a model_index.json, or whoever asks for a
/// clip, can say so.
impl ModelIndex {
    /// Of a pipeline with this transformer.
    pub fn infer(transformer: &WanTransformerConfig) -> Self {
        Self { expand_timesteps: transformer.is_ti2v(), solver: Solver::UniPc }
    }
}

impl SchedulerConfig {
    /// Of a pipeline with this transformer: as in the diffusers folders of Wan 2.1 and of Wan 2.2 TI2V.
    pub fn infer(transformer: &WanTransformerConfig) -> Self {
        Self {
            class: Some(Solver::UniPc),
            num_train_timesteps: 1000,
            shift: if transformer.is_ti2v() { 5.0 } else { 3.0 },
            solver_order: 2,
            solver_type: UniPcBasis::Bh2,
            disable_corrector: Vec::new(),
        }
    }
}

impl GenerationDefaults {
    /// Of a pipeline with this transformer: the sizes that Wan 2.1 and Wan 2.2 TI2V are shown with.
    pub fn infer(transformer: &WanTransformerConfig) -> Self {
        match transformer.is_ti2v() {
            true => Self { width: 1280, height: 704, frames: 121, fps: 24.0, ..Self::default() },
            false => Self::default(),
        }
    }
}
