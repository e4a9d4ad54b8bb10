/** The words that a model knows, where its folder has a `words.json`, and the sentences that can be made of them. */
import { type ModelSource, describeSource, openSource } from "../weights/source.js";

/** What a thing does, and where it can do it: the place's name, and the words for it. */
interface Motion {
  readonly places: Readonly<Record<string, string>>;
  /** Whether a camera can move meanwhile. */
  readonly camera: boolean;
}

/** The file, as `models/recipe/world.py` writes it. */
export interface Words {
  readonly colours: Readonly<Record<string, readonly number[]>>;
  readonly things: Readonly<Record<string, Readonly<Record<string, Motion>>>>;
  /** The colours that show up well, by place and time of day. */
  readonly places: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  /** What is said of a time of day; nothing for the first one. */
  readonly times: Readonly<Record<string, string>>;
  readonly cameras: Readonly<Record<string, string>>;
}

/** The parts of a sentence. */
export const PARTS = ["colour", "thing", "motion", "place", "time", "camera"] as const;
export type Part = (typeof PARTS)[number];
export type Sentence = Readonly<Record<Part, string>>;

/** In this order: each of them only limits those that come later. */
const ORDER: readonly Part[] = ["thing", "motion", "place", "time", "colour", "camera"];

const LARGEST_FILE = 1 << 20;

/** The words of a model; `undefined` where it states none, or none that can be read. */
export async function readWords(source: ModelSource): Promise<Words | undefined> {
  try {
    const files = openSource(describeSource(source));
    const size = await files.size("words.json");
    if (size > LARGEST_FILE) {
      return undefined;
    }
    const found: unknown = JSON.parse(new TextDecoder().decode(await files.read("words.json", 0, size)));
    files.release();
    return isWords(found) ? found : undefined;
  } catch {
    // A model without such a file is the rule; whatever is wrong with the folder, loading the model will tell.
    return undefined;
  }
}

/** What a part can be, with the parts before it chosen. */
export function choices(words: Words, part: Part, chosen: Partial<Sentence>): string[] {
  const motion = words.things[chosen.thing ?? ""]?.[chosen.motion ?? ""];
  const place = words.places[chosen.place ?? ""];
  switch (part) {
    case "thing":
      return Object.keys(words.things);
    case "motion":
      return Object.keys(words.things[chosen.thing ?? ""] ?? {});
    case "place":
      return Object.keys(motion?.places ?? {});
    case "time":
      return Object.keys(place ?? {});
    case "colour":
      return [...(place?.[chosen.time ?? ""] ?? [])];
    case "camera":
      return motion?.camera ? Object.keys(words.cameras) : Object.keys(words.cameras).slice(0, 1);
  }
}

/** The nearest sentence that can be made: parts that do not go with those before them become the first that do. */
export function settle(words: Words, wanted: Partial<Sentence>): Sentence {
  return choose(words, (part, possible) =>
    possible.includes(wanted[part] ?? "") ? wanted[part] : possible[0],
  );
}

/** Any sentence; `random` gives numbers from 0 up to 1. */
export function anySentence(words: Words, random: () => number = Math.random): Sentence {
  return choose(words, (part, possible) => {
    // A still camera by day is what most clips have.
    const plain = (part === "time" && random() < 0.5) || (part === "camera" && random() < 0.7);
    return possible[plain ? 0 : Math.floor(random() * possible.length)];
  });
}

/** Any sentence but this one, as far as there are others. */
export function anotherSentence(
  words: Words,
  last: Partial<Sentence>,
  random: () => number = Math.random,
): Sentence {
  const said = prompt(words, settle(words, last));
  let sentence = anySentence(words, random);
  // Not for ever: a model may have a single one.
  for (let tries = 0; tries < 10 && prompt(words, sentence) === said; tries++) {
    sentence = anySentence(words, random);
  }
  return sentence;
}

function choose(words: Words, pick: (part: Part, possible: string[]) => string | undefined): Sentence {
  const chosen: Record<Part, string> = { colour: "", thing: "", motion: "", place: "", time: "", camera: "" };
  for (const part of ORDER) {
    chosen[part] = pick(part, choices(words, part, chosen)) ?? "";
  }
  return chosen;
}

/** The sentence as a prompt. */
export function prompt(words: Words, { colour, thing, motion, place, time, camera }: Sentence): string {
  const subject = [colour, thing].filter(Boolean).join(" ");
  const article = /^[aeiou]/.test(subject) ? "an" : "a";
  const where = words.things[thing]?.[motion]?.places[place] ?? "";
  const parts = [article, subject, motion, where, words.times[time] ?? ""].filter(Boolean).join(" ");
  const moves = words.cameras[camera] ?? "";
  return moves ? `${parts}, ${moves}` : parts;
}

function isWords(found: unknown): found is Words {
  const isTable = (value: unknown): boolean =>
    typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length > 0;
  const words = found as Partial<Record<keyof Words, unknown>> | null;
  return (
    isTable(words) &&
    [words?.colours, words?.things, words?.places, words?.times, words?.cameras].every(isTable) &&
    Object.values(words?.things ?? {}).every(
      (motions) =>
        isTable(motions) && Object.values(motions as object).every((motion) => isTable(motion?.places)),
    ) &&
    Object.values(words?.places ?? {}).every(
      (times) => isTable(times) && Object.values(times as object).every(Array.isArray),
    )
  );
}
