//! The program as a user runs it: what it writes, and what it says when something is wrong.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kinetoscope::weights::FileDtype;
use program::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

fn varied(image: &image::RgbaImage) {
    let first = image.get_pixel(0, 0);
    assert!(image.pixels().filter(|p| *p != first).count() > 100, "the picture is uniform");
}

#[test]
fn a_clip_is_written_in_each_form() {
    let scratch = Scratch::new();
    let model = scratch.model();

    succeeded(&generate(&model, &scratch.path("sheet.png"), &[]));
    let sheet = image::open(scratch.path("sheet.png")).unwrap().into_rgba8();
    assert_eq!(sheet.dimensions(), (4 * 66 - 2, 2 * 34 - 2));
    varied(&sheet);

    succeeded(&generate(&model, &scratch.path("new/clip.gif"), &[]));
    use image::AnimationDecoder;
    let file = std::io::BufReader::new(fs::File::open(scratch.path("new/clip.gif")).unwrap());
    let frames = image::codecs::gif::GifDecoder::new(file).unwrap().into_frames().collect_frames().unwrap();
    assert_eq!(frames.len(), 5);
    assert!(frames.iter().all(|frame| frame.buffer().dimensions() == (64, 32)));
    varied(frames[4].buffer());

    succeeded(&generate(&model, &scratch.path("frames"), &[]));
    assert_eq!(fs::read_dir(scratch.path("frames")).unwrap().count(), 5);
    let last = image::open(scratch.path("frames/frame-0004.png")).unwrap().into_rgba8();
    assert_eq!(last.dimensions(), (64, 32));
    varied(&last);
}

#[test]
fn the_default_model_on_a_gpu() {
    let scratch = Scratch::new();
    let out = scratch.path("clip.png");
    let arguments =
        ["generate", "--prompt", "a red ball", "--steps", "1", "--frames", "1", "--device", "webgpu"];
    let output = kinetoscope(&[&arguments[..], &["--out", out.to_str().unwrap()]].concat());
    succeeded(&output);
    assert!(stderr(&output).contains("(webgpu"), "{}", stderr(&output));
    varied(&image::open(out).unwrap().into_rgba8());
}

#[test]
fn a_dump_s_noise_gives_the_same_clip_under_another_seed() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let (first, second) = (scratch.path("first.safetensors"), scratch.path("second.safetensors"));
    let path = |p: &Path| p.to_str().unwrap().to_owned();
    succeeded(&generate(&model, &scratch.path("a"), &["--seed", "5", "--dump", &path(&first)]));
    let again = ["--seed", "6", "--noise", &path(&first), "--dump", &path(&second)];
    succeeded(&generate(&model, &scratch.path("b"), &again));
    let (first, second) = (fs::read(first).unwrap(), fs::read(second).unwrap());
    let (first, second) =
        (SafeTensors::deserialize(&first).unwrap(), SafeTensors::deserialize(&second).unwrap());
    let shapes = [("noise", 5), ("prompt_embeds", 2), ("steps", 5), ("frames", 4)];
    for (name, rank) in shapes {
        let (a, b) = (first.tensor(name).unwrap(), second.tensor(name).unwrap());
        assert_eq!(a.shape().len(), rank, "{name}");
        assert!(a.data() == b.data(), "{name} differs");
    }
    assert_eq!(first.tensor("frames").unwrap().shape(), [5, 32, 64, 3]);
    failed(
        &generate(
            &model,
            &scratch.path("c"),
            &["--noise", &path(&scratch.path("second.safetensors")), "--width", "32"],
        ),
        "option_invalid",
        &["noise"],
    );
}

#[test]
fn a_long_prompt_is_cut_and_said_so() {
    let scratch = Scratch::new();
    let output = generate(&scratch.model(), &scratch.path("a"), &["--max-tokens", "2"]);
    succeeded(&output);
    let text = stderr(&output);
    let (_, dropped) = text.split_once("longer than the 2 tokens of this model: its last ").unwrap();
    let dropped: usize = dropped.split_once(" were left out").unwrap().0.parse().unwrap();
    assert!(dropped > 0, "{text}");
}

