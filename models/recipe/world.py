"""The world the model knows: its words, which of them go together, and how a clip is put into words.

A clip is drawn by its number: `sample(seed, index)` gives the same clip on every machine, so a data set needs no storage.

    python world.py                     # print twenty captions
    python world.py --words words.json  # what the page offers
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

GROUND = ("grass", "beach", "snow", "desert", "city", "room")
OUTDOORS = ("grass", "beach", "snow", "desert", "city", "sky", "sea")

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.90, 0.13, 0.15),
    "orange": (1.00, 0.52, 0.06),
    "yellow": (1.00, 0.86, 0.12),
    "green": (0.13, 0.70, 0.27),
    "blue": (0.13, 0.36, 0.95),
    "purple": (0.56, 0.22, 0.84),
    "pink": (1.00, 0.47, 0.70),
    "white": (0.97, 0.97, 0.97),
    "black": (0.13, 0.13, 0.17),
}

# Colours that would sink into a place or a time of day. A pair is never drawn, in training or in tests.
HIDDEN_BY_PLACE: dict[str, tuple[str, ...]] = {
    "grass": ("green",),
    "beach": ("yellow", "white"),
    "snow": ("white",),
    "desert": ("orange", "yellow"),
    "city": (),
    "room": ("white",),
    "sky": ("blue", "white"),
    "sea": ("blue", "white"),
    "underwater": ("blue", "black"),
    "space": ("black",),
}
HIDDEN_BY_TIME: dict[str, tuple[str, ...]] = {"day": (), "sunset": ("orange", "pink"), "night": ("black",)}

PLACES: dict[str, tuple[str, ...]] = {
    "grass": ("on the grass", "on green grass", "in a meadow", "in a green field", "in the park"),
    "beach": ("on the beach", "on a sandy beach", "at the beach", "on the sand by the sea"),
    "snow": ("in the snow", "on the snow", "on a snowy field", "in a snowy landscape"),
    "desert": ("in the desert", "in a desert", "on the desert sand"),
    "city": ("in the city", "on the street", "on a city street", "in town"),
    "room": ("in a room", "indoors", "in the living room", "at home"),
    "sky": ("in the sky", "up in the sky", "high in the air", "among the clouds"),
    "sea": ("over the sea", "over the water", "above the ocean"),
    "underwater": ("underwater", "under the sea", "under water", "in the deep blue water"),
    "space": ("in space", "in outer space", "among the stars and planets"),
}
# Things in the water rather than above it say it so.
AFLOAT = ("on the sea", "at sea", "on the water", "on the waves", "on the ocean")

TIMES: dict[str, tuple[str, ...]] = {
    "day": ("on a sunny day", "during the day", "in daylight"),
    "sunset": ("at sunset", "in the evening", "at dusk"),
    "night": ("at night", "in the moonlight", "under the moon"),
}

CAMERAS: dict[str, tuple[str, ...]] = {
    "static": (),
    "pan right": ("the camera pans right", "camera pans to the right"),
    "pan left": ("the camera pans left", "camera pans to the left"),
    "zoom in": ("the camera zooms in", "camera zoom in"),
    "zoom out": ("the camera zooms out", "camera zoom out"),
}


@dataclass(frozen=True)
class Motion:
    """What a thing does: where it can be done, and verbs as (third person, -ing form).

    `seen` is the class that the judge tells apart: rolling right and driving right both go right.
    """

    seen: str
    places: tuple[str, ...]
    verbs: tuple[tuple[str, str], ...]
    camera: bool = False


@dataclass(frozen=True)
class Thing:
    """A thing: its names, and its motions by name."""

    names: tuple[str, ...]
    motions: dict[str, Motion]


def _sideways(verb: tuple[str, str], places: tuple[str, ...], name: str, *others: tuple[str, str]) -> dict[str, Motion]:
    """The motions `name right` and `name left`, worded with every one of the verbs."""
    motions = {}
    for side, far in (("right", "left"), ("left", "right")):
        verbs = []
        for third, ing in (verb, *others):
            verbs += [(f"{third} {way}", f"{ing} {way}") for way in (f"to the {side}", side, f"from {far} to {side}")]
        seen = f"bounce {side}" if name == "bounce" else side
        motions[f"{name} {side}"] = Motion(seen, places, tuple(verbs))
    return motions


_BOUNCE = Motion("bounce", GROUND, (("bounces", "bouncing"), ("bounces up and down", "bouncing up and down")))
_FALL = Motion(
    "fall",
    GROUND,
    (("falls down", "falling down"), ("falls from above", "falling from above"), ("drops to the ground", "dropping to the ground")),
)
_GROW = Motion(
    "grow", (*GROUND, "space"), (("grows", "growing"), ("grows bigger", "growing bigger"), ("gets larger", "getting larger"))
)
_SHRINK = Motion("shrink", (*GROUND, "space"), (("shrinks", "shrinking"), ("gets smaller", "getting smaller")))
_SPIN = Motion(
    "spin",
    (*GROUND, "space"),
    (("spins", "spinning"), ("spins around", "spinning around"), ("turns around", "turning around"), ("rotates", "rotating")),
)
_STILL = Motion(
    "still", GROUND, (("stands still", "standing still"), ("stays in place", "staying in place"), ("rests", "resting")), camera=True
)
_RISE = Motion("rise", OUTDOORS, (("floats up", "floating up"), ("rises", "rising"), ("floats upward", "floating upward")))
_JUMP = Motion("jump", GROUND, (("jumps", "jumping"), ("jumps up", "jumping up"), ("hops", "hopping")))

THINGS: dict[str, Thing] = {
    "ball": Thing(
        ("ball",),
        {
            "bounce": _BOUNCE,
            **_sideways(("bounces", "bouncing"), GROUND, "bounce"),
            **_sideways(("rolls", "rolling"), GROUND, "roll"),
            "fall": _FALL,
            "grow": _GROW,
            "shrink": _SHRINK,
            "still": _STILL,
        },
    ),
    "box": Thing(("box", "cube"), {"fall": _FALL, "jump": _JUMP, "spin": _SPIN, "grow": _GROW, "shrink": _SHRINK, "still": _STILL}),
    "star": Thing(("star",), {"spin": _SPIN, "fall": _FALL, "rise": _RISE, "bounce": _BOUNCE, "grow": _GROW, "shrink": _SHRINK}),
    "heart": Thing(
        ("heart",),
        {
            "beat": Motion("beat", (*GROUND, "sky", "space"), (("beats", "beating"), ("pulses", "pulsing"))),
            "spin": _SPIN,
            "rise": _RISE,
            "bounce": _BOUNCE,
            "grow": _GROW,
            "shrink": _SHRINK,
        },
    ),
    "flower": Thing(
        ("flower",),
        {
            "sway": Motion(
                "sway",
                ("grass", "beach", "snow", "desert", "room"),
                (("sways", "swaying"), ("sways in the wind", "swaying in the wind"), ("dances", "dancing")),
                camera=True,
            ),
            "grow": Motion(
                "grow",
                ("grass", "beach", "snow", "desert", "room"),
                (("grows", "growing"), ("grows from the ground", "growing from the ground")),
            ),
        },
    ),
    "car": Thing(
        ("car", "car", "little car"),
        {
            **_sideways(("drives", "driving"), GROUND[:-1], "drive"),
            "still": Motion(
                "still",
                GROUND[:-1],
                (("stands still", "standing still"), ("is parked", "parked"), ("stays in place", "staying in place")),
                camera=True,
            ),
        },
    ),
    "boat": Thing(
        ("boat", "boat", "sailboat", "ship"),
        {
            **_sideways(("sails", "sailing"), ("sea",), "sail"),
            "rock": Motion(
                "rock", ("sea",), (("rocks", "rocking"), ("rocks up and down", "rocking up and down"), ("floats", "floating"))
            ),
        },
    ),
    "rocket": Thing(
        ("rocket", "rocket", "spaceship"),
        {
            "take off": Motion(
                "take off",
                ("grass", "beach", "snow", "desert", "city"),
                (("takes off", "taking off"), ("launches", "launching"), ("lifts off", "lifting off")),
            ),
            "land": Motion(
                "land",
                ("grass", "beach", "snow", "desert", "city"),
                (("lands", "landing"), ("comes down and lands", "coming down and landing")),
            ),
            **_sideways(("flies", "flying"), ("space", "sky"), "fly"),
        },
    ),
    "balloon": Thing(
        ("balloon",),
        {"rise": _RISE, **_sideways(("drifts", "drifting"), OUTDOORS, "drift", ("floats", "floating"))},
    ),
    "bird": Thing(("bird", "bird", "little bird"), _sideways(("flies", "flying"), OUTDOORS, "fly")),
    "butterfly": Thing(
        ("butterfly",),
        {
            **_sideways(
                ("flies", "flying"), ("grass", "beach", "desert", "city", "sky", "room"), "fly", ("flutters", "fluttering")
            ),
            "hover": Motion(
                "hover",
                ("grass", "beach", "desert", "city", "sky", "room"),
                (("flaps its wings", "flapping its wings"), ("hovers", "hovering")),
            ),
        },
    ),
    "fish": Thing(
        ("fish",),
        {
            **_sideways(("swims", "swimming"), ("underwater",), "swim"),
            "leap": Motion(
                "leap",
                ("sea",),
                (("jumps out of the water", "jumping out of the water"), ("leaps out of the sea", "leaping out of the sea")),
            ),
        },
    ),
    "cat": Thing(
        ("cat", "cat", "kitten"),
        {
            **_sideways(("walks", "walking"), GROUND, "walk"),
            "jump": _JUMP,
            "sit": Motion(
                "still",
                GROUND,
                (("sits", "sitting"), ("sits still", "sitting still"), ("wags its tail", "wagging its tail")),
                camera=True,
            ),
        },
    ),
}

MOTIONS_SEEN: tuple[str, ...] = tuple(sorted({m.seen for t in THINGS.values() for m in t.motions.values()}))

# A second thing stands still beside the first; these shapes are compact enough for that.
COMPANIONS = ("ball", "box", "star", "heart")
COMPANION_MOTIONS = ("bounce", "spin", "grow", "shrink", "still", "beat", "jump", "fall")
BESIDE = ("next to", "beside", "near")

# Never seen in training: what the model makes of them shows that it has learnt the words, not the pairs.
HELD_OUT_COLOURS: frozenset[tuple[str, str]] = frozenset(
    {
        ("ball", "purple"),
        ("box", "pink"),
        ("star", "green"),
        ("heart", "blue"),
        ("flower", "white"),
        ("car", "orange"),
        ("boat", "yellow"),
        ("rocket", "purple"),
        ("balloon", "pink"),
        ("bird", "black"),
        ("butterfly", "green"),
        ("fish", "red"),
        ("cat", "blue"),
    }
)
HELD_OUT_PLACES: frozenset[tuple[str, str]] = frozenset(
    {
        ("ball", "desert"),
        ("star", "city"),
        ("car", "snow"),
        ("rocket", "beach"),
        ("cat", "room"),
        ("butterfly", "city"),
        ("bird", "desert"),
    }
)


@dataclass(frozen=True)
class Clip:
    """Everything a clip shows. `layout` seeds what no caption speaks of: sizes, places of clouds, phases."""

    thing: str
    colour: str
    motion: str
    place: str
    time: str
    camera: str
    second: tuple[str, str] | None
    layout: int
    caption: str

    @property
    def seen(self) -> str:
        """The judge's class of the motion."""
        return THINGS[self.thing].motions[self.motion].seen


