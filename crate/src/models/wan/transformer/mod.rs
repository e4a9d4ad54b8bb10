//! The Wan transformer (diffusers, `models/transformers/transformer_wan.py`, WanTransformer3DModel).

mod block;

use block::{Block, Rows, layer_norm};

use crate::config::WanTransformerConfig;
use crate::models::layers::{Bias, Linear};
use crate::ops::{Activation, Affine, Combine, Rope};
use crate::recording::Recorder;
use crate::tensor::{DType, Tensor};
use crate::weights::Scope;
use crate::{Error, Result};

/// Base of the rotary frequencies.
const ROPE_THETA: f64 = 10_000.0;

/// `WanTransformer3DModel`.
#[derive(Debug)]
pub struct WanTransformer {
    config: WanTransformerConfig,
    patch_embedding: Linear,
    condition_embedder: ConditionEmbedder,
    blocks: Vec<Block>,
    scale_shift_table: Tensor,
    proj_out: Linear,
}

/// `WanTimeTextImageEmbedding`, without the image part.
#[derive(Debug)]
struct ConditionEmbedder {
    time_embedder: Mlp,
    time_proj: Linear,
    text_embedder: Mlp,
}

#[derive(Debug)]
struct Mlp {
    linear_1: Linear,
    linear_2: Linear,
}

/// What the transformer needs of a prompt: the keys and values of every block's cross-attention, computed once.
///
/// Wan pads the encoded prompt with zero rows and masks nothing. All those rows have the same key and value, so one of
/// them stands for all, its score raised by the logarithm of their number.
#[derive(Debug, Clone)]
pub struct PromptContext {
    /// Encoded prompt and, if the prompt is padded, one zero row: `[rows, text_dim]`.
    pub rows: Tensor,
    /// Keys and values `[heads, rows, head_dim]`, block by block.
    pub keys_values: Vec<(Tensor, Tensor)>,
    /// Raises the score of the last row.
    pub last_key_bias: f32,
}

/// The time embedding of a step: `temb` `[timesteps, dim]` and `timestep_proj` `[timesteps, 6 dim]`.
#[derive(Debug, Clone)]
pub struct TimeEmbedding {
    temb: Tensor,
    timestep_proj: Tensor,
}

impl WanTransformer {
    /// Takes the layers from the root of the transformer's names.
    pub fn new(scope: &Scope, config: &WanTransformerConfig) -> Result<Self> {
        let dim = config.inner_dim();
        let [pt, ph, pw] = config.patch_size;
        let blocks = scope.pp("blocks");
        Ok(Self {
            config: config.clone(),
            patch_embedding: Linear::patches(
                &scope.pp("patch_embedding"),
                &[dim, config.in_channels, pt, ph, pw],
            )?,
            condition_embedder: ConditionEmbedder::new(&scope.pp("condition_embedder"), config)?,
            blocks: (0..config.num_layers)
                .map(|i| Block::new(&blocks.pp(i), config))
                .collect::<Result<_>>()?,
            scale_shift_table: scope.vector("scale_shift_table", &[1, 2, dim])?.reshape(&[2, dim])?,
            proj_out: Linear::new(
                &scope.pp("proj_out"),
                dim,
                config.out_channels() * config.patch_volume(),
                Bias::Yes,
            )?,
        })
    }

    /// The config that it was made from.
    pub fn config(&self) -> &WanTransformerConfig {
        &self.config
    }

    /// Room for a prompt of `tokens` encoded rows, padded to `max_tokens`.
    pub fn prompt_context(&self, tokens: usize, max_tokens: usize) -> PromptContext {
        let padding = max_tokens.saturating_sub(tokens);
        let rows = tokens + padding.min(1);
        let shape = [self.config.num_attention_heads, rows, self.config.attention_head_dim];
        let resident = || Tensor::resident(DType::F32, &shape);
        PromptContext {
            rows: Tensor::resident(DType::F32, &[rows, self.config.text_dim]),
            keys_values: self.blocks.iter().map(|_| (resident(), resident())).collect(),
            last_key_bias: if padding > 0 { (padding as f32).ln() } else { 0.0 },
        }
    }

    /// Records the keys and values of `context.rows` for every block.
    pub fn encode_context(&self, rec: &mut Recorder, context: &PromptContext) -> Result<()> {
        let text = self.condition_embedder.text_embedder.forward(rec, &context.rows, Activation::GeluTanh)?;
        for (block, keys_values) in self.blocks.iter().zip(&context.keys_values) {
            block.encode_prompt(rec, &text, keys_values)?;
        }
        Ok(())
    }