#[test]
fn what_cannot_be_made() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let bad = |more: &[&str]| generate(&model, &scratch.path("a"), more);
    failed(&bad(&["--width", "50"]), "size_unsupported", &["50x32", "multiples of 32", "64x32"]);
    failed(&bad(&["--height", "0"]), "size_unsupported", &["64x32"]);
    failed(&bad(&["--frames", "6"]), "frames_unsupported", &["4n+1", "nearest is 5"]);
    failed(&bad(&["--frames", "0"]), "frames_unsupported", &["nearest is 1"]);
    failed(&bad(&["--steps", "0"]), "option_invalid", &["steps", "1 to 1000"]);
    failed(&bad(&["--guidance=-1"]), "option_invalid", &["guidance"]);
    failed(&bad(&["--guidance", "nan"]), "option_invalid", &["guidance"]);
    failed(&bad(&["--shift", "0"]), "option_invalid", &["shift"]);
    failed(&bad(&["--max-tokens", "0"]), "option_invalid", &["maxTokens"]);
    assert_eq!(bad(&["--solver", "heun"]).status.code(), Some(2));
    failed(&generate(&model, &scratch.path("a.mp4"), &[]), "option_invalid", &[".gif, a .png or a folder"]);
    failed(&generate(&model, Path::new("/proc/none/a.gif"), &[]), "write_failed", &["/proc/none/a.gif"]);
}

#[test]
fn a_clip_is_made_from_pictures() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let frames = scratch.path("frames");
    succeeded(&generate(&model, &frames, &[]));
    let picture = text(&frames.join("frame-0000.png"));
    let first_frame = |out: &str, more: &[&str]| {
        let output = generate(&model, &scratch.path(out), more);
        succeeded(&output);
        (fs::read(scratch.path(out).join("frame-0000.png")).unwrap(), stderr(&output))
    };
    // What is given at the beginning decides the first frame, whatever the seed.
    let (one, _) = first_frame("a", &["--image", &picture]);
    let (other, _) = first_frame("b", &["--image", &picture, "--seed", "1"]);
    assert!(one == other);
    let (same, _) = first_frame("c", &["--given", &format!("0={picture}"), "--seed", "2"]);
    assert!(one == same);
    let (at_the_end, _) = first_frame("d", &["--given", &format!("-1={picture}")]);
    assert!(one != at_the_end);
    // All five frames, then three: the last two share a latent frame with those to be made.
    let (_, notes) = first_frame("e", &["--given", &format!("0={}", text(&frames))]);
    assert!(!notes.contains("made anew"), "{notes}");
    fs::remove_file(frames.join("frame-0003.png")).unwrap();
    fs::remove_file(frames.join("frame-0004.png")).unwrap();
    let (_, notes) = first_frame("f", &["--given", &format!("0={}", text(&frames))]);
    assert!(notes.contains("2 of the given frames are made anew"), "{notes}");

    // A clip that is changed: its length is the clip's, its size need not be.
    let gif = scratch.path("clip.gif");
    succeeded(&generate(&model, &gif, &["--width", "96"]));
    let (kept, _) = first_frame("g", &["--video", &text(&gif), "--strength", "0"]);
    let mask = scratch.path("mask.png");
    image::GrayImage::new(64, 32).save(&mask).unwrap();
    let masked = ["--video", &text(&gif), "--mask", &text(&mask), "--strength", "1"];
    assert!(kept == first_frame("h", &masked).0);
    assert!(kept != first_frame("i", &["--video", &text(&gif), "--strength", "1"]).0);
}

#[test]
fn a_film_is_made_window_by_window() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let film = |out: &str, more: &[&str]| {
        let output = generate(&model, &scratch.path(out), &[&["--seconds", "1.6"], more].concat());
        succeeded(&output);
        (0..13)
            .map(|k| fs::read(scratch.path(out).join(format!("frame-{k:04}.png"))).unwrap())
            .collect::<Vec<_>>()
    };
    // 12.8 frames at 8 a second are 13: windows of 5, which share one frame each.
    let plain = film("plain", &[]);
    assert_eq!(fs::read_dir(scratch.path("plain")).unwrap().count(), 13);
    let told = film("told", &["--prompt-at", "0.9=a blue fish"]);
    assert!(plain[..7] == told[..7] && plain[12] != told[12]);
    assert!(plain != film("more", &["--frames", "9", "--overlap", "5"]));

    succeeded(&generate(&model, &scratch.path("wide"), &["--aspect", "2:1"]));
    succeeded(&generate(&model, &scratch.path("film.gif"), &["--seconds", "1.6"]));
    let out = scratch.path("no.gif");
    failed(&generate(&model, &out, &["--seconds", "61"]), "option_invalid", &["seconds", "60"]);
    failed(&generate(&model, &out, &["--prompt-at", "9=late"]), "option_invalid", &["prompts[0].at"]);
    assert_eq!(generate(&model, &out, &["--prompt-at", "late"]).status.code(), Some(2));
    assert!(!out.exists());
}

