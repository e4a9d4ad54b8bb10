//! Packed models and random ones, as a user makes and runs them.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kinetoscope::weights::{FileDtype, Manifest};
use program::{Scratch, failed, generate, kinetoscope, repository, stderr, succeeded};
use safetensors::SafeTensors;
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn pack(source: &Path, out: &Path, more: &[&str]) {
    let output = kinetoscope(&[&["pack", text(source), text(out)], more].concat());
    succeeded(&output);
}

fn manifest(folder: &Path) -> Manifest {
    Manifest::parse("manifest.json", &fs::read(folder.join("manifest.json")).unwrap()).unwrap()
}

/// Every file of a folder, by its path there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (name.join(inner), bytes)));
        } else {
            found.insert(name, fs::read(path).unwrap());
        }
    }
    found
}

/// Frames of a short clip, in 0..1.
fn clip(scratch: &Scratch, model: &Path) -> Vec<f32> {
    let dump = scratch.path("dump.safetensors");
    let output = generate(model, &scratch.path("clip.png"), &["--dump", text(&dump)]);
    succeeded(&output);
    let bytes = fs::read(dump).unwrap();
    let frames = SafeTensors::deserialize(&bytes).unwrap();
    FileDtype::F32.to_f32(frames.tensor("frames").unwrap().data())
}

/// Root mean square of the difference, as a part of the first one's deviation from its mean.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let mean = a.iter().map(|v| f64::from(*v)).sum::<f64>() / a.len() as f64;
    let spread: f64 = a.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum();
    let error: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (error / spread).sqrt()
}

fn tiny(scratch: &Scratch, quant: &str) -> PathBuf {
    let folder = scratch.path(&format!("tiny-{quant}"));
    succeeded(&kinetoscope(&["synth", "--config", "tiny", "--quant", quant, text(&folder)]));
    folder
}

#[test]
fn a_packed_model_makes_the_same_clip() {
    // Safetensors in parts and bf16, f32 and f16, and GGUF files: what is kept is the same to the last bit.
    for model in ["tests/golden/odd/pipeline", "tests/golden/wan22/pipeline", "models/small"] {
        let scratch = Scratch::new();
        let (source, out) = (repository().join(model), scratch.path("packed"));
        pack(&source, &out, &[]);
        assert_eq!(clip(&scratch, &source), clip(&scratch, &out), "{model}");
        succeeded(&kinetoscope(&["plan", "--model", text(&out), "--width", "64", "--height", "32"]));
        let inspected = kinetoscope(&["inspect", text(&out)]);
        assert!(String::from_utf8_lossy(&inspected.stdout).contains("can run"), "{}", stderr(&inspected));
    }
}

#[test]
fn the_manifest_says_what_there_is() {
    let scratch = Scratch::new();
    let (source, out) = (repository().join("models/small"), scratch.path("packed"));
    pack(&source, &out, &["--licence", "MIT"]);
    let found = manifest(&out);
    assert_eq!((found.name.as_str(), found.licence.as_deref()), ("kinetoscope-small", Some("MIT")));
    assert_eq!((found.chunk_bytes, found.part_bytes), (4 << 20, 32 << 20));
    let defaults: Value =
        serde_json::from_slice(&fs::read(source.join("kinetoscope.json")).unwrap()).unwrap();
    assert_eq!(Value::Object(found.defaults.clone()), defaults);
    let weights = fs::read(source.join("transformer/diffusion_pytorch_model.gguf")).unwrap();
    let transformer = &found.components["transformer"];
    assert_eq!((transformer.bytes, transformer.dtype.as_str()), (weights.len() as u64, "q8_0"));
    // What is kept is the file as it was.
    let file = found.file("transformer/diffusion_pytorch_model.gguf").unwrap();
    assert_eq!(file.chunks.len(), 2);
    let parts: Vec<u8> = file.parts.iter().flat_map(|part| fs::read(out.join(part)).unwrap()).collect();
    assert!(parts == weights);
    assert!(found.file("tokenizer/tokenizer.json").is_some() && found.file("vae/config.json").is_some());
    // Nothing else is there.
    let listed: usize = found.files.iter().map(|file| file.parts.len()).sum();
    assert_eq!(files(&out).len(), listed + 1);
}

#[test]
fn quantised_clips_are_close() {
    let scratch = Scratch::new();
    let source = tiny(&scratch, "f16");
    let exact = clip(&scratch, &source);
    // Of one step of a model of random weights; a bit less doubles the error.
    for (format, most) in
        [("f16", 1e-3), ("q8_0", 0.02), ("q6_k", 0.08), ("q5_k", 0.15), ("q4_k", 0.3), ("q4_0", 0.4)]
    {
        let out = scratch.path(format);
        pack(&source, &out, &["--transformer", format, "--text-encoder", format]);
        let found = manifest(&out);
        assert_eq!(found.components["transformer"].dtype, format);
        assert_eq!(found.components["vae"].dtype, "f16");
        let frames = clip(&scratch, &out);
        assert!(frames.iter().all(|v| v.is_finite()));
        let off = distance(&exact, &frames);
        println!("{format}: {off}");
        assert!(off < most && (format == "f16" || off > 0.0), "{format}: {off}");
    }
}

