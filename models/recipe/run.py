"""Runs the steps of the recipe in their order, each resumable.

python run.py --smoke                 # everything, tiny, in two minutes: to see that it works
python run.py --preset cpu            # the embedded model on a few cores
python run.py --preset cuda           # the same on a GPU
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import training

HERE = Path(__file__).parent

# Arguments of each step by preset. A step that has finished has nothing left to do and only writes its export again.
PRESETS: dict[str, dict[str, list[str]]] = {
    "cpu": {
        "vae": ["--steps", "12000"],
        "decoder": ["--steps", "2500", "--lr", "6e-4"],
        "transformer": ["--steps", "12000"],
        "judge": ["--steps", "4000"],
        "distill": ["--steps", "1500"],
    },
    "cuda": {
        "vae": ["--steps", "12000", "--batch", "32", "--lr", "2e-3", "--chunk", "1024"],
        "decoder": ["--steps", "3000", "--batch", "32", "--lr", "8e-4", "--chunk", "1024"],
        "transformer": [
            "--steps",
            "30000",
            "--batch",
            "256",
            "--fresh",
            "128",
            "--pool",
            "65536",
            "--ema",
            "0.9997",
            "--chunk",
            "1024",
        ],
        "judge": ["--steps", "6000", "--batch", "128", "--chunk", "1024"],
        "distill": ["--steps", "4000", "--batch", "256", "--fresh", "64", "--pool", "65536", "--chunk", "1024"],
    },
}


def steps(work: Path, preset: dict[str, list[str]], smoke: bool) -> list[tuple[str, list[str]]]:
    """(program, arguments) in order."""
    vae, model, student, judge = (work / part for part in ("vae", "transformer", "student", "judge"))
    tiny = ["--smoke"] if smoke else []
    exported = ["--vae", str(vae / "export")]
    get = lambda name: preset.get(name, [])  # noqa: E731
    few = ["--steps", "4", "--guidance", "1", "--few"]
    found = [("world.py", ["--smoke", "--count", "0"]), ("render.py", ["--smoke"]), ("tokenizer.py", ["--smoke"])] if smoke else []
    return found + [
        ("train_vae.py", ["--run", str(vae), *get("vae"), *tiny]),
        ("train_vae.py", ["--run", str(vae), "--phase", "decoder", *get("decoder"), *tiny]),
        ("train_transformer.py", ["--run", str(model), *exported, *get("transformer"), *tiny]),
        ("judge.py", ["--run", str(judge), *get("judge"), *tiny]),
        ("evaluate.py", ["--model", str(model / "export"), *exported, "--judge", str(judge), "--out", str(work / "scores"), *tiny]),
        ("distill.py", ["--run", str(student), "--teacher", str(model / "export"), *exported, *get("distill"), *tiny]),
        (
            "evaluate.py",
            [
                "--model",
                str(student / "export"),
                *exported,
                "--judge",
                str(judge),
                "--out",
                str(work / "student_scores"),
                *few,
                *tiny,
            ],
        ),
        (
            "export.py",
            ["--model", str(model / "export"), *exported, "--scores", str(work / "scores"), "--out", str(work / "model"), *tiny],
        ),
        (
            "export.py",
            [
                "--model",
                str(student / "export"),
                *exported,
                "--scores",
                str(work / "student_scores"),
                "--out",
                str(work / "student_model"),
                *few,
                *tiny,
            ],
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--smoke", action="store_true", help="every step, tiny, in a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) if args.smoke else training.WORK
        preset = {} if args.smoke else PRESETS[args.preset]
        for program, arguments in steps(work, preset, args.smoke):
            start = time.monotonic()
            print(f"== {program} {' '.join(arguments)}", flush=True)
            threads = ["--threads", str(args.threads)] if program not in ("world.py", "tokenizer.py") else []
            subprocess.run(
                [sys.executable, str(HERE / program), *arguments, *threads], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
            )
            print(f"== {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