#[test]
fn pictures_that_cannot_be_used() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let bad = |more: &[&str]| generate(&model, &scratch.path("a"), more);
    let picture = scratch.path("picture.png");
    image::RgbImage::new(64, 32).save(&picture).unwrap();
    let picture = picture.to_str().unwrap();
    let text = scratch.path("text.png");
    fs::write(&text, "no picture").unwrap();
    let (empty, text) = (scratch.path("empty"), text.to_str().unwrap());
    fs::create_dir(&empty).unwrap();
    failed(&bad(&["--image", "/none.png"]), "read_failed", &["/none.png"]);
    failed(&bad(&["--image", text]), "file_invalid", &["text.png"]);
    failed(&bad(&["--video", empty.to_str().unwrap()]), "file_invalid", &["no PNG"]);
    let at = |at: &str| format!("{at}={picture}");
    failed(&bad(&["--given", &at("5")]), "option_invalid", &["given[0]", "5 frames", "1 at 5"]);
    failed(&bad(&["--given", &at("-6")]), "option_invalid", &["given[0]"]);
    failed(&bad(&["--image", picture, "--given", &at("0")]), "option_invalid", &["given[1]", "given[0]"]);
    failed(&bad(&["--video", picture]), "option_invalid", &["video", "5 frames", "1 frames"]);
    failed(
        &bad(&["--video", picture, "--frames", "1", "--strength", "1.5"]),
        "option_invalid",
        &["strength"],
    );
    for usage in [
        &["--image", picture, "--video", picture][..],
        &["--mask", picture],
        &["--strength", "0.5"],
        &["--given", "first"],
        &["--fit", "squeeze"],
    ] {
        assert_eq!(bad(usage).status.code(), Some(2), "{usage:?}");
    }
}

#[test]
fn a_request_that_fails_writes_nothing() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let out = scratch.path("clip.gif");
    failed(&generate(&model, &out, &["--width", "50"]), "size_unsupported", &[]);
    let dump = ["--dump", "/proc/none/d.safetensors"];
    failed(&generate(&model, &out, &dump), "write_failed", &["/proc/none/d.safetensors"]);
    // Found when the weights are read, after the place was seen to be writable.
    let weights = model.join("vae/diffusion_pytorch_model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, [&whole[..whole.len() - 4], &[0xff; 4]].concat()).unwrap();
    failed(&generate(&model, &out, &[]), "tensor_not_finite", &["vae"]);
    assert!(!out.exists());
    fs::write(&out, "an older clip").unwrap();
    failed(&generate(&model, &out, &[]), "tensor_not_finite", &["vae"]);
    assert_eq!(fs::read(&out).unwrap(), b"an older clip");
}

#[test]
fn noise_that_cannot_be_used() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let file = scratch.path("noise.safetensors");
    let with = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        generate(&model, &scratch.path("a"), &["--noise", file.to_str().unwrap()])
    };
    let tensor = |name: &str, dtype, shape: &[usize], data: &[u8]| {
        let view = safetensors::tensor::TensorView::new(dtype, shape.to_vec(), data).unwrap();
        safetensors::serialize([(name, view)], None).unwrap()
    };
    let zeros = [0; 16];
    let (f32, i32) = (safetensors::Dtype::F32, safetensors::Dtype::I32);
    failed(&with(b"no tensors"), "file_invalid", &["noise.safetensors"]);
    failed(&with(&tensor("latents", f32, &[4], &zeros)), "file_invalid", &["noise"]);
    failed(&with(&tensor("noise", i32, &[4], &zeros)), "file_invalid", &["I32", "F32"]);
    failed(&with(&tensor("noise", f32, &[1, 4], &zeros)), "option_invalid", &["noise", "[1, 4]"]);
    fs::remove_file(&file).unwrap();
    let output = generate(&model, &scratch.path("a"), &["--noise", file.to_str().unwrap()]);
    failed(&output, "read_failed", &["noise.safetensors"]);
}