#[test]
fn quantised_golden_pipelines_are_close() {
    for (model, most) in [("tests/golden/wan21/pipeline", 0.05), ("tests/golden/head128/pipeline", 0.05)] {
        let scratch = Scratch::new();
        let (source, out) = (repository().join(model), scratch.path("packed"));
        pack(&source, &out, &["--transformer", "q8_0", "--vae", "q8_0"]);
        let off = distance(&clip(&scratch, &source), &clip(&scratch, &out));
        println!("{model}: {off}");
        assert!(off > 0.0 && off < most, "{model}: {off}");
    }
}

#[test]
fn the_same_model_is_packed_into_the_same_bytes() {
    let scratch = Scratch::new();
    let source = repository().join("tests/golden/odd/pipeline");
    let options = ["--transformer", "q8_0", "--text-encoder", "bf16", "--vae", "f16", "--name", "odd"];
    let [first, second] = ["first", "second"].map(|name| {
        let out = scratch.path(name);
        pack(&source, &out, &options);
        files(&out)
    });
    assert!(first == second);
    // A packed model is a source too, and may be packed over itself.
    let out = scratch.path("first");
    pack(&out, &out, &["--transformer", "keep", "--name", "odd", "--force"]);
    assert!(files(&out) == first);
}

#[test]
fn single_files_are_packed_with_the_tokenizer_they_carry() {
    let scratch = Scratch::new();
    let golden = repository().join("tests/golden/wan21/files");
    let nothing = scratch.path("nothing");
    fs::create_dir_all(&nothing).unwrap();
    let file = |name: &str| text(&golden.join(name)).to_owned();
    let [transformer, text_encoder, vae] = ["transformer.gguf", "text_encoder.gguf", "vae.gguf"].map(file);
    let out = scratch.path("packed");
    let files =
        ["--transformer-file", &transformer, "--text-encoder-file", &text_encoder, "--vae-file", &vae];
    // Written anew, the text encoder's file has no tokenizer any more.
    pack(&nothing, &out, &[&files[..], &["--text-encoder", "f16"]].concat());
    assert!(manifest(&out).file("tokenizer/tokenizer.json").is_some());
    let mixed = ["--transformer", &transformer, "--text-encoder", &text_encoder, "--vae", &vae];
    let arguments =
        ["generate", "--prompt", "a red ball", "--device", "cpu", "--width", "64", "--height", "32"];
    let run = |model: &[&str]| {
        let (dump, clip) = (scratch.path("dump"), scratch.path("clip.png"));
        let end = ["--frames", "5", "--steps", "1", "--out", text(&clip), "--dump", text(&dump)];
        succeeded(&kinetoscope(&[&arguments[..], model, &end].concat()));
        let bytes = fs::read(&dump).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        FileDtype::F32.to_f32(tensors.tensor("prompt_embeds").unwrap().data())
    };
    let (packed, from_files) = (run(&["--model", text(&out)]), run(&mixed));
    // The text encoder's own format is bf16 or f32: f16 has 11 bits.
    assert!(distance(&from_files, &packed) < 5e-3, "{}", distance(&from_files, &packed));
}

#[test]
fn damaged_parts_are_named() {
    let scratch = Scratch::new();
    let (source, out) = (repository().join("tests/golden/wan22/pipeline"), scratch.path("packed"));
    pack(&source, &out, &[]);
    let found = manifest(&out);
    let part = |path: &str| out.join(&found.file(path).unwrap().parts[0]);
    let clip = scratch.path("clip.png");
    for (path, more) in [
        ("transformer/diffusion_pytorch_model.safetensors", "chunk 0 of transformer/"),
        ("tokenizer/tokenizer.json", "chunk 0 of tokenizer/"),
        ("model_index.json", "chunk 0 of model_index.json"),
    ] {
        let whole = fs::read(part(path)).unwrap();
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(part(path), &damaged).unwrap();
        failed(&generate(&out, &clip, &[]), "hash_mismatch", &[more, "SHA-256", "parts/"]);
        fs::write(part(path), &whole[..whole.len() - 1]).unwrap();
        failed(&generate(&out, &clip, &[]), "file_truncated", &["parts/"]);
        fs::remove_file(part(path)).unwrap();
        failed(&generate(&out, &clip, &[]), "read_failed", &["parts/"]);
        fs::write(part(path), &whole).unwrap();
    }
    succeeded(&generate(&out, &clip, &[]));
}

