//! A block of the Wan transformer (diffusers, `models/transformers/transformer_wan.py`, WanTransformerBlock).

use super::{PromptContext, TimeEmbedding};
use crate::config::WanTransformerConfig;
use crate::models::layers::{Bias, Linear};
use crate::ops::{Activation, Affine, Combine, HeadNorm, Modulation, NormKind, Rope};
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::Scope;
use crate::{Error, Result};

/// Activations of one row tile of the feed-forward network, at most: it is the widest tensor of the model.
const FFN_TILE_BYTES: usize = 64 << 20;

/// Self-attention, cross-attention and a feed-forward network, each with its residual.
#[derive(Debug)]
pub(super) struct Block {
    attn1: Attention,
    norm2: Option<(Tensor, Tensor)>,
    attn2: Attention,
    ffn: FeedForward,
    scale_shift_table: Tensor,
}

#[derive(Debug)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    norm_q: Option<HeadNorm>,
    norm_k: Option<HeadNorm>,
    heads: usize,
    head_dim: usize,
}

#[derive(Debug)]
struct FeedForward {
    proj: Linear,
    out: Linear,
    width: usize,
}

/// What the rows of hidden states are: those of one pass or of several, one below the other.
#[derive(Debug)]
pub(super) struct Rows {
    /// Of a pass.
    pub(super) tokens: usize,
    pub(super) passes: usize,
    pub(super) time: TimeEmbedding,
}

impl Rows {
    /// By `table`, and for each row by its timestep's row of `embedding`, a multiple of `stride` further for each row of the table.
    pub(super) fn modulation(&self, table: &Tensor, embedding: &Tensor, stride: usize) -> Modulation {
        let timesteps = embedding.shape().first().copied().unwrap_or(1);
        Modulation {
            table: table.clone(),
            embedding: embedding.clone(),
            index: 0,
            stride,
            rows_per_timestep: self.tokens * self.passes / timesteps.max(1),
            first_row: 0,
        }
    }

    /// Those of a pass.
    pub(super) fn of(&self, x: &Tensor, pass: usize) -> Result<Tensor> {
        x.rows(pass * self.tokens, self.tokens)
    }
}

impl Block {
    pub(super) fn new(scope: &Scope, config: &WanTransformerConfig) -> Result<Self> {
        let dim = config.inner_dim();
        let norm2 = scope.pp("norm2");
        Ok(Self {
            attn1: Attention::new(&scope.pp("attn1"), config)?,
            norm2: match config.cross_attn_norm {
                true => Some((norm2.vector("weight", &[dim])?, norm2.vector("bias", &[dim])?)),
                false => None,
            },
            attn2: Attention::new(&scope.pp("attn2"), config)?,
            ffn: FeedForward::new(&scope.pp("ffn"), config)?,
            scale_shift_table: scope.vector("scale_shift_table", &[1, 6, dim])?.reshape(&[6, dim])?,
        })
    }

    /// Records the keys and values of the embedded prompt.
    pub(super) fn encode_prompt(
        &self,
        rec: &mut Recorder,
        text: &Tensor,
        (keys, values): &(Tensor, Tensor),
    ) -> Result<()> {
        let k = self.attn2.to_k.forward(rec, text)?;
        rec.heads_into(&k, self.attn2.norm_k.clone(), None, keys)?;
        let v = self.attn2.to_v.forward(rec, text)?;
        rec.heads_into(&v, None, None, values)
    }

    /// Rows of the table: shift, scale, gate of the self-attention, then of the feed-forward network.
    fn modulation(&self, rows: &Rows, config: &WanTransformerConfig) -> Modulation {
        rows.modulation(&self.scale_shift_table, &rows.time.timestep_proj, config.inner_dim())
    }

    /// Self-attention.
    pub(super) fn attend(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        rows: &Rows,
        rope: &Rope,
        config: &WanTransformerConfig,
    ) -> Result<Tensor> {
        let modulation = self.modulation(rows, config);
        let affine = Affine::Modulate { shift: modulation.at(0), scale_index: 1 };
        let normed = rec.norm(x, layer_norm(config), affine, false)?;
        let attended = self.attn1.self_attention(rec, &normed, rows, rope)?;
        let gated = Combine::GatedAdd { residual: x.clone(), gate: modulation.at(2) };
        self.attn1.to_out.forward_with(rec, &attended, Activation::None, gated)
    }

