"""The golden cases: what each tiny pipeline looks like and the clip that is made with it.

One table for `make_pipelines.py` (configs), `make_goldens.py` (clips) and `check_goldens.py`.
"""

from dataclasses import dataclass, field
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent
REPOSITORY = GOLDEN.parent.parent


@dataclass(frozen=True)
class Clip:
    """The arguments of one `WanPipeline` call. Sizes in pixels; `negative_prompt` is unused at guidance 1."""

    prompt: str
    width: int
    height: int
    frames: int
    steps: int
    guidance_scale: float
    seed: int
    max_sequence_length: int
    negative_prompt: str = ""


@dataclass(frozen=True)
class Case:
    """A tiny pipeline: configs as diffusers and transformers take them, storage types, and its clip.

    `shards`: component -> `max_shard_size`; it is then stored in parts with an index.
    `described` writes a kinetoscope.json beside model_index.json.
    `transformer_latents`, `vae_latents`: (T, H, W) of the one-pass goldens, unlike the clip's own on purpose.
    `encode_size`: (width, height) of the video of the encoder's golden, None for none.
    """

    clip: Clip
    tokenizer: str
    text_encoder: dict
    transformer: dict
    vae: dict
    scheduler: dict
    transformer_latents: tuple[int, int, int]
    vae_latents: tuple[int, int, int]
    expand_timesteps: bool = False
    dtypes: dict = field(default_factory=dict)  # component -> "float16" | "bfloat16"; float32 where not named
    shards: dict = field(default_factory=dict)
    described: bool = True
    encode_size: tuple[int, int] | None = None


def unipc(shift: float) -> dict:
    """Config of UniPCMultistepScheduler as Wan's checkpoints have it."""
    return {
        "_class_name": "UniPCMultistepScheduler",
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": shift,
    }


def euler(shift: float) -> dict:
    """Config of FlowMatchEulerDiscreteScheduler."""
    return {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": shift}


CASES = {
    # Wan 2.1: plain VAE (8x), one timestep, UniPC. Unigram with bytes and a compiled character map, as UMT5 has it.
    "wan21": Case(
        clip=Clip(
            "A  café in 東京 &amp; a naïve robot, ﬁve ☕!", width=48, height=32, frames=9, steps=5, guidance_scale=5.0,
            seed=7, max_sequence_length=40,
        ),
        tokenizer="unigram_bytes",
        text_encoder=dict(d_model=40, d_kv=12, d_ff=72, num_layers=2, num_heads=3,
                          relative_attention_num_buckets=32, relative_attention_max_distance=128),
        transformer=dict(attention_head_dim=32, num_attention_heads=3, num_layers=1, ffn_dim=136, freq_dim=256,
                         rope_max_seq_len=1024),
        vae=dict(base_dim=4, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=2,
                 temperal_downsample=[False, True, True]),
        scheduler=unipc(5.0),
        dtypes={"transformer": "float16", "text_encoder": "bfloat16", "vae": "float16"},
        transformer_latents=(2, 6, 4),
        vae_latents=(3, 2, 3),
        encode_size=(40, 24),
    ),
    # Wan 2.2 TI2V: residual VAE in 2x2 patches (16x), a timestep for every token, Euler. f32 but for the VAE.
    "wan22": Case(
        clip=Clip(
            "Two green dragons — “slowly” dancing in the rain…", width=96, height=64, frames=5, steps=4,
            guidance_scale=3.0, seed=123456789012, max_sequence_length=32, negative_prompt="blurry, gray, low quality",
        ),
        tokenizer="unigram_nfkc",
        text_encoder=dict(d_model=36, d_kv=16, d_ff=52, num_layers=2, num_heads=2,
                          relative_attention_num_buckets=32, relative_attention_max_distance=64),
        transformer=dict(attention_head_dim=24, num_attention_heads=2, num_layers=2, ffn_dim=80, freq_dim=64,
                         rope_max_seq_len=128),
        vae=dict(base_dim=4, z_dim=12, dim_mult=[1, 2, 2, 2], num_res_blocks=2,
                 temperal_downsample=[False, True, True], is_residual=True, in_channels=12, out_channels=12,
                 patch_size=2, scale_factor_spatial=16),
        scheduler=euler(5.0),
        expand_timesteps=True,
        dtypes={"vae": "float16"},
        transformer_latents=(3, 4, 2),
        vae_latents=(3, 1, 2),
        encode_size=(48, 32),
    ),
    # Nothing a round number: head 44, width 88, 5 latent channels, 5x7 patches, bf16 in parts, no guidance, no
    # kinetoscope.json, text padded to Wan's 512.
    "odd": Case(
        clip=Clip(
            "شمس above Ωmega, a red ball jumps", width=112, height=80, frames=5, steps=3, guidance_scale=1.0, seed=0,
            max_sequence_length=512,
        ),
        tokenizer="bpe",
        text_encoder=dict(d_model=28, d_kv=20, d_ff=44, num_layers=3, num_heads=1,
                          relative_attention_num_buckets=16, relative_attention_max_distance=20),
        transformer=dict(attention_head_dim=44, num_attention_heads=2, num_layers=1, ffn_dim=60, freq_dim=100,
                         rope_max_seq_len=64),
        vae=dict(base_dim=6, z_dim=5, dim_mult=[1, 1, 2, 2], num_res_blocks=1,
                 temperal_downsample=[True, False, True]),
        scheduler=unipc(3.0),
        dtypes={"transformer": "bfloat16", "text_encoder": "bfloat16", "vae": "bfloat16"},
        shards={"transformer": "150KB", "text_encoder": "30KB"},
        described=False,
        transformer_latents=(3, 2, 10),
        vae_latents=(2, 3, 2),
    ),
    # Head 128, f16, 17 frames, and a prompt longer than max_sequence_length.
    "head128": Case(
        clip=Clip(
            "a small blue boat sails over the calm sea at night while the moon shines, and birds fly home again",
            width=48, height=32, frames=17, steps=6, guidance_scale=4.0, seed=42, max_sequence_length=16,
            negative_prompt="text",
        ),
        tokenizer="wordlevel",
        text_encoder=dict(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4,
                          relative_attention_num_buckets=32, relative_attention_max_distance=128),
        transformer=dict(attention_head_dim=128, num_attention_heads=1, num_layers=1, ffn_dim=96, freq_dim=64,
                         rope_max_seq_len=256),
        vae=dict(base_dim=4, decoder_base_dim=6, z_dim=8, dim_mult=[1, 2, 2], num_res_blocks=1,
                 temperal_downsample=[True, True], is_residual=True, in_channels=12, out_channels=12, patch_size=2,
                 scale_factor_spatial=8),
        scheduler=unipc(2.0),
        dtypes={"transformer": "float16", "text_encoder": "float16", "vae": "float16"},
        transformer_latents=(2, 6, 6),
        vae_latents=(3, 2, 2),
    ),
}

# The default model of the repository and its default clip.
SMALL = Clip(
    "a red ball bounces on green grass", width=64, height=64, frames=17, steps=4, guidance_scale=1.0, seed=7,
    max_sequence_length=40,
)