#[test]
fn hostile_manifests() {
    let scratch = Scratch::new();
    let out = scratch.path("packed");
    pack(&repository().join("tests/golden/wan22/pipeline"), &out, &[]);
    let good: Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    let run = |json: &[u8]| {
        fs::write(out.join("manifest.json"), json).unwrap();
        generate(&out, &scratch.path("clip.png"), &[])
    };
    for (at, value, field) in [
        ("/files/0/parts/0", json!("../../../etc/passwd"), "files[0].parts"),
        ("/files/0/parts/0", json!("/etc/passwd"), "files[0].parts"),
        ("/files/0/bytes", json!(1u64 << 52), "files[0].parts"),
        ("/chunk_bytes", json!(1u64 << 50), "chunk_bytes"),
        ("/part_bytes", json!(1), "part_bytes"),
        ("/version", json!(2), "version"),
    ] {
        let mut document = good.clone();
        *document.pointer_mut(at).unwrap() = value;
        failed(&run(document.to_string().as_bytes()), "manifest_invalid", &[field, "pack the model again"]);
    }
    failed(&run(b"{"), "manifest_invalid", &[]);
    let mut document = good.clone();
    document["files"] = json!([]);
    failed(&run(document.to_string().as_bytes()), "file_missing", &["model_index.json"]);
}

#[test]
fn folders_in_use_are_left_alone() {
    let scratch = Scratch::new();
    let source = repository().join("tests/golden/wan22/pipeline");
    let (text_source, out) = (text(&source).to_owned(), scratch.path("packed"));
    let run = |out: &Path, more: &[&str]| kinetoscope(&[&["pack", &text_source, text(out)], more].concat());
    fs::create_dir_all(&out).unwrap();
    fs::write(out.join("letter.txt"), "dear").unwrap();
    failed(&run(&out, &["--force"]), "write_failed", &["something else"]);
    assert_eq!(files(&out).len(), 1);
    fs::remove_file(out.join("letter.txt")).unwrap();
    succeeded(&run(&out, &[]));
    failed(&run(&out, &[]), "write_failed", &["--force"]);
    // Over another packing: the parts that are not needed any more go, and those of one that was interrupted.
    fs::write(out.join("parts/transformer-0000-0.bin"), "left").unwrap();
    succeeded(&run(&out, &["--force", "--transformer", "f16"]));
    let listed: usize = manifest(&out).files.iter().map(|file| file.parts.len()).sum();
    assert_eq!(files(&out).len(), listed + 1);
    // A model that is none is found before anything is written.
    let new = scratch.path("new");
    failed(&kinetoscope(&["pack", text(&scratch.path("none")), text(&new)]), "file_missing", &["none"]);
    assert!(!new.exists());
    let usage = run(&new, &["--transformer", "q3_k"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(stderr(&usage).contains("q4_k"));
}

#[test]
fn random_models_run_in_every_format() {
    let scratch = Scratch::new();
    for quant in ["f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_1", "q4_0"] {
        let folder = tiny(&scratch, quant);
        let frames = clip(&scratch, &folder);
        assert!(frames.iter().all(|v| v.is_finite()));
        assert!(frames.iter().any(|v| (v - frames[0]).abs() > 0.05), "{quant}: the clip is uniform");
    }
}

#[test]
fn a_seed_is_a_model_and_components_come_one_by_one() {
    let scratch = Scratch::new();
    let synth = |out: &Path, more: &[&str]| {
        kinetoscope(&[&["synth", "--config", "tiny", "--quant", "q8_0", text(out)], more].concat())
    };
    let [a, b, c] = ["a", "b", "c"].map(|name| scratch.path(name));
    succeeded(&synth(&a, &[]));
    succeeded(&synth(&b, &["--only", "transformer"]));
    failed(&generate(&b, &scratch.path("clip.png"), &[]), "file_missing", &["text_encoder"]);
    failed(&synth(&b, &["--only", "transformer"]), "write_failed", &["already"]);
    succeeded(&synth(&b, &["--only", "text_encoder"]));
    let (all, some) = (files(&a), files(&b));
    assert!(some.iter().all(|(path, bytes)| all[path] == *bytes));
    assert_eq!(some.len() + 1, all.len());
    succeeded(&synth(&c, &["--seed", "1"]));
    let weights = Path::new("transformer/diffusion_pytorch_model.gguf");
    assert!(files(&c)[weights] != all[weights]);
    // Of another model.
    let other = kinetoscope(&["synth", "--config", "wan2.1-1.3b", "--only", "vae", text(&b)]);
    failed(&other, "write_failed", &["already"]);
}