def colours_for(place: str, time: str) -> list[str]:
    """The colours that show up well in a place at a time of day."""
    hidden = HIDDEN_BY_PLACE[place] + HIDDEN_BY_TIME[time]
    return [c for c in COLOURS if c not in hidden]


def times_for(place: str) -> tuple[str, ...]:
    """Times of day that a place has: none of them indoors, underwater and in space."""
    return tuple(TIMES) if place in OUTDOORS else ("day",)


def is_held_out(thing: str, colour: str, place: str) -> bool:
    """Whether the combination is kept from training."""
    return (thing, colour) in HELD_OUT_COLOURS or (thing, place) in HELD_OUT_PLACES


def _pick(rng: random.Random, options):
    return options[int(rng.random() * len(options))]


def sample(seed: int, index: int, *, held_out: bool | None = False, second_share: float = 0.24, complete: bool = False) -> Clip:
    """Clip number `index` of the stream `seed`.

    `held_out`: False gives only what training may see, True only held-out combinations, None both.
    `second_share` of the clips that can have a second thing have one. `complete` captions name the colour and the place.
    """
    rng = random.Random(f"{seed}:{index}")
    while True:
        thing = _pick(rng, list(THINGS))
        motions = THINGS[thing].motions
        name = _pick(rng, list(motions))
        motion = motions[name]
        place = _pick(rng, motion.places)
        times = times_for(place)
        time = "day" if len(times) == 1 or rng.random() < 0.56 else _pick(rng, times[1:])
        colour = _pick(rng, colours_for(place, time))
        if held_out is None or is_held_out(thing, colour, place) == held_out:
            break
    camera = _pick(rng, list(CAMERAS)[1:]) if motion.camera and rng.random() < 0.5 else "static"
    second = None
    if place in GROUND and name in COMPANION_MOTIONS and camera == "static" and rng.random() < second_share:
        others = [c for c in colours_for(place, time) if c != colour]
        second = (_pick(rng, [t for t in COMPANIONS if t != thing]), _pick(rng, others))
        if held_out is False and is_held_out(second[0], second[1], place):
            second = None
    layout = rng.getrandbits(48)
    text = caption(rng, thing, colour, motion, place, time, camera, second, complete=complete)
    return Clip(thing, colour, name, place, time, camera, second, layout, text)


