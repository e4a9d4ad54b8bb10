//! The names that other layouts give a checkpoint's tensors, as diffusers' and transformers' names, which the models ask for.
//!
//! Wan's own files, Comfy's single files and the GGUF files made of them have Wan's names, some with a prefix; UMT5 comes with Wan's or with
//! ggml's. Which ones they are is told by the names themselves: metadata is often missing or odd. What is known already, or not at all,
//! keeps its name. Sources: `convert_wan_transformer_to_diffusers` and `convert_wan_vae_to_diffusers` of diffusers'
//! `single_file_utils.py`; `wan/modules/t5.py` and `vae2_2.py` of Wan 2.2; gguf-py's `tensor_mapping.py`.

use std::collections::BTreeMap;

/// What Comfy's files put before a transformer's names.
const PREFIXES: [&str; 2] = ["model.diffusion_model.", "diffusion_model."];

/// Whose names a component's tensors have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Naming {
    /// Diffusers' and transformers', or nobody's that is known.
    Diffusers,
    /// Wan's own for its transformer.
    WanTransformer,
    /// Wan's own for UMT5.
    WanUmt5,
    /// Wan's own for its VAE.
    WanVae,
    /// Ggml's for T5's encoder.
    Ggml,
}

impl Naming {
    /// Whose names these are, by tensors that every one of the models has: one of two, so that a file that lacks some is still told.
    pub fn of<T>(tensors: &BTreeMap<String, T>) -> Self {
        let prefix = prefix(tensors).unwrap_or_default();
        let has = |key: &str| tensors.contains_key(&format!("{prefix}{key}"));
        if has("blocks.0.self_attn.q.weight") || has("time_projection.1.weight") {
            Self::WanTransformer
        } else if has("enc.blk.0.attn_q.weight") || has("enc.output_norm.weight") {
            Self::Ggml
        } else if has("blocks.0.attn.q.weight") || has("token_embedding.weight") {
            Self::WanUmt5
        } else if has("encoder.conv1.weight") || has("decoder.conv1.weight") {
            Self::WanVae
        } else {
            Self::Diffusers
        }
    }

    /// Whose they are, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Diffusers => "diffusers' and transformers'",
            Self::WanTransformer | Self::WanUmt5 | Self::WanVae => "Wan's own",
            Self::Ggml => "ggml's",
        }
    }

    /// The name that diffusers gives a tensor, by the parts of its name here.
    fn rename(self, key: &[&str]) -> Option<String> {
        match self {
            Self::Diffusers => None,
            Self::WanTransformer => transformer(key),
            Self::WanUmt5 => umt5(key),
            Self::WanVae => vae(key),
            Self::Ggml => ggml_t5(key),
        }
    }
}

fn prefix<T>(tensors: &BTreeMap<String, T>) -> Option<&'static str> {
    PREFIXES.into_iter().find(|prefix| tensors.keys().any(|key| key.starts_with(prefix)))
}

/// The same tensors under the names that the models ask for.
pub fn diffusers_names<T>(tensors: BTreeMap<String, T>) -> BTreeMap<String, T> {
    let (naming, prefix) = (Naming::of(&tensors), prefix(&tensors));
    let renamed = |key: String| {
        let key = match prefix.and_then(|prefix| key.strip_prefix(prefix)) {
            Some(rest) => rest.to_owned(),
            None => key,
        };
        naming.rename(&key.split('.').collect::<Vec<_>>()).unwrap_or(key)
    };
    tensors.into_iter().map(|(key, tensor)| (renamed(key), tensor)).collect()
}

