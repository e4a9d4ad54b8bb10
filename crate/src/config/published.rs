//! The config files of published models, as their diffusers folders have them; and of a tiny one.

use serde_json::{Value, json};

use super::{
    GenerationDefaults, ModelIndex, SchedulerConfig, Umt5Config, WanTransformerConfig, WanVaeConfig,
};

/// Whose sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Published {
    /// Wan 2.1, 1.3 billion parameters.
    #[cfg_attr(feature = "cli", value(name = "wan2.1-1.3b"))]
    Wan21Small,
    /// Wan 2.1, 14 billion.
    #[cfg_attr(feature = "cli", value(name = "wan2.1-14b"))]
    Wan21Large,
    /// Wan 2.2, 5 billion.
    #[cfg_attr(feature = "cli", value(name = "wan2.2-5b"))]
    Wan22,
    /// Of no published model: runs in seconds anywhere.
    #[cfg_attr(feature = "cli", value(name = "tiny"))]
    Tiny,
}

/// Path and content of each.
pub fn files(config: Published) -> Vec<(&'static str, Value)> {
    let ti2v = config == Published::Wan22;
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

fn defaults(config: Published) -> Value {
    match config {
        Published::Wan21Small => json!({"name": "random wan2.1-1.3b"}),
        Published::Wan21Large => json!({"name": "random wan2.1-14b"}),
        Published::Wan22 => {
            json!({"name": "random wan2.2-5b", "width": 1280, "height": 704, "frames": 121, "fps": 24})
        }
        Published::Tiny => json!({
            "name": "random tiny", "width": 64, "height": 32, "frames": 5, "steps": 2, "max_sequence_length": 64,
        }),
    }
}

fn transformer(config: Published) -> Value {
    let [heads, layers, ffn, channels, text] = match config {
        Published::Wan21Small => [12, 30, 8960, 16, 4096],
        Published::Wan21Large => [40, 40, 13_824, 16, 4096],
        Published::Wan22 => [24, 30, 14_336, 48, 4096],
        Published::Tiny => [2, 2, 512, 16, 256],
    };
    json!({
        "_class_name": "WanTransformer3DModel", "patch_size": [1, 2, 2], "num_attention_heads": heads,
        "attention_head_dim": 128, "in_channels": channels, "out_channels": channels, "text_dim": text,
        "freq_dim": 256, "ffn_dim": ffn, "num_layers": layers, "cross_attn_norm": true,
        "qk_norm": "rms_norm_across_heads", "eps": 1e-6, "rope_max_seq_len": 1024,
    })
}

fn text_encoder(config: Published) -> Value {
    let [vocabulary, width, ff, layers, heads] = match config {
        Published::Tiny => [384, 256, 512, 2, 4],
        _ => [256_384, 4096, 10_240, 24, 64],
    };
    json!({
        "architectures": ["UMT5EncoderModel"], "model_type": "umt5", "vocab_size": vocabulary, "d_model": width,
        "d_kv": 64, "d_ff": ff, "num_layers": layers, "num_heads": heads, "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6, "feed_forward_proj": "gated-gelu",
    })
}

fn vae(config: Published) -> Value {
    match config {
        Published::Wan21Small | Published::Wan21Large => json!({
            "_class_name": "AutoencoderKLWan", "base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4],
            "num_res_blocks": 2, "temperal_downsample": [false, true, true],
        }),
        // Statistics of latents say nothing where weights are random.
        Published::Wan22 => json!({
            "_class_name": "AutoencoderKLWan", "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48,
            "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "temperal_downsample": [false, true, true],
            "is_residual": true, "in_channels": 12, "out_channels": 12, "patch_size": 2,
            "scale_factor_spatial": 16, "scale_factor_temporal": 4,
            "latents_mean": vec![0.0; 48], "latents_std": vec![1.0; 48],
        }),
        Published::Tiny => json!({
            "_class_name": "AutoencoderKLWan", "base_dim": 16, "z_dim": 16, "dim_mult": [1, 2, 2, 2],
            "num_res_blocks": 1, "temperal_downsample": [false, true, true],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Architecture, Configs};

    /// The published models' numbers of parameters, in millions.
    #[test]
    fn sizes_are_the_published_models() {
        for (config, transformer, vae) in [
            (Published::Wan21Small, 1419.0, 126.9),
            (Published::Wan21Large, 14_288.5, 126.9),
            (Published::Wan22, 4999.8, 704.7),
        ] {
            let configs = Configs::published(config).unwrap();
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
