//! Models given as single files, in every layout, through the program: what it makes of them is what it makes of the diffusers folder.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod program;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use half::f16;
use kinetoscope::weights::source::{FolderSource, Source};
use kinetoscope::weights::{Component, FileDtype};
use pollster::block_on;
use program::*;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

const WAN21: &str = "tests/golden/wan21/pipeline";

/// A tensor to write: name, format, shape, bytes.
type Stored = (String, Dtype, Vec<usize>, Vec<u8>);

fn golden(path: &str) -> PathBuf {
    repository().join("tests/golden").join(path)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes a safetensors file with this metadata.
fn write(path: &Path, tensors: &[Stored], metadata: Option<HashMap<String, String>>) {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(path, serialize(views, metadata).unwrap()).unwrap();
}

/// The tensors of a safetensors file.
fn read(path: &Path) -> Vec<Stored> {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let stored = tensors.iter().map(|(name, tensor)| {
        (name.to_owned(), tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec())
    });
    stored.collect()
}

/// The same tensors under another layout's names, with something before them.
fn renamed(tensors: Vec<Stored>, layout: &str, prefix: &str) -> Vec<Stored> {
    let names = fs::read(golden("names.json")).unwrap();
    let names: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&names).unwrap();
    let theirs: HashMap<_, _> = names[layout].iter().map(|(theirs, ours)| (ours, theirs)).collect();
    let rename =
        |(name, dtype, shape, data): Stored| (format!("{prefix}{}", theirs[&name]), dtype, shape, data);
    tensors.into_iter().map(rename).collect()
}

/// What a config.json says, as a file's metadata says it.
fn stated(component: &str, pipeline: &Path) -> Option<HashMap<String, String>> {
    let config = fs::read_to_string(pipeline.join(component).join("config.json")).unwrap();
    Some(HashMap::from([("config".to_owned(), config)]))
}

/// A short clip from these files on the CPU, and its latents after the last step.
fn clip(scratch: &Scratch, from: &[&str], more: &[&str]) -> (Vec<u8>, Vec<f32>) {
    let (out, dump) = (scratch.path("clip"), scratch.path("dump.safetensors"));
    let output = generate_from(from, &out, &[&["--dump", text(&dump)], more].concat());
    succeeded(&output);
    let latents = read(&dump).into_iter().find(|(name, ..)| name == "steps").unwrap().3;
    (fs::read(out.join("frame-0004.png")).unwrap(), bytemuck::pod_collect_to_vec(&latents))
}

fn generate_from(from: &[&str], out: &Path, more: &[&str]) -> Output {
    let fixed = [
        "--prompt",
        "a café in ﬁve ☕ 東京",
        "--device",
        "cpu",
        "--width",
        "64",
        "--height",
        "32",
        "--frames",
        "5",
    ];
    kinetoscope(&[&["generate"], from, &fixed, &["--steps", "2", "--out", text(out)], more].concat())
}

/// What the folder has in its kinetoscope.json and scheduler, for files that have neither.
const AS_THE_FOLDER: [&str; 4] = ["--shift", "5", "--max-tokens", "40"];

/// The folder's clip, and files in four layouts that hold the same numbers.
#[test]
fn every_layout_makes_the_folder_s_clip() {
    let scratch = Scratch::new();
    let pipeline = repository().join(WAN21);
    let expected = clip(&scratch, &["--model", WAN21], &[]);
    let place = |file: &str| pipeline.join(file);
    let transformer = read(&place("transformer/diffusion_pytorch_model.safetensors"));
    let umt5 = read(&place("text_encoder/model.safetensors"));
    let vae = read(&place("vae/diffusion_pytorch_model.safetensors"));
    let file = |name: &str, component: &str, tensors: Vec<Stored>| {
        let path = scratch.path(name);
        write(&path, &tensors, stated(component, &pipeline));
        text(&path).to_owned()
    };
    let transformers = [
        file("diffusers.safetensors", "transformer", transformer.clone()),
        file("wan.safetensors", "transformer", renamed(transformer.clone(), "transformer", "")),
        file("comfy.sft", "transformer", renamed(transformer, "transformer", "model.diffusion_model.")),
        text(&golden("wan21/files/transformer.gguf")).to_owned(),
        text(&place("transformer")).to_owned(),
    ];
    // Comfy's files have the tokenizer among the tensors.
    let spiece = fs::read(golden("wan21/files/spiece.model")).unwrap();
    let spiece = ("spiece_model".to_owned(), Dtype::U8, vec![spiece.len()], spiece);
    let encoders = [
        file("transformers.safetensors", "text_encoder", umt5.clone()),
        file("comfy umt5.safetensors", "text_encoder", [&umt5[..], &[spiece]].concat()),
        file("wan umt5.safetensors", "text_encoder", renamed(umt5.clone(), "umt5", "")),
        file("ggml.safetensors", "text_encoder", renamed(umt5, "umt5_ggml", "")),
        text(&golden("wan21/files/text_encoder.gguf")).to_owned(),
        text(&place("text_encoder")).to_owned(),
    ];
    let vaes = [
        file("vae.safetensors", "vae", vae.clone()),
        file("wan vae.safetensors", "vae", renamed(vae, "vae21", "")),
        text(&golden("wan21/files/vae.gguf")).to_owned(),
    ];
    let tokenizer = text(&place("tokenizer/tokenizer.json")).to_owned();
    for (i, encoder) in encoders.iter().enumerate() {
        let (transformer, vae) = (&transformers[i % transformers.len()], &vaes[i % vaes.len()]);
        let mut from = vec!["--transformer", transformer, "--text-encoder", encoder, "--vae", vae];
        // These bring their own.
        if !encoder.ends_with(".gguf") && !encoder.ends_with("comfy umt5.safetensors") {
            from.extend(["--tokenizer", &tokenizer]);
        }
        let found = clip(&scratch, &from, &AS_THE_FOLDER);
        assert!(found == expected, "{from:?}");
    }
    // Beside a folder, of which all else is taken.
    let found =
        clip(&scratch, &["--model", WAN21, "--transformer", &transformers[3], "--vae", &vaes[1]], &[]);
    assert!(found == expected);
}