    /// Records the embedding of the sinusoids `[timesteps, freq_dim]` (see [`WanTransformer::sinusoid`]).
    pub fn embed_time(&self, rec: &mut Recorder, sinusoid: &Tensor) -> Result<TimeEmbedding> {
        let embedder = &self.condition_embedder;
        let temb = embedder.time_embedder.forward(rec, sinusoid, Activation::Silu)?;
        let activated = rec.silu(&temb)?;
        let timestep_proj = embedder.time_proj.forward(rec, &activated)?;
        Ok(TimeEmbedding { temb, timestep_proj })
    }

    /// Records a pass for each prompt: the velocities `[C, T, H, W]` of `latents` `[C, T, H, W]`.
    ///
    /// The passes go through the blocks side by side, so that a block's weights are needed once, and are one until the first block's
    /// cross-attention. With `batch` the rows of all are one matrix, which fills a GPU with small clips.
    ///
    /// The latents' tokens are shared out evenly among the timesteps of `time`, in order: one for all, one a latent
    /// frame, or one a token (`expand_timesteps`).
    pub fn forward<const N: usize>(
        &self,
        rec: &mut Recorder,
        latents: &Tensor,
        time: &TimeEmbedding,
        contexts: [&PromptContext; N],
        batch: bool,
        rope: &Rope,
    ) -> Result<[Tensor; N]> {
        let [_, t, h, w] = latents.dims("transformer", "latents")?;
        let patches = rec.patchify(latents, self.config.patch_size)?;
        let embedded = self.patch_embedding.forward(rec, &patches)?;
        let [tokens, _] = embedded.dims("transformer", "hidden states")?;
        let [timesteps, _] = time.temb.dims("transformer", "time embedding")?;
        if tokens % timesteps.max(1) != 0 {
            return Err(Error::ShapeMismatch {
                op: "transformer",
                what: "timesteps (a divisor of the tokens)",
                expected: vec![tokens],
                found: vec![timesteps],
            });
        }
        let size = if batch { N } else { 1 };
        let once = Rows { tokens, passes: 1, time: time.clone() };
        let rows = Rows { tokens, passes: size, time: time.repeated(rec, size)? };
        let groups: Vec<&[&PromptContext]> = contexts.chunks(size.max(1)).collect();
        let attended = match self.blocks.first() {
            Some(block) => block.attend(rec, &embedded, &once, rope, &self.config)?,
            None => embedded,
        };
        let mut hidden = vec![repeated(rec, &attended, size)?; groups.len()];
        for (index, block) in self.blocks.iter().enumerate() {
            if index > 0 {
                for x in &mut hidden {
                    *x = block.attend(rec, x, &rows, rope, &self.config)?;
                }
            }
            for (x, group) in hidden.iter_mut().zip(&groups) {
                *x = block.attend_prompts(rec, x, &rows, group, index, &self.config)?;
            }
        }
        let shift = rows.modulation(&self.scale_shift_table, &rows.time.temb, 0);
        let mut velocities = Vec::with_capacity(N);
        for x in &hidden {
            let affine = Affine::Modulate { shift: shift.clone(), scale_index: 1 };
            let normed = rec.norm(x, layer_norm(&self.config), affine, false)?;
            let patches = self.proj_out.forward(rec, &normed)?;
            for pass in 0..size {
                let out = [self.config.out_channels(), t, h, w];
                velocities.push(rec.unpatchify(&rows.of(&patches, pass)?, self.config.patch_size, out)?);
            }
        }
        velocities.try_into().map_err(|found: Vec<_>| Error::ShapeMismatch {
            op: "transformer",
            what: "velocities",
            expected: vec![N],
            found: vec![found.len()],
        })
    }

    /// `get_timestep_embedding` with `flip_sin_to_cos`: cosines, then sines, of `freq_dim / 2` frequencies. In f32 as torch has it.
    pub fn sinusoid(&self, timestep: f64) -> Vec<f32> {
        let half = self.config.freq_dim / 2;
        let exponent = |i: usize| -(10_000f64.ln() as f32) * i as f32 / half as f32;
        let angles: Vec<f32> = (0..half).map(|i| timestep as f32 * exponent(i).exp()).collect();
        angles.iter().map(|a| a.cos()).chain(angles.iter().map(|a| a.sin())).collect()
    }