/// Wan's transformer. Its norm2 and norm3 are the other way round in diffusers.
fn transformer(key: &[&str]) -> Option<String> {
    let linear = |index: &str| match index {
        "0" => Some("linear_1"),
        "2" => Some("linear_2"),
        _ => None,
    };
    Some(match key {
        ["time_embedding", index, rest] => {
            format!("condition_embedder.time_embedder.{}.{rest}", linear(index)?)
        }
        ["text_embedding", index, rest] => {
            format!("condition_embedder.text_embedder.{}.{rest}", linear(index)?)
        }
        ["time_projection", "1", rest] => format!("condition_embedder.time_proj.{rest}"),
        ["head", "head", rest] => format!("proj_out.{rest}"),
        ["head", "modulation"] => "scale_shift_table".to_owned(),
        ["blocks", n, "modulation"] => format!("blocks.{n}.scale_shift_table"),
        ["blocks", n, "norm3", rest] => format!("blocks.{n}.norm2.{rest}"),
        ["blocks", n, "norm2", rest] => format!("blocks.{n}.norm3.{rest}"),
        ["blocks", n, "ffn", "0", rest] => format!("blocks.{n}.ffn.net.0.proj.{rest}"),
        ["blocks", n, "ffn", "2", rest] => format!("blocks.{n}.ffn.net.2.{rest}"),
        ["blocks", n, attention @ ("self_attn" | "cross_attn"), part, rest] => {
            let attention = if *attention == "self_attn" { "attn1" } else { "attn2" };
            let part = match *part {
                "q" => "to_q",
                "k" => "to_k",
                "v" => "to_v",
                "o" => "to_out.0",
                norm => norm,
            };
            format!("blocks.{n}.{attention}.{part}.{rest}")
        }
        _ => return None,
    })
}

/// UMT5 under Wan's own names. Matrices of 8-bit floats have a scale beside them.
fn umt5(key: &[&str]) -> Option<String> {
    let part = match key {
        ["token_embedding", "weight"] => return Some("shared.weight".to_owned()),
        ["norm", "weight"] => return Some("encoder.final_layer_norm.weight".to_owned()),
        ["blocks", n, part @ .., rest @ ("weight" | "scale_weight" | "weight_scale")] => {
            let part = match part {
                ["attn", part @ ("q" | "k" | "v" | "o")] => format!("layer.0.SelfAttention.{part}"),
                ["pos_embedding", "embedding"] => "layer.0.SelfAttention.relative_attention_bias".to_owned(),
                ["norm1"] => "layer.0.layer_norm".to_owned(),
                ["norm2"] => "layer.1.layer_norm".to_owned(),
                ["ffn", "gate", "0"] => "layer.1.DenseReluDense.wi_0".to_owned(),
                ["ffn", "fc1"] => "layer.1.DenseReluDense.wi_1".to_owned(),
                ["ffn", "fc2"] => "layer.1.DenseReluDense.wo".to_owned(),
                _ => return None,
            };
            format!("{n}.{part}.{rest}")
        }
        _ => return None,
    };
    Some(format!("encoder.block.{part}"))
}

/// T5's encoder under ggml's names.
fn ggml_t5(key: &[&str]) -> Option<String> {
    let part = match key {
        ["token_embd", "weight"] => return Some("shared.weight".to_owned()),
        ["enc", "output_norm", "weight"] => return Some("encoder.final_layer_norm.weight".to_owned()),
        ["enc", "blk", n, part, rest @ ("weight" | "scale_weight" | "weight_scale")] => {
            let part = match *part {
                "attn_q" => "layer.0.SelfAttention.q",
                "attn_k" => "layer.0.SelfAttention.k",
                "attn_v" => "layer.0.SelfAttention.v",
                "attn_o" => "layer.0.SelfAttention.o",
                "attn_rel_b" => "layer.0.SelfAttention.relative_attention_bias",
                "attn_norm" => "layer.0.layer_norm",
                "ffn_norm" => "layer.1.layer_norm",
                "ffn_gate" => "layer.1.DenseReluDense.wi_0",
                "ffn_up" => "layer.1.DenseReluDense.wi_1",
                "ffn_down" => "layer.1.DenseReluDense.wo",
                _ => return None,
            };
            format!("{n}.{part}.{rest}")
        }
        _ => return None,
    };
    Some(format!("encoder.block.{part}"))
}