    /// Cross-attention, of each pass with its own prompt, and the feed-forward network. The block is the `index`th.
    pub(super) fn attend_prompts(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        rows: &Rows,
        prompts: &[&PromptContext],
        index: usize,
        config: &WanTransformerConfig,
    ) -> Result<Tensor> {
        let normed = match &self.norm2 {
            Some((weight, bias)) => {
                let affine = Affine::Weight { weight: weight.clone(), bias: Some(bias.clone()) };
                rec.norm(x, layer_norm(config), affine, false)?
            }
            None => x.clone(),
        };
        let attended = self.attn2.cross_attention(rec, &normed, rows, prompts, index)?;
        let x = self.attn2.to_out.forward_with(rec, &attended, Activation::None, Combine::Add(x.clone()))?;

        let modulation = self.modulation(rows, config);
        let affine = Affine::Modulate { shift: modulation.at(3), scale_index: 4 };
        let normed = rec.norm(&x, layer_norm(config), affine, false)?;
        self.ffn.forward(rec, &normed, &x, &modulation.at(5))
    }
}

impl Attention {
    fn new(scope: &Scope, config: &WanTransformerConfig) -> Result<Self> {
        let dim = config.inner_dim();
        let linear = |name: &str| Linear::new(&scope.pp(name), dim, dim, Bias::Yes);
        let norm = |name: &str| -> Result<Option<HeadNorm>> {
            if !config.has_qk_norm() {
                return Ok(None);
            }
            let weight = scope.pp(name).vector("weight", &[dim])?;
            Ok(Some(HeadNorm { weight, eps: config.eps as f32 }))
        };
        Ok(Self {
            to_q: linear("to_q")?,
            to_k: linear("to_k")?,
            to_v: linear("to_v")?,
            to_out: linear("to_out.0")?,
            norm_q: norm("norm_q")?,
            norm_k: norm("norm_k")?,
            heads: config.num_attention_heads,
            head_dim: config.attention_head_dim,
        })
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn self_attention(&self, rec: &mut Recorder, x: &Tensor, rows: &Rows, rope: &Rope) -> Result<Tensor> {
        let q = self.to_q.forward(rec, x)?;
        let k = self.to_k.forward(rec, x)?;
        let v = self.to_v.forward(rec, x)?;
        let out = Tensor::temporary(x.shape());
        for pass in 0..rows.passes {
            let q = rec.heads(&rows.of(&q, pass)?, self.heads, self.norm_q.clone(), Some(rope))?;
            let k = rec.heads(&rows.of(&k, pass)?, self.heads, self.norm_k.clone(), Some(rope))?;
            let v = rec.heads(&rows.of(&v, pass)?, self.heads, None, None)?;
            rec.attention_into(&q, &k, &v, self.scale(), None, 0.0, &rows.of(&out, pass)?)?;
        }
        Ok(out)
    }

    fn cross_attention(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        rows: &Rows,
        prompts: &[&PromptContext],
        block: usize,
    ) -> Result<Tensor> {
        let q = self.to_q.forward(rec, x)?;
        let out = Tensor::temporary(x.shape());
        for (pass, prompt) in prompts.iter().enumerate() {
            let Some((keys, values)) = prompt.keys_values.get(block) else {
                return Err(Error::ShapeMismatch {
                    op: "transformer",
                    what: "blocks that the prompt was encoded for",
                    expected: vec![block + 1],
                    found: vec![prompt.keys_values.len()],
                });
            };
            let q = rec.heads(&rows.of(&q, pass)?, self.heads, self.norm_q.clone(), None)?;
            let out = rows.of(&out, pass)?;
            rec.attention_into(&q, keys, values, self.scale(), None, prompt.last_key_bias, &out)?;
        }
        Ok(out)
    }
}

impl FeedForward {
    fn new(scope: &Scope, config: &WanTransformerConfig) -> Result<Self> {
        let (dim, width) = (config.inner_dim(), config.ffn_dim);
        Ok(Self {
            proj: Linear::new(&scope.pp("net.0.proj"), dim, width, Bias::Yes)?,
            out: Linear::new(&scope.pp("net.2"), width, dim, Bias::Yes)?,
            width,
        })
    }

    /// `residual + gate * W2 gelu(W1 x)`, by row tiles.
    fn forward(
        &self,
        rec: &mut Recorder,
        x: &Tensor,
        residual: &Tensor,
        gate: &Modulation,
    ) -> Result<Tensor> {
        let [tokens, dim] = x.dims("ffn", "x")?;
        let out = Tensor::temporary(&[tokens, dim]);
        let tile = (FFN_TILE_BYTES / (4 * self.width)).max(1);
        for start in (0..tokens).step_by(tile) {
            let rows = tile.min(tokens - start);
            let hidden =
                self.proj.forward_with(rec, &x.rows(start, rows)?, Activation::GeluTanh, Combine::None)?;
            let gated = Combine::GatedAdd {
                residual: residual.rows(start, rows)?,
                gate: Modulation { first_row: start, ..gate.clone() },
            };
            self.out.forward_into(rec, &hidden, Activation::None, gated, &out.rows(start, rows)?)?;
        }
        Ok(out)
    }
}

pub(super) fn layer_norm(config: &WanTransformerConfig) -> NormKind {
    NormKind::Layer { eps: config.eps as f32 }
}
