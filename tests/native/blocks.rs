//! One tiny random pipeline in every number format that `synth` writes, against what diffusers computes from the numbers that gguf-py reads
//! in the same files (`tests/golden/blocks.py`).
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod compare;
mod models;
mod program;

use compare::relative;
use kinetoscope::CancelFlag;
use kinetoscope::executor::DeviceChoice;
use kinetoscope::gpu::GpuOptions;
use kinetoscope::pipeline::GenerateOptions;
use models::{executor, load};
use pollster::block_on;
use program::{Scratch, kinetoscope, repository, succeeded};
use safetensors::SafeTensors;

/// Both compute in f32 from the same numbers; what is left are sums in another order.
const TOLERANCE: f64 = 2e-3;

const FORMATS: [&str; 8] = ["f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_1", "q4_0"];

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
        let synth = ["synth", "--config", "tiny", "--quant", format, "--seed", "5", folder.to_str().unwrap()];
        succeeded(&kinetoscope(&synth));
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
