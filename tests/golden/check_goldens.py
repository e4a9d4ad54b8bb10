"""Checks the golden files themselves: are they repeatable, do they notice a mistake, and how exact can a runtime be?

    python check_goldens.py        # all tiny pipelines
    python check_goldens.py wan21

For every tiny pipeline, with one line each:

- repeat: the stored tensors come out of diffusers again (to 1e-6, other processors round otherwise);
- forgotten: every parameter on its own is left out (weights, biases and tables 0, norm weights 1), and so are the
  parts without parameters (rotary embedding, shortcuts, the time cache, the padded text, the latents' mean and std).
  The output of its component must move by at least 1e-2 (RMS of the change over RMS);
- f64: the clip with products in double precision, against the stored one: what f32 arithmetic alone costs;
- nudge: the clip from noise moved by 1e-5 of itself: how much the pipeline magnifies an error.

Exits with 1 if a check fails.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import contextmanager

import diffusers
import torch
from diffusers.models.autoencoders import autoencoder_kl_wan
from safetensors.torch import load_file

import make_goldens
from cases import CASES, GOLDEN

LEAST_CHANGE = 1e-2


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """RMS of the difference over the RMS of what is expected."""
    actual, expected = actual.double(), expected.double()
    return ((actual - expected).pow(2).mean().sqrt() / expected.pow(2).mean().sqrt()).item()


@contextmanager
def replaced(owner, name: str, value):
    """Sets an attribute for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def components(name: str, pipeline) -> dict[str, tuple[torch.nn.Module, Callable[[], torch.Tensor]]]:
    """Component -> (module with its parameters, one pass over it on fixed inputs)."""

    def part(key):
        return lambda: make_goldens.parts(name, pipeline)[key]

    vae = pipeline.vae
    scale = vae.config.scale_factor_spatial
    width, height = CASES[name].encode_size or (3 * scale, 2 * scale)
    encoder = torch.nn.ModuleDict({"encoder": vae.encoder, "quant_conv": vae.quant_conv})
    decoder = torch.nn.ModuleDict({"decoder": vae.decoder, "post_quant_conv": vae.post_quant_conv})
    return {
        "text_encoder": (pipeline.text_encoder, part("text_hidden")),
        "transformer": (pipeline.transformer, part("transformer_out")),
        "decoder": (decoder, part("vae_out")),
        "encoder": (encoder, lambda: make_goldens.encoded(vae, width, height)["latents_f17"]),
    }