#[test]
fn a_model_that_is_not_there() {
    let scratch = Scratch::new();
    let none = scratch.path("none");
    failed(&generate(&none, &scratch.path("a"), &[]), "file_missing", &[none.to_str().unwrap()]);
    failed(&kinetoscope(&["plan", "--model", none.to_str().unwrap()]), "file_missing", &["none"]);
    // Without a folder to fall back on, the option has to be given.
    let output = kinetoscope_in(&scratch.0, &["plan"]);
    assert_eq!(output.status.code(), Some(2));
    for option in ["--model <DIR>", "--transformer <FILE>", "--vae <FILE>"] {
        assert!(stderr(&output).contains(option), "{}", stderr(&output));
    }
}

#[test]
fn damaged_models() {
    const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";
    let run = |damage: &dyn Fn(&Path)| {
        let scratch = Scratch::new();
        let model = scratch.model();
        damage(&model);
        generate(&model, &scratch.path("a"), &[])
    };
    let edit = |file: &'static str, change: fn(Vec<u8>) -> Vec<u8>| {
        move |model: &Path| fs::write(model.join(file), change(fs::read(model.join(file)).unwrap())).unwrap()
    };
    fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        [&bytes[..at], to.as_bytes(), &bytes[at + to.len()..]].concat()
    }

    // Its sizes are read off its tensors, but not what the latents of a VAE that nobody published are like.
    let output = run(&|model| fs::remove_file(model.join("vae/config.json")).unwrap());
    failed(
        &output,
        "config_unsupported",
        &["vae/diffusion_pytorch_model.safetensors", "latents_mean", "config.json"],
    );
    let output = run(&|model| fs::remove_file(model.join(TRANSFORMER)).unwrap());
    failed(&output, "file_missing", &["transformer/"]);
    failed(&run(&edit(TRANSFORMER, |b| b[..b.len() - 9].to_vec())), "file_truncated", &[TRANSFORMER]);
    failed(&run(&edit(TRANSFORMER, |b| b[..5].to_vec())), "file_truncated", &[TRANSFORMER]);
    let output = run(&edit(TRANSFORMER, |b| replaced(&b, "proj_out.weight", "proj_xxx.weight")));
    failed(&output, "tensor_missing", &["proj_out.weight", "transformer"]);
    let output = run(&edit("transformer/config.json", |b| {
        String::from_utf8(b)
            .unwrap()
            .replace("\"num_attention_heads\": 2", "\"num_attention_heads\": 3")
            .into()
    }));
    failed(&output, "tensor_shape", &["patch_embedding.bias", "[72]", "[48]"]);
    // The last bytes of the file are the end of a tensor; four times 0xff is a NaN in every format.
    let output = run(&edit(TRANSFORMER, |b| [&b[..b.len() - 4], &[0xff; 4]].concat()));
    failed(&output, "tensor_not_finite", &["transformer"]);
    let output = run(&edit("model_index.json", |b| {
        String::from_utf8(b).unwrap().replace("WanTransformer3DModel", "FluxTransformer2DModel").into()
    }));
    failed(&output, "architecture_unknown", &["FluxTransformer2DModel", "WanTransformer3DModel"]);
    failed(&run(&edit("tokenizer/tokenizer.json", |_| b"{}".to_vec())), "file_invalid", &["tokenizer.json"]);
    failed(&run(&edit("vae/config.json", |_| b"[1,".to_vec())), "file_invalid", &["vae/config.json"]);
}

/// Writes a safetensors file again under other names; `ours` are diffusers' names by theirs.
fn rename_tensors(path: &Path, ours: &BTreeMap<String, String>, prefix: &str) {
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed =
        ours.iter().map(|(theirs, ours)| (format!("{prefix}{theirs}"), tensors.tensor(ours).unwrap()));
    let written = safetensors::serialize(renamed, None).unwrap();
    assert_eq!(tensors.len(), ours.len());
    fs::write(path, written).unwrap();
}

#[test]
fn a_model_under_other_names_makes_the_same_clip() {
    let scratch = Scratch::new();
    let model = scratch.path("model");
    copy(&repository().join("tests/golden/wan21/pipeline"), &model);
    let clip = |out: &str| {
        succeeded(&generate(&model, &scratch.path(out), &[]));
        fs::read(scratch.path(out).join("frame-0004.png")).unwrap()
    };
    let expected = clip("ours");
    let names = fs::read(repository().join("tests/golden/names.json")).unwrap();
    let names: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_slice(&names).unwrap();
    for (file, layout, prefix) in [
        ("transformer/diffusion_pytorch_model.safetensors", "transformer", "model.diffusion_model."),
        ("text_encoder/model.safetensors", "umt5", ""),
        ("vae/diffusion_pytorch_model.safetensors", "vae21", ""),
    ] {
        rename_tensors(&model.join(file), &names[layout], prefix);
    }
    assert!(clip("theirs") == expected);
}