def _article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def caption(
    rng: random.Random,
    thing: str,
    colour: str,
    motion: Motion,
    place: str,
    time: str,
    camera: str,
    second: tuple[str, str] | None,
    *,
    complete: bool = False,
) -> str:
    """One of many wordings. Unless `complete`, rarely leaves out the colour or the place: then anything fits."""
    name = _pick(rng, THINGS[thing].names)
    omitted = 0.0 if complete else 1.0
    words = name if rng.random() < 0.04 * omitted else f"{colour} {name}"
    if "little " in name and colour in words:
        words = f"little {colour} {name.removeprefix('little ')}"
    third, ing = _pick(rng, motion.verbs)
    where = _pick(rng, where_phrases(thing, place))
    if rng.random() < 0.05 * omitted:
        where = ""
    spoken = time != "day" or (place in OUTDOORS and rng.random() < 0.12)
    when = _pick(rng, TIMES[time]) if spoken else ""
    beside = f"{_pick(rng, BESIDE)} {_article(second[1] + ' ' + second[0])}" if second else ""

    style = rng.random()
    if style < 0.62:
        # "is parked" already has its verb.
        verb = third if rng.random() < 0.6 or third.startswith("is ") else f"is {ing}"
        subject = _article(words) if rng.random() < 0.85 else f"the {words}"
        parts = [f"{subject} {verb}", beside, where, when]
    elif style < 0.74:
        verb = third if third.startswith("is ") else f"is {ing}" if rng.random() < 0.3 else third
        front = [p for p in (where, when) if p]
        head = _pick(rng, front) if front else ""
        rest = [p for p in front if p != head]
        parts = [f"{head}," if head else "", f"{_article(words)} {verb}", beside, *rest]
    elif style < 0.88:
        parts = [_article(words), ing, beside, where, when]
    elif style < 0.94:
        parts = [words, ing, beside, where, when]
    else:
        tags = [f"{words} {beside}".strip(), ing, where, when]
        return ", ".join(p for p in tags if p) + (f", {_pick(rng, CAMERAS[camera])}" if camera != "static" else "")
    text = " ".join(p for p in parts if p)
    if camera != "static":
        text += f", {_pick(rng, CAMERAS[camera])}"
    if rng.random() < 0.15:
        text = text[0].upper() + text[1:] + "."
    return text


