//! The Wan transformer's sizes.

use super::Header;
use crate::config::WanTransformerConfig;
use crate::error::Result;
use crate::weights::{Component, ComponentKind};
use serde_json::{Value, json};

/// Channels of a head in every published size: 12, 24 or 40 heads.
const HEAD: usize = 128;

/// Parts of names that only other models have, and what they are.
const OTHERS: [(&str, &str); 6] = [
    (
        "condition_embedder.image_embedder.",
        "an image-to-video transformer, which takes an image encoder's output",
    ),
    ("img_emb.", "an image-to-video transformer, which takes an image encoder's output"),
    (".add_k_proj.", "an image-to-video transformer, which takes an image encoder's output"),
    (".k_img.", "an image-to-video transformer, which takes an image encoder's output"),
    ("vace_", "a VACE transformer"),
    ("control_adapter.", "a transformer with a control adapter"),
];

impl WanTransformerConfig {
    /// The config of a transformer that comes without one.
    ///
    /// Fails with `ArchitectureUnknown` (another model), `TensorMissing` or `ConfigUnsupported` (a size out of range, a width whose heads
    /// nothing tells).
    pub fn infer(component: &Component) -> Result<Self> {
        let header = Header::of(component, ComponentKind::Transformer)?;
        let other = |key: &str| {
            OTHERS.iter().find(|(part, _)| key.contains(part)).map(|(_, what)| (key.to_owned(), *what))
        };
        if let Some((key, what)) = component.keys().find_map(other) {
            return Err(header.unknown(format!("{what} (tensor {key})"), "a text-to-video transformer"));
        }
        let [width, in_channels, frames, rows, columns] = header.shape("patch_embedding.weight")?;
        let [outputs, _] = header.shape("proj_out.weight")?;
        let patch = frames.checked_mul(rows).and_then(|n| n.checked_mul(columns)).unwrap_or(usize::MAX);
        if outputs % patch != 0 {
            let found = format!("the tensor proj_out.weight of {outputs} rows");
            return Err(header.unknown(found, format!("a multiple of {patch}, the latents of a patch")));
        }
        let [ffn_dim, _] = header.shape("blocks.0.ffn.net.0.proj.weight")?;
        let [_, freq_dim] = header.shape("condition_embedder.time_embedder.linear_1.weight")?;
        let [_, text_dim] = header.shape("condition_embedder.text_embedder.linear_1.weight")?;
        let head = head_dim(&header, width)?;
        let norm = header.has("blocks.0.attn1.norm_q.weight").then_some("rms_norm_across_heads");
        header.config(
            [
                ("patch_size", json!([frames, rows, columns])),
                ("num_attention_heads", json!(width / head.max(1))),
                ("attention_head_dim", json!(head)),
                ("in_channels", json!(in_channels)),
                ("out_channels", json!(outputs / patch)),
                ("text_dim", json!(text_dim)),
                ("freq_dim", json!(freq_dim)),
                ("ffn_dim", json!(ffn_dim)),
                ("num_layers", json!(header.count("blocks."))),
                ("cross_attn_norm", json!(header.has("blocks.0.norm2.weight"))),
                ("qk_norm", json!(norm)),
            ],
            Self::parse,
        )
    }
}

/// How wide a head is, which no shape says.
fn head_dim(header: &Header, width: usize) -> Result<usize> {
    let stated = header.stated().get("attention_head_dim").and_then(Value::as_u64);
    let stated = stated.and_then(|dim| usize::try_from(dim).ok());
    let from_heads =
        || header.ggml_size("attention.head_count").filter(|&heads| heads > 0).map(|heads| width / heads);
    match stated.or_else(|| header.ggml_size("attention.key_length")).or_else(from_heads) {
        Some(dim) => Ok(dim),
        None if width.is_multiple_of(HEAD) => Ok(HEAD),
        None => Err(header.unsaid(
            "attention_head_dim",
            &format!("a width of whole heads of {HEAD}"),
            format!("not told by a width of {width}"),
        )),
    }
}
