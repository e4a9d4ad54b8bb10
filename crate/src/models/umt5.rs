//! The UMT5 encoder (transformers, `models/umt5/modeling_umt5.py`; mT5 with a relative position bias in every layer).

use super::layers::{Bias, Linear};
use crate::config::Umt5Config;
use crate::ops::{Activation, Affine, Combine, NormKind};
use crate::recording::Recorder;
use crate::tensor::Tensor;
use crate::weights::Scope;
use crate::{Error, Result};

/// `UMT5EncoderModel` without its embedding table, of which only a prompt's rows are ever read.
#[derive(Debug)]
pub struct Umt5Encoder {
    block: Vec<Block>,
    final_layer_norm: RmsNorm,
}

#[derive(Debug)]
struct Block {
    self_attention: SelfAttention,
    dense_relu_dense: GatedDense,
}

#[derive(Debug)]
struct SelfAttention {
    layer_norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    relative_attention_bias: Tensor,
    num_heads: usize,
    max_distance: usize,
}

#[derive(Debug)]
struct GatedDense {
    layer_norm: RmsNorm,
    wi_0: Linear,
    wi_1: Linear,
    wo: Linear,
}

#[derive(Debug)]
struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl Umt5Encoder {
    /// Takes the layers from the root of the text encoder's names.
    pub fn new(scope: &Scope, config: &Umt5Config) -> Result<Self> {
        let encoder = scope.pp("encoder");
        let block = (0..config.num_layers)
            .map(|i| {
                let layer = encoder.pp("block").pp(i).pp("layer");
                Ok(Block {
                    self_attention: SelfAttention::new(&layer.pp(0), config)?,
                    dense_relu_dense: GatedDense::new(&layer.pp(1), config)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { block, final_layer_norm: RmsNorm::new(&encoder.pp("final_layer_norm"), config)? })
    }

    /// The table's checkpoint keys, in the order in which they are tried.
    pub const EMBEDDING_KEYS: [&str; 2] = ["shared.weight", "encoder.embed_tokens.weight"];

    /// Records the encoding of the prompt's embedding rows `[tokens, d_model]` into hidden states of the same shape.
    ///
    /// Only real tokens go in: with the padding masked, as WanPipeline has it, they are all that the result depends on.
    pub fn forward(&self, rec: &mut Recorder, embeddings: &Tensor) -> Result<Tensor> {
        let mut hidden = embeddings.clone();
        for block in &self.block {
            hidden = block.self_attention.forward(rec, &hidden)?;
            hidden = block.dense_relu_dense.forward(rec, &hidden)?;
        }
        self.final_layer_norm.forward(rec, &hidden)
    }
}

impl SelfAttention {
    fn new(layer: &Scope, config: &Umt5Config) -> Result<Self> {
        let (d, inner) = (config.d_model, config.inner_dim());
        let scope = layer.pp("SelfAttention");
        let buckets = config.relative_attention_num_buckets;
        let table = scope.pp("relative_attention_bias").vector("weight", &[buckets, config.num_heads])?;
        Ok(Self {
            layer_norm: RmsNorm::new(&layer.pp("layer_norm"), config)?,
            q: Linear::new(&scope.pp("q"), d, inner, Bias::No)?,
            k: Linear::new(&scope.pp("k"), d, inner, Bias::No)?,
            v: Linear::new(&scope.pp("v"), d, inner, Bias::No)?,
            o: Linear::new(&scope.pp("o"), inner, d, Bias::No)?,
            relative_attention_bias: table.reshape(&[buckets, config.num_heads])?,
            num_heads: config.num_heads,
            max_distance: config.relative_attention_max_distance,
        })
    }

    fn forward(&self, rec: &mut Recorder, x: &Tensor) -> Result<Tensor> {
        let [tokens, _] = x.dims("umt5", "hidden states")?;
        if tokens == 0 {
            return Err(Error::WrongState { call: "encode", reason: "the prompt has no tokens".into() });
        }
        let normed = self.layer_norm.forward(rec, x)?;
        let mut heads = |linear: &Linear| {
            let rows = linear.forward(rec, &normed)?;
            rec.heads(&rows, self.num_heads, None, None)
        };
        let (q, k, v) = (heads(&self.q)?, heads(&self.k)?, heads(&self.v)?);
        let bias = rec.relative_bias(&self.relative_attention_bias, tokens, self.max_distance)?;
        // T5 does not scale its scores: the scale is in the weights' initialisation.
        let attended = rec.attention(&q, &k, &v, 1.0, Some(&bias), 0.0)?;
        self.o.forward_with(rec, &attended, Activation::None, Combine::Add(x.clone()))
    }
}

impl GatedDense {
    fn new(layer: &Scope, config: &Umt5Config) -> Result<Self> {
        let (d, ff) = (config.d_model, config.d_ff);
        let scope = layer.pp("DenseReluDense");
        Ok(Self {
            layer_norm: RmsNorm::new(&layer.pp("layer_norm"), config)?,
            wi_0: Linear::new(&scope.pp("wi_0"), d, ff, Bias::No)?,
            wi_1: Linear::new(&scope.pp("wi_1"), d, ff, Bias::No)?,
            wo: Linear::new(&scope.pp("wo"), ff, d, Bias::No)?,
        })
    }

    fn forward(&self, rec: &mut Recorder, x: &Tensor) -> Result<Tensor> {
        let normed = self.layer_norm.forward(rec, x)?;
        let linear = self.wi_1.forward(rec, &normed)?;
        let gated = self.wi_0.forward_with(rec, &normed, Activation::GeluTanh, Combine::Multiply(linear))?;
        self.wo.forward_with(rec, &gated, Activation::None, Combine::Add(x.clone()))
    }
}

impl RmsNorm {
    fn new(scope: &Scope, config: &Umt5Config) -> Result<Self> {
        Ok(Self { weight: scope.vector("weight", &[config.d_model])?, eps: config.layer_norm_epsilon as f32 })
    }

    fn forward(&self, rec: &mut Recorder, x: &Tensor) -> Result<Tensor> {
        let affine = Affine::Weight { weight: self.weight.clone(), bias: None };
        rec.norm(x, NormKind::Rms { eps: self.eps }, affine, false)
    }
}