def reworded(clip: Clip, rng: random.Random, *, stray: float = 0.0) -> str:
    """Another caption of the clip. With probability `stray` a word that means nothing is put in, so that the model learns to pass over it."""
    text = caption(
        rng, clip.thing, clip.colour, THINGS[clip.thing].motions[clip.motion], clip.place, clip.time, clip.camera, clip.second
    )
    if rng.random() < stray:
        parts = text.split(" ")
        word = "".join(_pick(rng, "etaoinshrdlucmfwypvbgkqjxz") for _ in range(rng.randint(3, 8)))
        parts.insert(rng.randrange(len(parts) + 1), word)
        text = " ".join(parts)
    return text


def where_phrases(thing: str, place: str) -> tuple[str, ...]:
    """How a caption can say where: things in the water are not above it, and whoever leaps out of the water has said it."""
    if thing == "boat":
        return AFLOAT
    return ("",) if thing == "fish" and place == "sea" else PLACES[place]


def words() -> dict:
    """The grammar for the page, which makes "a COLOUR THING MOTION PLACE TIME, CAMERA" of it: what there is, and what goes with what."""
    things = {}
    for name, thing in THINGS.items():
        things[name] = {}
        for motion in thing.motions.values():
            places = {place: where_phrases(name, place)[0] for place in motion.places}
            things[name][motion.verbs[0][0]] = {"places": places, "camera": motion.camera}
    return {
        "colours": {c: [round(v, 3) for v in rgb] for c, rgb in COLOURS.items()},
        "things": things,
        "places": {name: {t: colours_for(name, t) for t in times_for(name)} for name in PLACES},
        "times": {t: "" if t == "day" else p[0] for t, p in TIMES.items()},
        "cameras": {c: p[0] if p else "" for c, p in CAMERAS.items()},
    }