    /// The rotary embedding of latents of `[T, H, W]`, and the values of its table.
    ///
    /// # Errors
    /// [`Error::OptionInvalid`] when an axis is longer than the model's `rope_max_seq_len`.
    pub fn rope(&self, latents: [usize; 3]) -> Result<(Rope, Vec<f32>)> {
        let dims = self.config.rope_dims();
        let mut size = latents;
        let mut values = Vec::new();
        for ((size, patch), dim) in size.iter_mut().zip(self.config.patch_size).zip(dims) {
            *size /= patch.max(1);
            if *size > self.config.rope_max_seq_len {
                return Err(Error::OptionInvalid {
                    option: "size".into(),
                    expected: format!("at most {} patches along each axis", self.config.rope_max_seq_len),
                    found: size.to_string(),
                });
            }
            for position in 0..*size {
                for i in 0..dim / 2 {
                    let angle = position as f64 / ROPE_THETA.powf(2.0 * i as f64 / dim as f64);
                    values.extend([angle.cos() as f32, angle.sin() as f32]);
                }
            }
        }
        let table = Tensor::resident(DType::F32, &[values.len()]);
        Ok((Rope { table, size, dims }, values))
    }
}

/// `x` so many times, one below the other.
fn repeated(rec: &mut Recorder, x: &Tensor, times: usize) -> Result<Tensor> {
    if times == 1 {
        return Ok(x.clone());
    }
    let [rows, width] = x.dims("transformer", "repeated rows")?;
    let out = Tensor::temporary(&[rows * times, width]);
    for index in 0..times {
        rec.copy(x, &out.rows(index * rows, rows)?)?;
    }
    Ok(out)
}

impl TimeEmbedding {
    /// For the rows of so many passes, one below the other. A single timestep is that of all rows anyway.
    fn repeated(&self, rec: &mut Recorder, passes: usize) -> Result<Self> {
        match self.temb.shape().first() {
            Some(1) => Ok(self.clone()),
            _ => Ok(Self {
                temb: repeated(rec, &self.temb, passes)?,
                timestep_proj: repeated(rec, &self.timestep_proj, passes)?,
            }),
        }
    }
}

impl ConditionEmbedder {
    fn new(scope: &Scope, config: &WanTransformerConfig) -> Result<Self> {
        let dim = config.inner_dim();
        Ok(Self {
            time_embedder: Mlp::new(&scope.pp("time_embedder"), config.freq_dim, dim)?,
            time_proj: Linear::new(&scope.pp("time_proj"), dim, 6 * dim, Bias::Yes)?,
            text_embedder: Mlp::new(&scope.pp("text_embedder"), config.text_dim, dim)?,
        })
    }
}

impl Mlp {
    fn new(scope: &Scope, inputs: usize, dim: usize) -> Result<Self> {
        Ok(Self {
            linear_1: Linear::new(&scope.pp("linear_1"), inputs, dim, Bias::Yes)?,
            linear_2: Linear::new(&scope.pp("linear_2"), dim, dim, Bias::Yes)?,
        })
    }

    fn forward(&self, rec: &mut Recorder, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let hidden = self.linear_1.forward_with(rec, x, activation, Combine::None)?;
        self.linear_2.forward(rec, &hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::published::Published;
    use crate::pipeline::{Architecture, Clip, Configs, GenerateOptions, SamplerState};

    #[test]
    fn a_prompt_encoded_for_fewer_blocks_is_refused() {
        let configs = Configs::published(Published::Tiny).unwrap();
        let architecture = Architecture::assumed(configs).unwrap();
        let clip = Clip::new(&GenerateOptions::default(), &architecture.configs).unwrap();
        let sampler = SamplerState::new(&architecture, &clip).unwrap();
        let transformer = &architecture.transformer;
        let mut context = transformer.prompt_context(1, 1);
        let pass = |context: &PromptContext| {
            let mut rec = Recorder::new();
            let time = transformer.embed_time(&mut rec, &sampler.sinusoid)?;
            transformer.forward(&mut rec, &sampler.latents, &time, [context], false, &sampler.rope).map(drop)
        };
        pass(&context).unwrap();
        context.keys_values.pop();
        let refused = pass(&context).unwrap_err();
        assert!(
            matches!(&refused, Error::ShapeMismatch { found, .. } if *found == [context.keys_values.len()]),
            "{refused}"
        );
    }
}
