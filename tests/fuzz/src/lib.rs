//! What is fuzzed: every parser of a file that comes from anywhere. An error is a good end; so is a result that keeps to the file.

use std::collections::BTreeMap;
use std::ops::Range;

use futures_util::future::LocalBoxFuture;
use kinetoscope::config::{
    GenerationDefaults, ModelIndex, SchedulerConfig, Umt5Config, WanTransformerConfig, WanVaeConfig,
};
use kinetoscope::text::{OwnTokenizer, TextTokenizer};
use kinetoscope::weights::gguf::GgufHeader;
use kinetoscope::weights::safetensors::SafetensorsHeader;
use kinetoscope::weights::{Component, Manifest, PackedSource, Source};
use kinetoscope::{Error, Result};
use pollster::block_on;

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 7] = [
    ("safetensors", safetensors),
    ("gguf", gguf),
    ("index", index),
    ("manifest", manifest),
    ("configs", configs),
    ("tokenizer", tokenizer),
    ("spiece", spiece),
];

/// A folder in memory.
#[derive(Default)]
struct Folder(BTreeMap<String, Vec<u8>>);

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Self {
        Self(files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect())
    }

    fn file(&self, path: &str) -> Result<&Vec<u8>> {
        self.0.get(path).ok_or_else(|| Error::FileMissing { path: path.to_owned() })
    }
}

impl Source for Folder {
    fn size<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<u64>> {
        Box::pin(async move { Ok(self.file(path)?.len() as u64) })
    }

    fn read<'a>(&'a self, path: &'a str, range: Range<u64>) -> LocalBoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let file = self.file(path)?;
            let found = file.get(range.start as usize..range.end as usize).map(<[u8]>::to_vec);
            found.ok_or_else(|| Error::FileTruncated {
                path: path.to_owned(),
                expected: range.end,
                found: file.len() as u64,
            })
        })
    }
}

/// A header, what a component is by it, and the tokenizer in it.
pub fn safetensors(data: &[u8]) {
    let folder = Folder::with(&[("model.safetensors", data)]);
    if let Ok(header) = block_on(SafetensorsHeader::read(&folder, "model.safetensors")) {
        for location in header.tensors.values() {
            assert!(location.range.start <= location.range.end && location.range.end <= data.len() as u64);
        }
    }
    component(&folder, "model.safetensors");
}

/// A header, what a component is by it, and the tokenizer in it.
pub fn gguf(data: &[u8]) {
    let folder = Folder::with(&[("model.gguf", data)]);
    if let Ok(header) = block_on(GgufHeader::read(&folder, "model.gguf")) {
        for location in header.tensors.values() {
            assert!(location.range.start <= location.range.end && location.range.end <= data.len() as u64);
        }
    }
    component(&folder, "model.gguf");
}

fn component(folder: &Folder, path: &str) {
    let Ok(component) = block_on(Component::open_file(folder, path)) else { return };
    let _ = (component.kind(), component.naming());
    let _ = WanTransformerConfig::infer(&component);
    let _ = Umt5Config::infer(&component);
    let _ = WanVaeConfig::infer(&component);
    if let Some(own) = OwnTokenizer::of(&component)
        && let Ok(tokenizer) = block_on(own.read(folder))
    {
        encode(&tokenizer);
    }
}

fn encode(tokenizer: &TextTokenizer) {
    for prompt in ["a red ball, on green grass", "", "\u{ff21}é漢 \u{fb01}🎈"] {
        let _ = tokenizer.encode(prompt, 64);
    }
}

/// An index of parts, two of which are there.
pub fn index(data: &[u8]) {
    let part = |name: &str| {
        let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), b"0"].concat()
    };
    let folder = Folder::with(&[
        ("c/model.safetensors.index.json", data),
        ("c/1.safetensors", &part("a")),
        ("c/2.safetensors", &part("b")),
    ]);
    let _ = block_on(Component::open(&folder, "c", &["model"]));
}

/// A manifest, and reads of what it names, of which one part is there.
pub fn manifest(data: &[u8]) {
    let parsed = Manifest::parse(Manifest::PATH, data);
    let folder = Folder::with(&[(Manifest::PATH, data), ("parts/a.bin", &[7; 3000])]);
    let Ok(packed) = block_on(PackedSource::open(Box::new(folder))) else { return assert!(parsed.is_err()) };
    for file in &packed.manifest().files {
        assert_eq!(block_on(packed.size(&file.path)), Ok(file.bytes));
        let _ = block_on(packed.read(&file.path, 0..file.bytes.min(4096)));
        let _ = block_on(packed.read(&file.path, file.bytes.saturating_sub(1)..file.bytes));
    }
}

/// Every config.
pub fn configs(data: &[u8]) {
    let _ = ModelIndex::parse("f", data);
    let _ = WanTransformerConfig::parse("f", data);
    let _ = Umt5Config::parse("f", data);
    if let Ok(vae) = WanVaeConfig::parse("f", data) {
        let _ = (vae.encoder_dims(), vae.decoder_dims(), vae.temperal_upsample());
    }
    let _ = SchedulerConfig::parse("f", data);
    let _ = GenerationDefaults::parse("f", data);
}

/// A tokenizer.json, and prompts for it.
pub fn tokenizer(data: &[u8]) {
    if let Ok(tokenizer) = TextTokenizer::from_bytes(data, "f") {
        let _ = tokenizer.vocab_size();
        encode(&tokenizer);
    }
}

/// A SentencePiece model as the tensor of a file, and prompts for it.
pub fn spiece(data: &[u8]) {
    let length = data.len();
    let header = format!(r#"{{"spiece_model":{{"dtype":"U8","shape":[{length}],"data_offsets":[0,{length}]}}}}"#);
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
    component(&Folder::with(&[("model.safetensors", &file)]), "model.safetensors");
}
