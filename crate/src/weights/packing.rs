//! In which number format each tensor of a component is stored when it is packed: the recipe that quantised files in use follow.
//!
//! What is small or sensitive stays in floats: embeddings of patches, text and time, modulation, norms, biases, first and last layers. Rows that
//! are no whole blocks do too. The table of a text encoder's tokens has 8 bits at least.

use super::blocks::Block;
use super::stored::FileDtype;

/// Parts of names of tensors that stay in 16 bits.
const SENSITIVE: [&str; 9] = [
    "patch_embedding",
    "condition_embedder",
    "proj_out",
    "scale_shift_table",
    "norm",
    "relative_attention_bias",
    "conv_in",
    "conv_out",
    "quant_conv",
];

/// Names of a text encoder's table of tokens.
const TABLES: [&str; 2] = ["shared.weight", "encoder.embed_tokens.weight"];

/// Smaller tensors are not worth a loss.
const SMALL: usize = 1024;

/// What is to become of a component's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packing {
    /// They stay as they are.
    Keep,
    /// What has more than 16 bits becomes F16.
    AtMost16,
    /// This format, where the recipe allows.
    To(FileDtype),
}

impl Packing {
    /// Names that [`Packing::from_name`] knows.
    pub const NAMES: [&str; 9] = ["keep", "f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_1", "q4_0"];

    /// By the name of a format that can be written, or `keep`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "keep" => Some(Self::Keep),
            name if Self::NAMES.contains(&name) => {
                Some(Self::To(FileDtype::from_name(name.to_ascii_uppercase())))
            }
            _ => None,
        }
    }

    /// The format for a tensor of this name and shape that is stored as `source`; `scaled` where its file has a number that it is to be
    /// multiplied with.
    pub fn target(&self, name: &str, shape: &[usize], source: &FileDtype, scaled: bool) -> FileDtype {
        // 8-bit floats are no format of the files that are written.
        let kept = match source {
            FileDtype::F8E4M3 | FileDtype::F8E5M2 if scaled => FileDtype::F32,
            FileDtype::F8E4M3 | FileDtype::F8E5M2 => FileDtype::F16,
            other => other.clone(),
        };
        let at_most_16 = match kept {
            FileDtype::F32 => FileDtype::F16,
            ref other => other.clone(),
        };
        let small = shape.len() < 2 || shape.iter().product::<usize>() < SMALL;
        match self {
            Self::Keep => kept,
            _ if small => kept,
            Self::AtMost16 => at_most_16,
            Self::To(FileDtype::Block(block)) => {
                let block = match block {
                    Block::Q4_0 | Block::Q4_1 | Block::Q4K | Block::Q5K | Block::Q6K
                        if TABLES.contains(&name) =>
                    {
                        Block::Q8_0
                    }
                    block => *block,
                };
                let row: usize = shape.iter().skip(1).product();
                let stays = SENSITIVE.iter().any(|part| name.contains(part));
                if stays || !row.is_multiple_of(block.elements()) {
                    at_most_16
                } else {
                    FileDtype::Block(block)
                }
            }
            Self::To(other) => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(packing: &str, name: &str, shape: &[usize], source: &str) -> String {
        let packing = Packing::from_name(packing).unwrap();
        packing.target(name, shape, &FileDtype::from_name(source.into()), false).name().to_owned()
    }

    #[test]
    fn matrices_are_quantised_and_what_is_sensitive_stays() {
        for (name, shape, source, expected) in [
            ("blocks.0.attn1.to_q.weight", &[256, 256][..], "F32", "Q4_K"),
            ("blocks.0.attn1.to_q.weight", &[256, 256], "Q8_0", "Q4_K"),
            ("blocks.0.attn1.to_q.weight", &[256, 288], "F32", "F16"),
            ("blocks.0.attn1.to_q.weight", &[256, 288], "BF16", "BF16"),
            ("blocks.0.attn1.to_q.bias", &[4096], "F32", "F32"),
            ("blocks.0.attn1.norm_q.weight", &[4096], "BF16", "BF16"),
            ("blocks.0.scale_shift_table", &[1, 6, 256], "F32", "F16"),
            ("patch_embedding.weight", &[256, 16, 1, 2, 2], "F32", "F16"),
            ("condition_embedder.time_proj.weight", &[1536, 256], "F8_E4M3", "F16"),
            ("decoder.mid_block.resnets.0.conv1.weight", &[64, 256, 3, 3, 3], "F32", "Q4_K"),
            ("shared.weight", &[300, 256], "BF16", "Q8_0"),
            ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", &[32, 64], "F32", "F16"),
        ] {
            assert_eq!(target("q4_k", name, shape, source), expected, "{name} {shape:?}");
        }
        assert_eq!(target("keep", "x", &[64, 64], "Q5_1"), "Q5_1");
        assert_eq!(target("f16", "x", &[64, 64], "Q5_1"), "F16");
        assert_eq!(target("bf16", "shared.weight", &[64, 64], "F32"), "BF16");
        let scaled = Packing::Keep.target("x", &[64, 64], &FileDtype::F8E4M3, true);
        assert_eq!(scaled, FileDtype::F32);
        assert_eq!(Packing::AtMost16.target("x", &[64, 64], &FileDtype::F32, false), FileDtype::F16);
        assert_eq!(Packing::from_name("Q8_0"), None);
    }
}
