"""Times in PyTorch, on the same GPU, what `kinetoscope bench --json FILE` measured, and prints both side by side.

Linear layers, attention, convolutions and the transformer's whole pass (diffusers' own `WanTransformer3DModel` of random weights), in f32 without TF32
and in f16, the median of the runs with the least and the most. Kinetoscope computes in f32, which is the column to
compare it with. diffusers computes keys and values of the prompt at every pass, which Kinetoscope does once a clip: 1% of the pass's work at 416x240x33.

    python torch_bench.py FILE [--json OUT]      # needs a PyTorch with a GPU, and diffusers for whole passes
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.nn.functional import conv3d, interpolate, linear, scaled_dot_product_attention

RUNS = 7
WARM_UP_SECONDS = 0.2
SHORTEST_SECONDS = 0.05
PRECISIONS = {"f32": torch.float32, "f16": torch.float16}


def once(run: Callable[[], object], repetitions: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repetitions):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def seconds(run: Callable[[], object]) -> list[float]:
    """Of one run, sorted; short ones are repeated until they take long enough to be timed."""
    warm, spent = once(run, 1), 0.0
    while spent < WARM_UP_SECONDS:
        warm = once(run, 1)
        spent += warm
    repetitions = max(1, round(SHORTEST_SECONDS / warm))
    return sorted(once(run, repetitions) / repetitions for _ in range(RUNS))


def random(shape: list[int], dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, device="cuda").to(dtype)


def gemm(shape: dict[str, int], dtype: torch.dtype) -> Callable[[], object]:
    x, w = random([shape["m"], shape["k"]], dtype), random([shape["n"], shape["k"]], dtype)
    return lambda: linear(x, w)


def attention(shape: dict[str, int], dtype: torch.dtype) -> Callable[[], object]:
    q, k, v = (random([1, shape["heads"], shape[tokens], shape["d"]], dtype) for tokens in ("queries", "keys", "keys"))
    return lambda: scaled_dot_product_attention(q, k, v)


def conv(shape: dict[str, int], dtype: torch.dtype) -> Callable[[], object]:
    scale, kernel, frames = shape["upsample"], shape["kernel"], shape["frames"]
    size = [1, shape["channelsIn"], frames, shape["height"] // scale, shape["width"] // scale]
    x = random(size, dtype).contiguous(memory_format=torch.channels_last_3d)
    w = random([shape["channelsOut"], shape["channelsIn"], frames, kernel, kernel], dtype)
    w = w.contiguous(memory_format=torch.channels_last_3d)

    def run() -> torch.Tensor:
        doubled = interpolate(x, scale_factor=(1, scale, scale), mode="nearest") if scale > 1 else x
        return conv3d(doubled, w, padding=(0, kernel // 2, kernel // 2))

    return run


def transformer_pass(shape: dict[str, int], dtype: torch.dtype) -> Callable[[], object]:
    from diffusers import WanTransformer3DModel

    with torch.device("cuda"):
        model = WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30).to(dtype).eval()
    latents = random([1, *(shape[name] for name in ("channels", "latentFrames", "latentHeight", "latentWidth"))], dtype)
    prompt, timestep = random([1, 512, 4096], dtype), torch.full([1], 500.0, device="cuda")
    return lambda: model(latents, timestep, prompt, return_dict=False)


def work_of(case: dict) -> Callable[[dict[str, int], torch.dtype], Callable[[], object]] | None:
    if case["suite"] == "model":
        return transformer_pass if case["id"].startswith("model/wan2.1-1.3b/") and case["id"].endswith("/pass") else None
    return {"gemm": gemm, "attention": attention, "conv": conv}.get(case["suite"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="what `kinetoscope bench --json` wrote")
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    report = json.loads(args.file.read_text())
    found: dict[str, dict[str, list[float]]] = {}
    timed: dict[tuple, list[float]] = {}
    print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}; Kinetoscope on {report['header']['device']['name']}; ms, median (least-most)")
    print(f"{'':<44} {'Kinetoscope':>24} {'PyTorch f32':>24} {'PyTorch f16':>24} {'ratios':>12}")
    for case in report["cases"]:
        work = work_of(case)
        if work is None or case["outcome"] != "measured":
            continue
        columns, ours = [], case["seconds"]
        for precision, dtype in PRECISIONS.items():
            # Cases that differ in the format of our weights alone are one to PyTorch.
            key = (case["suite"], *sorted(case["shape"].items()), precision)
            if key not in timed:
                with torch.inference_mode():
                    timed[key] = seconds(work(case["shape"], dtype))
                torch.cuda.empty_cache()
            columns.append(timed[key])
        found[case["id"]] = dict(zip(PRECISIONS, columns))
        texts = [(ours["median"], ours["min"], ours["max"]), *((median(c), c[0], c[-1]) for c in columns)]
        ratios = " ".join(f"{median(column) / ours['median']:.2f}" for column in columns)
        cells = " ".join(f"{f'{m * 1e3:.3f} ({a * 1e3:.3f}-{b * 1e3:.3f})':>24}" for m, a, b in texts)
        print(f"{case['id']:<44} {cells} {ratios:>12}", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name(), "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
