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
from collections import defaultdict
from pathlib import Path

import training

HERE = Path(__file__).parent

# Arguments of the trainings by preset. A step that has finished has nothing left to do and only writes its export again.
PRESETS: dict[str, dict[str, str]] = {
    "cpu": {
        "vae": "--steps 12000",
        "decoder": "--steps 2500 --lr 6e-4",
        "transformer": "--steps 24000",
        "judge": "--steps 2000",
        "distill": "--steps 3600 --guidance 4",
    },
    "cuda": {
        "vae": "--steps 12000 --batch 32 --chunk 1024",
        "decoder": "--steps 3000 --batch 32 --lr 8e-4 --chunk 1024",
        "transformer": "--steps 30000 --batch 256 --fresh 128 --pool 65536 --ema 0.9997 --chunk 1024",
        "judge": "--steps 6000 --batch 128 --chunk 1024",
        "distill": "--steps 4000 --guidance 4 --batch 256 --fresh 64 --pool 65536 --chunk 1024",
    },
}

CHECKS = """
world.py --count 0
render.py
tokenizer.py
wan_transformer.py
"""
STEPS = """
train_vae.py --run WORK/vae {vae}
train_vae.py --run WORK/vae --phase decoder {decoder}
train_transformer.py --run WORK/transformer --vae WORK/vae/export {transformer}
distill.py --run WORK/student --teacher WORK/transformer/export --vae WORK/vae/export {distill}
judge.py --run WORK/judge {judge}
evaluate.py --model WORK/transformer/export --vae WORK/vae/export --judge WORK/judge --out WORK/teacher_scores
evaluate.py --model WORK/student/export --vae WORK/vae/export --judge WORK/judge --out WORK/scores FEW
export.py --model WORK/student/export --vae WORK/vae/export --out WORK/model --quantised WORK/model_q8 FEW
evaluate.py --model WORK/model_q8 --vae WORK/model_q8/vae --judge WORK/judge --out WORK/scores_q8 FEW
card.py --model WORK/model_q8 --scores WORK/scores --quantised-scores WORK/scores_q8 --sheet WORK/scores_q8/sheet.png
"""
# How the student is run.
FEW = "--few --steps 4 --guidance 1"
# What has neither threads to set nor a small version of itself.
PLAIN = ("card.py",)
SINGLE = ("world.py", "tokenizer.py", "wan_transformer.py")


def commands(work: Path, preset: dict[str, str], threads: int, smoke: bool) -> list[list[str]]:
    """Programs with their arguments, in order."""
    found = []
    for line in filter(None, ((CHECKS if smoke else "") + STEPS).splitlines()):
        program, *arguments = line.format_map(defaultdict(str, preset)).replace("WORK", str(work)).replace("FEW", FEW).split()
        if smoke and program not in PLAIN:
            arguments.append("--smoke")
        if program not in PLAIN + SINGLE:
            arguments += ["--threads", str(threads)]
        found.append([program, *arguments])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--smoke", action="store_true", help="every step, tiny, in a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) if args.smoke else training.WORK
        preset = {} if args.smoke else PRESETS[args.preset]
        for program, *arguments in commands(work, preset, args.threads, args.smoke):
            start = time.monotonic()
            print(f"== {program} {' '.join(arguments)}", flush=True)
            environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
            subprocess.run([sys.executable, str(HERE / program), *arguments], check=True, env=environment)
            print(f"== {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