#[test]
fn a_tiny_autoencoder_takes_the_place_of_the_vae() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let tiny = repository().join("tests/golden/taehv/wan22/vae/diffusion_pytorch_model.safetensors");
    succeeded(&generate(&model, &scratch.path("whole.png"), &[]));
    // In the place of the folder's own, whose config lies there.
    let from = ["--vae", tiny.to_str().unwrap()];
    succeeded(&generate(&model, &scratch.path("given.png"), &from));
    fs::remove_dir_all(model.join("vae")).unwrap();
    fs::create_dir(model.join("vae")).unwrap();
    fs::copy(&tiny, model.join("vae/diffusion_pytorch_model.safetensors")).unwrap();
    let picture = scratch.path("picture.png");
    image::RgbImage::from_fn(64, 32, |x, y| image::Rgb([x as u8 * 3, y as u8 * 7, 90]))
        .save(&picture)
        .unwrap();
    for more in [vec![], vec!["--image", picture.to_str().unwrap()]] {
        succeeded(&generate(&model, &scratch.path("tiny.png"), &more));
        let [whole, sheet] =
            ["whole.png", "tiny.png"].map(|name| image::open(scratch.path(name)).unwrap().into_rgba8());
        assert_eq!(whole.dimensions(), sheet.dimensions());
        varied(&sheet);
        assert!(whole != sheet);
        let given = image::open(scratch.path("given.png")).unwrap().into_rgba8();
        assert_eq!(given == sheet, more.is_empty());
    }
    let plan = kinetoscope(&["plan", "--model", model.to_str().unwrap(), "--width", "64", "--height", "32"]);
    succeeded(&plan);

    // Of another model's latents.
    let other = repository().join("tests/golden/taehv/wan21/vae/diffusion_pytorch_model.safetensors");
    fs::copy(other, model.join("vae/diffusion_pytorch_model.safetensors")).unwrap();
    failed(
        &generate(&model, &scratch.path("none.png"), &[]),
        "config_unsupported",
        &["in_channels", "12", "16"],
    );
}

/// The transformer's matrices in 8-bit floats, each with a scale beside it, are what the same numbers in 32 bits are.
#[test]
fn eight_bit_floats_are_multiplied_with_their_scales() {
    let scratch = Scratch::new();
    let model = scratch.model();
    let path = model.join("transformer/diffusion_pytorch_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut written = [Vec::new(), Vec::new()];
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        let shape = tensor.shape().to_vec();
        if shape.len() != 2 || !name.contains("attn") {
            let own = tensor.data().to_vec();
            written
                .iter_mut()
                .for_each(|w| w.push((name.to_owned(), tensor.dtype(), shape.clone(), own.clone())));
            continue;
        }
        // Bytes that are finite and small in E4M3; the scale brings them to the size of weights.
        let eights: Vec<u8> =
            (0..shape.iter().product::<usize>()).map(|i| (i * 37 % 64) as u8 | (i % 2 * 128) as u8).collect();
        let scale = 0.02 + 0.001 * index as f32;
        let values = FileDtype::F8E4M3.to_f32(&eights).into_iter();
        let wide: Vec<u8> = values.flat_map(|v| (v * scale).to_le_bytes()).collect();
        let [wides, scaled] = &mut written;
        wides.push((name.to_owned(), Dtype::F32, shape.clone(), wide));
        scaled.push((name.to_owned(), Dtype::F8_E4M3, shape, eights));
        let beside = name.replace(".weight", if index % 2 == 0 { ".scale_weight" } else { ".weight_scale" });
        scaled.push((beside, Dtype::F32, Vec::new(), scale.to_le_bytes().to_vec()));
    }
    let clips = written.map(|tensors| {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        succeeded(&generate(&model, &scratch.path("clip"), &[]));
        fs::read(scratch.path("clip/frame-0004.png")).unwrap()
    });
    assert!(clips[0] == clips[1]);
}

