//! Which part of a pipeline a file holds, told by the names of its tensors.

use serde::Serialize;

/// A part of a pipeline that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ComponentKind {
    /// Wan's diffusion transformer.
    Transformer,
    /// A T5 encoder.
    TextEncoder,
    /// Wan's VAE.
    Vae,
    /// A tiny autoencoder of the TAEHV family.
    Taehv,
}

impl ComponentKind {
    /// What has tensors of these names, by diffusers' and transformers' names; `None` for a stranger.
    pub fn of<'a>(keys: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut vae = false;
        let mut numbered = false;
        for key in keys {
            match key {
                "condition_embedder.time_proj.weight" => return Some(Self::Transformer),
                "encoder.final_layer_norm.weight" => return Some(Self::TextEncoder),
                "encoder.conv_in.weight" | "decoder.conv_in.weight" => vae = true,
                "encoder.0.weight" | "decoder.1.weight" => numbered = true,
                _ => {}
            }
        }
        match (vae, numbered) {
            (true, _) => Some(Self::Vae),
            (false, true) => Some(Self::Taehv),
            (false, false) => None,
        }
    }

    /// The folder of a diffusers pipeline that it lies in.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Transformer => "transformer",
            Self::TextEncoder => "text_encoder",
            Self::Vae | Self::Taehv => "vae",
        }
    }

    /// What it is, for a message.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Transformer => "a Wan transformer",
            Self::TextEncoder => "a T5 encoder",
            Self::Vae => "a Wan VAE",
            Self::Taehv => "a tiny autoencoder (TAEHV)",
        }
    }
}