/// A quantised transformer beside the folder makes what the folder makes of the numbers that it stands for: within the project's 2e-3, the room
/// that kernels for quantised weights have.
#[test]
fn quantised_transformers_make_the_clip_of_their_dequantised_weights() {
    let scratch = Scratch::new();
    const HEAD128: &str = "tests/golden/head128/pipeline";
    let model = scratch.path("model");
    copy(&repository().join(HEAD128), &model);
    let weights = model.join("transformer/diffusion_pytorch_model.safetensors");
    for kind in ["q8_0", "q4_0"] {
        let (folder, name) = (golden("head128/files"), format!("transformer-{kind}.gguf"));
        let source = FolderSource::new(&folder);
        let component = block_on(Component::open_file(&source, &name)).unwrap();
        let mut blocks = 0;
        let dequantised = component.iter().map(|(key, location)| {
            blocks += usize::from(matches!(location.dtype, FileDtype::Block(_)));
            let bytes = block_on(source.read(&location.path, location.range.clone())).unwrap();
            let values = location.dtype.to_f32(&bytes).into_iter().flat_map(f32::to_le_bytes).collect();
            (key.to_owned(), Dtype::F32, location.shape.clone(), values)
        });
        let dequantised: Vec<Stored> = dequantised.collect();
        assert!(blocks >= 10, "{blocks}");
        write(&weights, &dequantised, None);
        let (_, expected) = clip(&scratch, &["--model", text(&model)], &[]);
        let file = folder.join(&name);
        let (_, found) = clip(&scratch, &["--model", HEAD128, "--transformer", text(&file)], &[]);
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v * v)).sum::<f64>();
        let difference = square(&mut found.iter().zip(&expected).map(|(f, e)| f - e));
        let off = (difference / square(&mut expected.iter().copied())).sqrt();
        println!("{kind}: latents off by {off:.1e}");
        assert!(off < 2e-3, "{kind}: latents off by {off:.1e}");
    }
}

#[test]
fn what_is_missing_or_does_not_fit_is_named() {
    let scratch = Scratch::new();
    let out = scratch.path("out");
    let file = |name: &str| golden(&format!("wan21/files/{name}.gguf"));
    let (transformer, encoder, vae) = (file("transformer"), file("text_encoder"), file("vae"));
    let bad =
        |from: &[&str], code: &str, facts: &[&str]| failed(&generate_from(from, &out, &[]), code, facts);

    let alone = ["--transformer", text(&transformer)];
    bad(&alone, "component_missing", &["no text_encoder", "no vae", "no tokenizer"]);
    bad(&["--text-encoder", text(&encoder)], "component_missing", &["no transformer", "no vae given"]);
    let output = kinetoscope(&["plan", "--transformer", text(&transformer), "--vae", text(&vae)]);
    failed(&output, "component_missing", &["no text_encoder"]);
    bad(&["--tokenizer", text(&encoder)], "file_missing", &["model_index.json"]);

    // Of two pipelines.
    let other = "tests/golden/wan22/pipeline";
    bad(
        &[&["--model", other], &alone[..]].concat(),
        "config_unsupported",
        &["in_channels is 16", "expected 12"],
    );
    let mixed = ["--model", other, "--transformer", text(&transformer), "--vae", text(&vae)];
    bad(&mixed, "config_unsupported", &["text_dim is 40", "expected 36"]);

    // One for the other, and what is none.
    let swapped = ["--model", WAN21, "--vae", text(&transformer)];
    bad(&swapped, "architecture_unknown", &["a Wan transformer", "a Wan VAE"]);
    let archive = scratch.path("wan.pth");
    fs::write(&archive, b"PK\x03\x04 and a pickle").unwrap();
    bad(&["--vae", text(&archive)], "file_invalid", &["wan.pth", "PyTorch", "convert"]);
    bad(&["--vae", "/none.gguf"], "read_failed", &["/none.gguf"]);

    // Without a GGUF file's own tokenizer there has to be one.
    let plain = scratch.path("umt5.safetensors");
    write(&plain, &read(&repository().join(WAN21).join("text_encoder/model.safetensors")), None);
    let from = ["--transformer", text(&transformer), "--text-encoder", text(&plain), "--vae", text(&vae)];
    bad(&from, "component_missing", &["no tokenizer given"]);
    assert!(!out.exists());
}

