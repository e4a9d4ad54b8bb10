//! The config files of published models, as their diffusers folders have them; and of a tiny one.

use kinetoscope::config::{
    GenerationDefaults, ModelIndex, SchedulerConfig, Umt5Config, WanTransformerConfig, WanVaeConfig,
};
use serde_json::{Value, json};

use super::super::args::SynthConfig;

/// Path and content of each.
pub fn files(config: SynthConfig) -> Vec<(&'static str, Value)> {
    let ti2v = config == SynthConfig::Wan22;
    let index = json!({
        "_class_name": "WanPipeline", "expand_timesteps": ti2v,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    });
    let scheduler = json!({
        "_class_name": "UniPCMultistepScheduler", "num_train_timesteps": 1000, "use_flow_sigmas": true,
        "flow_shift": if ti2v { 5.0 } else { 3.0 }, "prediction_type": "flow_prediction",
    });
    vec![
        (ModelIndex::PATH, index),
        (SchedulerConfig::PATH, scheduler),
        (GenerationDefaults::PATH, defaults(config)),
        (WanTransformerConfig::PATH, transformer(config)),
        (Umt5Config::PATH, text_encoder(config)),
        (WanVaeConfig::PATH, vae(config)),
    ]
}

fn defaults(config: SynthConfig) -> Value {
    match config {
        SynthConfig::Wan21Small => json!({"name": "random wan2.1-1.3b"}),
        SynthConfig::Wan21Large => json!({"name": "random wan2.1-14b"}),
        SynthConfig::Wan22 => {
            json!({"name": "random wan2.2-5b", "width": 1280, "height": 704, "frames": 121, "fps": 24})
        }
        SynthConfig::Tiny => json!({
            "name": "random tiny", "width": 64, "height": 32, "frames": 5, "steps": 2, "max_sequence_length": 64,
        }),
    }
}

fn transformer(config: SynthConfig) -> Value {
    let [heads, layers, ffn, channels, text] = match config {
        SynthConfig::Wan21Small => [12, 30, 8960, 16, 4096],
        SynthConfig::Wan21Large => [40, 40, 13_824, 16, 4096],
        SynthConfig::Wan22 => [24, 30, 14_336, 48, 4096],
        SynthConfig::Tiny => [2, 2, 512, 16, 256],
    };
    json!({
        "_class_name": "WanTransformer3DModel", "patch_size": [1, 2, 2], "num_attention_heads": heads,
        "attention_head_dim": 128, "in_channels": channels, "out_channels": channels, "text_dim": text,
        "freq_dim": 256, "ffn_dim": ffn, "num_layers": layers, "cross_attn_norm": true,
        "qk_norm": "rms_norm_across_heads", "eps": 1e-6, "rope_max_seq_len": 1024,
    })
}

fn text_encoder(config: SynthConfig) -> Value {
    let [vocabulary, width, ff, layers, heads] = match config {
        SynthConfig::Tiny => [384, 256, 512, 2, 4],
        _ => [256_384, 4096, 10_240, 24, 64],
    };
    json!({
        "architectures": ["UMT5EncoderModel"], "model_type": "umt5", "vocab_size": vocabulary, "d_model": width,
        "d_kv": 64, "d_ff": ff, "num_layers": layers, "num_heads": heads, "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6, "feed_forward_proj": "gated-gelu",
    })
}

fn vae(config: SynthConfig) -> Value {
    match config {
        SynthConfig::Wan21Small | SynthConfig::Wan21Large => json!({
            "_class_name": "AutoencoderKLWan", "base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4],
            "num_res_blocks": 2, "temperal_downsample": [false, true, true],
        }),
        // Statistics of latents say nothing where weights are random.
        SynthConfig::Wan22 => json!({
            "_class_name": "AutoencoderKLWan", "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48,
            "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "temperal_downsample": [false, true, true],
            "is_residual": true, "in_channels": 12, "out_channels": 12, "patch_size": 2,
            "scale_factor_spatial": 16, "scale_factor_temporal": 4,
            "latents_mean": vec![0.0; 48], "latents_std": vec![1.0; 48],
        }),
        SynthConfig::Tiny => json!({
            "_class_name": "AutoencoderKLWan", "base_dim": 16, "z_dim": 16, "dim_mult": [1, 2, 2, 2],
            "num_res_blocks": 1, "temperal_downsample": [false, true, true],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinetoscope::pipeline::{Architecture, Configs};
    use kinetoscope::weights::source::FolderSource;
    use pollster::block_on;

    /// The published models' numbers of parameters, in millions.
    #[test]
    fn sizes_are_the_published_models() {
        for (config, transformer, vae) in [
            (SynthConfig::Wan21Small, 1419.0, 126.9),
            (SynthConfig::Wan21Large, 14_288.5, 126.9),
            (SynthConfig::Wan22, 4999.8, 704.7),
        ] {
            let folder =
                std::env::temp_dir().join(format!("kinetoscope-synth-{}-{config:?}", std::process::id()));
            for (path, json) in files(config) {
                super::super::config(&folder, path, &json).unwrap();
            }
            let configs = block_on(Configs::read(&FolderSource::new(&folder))).unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
            let tensors = Architecture::assumed(configs).unwrap().weights.tensors();
            let millions = |component: &str| {
                let tensors = tensors.iter().filter(|tensor| tensor.component == component);
                tensors.map(|tensor| tensor.shape.iter().product::<usize>()).sum::<usize>() as f64 / 1e6
            };
            for (component, expected) in
                [("transformer", transformer), ("text_encoder", 5680.9), ("vae", vae)]
            {
                let found = millions(component);
                assert!((found - expected).abs() < 0.5, "{config:?} {component}: {found}");
            }
        }
    }
}