/// Both of Wan's VAEs. 2.1 counts all parts of encoder and decoder through, and its decoder has three residual blocks and an upsampler at each
/// size; 2.2 counts them size by size.
fn vae(key: &[&str]) -> Option<String> {
    Some(match key {
        ["conv1", rest] => format!("quant_conv.{rest}"),
        ["conv2", rest] => format!("post_quant_conv.{rest}"),
        [side, "conv1", rest] => format!("{side}.conv_in.{rest}"),
        [side, "head", "0", rest] => format!("{side}.norm_out.{rest}"),
        [side, "head", "2", rest] => format!("{side}.conv_out.{rest}"),
        [side, "middle", "0", rest @ ..] => format!("{side}.mid_block.resnets.0.{}", residual(rest)?),
        [side, "middle", "2", rest @ ..] => format!("{side}.mid_block.resnets.1.{}", residual(rest)?),
        [side, "middle", "1", rest @ ..] => format!("{side}.mid_block.attentions.0.{}", rest.join(".")),
        ["encoder", "downsamples", i, "downsamples", j, rest @ ..] => match residual(rest) {
            Some(rest) => format!("encoder.down_blocks.{i}.resnets.{j}.{rest}"),
            None => format!("encoder.down_blocks.{i}.downsampler.{}", rest.join(".")),
        },
        ["decoder", "upsamples", i, "upsamples", j, rest @ ..] => match residual(rest) {
            Some(rest) => format!("decoder.up_blocks.{i}.resnets.{j}.{rest}"),
            None => format!("decoder.up_blocks.{i}.upsampler.{}", rest.join(".")),
        },
        ["encoder", "downsamples", i, rest @ ..] => {
            let rest = residual(rest).unwrap_or_else(|| rest.join("."));
            format!("encoder.down_blocks.{i}.{rest}")
        }
        ["decoder", "upsamples", index, rest @ ..] => {
            let index: usize = index.parse().ok()?;
            let (block, part) = (index / 4, index % 4);
            match residual(rest) {
                Some(rest) => format!("decoder.up_blocks.{block}.resnets.{part}.{rest}"),
                None => format!("decoder.up_blocks.{block}.upsamplers.0.{}", rest.join(".")),
            }
        }
        _ => return None,
    })
}

/// A part of a residual block; `None` for what belongs to none.
fn residual(key: &[&str]) -> Option<String> {
    Some(match key {
        ["residual", "0", rest] => format!("norm1.{rest}"),
        ["residual", "2", rest] => format!("conv1.{rest}"),
        ["residual", "3", rest] => format!("norm2.{rest}"),
        ["residual", "6", rest] => format!("conv2.{rest}"),
        ["shortcut", rest] => format!("conv_shortcut.{rest}"),
        _ => return None,
    })
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;

    /// Layouts by their names: the names there, and ours. `tests/golden/names.py` says which converter wrote them.
    fn golden() -> BTreeMap<String, BTreeMap<String, String>> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/names.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn every_layout_becomes_diffusers_own() {
        let golden = golden();
        assert_eq!(golden.len(), 5);
        for (layout, names) in golden {
            let found = diffusers_names(names.clone());
            assert_eq!(found.len(), names.len(), "{layout}: two tensors have the same name");
            for (ours, expected) in &found {
                assert_eq!(ours, expected, "{layout}");
            }
            let again = diffusers_names(found.clone());
            assert_eq!(again, found, "{layout}: diffusers' names stay");
        }
    }

    #[test]
    fn a_prefix_is_taken_off_and_strangers_keep_their_names() {
        for prefix in PREFIXES {
            let names =
                ["blocks.0.self_attn.q.weight", "blocks.0.self_attn.strange", "patch_embedding.weight"];
            let tensors = names.iter().map(|name| (format!("{prefix}{name}"), ())).collect();
            let found = diffusers_names::<()>(tensors);
            let expected =
                ["blocks.0.attn1.to_q.weight", "blocks.0.self_attn.strange", "patch_embedding.weight"];
            assert_eq!(found.into_keys().collect::<Vec<_>>(), expected);
        }
    }
}