def vocabulary() -> list[str]:
    """Every word a caption can hold, in lower case, sorted."""
    phrases = [*COLOURS, "a", "an", "the", "is", "little", *AFLOAT, *BESIDE]
    for group in (PLACES, TIMES, CAMERAS):
        phrases += [p for options in group.values() for p in options]
    for thing in THINGS.values():
        phrases += thing.names
        phrases += [form for m in thing.motions.values() for verb in m.verbs for form in verb]
    return sorted({w for p in phrases for w in p.lower().split()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="stream of clips")
    parser.add_argument("--count", type=int, default=20, help="captions to print")
    parser.add_argument("--held-out", action="store_true", help="only held-out combinations")
    parser.add_argument("--full", action="store_true", help="print what the captions stand for, too")
    parser.add_argument("--words", type=Path, help="write the grammar's words as JSON to this file")
    parser.add_argument("--smoke", action="store_true", help="check the grammar on ten thousand clips")
    args = parser.parse_args()
    if args.words:
        args.words.write_text(json.dumps(words()) + "\n")
    if args.smoke:
        known = set(vocabulary())
        for i in range(10_000):
            clip = sample(args.seed, i)
            assert not is_held_out(clip.thing, clip.colour, clip.place)
            unknown = {w for w in clip.caption.lower().replace(",", " ").replace(".", " ").split()} - known
            assert not unknown, f"words outside the vocabulary: {unknown}"
        print(f"10000 clips, {len(known)} words, {len(MOTIONS_SEEN)} motions to tell apart")
    for i in range(args.count):
        clip = sample(args.seed, i, held_out=args.held_out)
        print(asdict(clip) if args.full else clip.caption)


if __name__ == "__main__":
    main()
