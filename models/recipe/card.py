"""Writes the model card of an exported model, with its scores before and after quantisation and its contact sheet.

    python card.py --model FOLDER --scores work/scores --quantised-scores work/scores_q8 --sheet work/scores_q8/sheet.png --training training.txt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from string import Template

from PIL import Image
from transformers import UMT5EncoderModel

import quantised
import training
import world

TEMPLATE = Path(__file__).parent / "model_card.md"
ROWS = ("thing", "colour", "place", "motion", "all four")


def prompt_table(scores: dict[str, dict]) -> list[str]:
    """Shares of clips by what was named, for scores by the weights' precision."""
    lines = ["| weights | prompts | " + " | ".join(ROWS) + " |", "|---" * (len(ROWS) + 2) + "|"]
    for weights, found in scores.items():
        for name in ("prompts", "held-out combinations"):
            shares = " | ".join(f"{100 * found[name][row]:.1f}%" for row in ROWS)
            lines.append(f"| {weights} | {found[name]['prompts']}, {name} | {shares} |")
    return lines


def given_lines(scores: dict) -> list[str]:
    """What became of given frames, a line a task."""
    return [
        f"- {task}: " + "; ".join(f"{what} {value:.3g}" for what, value in part.items())
        for task, part in scores["given frames"].items()
        if isinstance(part, dict)
    ]


def card(settings: dict, sizes: dict[str, float], scores: dict[str, dict], story: str) -> str:
    """The card; what was not measured says so. The last of `scores` is what is shipped."""
    lines = ["Not measured yet."]
    if scores:
        last = list(scores.values())[-1]
        judge = ", ".join(f"{question} {100 * share:.1f}%" for question, share in last["judge on held-out renders"].items())
        psnr = "; ".join(f"{weights} weights {found['vae PSNR']:.2f} dB" for weights, found in scores.items())
        lines = [*prompt_table(scores), "", f"The judge itself on held-out renders: {judge}.", "", f"VAE on held-out renders: {psnr}."]
        lines += ["", f"Given frames, of {last['given frames']['clips']} clips:", "", *given_lines(last)]
    return Template(TEMPLATE.read_text()).substitute(
        scores="\n".join(lines),
        training=story.strip() or "Not recorded.",
        parts=", ".join(f"{name} {millions:.2f} M" for name, millions in sizes.items()),
        things=", ".join(world.THINGS),
        colours=", ".join(world.COLOURS),
        places=", ".join(world.PLACES),
        held_out=", ".join(sorted(f"{c} {t}" for t, c in world.HELD_OUT_COLOURS))
        + "; "
        + ", ".join(sorted(f"{t} and {p}" for t, p in world.HELD_OUT_PLACES)),
        **settings,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=training.WORK / "model_q8", help="folder to write README.md to")
    parser.add_argument("--scores", type=Path, help="folder with scores.json of the weights before quantisation")
    parser.add_argument("--quantised-scores", type=Path, help="the same of the quantised ones")
    parser.add_argument("--sheet", type=Path, help="contact sheet of evaluate.py")
    parser.add_argument("--training", type=Path, help="text file: what was trained for how long on what")
    args = parser.parse_args()
    parts = {kind: quantised.load(kind, args.model / kind) for kind in quantised.CLASSES}
    parts["text encoder"] = UMT5EncoderModel.from_pretrained(args.model / "text_encoder")
    sizes = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in parts.items()}
    given = {"16-bit": args.scores, "8-bit": args.quantised_scores}
    scores = {weights: json.loads((folder / "scores.json").read_text()) for weights, folder in given.items() if folder}
    settings = json.loads((args.model / "kinetoscope.json").read_text())
    story = args.training.read_text() if args.training else ""
    if args.sheet:
        Image.open(args.sheet).convert("RGB").save(args.model / "sheet.jpg", quality=72)
    (args.model / "README.md").write_text(card(settings, sizes, scores, story))
    print(f"wrote {args.model / 'README.md'}")


if __name__ == "__main__":
    main()