#[test]
fn a_plan_reads_headers_only() {
    let output = kinetoscope(&["plan", "--json", "--width", "128"]);
    succeeded(&output);
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(plan["peakBytes"].as_u64() > plan["weightBytes"].as_u64());
    assert_eq!(plan["stages"].as_array().unwrap().len(), 4);
    // What is downloaded of each component is in the file; the wall is the stage with the peak.
    let file =
        fs::metadata(repository().join("models/small/transformer/diffusion_pytorch_model.gguf")).unwrap();
    let download = plan["download"]["transformer"].as_u64().unwrap();
    assert!(download > file.len() * 9 / 10 && download < file.len(), "{download}");
    let wall =
        plan["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == plan["wall"]).unwrap();
    assert_eq!(wall["totalBytes"], plan["peakBytes"]);
    // Rows that are rounded to 8 bits lie beside those that they are made of.
    let bytes = kinetoscope(&["plan", "--json", "--width", "128", "--precision", "i8"]);
    succeeded(&bytes);
    let bytes: serde_json::Value = serde_json::from_slice(&bytes.stdout).unwrap();
    let temporaries = |plan: &serde_json::Value| plan["stages"][2]["temporaryBytes"].as_u64().unwrap();
    assert!(temporaries(&bytes) > temporaries(&plan), "{bytes}");
    let less = plan["peakBytes"].as_u64().unwrap() - 1;
    let turns = kinetoscope(&["plan", "--json", "--width", "128", "--memory", &less.to_string()]);
    succeeded(&turns);
    let turns: serde_json::Value = serde_json::from_slice(&turns.stdout).unwrap();
    assert!(turns["peakBytes"].as_u64().unwrap() <= less);
    assert!(turns["stages"].as_array().unwrap().iter().any(|stage| stage["weights"] == "turn"));
    failed(&kinetoscope(&["plan", "--memory", "1MiB"]), "device_too_small", &["1048576"]);
    let small = kinetoscope(&["plan", "--max-binding", "1024"]);
    failed(&small, "device_too_small", &["1024"]);
    let shown = kinetoscope(&["plan"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("peak"));
}

/// Where the decoder is the wall, and where the transformer's weights have no room between steps.
#[test]
fn a_plan_says_what_to_do() {
    let scratch = Scratch::new();
    let model = scratch.path("model");
    let folder = model.to_str().unwrap();
    succeeded(&kinetoscope(&["synth", "--config", "tiny", folder]));
    let plan = |more: &[&str]| {
        kinetoscope(&[&["plan", "--model", folder, "--width", "256", "--height", "256"], more].concat())
    };
    let little = plan(&["--frames", "17", "--memory", "76MiB"]);
    failed(&little, "device_too_small", &["decode"]);
    let shown = String::from_utf8_lossy(&little.stdout).into_owned();
    let [fewer, smaller, tiny] = shown.lines().collect::<Vec<_>>()[..] else { panic!("{shown}") };
    assert!(fewer.contains(" frames: 256x256") && smaller.contains(", 17 frames would fit"), "{shown}");
    assert!(tiny.contains("--vae taew2_1.safetensors") && tiny.contains("256x256, 17 frames"), "{shown}");
    let json = plan(&["--frames", "17", "--memory", "76MiB", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["alternatives"][2]["changes"], serde_json::json!(["tinyDecoder"]));
}

#[test]
fn a_bench_writes_what_it_measured() {
    let scratch = Scratch::new();
    let path = scratch.path("bench.json");
    let arguments = ["bench", "--suite", "quick", "--device", "cpu", "--only", "conv/64>64@8x8", "--json"];
    let output = kinetoscope(&[&arguments[..], &[path.to_str().unwrap()]].concat());
    succeeded(&output);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["header"]["device"]["device"], "cpu");
    assert_eq!(json["cases"].as_array().unwrap().len(), 2);
    for case in json["cases"].as_array().unwrap() {
        assert_eq!(case["outcome"], "measured");
        assert!(shown.contains(case["id"].as_str().unwrap()), "{shown}");
    }
    // What has no time is said so, and is no failure.
    let hurried = ["bench", "--suite", "model", "--device", "cpu", "--seconds-per-case", "0.0001"];
    let hurried = kinetoscope(&hurried);
    succeeded(&hurried);
    let shown = String::from_utf8_lossy(&hurried.stdout).into_owned();
    assert!(shown.matches("skipped: ").count() == 6, "{shown}");
    failed(&kinetoscope(&["bench", "--device", "cpu", "--only", "nothing"]), "option_invalid", &["nothing"]);
    let listed = kinetoscope(&["bench", "--device", "cpu", "--suite", "gpu", "--list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).lines().count() > 100);
}
