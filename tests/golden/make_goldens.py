"""Runs diffusers on the golden pipelines and stores what it computes. README.md says what every file holds.

    python make_goldens.py              # everything
    python make_goldens.py wan21 clean  # only these

Versions: requirements.txt (torch 2.15.0, diffusers 0.42.1, transformers 5.23.0). CPU, f32, one thread: two runs on
one machine give the same bytes. The pipelines must be there: make_pipelines.py for the tiny ones, models/small of
the repository for `small`, whose quantised weights models/recipe/quantised.py widens for diffusers.
"""

import argparse
import dataclasses
import json
import math
import os
import sys

import diffusers
import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler, WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from safetensors.torch import save_file

from blocks import blocks
from cases import CASES, GOLDEN, REPOSITORY, SMALL, Clip
from modes import modes
from names import names
from number_formats import number_formats, quantised_values
from shapes import shapes
from single_files import single_files, spiece
from prompts import CLEAN, TOKENS

sys.path.append(str(REPOSITORY / "models" / "recipe"))
import quantised

Tensors = dict[str, torch.Tensor]


def load(folder) -> WanPipeline:
    """A pipeline with its stored weights widened to f32, on the CPU."""
    components = {kind: quantised.load(kind, folder / kind) for kind in quantised.CLASSES}
    pipeline = WanPipeline.from_pretrained(folder, dtype=torch.float32, **components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def seeded(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def sample(pipeline: WanPipeline, clip: Clip) -> Tensors:
    """One call of the pipeline, as golden.safetensors stores it (frames still f32)."""
    steps, inputs, kept = [], [], {}

    def step_end(_, step, timestep, values):
        steps.append(values["latents"][0].clone())
        kept.update(values)
        return values

    hook = pipeline.transformer.register_forward_pre_hook(
        lambda _, args, kwargs: inputs.append(kwargs["hidden_states"]), with_kwargs=True
    )
    frames = pipeline(
        prompt=clip.prompt,
        negative_prompt=clip.negative_prompt,
        width=clip.width,
        height=clip.height,
        num_frames=clip.frames,
        num_inference_steps=clip.steps,
        guidance_scale=clip.guidance_scale,
        max_sequence_length=clip.max_sequence_length,
        generator=seeded(clip.seed),
        output_type="np",
        callback_on_step_end=step_end,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds", "negative_prompt_embeds"],
    ).frames[0]
    hook.remove()

    noise = inputs[0]
    drawn = torch.randn(noise.shape, generator=seeded(clip.seed), dtype=torch.float32)
    assert torch.equal(noise, drawn), "diffusers no longer starts from torch.randn of the seed"
    golden = {
        "noise": noise,
        "prompt_embeds": kept["prompt_embeds"][0],
        "steps": torch.stack(steps),
        "frames": torch.from_numpy(frames),
    }
    if clip.guidance_scale > 1:
        golden["negative_prompt_embeds"] = kept["negative_prompt_embeds"][0]
    return golden


def parts(name: str, pipeline: WanPipeline) -> Tensors:
    """Each component once, on inputs of its own: tells which of them is at fault."""
    case = CASES[name]
    generator = seeded(1000)
    z_dim = pipeline.vae.config.z_dim

    ids = pipeline.tokenizer(
        prompt_clean(case.clip.prompt), truncation=True, max_length=case.clip.max_sequence_length, return_tensors="pt"
    ).input_ids
    text_hidden = pipeline.text_encoder(ids).last_hidden_state
    pad = case.clip.max_sequence_length - ids.shape[1]
    text = torch.nn.functional.pad(text_hidden, (0, 0, 0, pad))

    transformer_in = torch.randn(1, z_dim, *case.transformer_latents, generator=generator)
    latent_frames, height, width = case.transformer_latents
    if case.expand_timesteps:
        # A timestep for every latent frame, the first one given (0): the same for all tokens of a frame.
        by_frame = torch.tensor([0.0] + [950.5 - 300.25 * i for i in range(latent_frames - 1)])
        timestep = by_frame.repeat_interleave((height // 2) * (width // 2))
    else:
        timestep = torch.tensor([637.0])
    transformer_out = pipeline.transformer(
        transformer_in, timestep[None] if case.expand_timesteps else timestep, text, return_dict=False
    )[0]

    vae_in = torch.randn(1, z_dim, *case.vae_latents, generator=generator)
    mean, std = statistics(pipeline.vae)
    vae_out = pipeline.vae.decode(vae_in * std + mean, return_dict=False)[0]
    return {
        "input_ids": ids[0].to(torch.int32),
        "text_hidden": text_hidden[0],
        "transformer_in": transformer_in[0],
        "timestep": timestep,
        "transformer_out": transformer_out[0],
        "vae_in": vae_in[0],
        "vae_out": vae_out[0].permute(1, 2, 3, 0),
    }


def statistics(vae: AutoencoderKLWan) -> tuple[torch.Tensor, torch.Tensor]:
    """latents_mean and latents_std, [1, C, 1, 1, 1]."""
    return tuple(torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))


def encoded(vae: AutoencoderKLWan, width: int, height: int) -> Tensors:
    """encode.safetensors: a smooth moving video of 17 frames and the latents of its first 1, 5 and 17 frames."""
    generator = seeded(2000)
    t, y, x = torch.meshgrid(
        torch.linspace(0, 1, 17), torch.linspace(0, 1, height), torch.linspace(0, width / height, width), indexing="ij"
    )
    video = torch.zeros(17, height, width, 3)
    for channel in range(3):
        for _ in range(4):
            ft, fy, fx = (torch.randn(3, generator=generator) * torch.tensor([2.0, 6.0, 6.0])).tolist()
            phase = (2 * math.pi * torch.rand(1, generator=generator)).item()
            video[..., channel] += 0.45 * torch.sin(ft * t + fy * y + fx * x + phase)
    video = video.clamp(-1, 1).half()  # stored exactly
    mean, std = statistics(vae)
    result = {"video": video}
    for frames in (1, 5, 17):
        pixels = video[:frames].float().permute(3, 0, 1, 2)[None]
        result[f"latents_f{frames}"] = ((vae.encode(pixels).latent_dist.mode() - mean) / std)[0]
    return result


def noise() -> Tensors:
    """torch.randn of the CPU generator, by seed and count."""
    return {
        f"seed{seed}_n{count}": torch.randn(count, generator=seeded(seed), dtype=torch.float32)
        for seed in (7, 0, 123456789012)
        for count in (1, 7, 15, 16, 17, 31, 1000, 1003)
    }


def trajectory(scheduler, steps: int) -> dict:
    """A run of `scheduler` on 8 values without a model: the velocity is sin(3 x + t / 250), all in f64."""
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(0)
    x = torch.linspace(-2, 2, 8, dtype=torch.float64)[None]
    samples = []
    for t in scheduler.timesteps:
        x = scheduler.step(torch.sin(3 * x + t.double() / 250), t, x, return_dict=False)[0]
        samples.append([float(f"{value:.9g}") for value in x[0].tolist()])
    return {
        "steps": steps,
        "timesteps": scheduler.timesteps.tolist(),
        "sigmas": [float(f"{sigma:.9g}") for sigma in scheduler.sigmas.tolist()],
        "samples": samples,
    }


def schedules() -> list[dict]:
    """Both solvers over shifts and step counts, and UniPC of order 1 and 3 at shift 3.

    Not bh1: with a final sigma of 0 its last step is NaN in diffusers (infinite log-SNR times zero).
    """
    counts = (1, 2, 3, 4, 12, 50)
    unipc = dict(prediction_type="flow_prediction", use_flow_sigmas=True)
    runs = []
    for shift in (1.0, 2.0, 3.0, 5.0, 8.0):
        for steps in counts:
            run = trajectory(UniPCMultistepScheduler(flow_shift=shift, **unipc), steps)
            runs.append({"solver": "unipc", "shift": shift, "order": 2, "type": "bh2", **run})
    for order in (1, 3):
        for steps in (4, 12):
            run = trajectory(UniPCMultistepScheduler(flow_shift=3.0, solver_order=order, **unipc), steps)
            runs.append({"solver": "unipc", "shift": 3.0, "order": order, "type": "bh2", **run})
    for shift in (1.0, 2.0, 5.0):
        for steps in counts:
            run = trajectory(FlowMatchEulerDiscreteScheduler(shift=shift), steps)
            runs.append({"solver": "euler", "shift": shift, **run})
    return runs


def tokens(pipeline: WanPipeline) -> list[dict]:
    """The ids of TOKENS, and the same truncated to 8 as WanPipeline truncates."""
    tokenizer = pipeline.tokenizer
    return [
        {
            "text": text,
            "ids": tokenizer(text).input_ids,
            "ids_at_most_8": tokenizer(text, truncation=True, max_length=8).input_ids,
        }
        for text in TOKENS
    ]


def write_json(path, value) -> None:
    """One line for every entry of a list, so that changes can be read; what cannot be seen is escaped."""
    if isinstance(value, list):
        text = "[\n" + ",\n".join(json.dumps(v, ensure_ascii=False, allow_nan=False) for v in value) + "\n]\n"
    else:
        text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    path.write_text(text, encoding="utf-8")


def write_tensors(path, tensors: Tensors) -> None:
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    path.chmod(0o644)


def report(name: str, golden: Tensors) -> None:
    frames = golden["frames"]
    clamped = ((frames <= 0) | (frames >= 1)).float().mean().item()
    print(
        f"{name}: frames {list(frames.shape)} mean {frames.mean():.2f} std {frames.std():.2f} clamped {clamped:.1%}; "
        f"std of latents by step {[round(v.std().item(), 2) for v in golden['steps']]}"
    )


def describe(pipeline: WanPipeline, clip: Clip, name: str, folder: str) -> dict:
    """case.json: everything a test needs to repeat the clip."""
    config = pipeline.scheduler.config
    unipc = isinstance(pipeline.scheduler, UniPCMultistepScheduler)
    return {
        "name": name,
        "pipeline": folder,
        **dataclasses.asdict(clip),
        "solver": "unipc" if unipc else "euler",
        "shift": config.flow_shift if unipc else config.shift,
        "expand_timesteps": pipeline.config.expand_timesteps,
    }


def make_case(name: str) -> None:
    """Everything in <name>/ but the pipeline."""
    shipped = name == "small"
    clip = SMALL if shipped else CASES[name].clip
    folder = REPOSITORY / "models" / "small" if shipped else GOLDEN / name / "pipeline"
    if not folder.is_dir():
        sys.exit(f"{name}: there is no pipeline in {folder}")
    target = GOLDEN / name
    target.mkdir(exist_ok=True)
    pipeline = load(folder)

    golden = sample(pipeline, clip)
    report(name, golden)
    # Half precision is 0.0002 off at most, a sixteenth of a grey level of 255.
    write_tensors(target / "golden.safetensors", golden | {"frames": golden["frames"].half()})
    write_json(target / "case.json", describe(pipeline, clip, name, os.path.relpath(folder, target)))
    write_json(target / "tokens.json", tokens(pipeline))
    if not shipped:
        write_tensors(target / "parts.safetensors", parts(name, pipeline))
        if size := CASES[name].encode_size:
            write_tensors(target / "encode.safetensors", encoded(pipeline.vae, *size))
            write_tensors(target / "modes.safetensors", modes(pipeline, clip))


SHARED = {
    "noise": lambda: write_tensors(GOLDEN / "noise.safetensors", noise()),
    "names": lambda: write_json(GOLDEN / "names.json", names()),
    "number_formats": lambda: write_tensors(GOLDEN / "number_formats.safetensors", number_formats()),
    "quantised": lambda: write_tensors(GOLDEN / "quantised.safetensors", quantised_values()),
    "shapes": lambda: write_json(GOLDEN / "shapes.json", shapes()),
    "single_files": single_files,
    "spiece": lambda: write_json(GOLDEN / "wan21" / "files" / "spiece.json", spiece()),
    "blocks": lambda: write_tensors(GOLDEN / "blocks.safetensors", blocks(quantised.load, sample)),
    "schedules": lambda: write_json(GOLDEN / "schedules.json", schedules()),
    "clean": lambda: write_json(
        GOLDEN / "clean.json", [{"input": text, "output": prompt_clean(text)} for text in CLEAN]
    ),
}


def main() -> None:
    every = [*SHARED, *CASES, "small"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help=f"which: {', '.join(every)}; all by default")
    what = parser.parse_args().what or every
    if unknown := set(what) - set(every):
        sys.exit(f"no such golden: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    diffusers.utils.logging.disable_progress_bar()
    with torch.no_grad():
        for name in what:
            SHARED[name]() if name in SHARED else make_case(name)


if __name__ == "__main__":
    main()