fn inspect(path: &Path) -> serde_json::Value {
    let output = kinetoscope(&["inspect", "--json", text(path)]);
    succeeded(&output);
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn inspect_says_what_files_are() {
    let report = inspect(&golden("wan21/files/text_encoder.gguf"));
    let found = &report["components"][0];
    assert_eq!((&found["kind"], &found["container"]), (&"text_encoder".into(), &"GGUF 3".into()));
    assert_eq!((&found["naming"], &found["tokenizer"]), (&"ggml".into(), &true.into()));
    assert_eq!((&found["sizes"]["num_layers"], &found["sizes"]["vocab_size"]), (&2.into(), &498.into()));
    assert_eq!(found["formats"]["BF16"]["tensors"], 17);
    assert!(report["refusal"].is_null() && found["refusal"].is_null());

    let report = inspect(&repository().join(WAN21));
    let kinds: Vec<_> = report["components"].as_array().unwrap().iter().map(|found| &found["kind"]).collect();
    assert_eq!(kinds, ["text_encoder", "transformer", "vae"]);
    assert!(report["refusal"].is_null());
    // A component's folder has its config.
    let report = inspect(&golden("wan22/pipeline/vae"));
    assert_eq!(report["components"][0]["sizes"]["z_dim"], 12);
    assert!(report["refusal"].is_null());

    let report = inspect(&golden("taehv/wan22/vae/diffusion_pytorch_model.safetensors"));
    let found = &report["components"][0];
    assert_eq!((&found["kind"], &found["parameters"]), (&"taehv".into(), &46_500.into()));
    assert_eq!((&found["sizes"]["z_dim"], &found["sizes"]["scale_factor_spatial"]), (&12.into(), &16.into()));
    assert!(report["refusal"].is_null() && found["unused"].as_array().unwrap().is_empty());

    let shown = kinetoscope(&["inspect", text(&golden("wan21/files/transformer.gguf"))]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for fact in
        ["a Wan transformer", "num_layers 1", "F16", "wan.attention.key_length = 32", "Wan's own", "can run"]
    {
        assert!(shown.contains(fact), "{fact:?} is not in: {shown}");
    }
}

#[test]
fn inspect_says_why_a_file_cannot_be_run() {
    let scratch = Scratch::new();
    let file = scratch.path("file.safetensors");
    let transformer = repository().join(WAN21).join("transformer/diffusion_pytorch_model.safetensors");
    let refused = |tensors: &[Stored]| {
        write(&file, tensors, stated("transformer", &repository().join(WAN21)));
        inspect(&file)
    };
    let all = read(&transformer);
    // A format that cannot be read, a tensor that is gone, one that nobody asks for, a model of another kind.
    let mut tensors = all.clone();
    let at = tensors.iter().position(|(name, ..)| name == "blocks.0.attn1.to_q.weight").unwrap();
    tensors[at].1 = Dtype::I16;
    let report = refused(&tensors);
    assert_eq!(report["refusal"]["code"], "tensor_dtype");
    let message = report["refusal"]["message"].as_str().unwrap();
    assert!(message.contains("blocks.0.attn1.to_q.weight") && message.contains("I16"), "{message}");
    assert_eq!(report["components"][0]["formats"]["I16"]["tensors"], 1);
    let without = |name: &str| all.iter().filter(|tensor| tensor.0 != name).cloned().collect::<Vec<_>>();
    for name in ["blocks.0.attn1.to_q.weight", "blocks.0.attn2.to_k.bias", "patch_embedding.weight"] {
        let report = refused(&without(name));
        assert_eq!(report["refusal"]["code"], "tensor_missing");
        assert!(report["refusal"]["message"].as_str().unwrap().contains(name));
    }
    let mut tensors = all.clone();
    let zero = f16::ZERO.to_le_bytes().to_vec();
    tensors.push(("blocks.0.strange".to_owned(), Dtype::F16, vec![1], zero.clone()));
    let report = refused(&tensors);
    assert!(report["refusal"].is_null());
    assert_eq!(report["components"][0]["unused"], serde_json::json!(["blocks.0.strange"]));
    let report = refused(&[("model.layers.0.weight".to_owned(), Dtype::F16, vec![1], zero)]);
    assert_eq!(report["refusal"]["code"], "architecture_unknown");
    assert!(report["components"][0]["kind"].is_null());

    fs::write(&file, b"PK\x03\x04").unwrap();
    failed(&kinetoscope(&["inspect", text(&file)]), "file_invalid", &["PyTorch"]);
    failed(&kinetoscope(&["inspect", text(&scratch.0)]), "file_missing", &["model_index.json"]);
    failed(&kinetoscope(&["inspect", "/none"]), "read_failed", &["/none"]);
}
