//! One tiny random pipeline in every number format that is read: what GGUF files hold as `synth` writes it, against what diffusers computes
//! from the numbers that gguf-py reads in the same files, and 8-bit floats in safetensors, against what it computes from torch's
//! (`tests/golden/blocks.py`). `layouts.rs` has each of them in every layout.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod compare;
mod models;
mod program;
mod relaid;

use compare::relative;
use kinetoscope::CancelFlag;
use kinetoscope::executor::DeviceChoice;
use kinetoscope::gpu::GpuOptions;
use kinetoscope::pipeline::GenerateOptions;
use models::{executor, load};
use pollster::block_on;
use program::{Scratch, repository};
use safetensors::SafeTensors;

/// Both compute in f32 from the same numbers; what is left are sums in another order.
const TOLERANCE: f64 = 2e-3;

const FORMATS: [&str; 13] = [
    "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0", "f8_e4m3",
    "f8_e5m2",
];

#[test]
fn every_number_format_gives_what_diffusers_computes() {
    let golden = std::fs::read(repository().join("tests/golden/blocks.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let tensor = |name: String| -> Vec<f32> {
        let view = golden.tensor(&name).unwrap();
        view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    assert_eq!(golden.names().len(), 2 * FORMATS.len());
    let options = GenerateOptions {
        prompt: "a red ball bounces on green grass".into(),
        negative: Some("blurry".into()),
        guidance: Some(3.0),
        seed: Some(11),
        ..GenerateOptions::default()
    };
    for format in FORMATS {
        let scratch = Scratch::new();
        let folder = scratch.path("model");
        relaid::synth(&folder, format);
        for choice in [DeviceChoice::Cpu, DeviceChoice::WebGpu] {
            let model = load(&folder, executor(choice, &GpuOptions::default()));
            let mut session = model.session(&options, &CancelFlag::new()).unwrap();
            block_on(session.encode()).unwrap();
            let expected = tensor(format!("{format}.prompt_embeds"));
            let found = block_on(session.prompt_embeds()).unwrap();
            let off = relative(&found[..expected.len()], &expected);
            assert!(off < TOLERANCE, "{format} on {choice:?}: prompt_embeds off by {off:.1e}");
            let steps = tensor(format!("{format}.steps"));
            for expected in steps.chunks_exact(steps.len() / 2) {
                assert!(block_on(session.step()).unwrap().is_some());
                let off = relative(&block_on(session.latents()).unwrap(), expected);
                assert!(off < TOLERANCE, "{format} on {choice:?}: latents off by {off:.1e}");
            }
            assert!(block_on(session.step()).unwrap().is_none());
        }
    }
}