def forgotten(name: str, pipeline) -> dict[str, float]:
    """What was left out -> the change it made."""
    changes = {}
    for component, (module, run) in components(name, pipeline).items():
        expected = run()
        for parameter_name, parameter in module.named_parameters():
            kept = parameter.detach().clone()
            is_norm = "norm" in parameter_name and not parameter_name.endswith("bias")
            if parameter_name == "quant_conv.weight" or parameter_name == "quant_conv.bias":
                parameter[: parameter.shape[0] // 2] = 0  # the other half is the log-variance, which mode() ignores
            else:
                parameter.fill_(1.0 if is_norm else 0.0)
            changes[f"{component}.{parameter_name}"] = relative(run(), expected)
            parameter.copy_(kept)
        for what, context in without(name, component, pipeline):
            with context:
                changes[f"{component}: {what}"] = relative(run(), expected)
    return changes


def without(name: str, component: str, pipeline):
    """(what, context in which it is missing) for the parts of a component that have no parameters."""
    vae = autoencoder_kl_wan
    config = dict(pipeline.vae.config)
    if component == "text_encoder":
        attention = type(pipeline.text_encoder.encoder.block[0].layer[0].SelfAttention)
        bias = attention.compute_bias
        yield "sign of the relative positions", replaced(
            attention, "compute_bias", lambda self, *a, **k: bias(self, *a, **k).transpose(2, 3)
        )
    if component == "transformer":
        rope = pipeline.transformer.rope

        def no_rotation(hidden_states):
            cos, sin = type(rope).forward(rope, hidden_states)
            return torch.ones_like(cos), torch.zeros_like(sin)

        yield "rotary embedding", replaced(rope, "forward", no_rotation)
        clip = CASES[name].clip
        if len(pipeline.tokenizer(clip.prompt).input_ids) < clip.max_sequence_length:
            pad = torch.nn.functional.pad
            yield "padding of the text", replaced(
                torch.nn.functional, "pad", lambda x, *a: x if x.ndim == 3 else pad(x, *a)
            )
    if component in ("encoder", "decoder"):
        forward = vae.WanCausalConv3d.forward
        yield "time cache", replaced(vae.WanCausalConv3d, "forward", lambda self, x, cache=None: forward(self, x))
        for key, neutral in (("latents_mean", 0.0), ("latents_std", 1.0)):
            changed = diffusers.configuration_utils.FrozenDict({**config, key: [neutral] * config["z_dim"]})
            yield key, replaced(pipeline.vae, "_internal_dict", changed)
        if config["is_residual"]:
            block = vae.AvgDown3D if component == "encoder" else vae.DupUp3D
            shortcut = block.forward
            yield "shortcut", replaced(block, "forward", lambda self, *a, **k: 0 * shortcut(self, *a, **k))


def run_clip(name: str, pipeline, nudge: float = 0.0) -> dict[str, torch.Tensor]:
    """The case's clip; with `nudge`, from noise of which every value is off by that share of a normal value."""
    if not nudge:
        return make_goldens.sample(pipeline, CASES[name].clip)
    randn, other = torch.randn, torch.Generator("cpu").manual_seed(5)

    def nudged(*shape, **options):
        values = randn(*shape, **options)
        return values + nudge * randn(values.shape, generator=other, dtype=values.dtype)

    # Both draws of make_goldens.sample have to agree: the second starts from the same nudge.
    def both(*shape, **options):
        other.manual_seed(5)
        return nudged(*shape, **options)

    with replaced(torch, "randn", both):
        return make_goldens.sample(pipeline, CASES[name].clip)


def check(name: str) -> bool:
    folder = GOLDEN / name
    pipeline = make_goldens.load(folder / "pipeline")
    stored = load_file(folder / "golden.safetensors")
    clip = run_clip(name, pipeline)
    again = {f"golden {k}": relative(v.half() if k == "frames" else v, stored[k]) for k, v in clip.items()}
    kept = load_file(folder / "parts.safetensors")
    again |= {f"parts {k}": relative(v, kept[k]) for k, v in make_goldens.parts(name, pipeline).items()}
    if size := CASES[name].encode_size:
        kept = load_file(folder / "encode.safetensors")
        again |= {f"encode {k}": relative(v, kept[k]) for k, v in make_goldens.encoded(pipeline.vae, *size).items()}
    worst = max(again, key=again.get)
    repeatable = again[worst] < 1e-6 or (again[worst] < 3e-4 and worst == "golden frames")
    print(f"{name} repeat: worst {worst} {again[worst]:.1e}")

    changes = forgotten(name, pipeline)
    least = sorted(changes, key=changes.get)
    print(f"{name} forgotten: {len(changes)} left out, least " + ", ".join(f"{k} {changes[k]:.1e}" for k in least[:4]))
    unnoticed = [k for k in least if changes[k] < LEAST_CHANGE]

    for label, other in (("nudge", run_clip(name, pipeline, 1e-5)), ("f64", in_double(name))):
        steps = [relative(a, b) for a, b in zip(other["steps"], clip["steps"])]
        frames = (other["frames"] - clip["frames"]).abs().max().item() * 255
        print(f"{name} {label}: latents {[f'{s:.1e}' for s in steps]}, frames {frames:.4f}/255 at worst")
    for what in unnoticed:
        print(f"{name}: NOT NOTICED: {what} {changes[what]:.1e}")
    return repeatable and not unnoticed


def in_double(name: str) -> dict[str, torch.Tensor]:
    """The clip with the models' weights and products in f64; diffusers keeps norms, timesteps and latents in f32."""
    pipeline = make_goldens.load(GOLDEN / name / "pipeline")
    for component in (pipeline.text_encoder, pipeline.transformer, pipeline.vae):
        component.double()
    return run_clip(name, pipeline)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"which: {', '.join(CASES)}; all by default")
    names = parser.parse_args().cases or list(CASES)
    if unknown := set(names) - set(CASES):
        sys.exit(f"no such case: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    with torch.no_grad():
        results = [check(name) for name in names]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
