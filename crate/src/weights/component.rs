//! The weights of one component of a pipeline, in whatever files they come.

use super::gguf::GgufHeader;
use super::kind::ComponentKind;
use super::metadata::Metadata;
use super::naming::{Naming, diffusers_names};
use super::safetensors::SafetensorsHeader;
use super::source::{Source, exactly, exists, invalid, read_all};
use super::stored::TensorLocation;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// All tensors of a component folder, such as `transformer`, whether in one file or in parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    folder: String,
    file: String,
    container: Container,
    naming: Naming,
    metadata: Metadata,
    tensors: BTreeMap<String, TensorLocation>,
}

/// What tensors are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// <https://github.com/huggingface/safetensors>
    Safetensors,
    /// <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, and its version.
    Gguf(u32),
}

impl Container {
    /// Told by a file's first bytes.
    ///
    /// Fails with `FileInvalid` for any other, and as [`Source::read`] does.
    pub async fn detect(source: &dyn Source, path: &str) -> Result<Self> {
        let size = source.size(path).await?;
        let bytes = exactly(source, path, 0..size.min(9)).await?;
        match bytes.as_slice() {
            [b'G', b'G', b'U', b'F', version @ ..] if version.len() > 3 => {
                Ok(Self::Gguf(version.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))))
            }
            [_, _, _, _, _, _, _, _, b'{'] => Ok(Self::Safetensors),
            [b'P', b'K', ..] | [0x80, ..] => Err(invalid(
                path,
                "it is a PyTorch archive, which can hold programs: convert it to safetensors first".into(),
            )),
            _ => Err(invalid(path, "it is neither safetensors nor GGUF".into())),
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Safetensors => f.write_str("safetensors"),
            Self::Gguf(version) => write!(f, "GGUF {version}"),
        }
    }
}

/// A `*.safetensors.index.json`: which part holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Longest index file.
const MAX_INDEX: u64 = 16 << 20;

impl Component {
    /// Finds the weight files of `folder` and reads their headers.
    ///
    /// `names` are the file names to look for, without endings (`diffusion_pytorch_model`, `model`), the first one first.
    /// For each, one safetensors file, one GGUF file, an index of parts, and all of them with diffusers' variants `fp16` and `bf16` in
    /// their names are tried, plain ones before variants.
    ///
    /// Fails with `FileMissing` (no file, or none for a part), `FileInvalid` (a broken header or index, an index that
    /// promises what its parts do not hold), `FileTruncated` or `ReadFailed`.
    pub async fn open(source: &dyn Source, folder: &str, names: &[&str]) -> Result<Self> {
        let name = names.first().copied().unwrap_or("model");
        let missing = || Error::FileMissing { path: format!("{folder}/{name}.safetensors") };
        Self::find_files(source, folder, names).await?.ok_or_else(missing)
    }

    /// As [`Component::open`]; `None` where there is no such file.
    pub async fn find_files(source: &dyn Source, folder: &str, names: &[&str]) -> Result<Option<Self>> {
        for variant in ["", ".fp16", ".bf16"] {
            for name in names {
                for ending in ["safetensors", "gguf"] {
                    let path = format!("{folder}/{name}{variant}.{ending}");
                    if exists(source, &path).await? {
                        return Self::read(source, folder, path, ending == "gguf").await.map(Some);
                    }
                }
                let index = format!("{folder}/{name}.safetensors.index{variant}.json");
                if exists(source, &index).await? {
                    let tensors = read_parts(source, folder, &index).await?;
                    let metadata = Metadata::default();
                    return Ok(Some(Self::new(folder, index, Container::Safetensors, tensors, metadata)));
                }
            }
        }
        Ok(None)
    }

    /// Reads the header of a single file, whatever it is called; its folder is that of what it holds.
    ///
    /// Fails as [`Container::detect`] does, and with what the header's reader reports.
    pub async fn open_file(source: &dyn Source, path: &str) -> Result<Self> {
        let gguf = matches!(Container::detect(source, path).await?, Container::Gguf(_));
        let mut found = Self::read(source, path, path.to_owned(), gguf).await?;
        if let Some(kind) = found.kind() {
            found.folder = kind.folder().to_owned();
        }
        Ok(found)
    }

    async fn read(source: &dyn Source, folder: &str, path: String, gguf: bool) -> Result<Self> {
        let (container, tensors, metadata) = if gguf {
            let header = GgufHeader::read(source, &path).await?;
            (Container::Gguf(header.version), header.tensors, header.metadata)
        } else {
            let header = SafetensorsHeader::read(source, &path).await?;
            (Container::Safetensors, header.tensors, header.metadata)
        };
        Ok(Self::new(folder, path, container, tensors, metadata))
    }

    pub(crate) fn new(
        folder: &str,
        file: String,
        container: Container,
        tensors: BTreeMap<String, TensorLocation>,
        metadata: Metadata,
    ) -> Self {
        let naming = Naming::of(&tensors);
        Self {
            folder: folder.to_owned(),
            file,
            container,
            naming,
            metadata,
            tensors: diffusers_names(tensors),
        }
    }

    /// Where the tensor with this key, as diffusers or transformers name it, lies.
    ///
    /// Fails with `TensorMissing`.
    pub fn find(&self, key: &str) -> Result<&TensorLocation> {
        self.tensors
            .get(key)
            .ok_or_else(|| Error::TensorMissing { component: self.folder.clone(), tensor: key.to_owned() })
    }

    /// The component's folder, such as `transformer`.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Where its tensors were found: the file, or the index of its parts.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What its tensors are stored in.
    pub fn container(&self) -> Container {
        self.container
    }

    /// Which part of a pipeline it is, by its tensors; `None` for a stranger.
    pub fn kind(&self) -> Option<ComponentKind> {
        ComponentKind::of(self.keys())
    }

    /// Whose names its tensors have in the file.
    pub fn naming(&self) -> Naming {
        self.naming
    }

    /// What its file says of itself; nothing where it comes in parts.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Shape of the tensor with this key.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|location| location.shape.as_slice())
    }

    /// Every tensor by its checkpoint key, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorLocation)> {
        self.tensors.iter().map(|(key, location)| (key.as_str(), location))
    }

    /// Every checkpoint key, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

async fn read_parts(
    source: &dyn Source,
    folder: &str,
    index: &str,
) -> Result<BTreeMap<String, TensorLocation>> {
    let json = read_all(source, index, MAX_INDEX).await?;
    let Index { weight_map } = serde_json::from_slice(&json).map_err(|e| invalid(index, e.to_string()))?;
    let mut parts: BTreeMap<String, SafetensorsHeader> = BTreeMap::new();
    let mut tensors = BTreeMap::new();
    for (key, file) in weight_map {
        if file.is_empty() || file.starts_with('.') || file.contains(['/', '\\', ':']) {
            return Err(invalid(
                index,
                format!("tensor {key} is said to be in {file:?}, which is no file name"),
            ));
        }
        if !parts.contains_key(&file) {
            let header = SafetensorsHeader::read(source, &format!("{folder}/{file}")).await?;
            parts.insert(file.clone(), header);
        }
        match parts.get_mut(&file).and_then(|header| header.tensors.remove(&key)) {
            Some(location) => tensors.insert(key, location),
            None => {
                return Err(invalid(
                    index,
                    format!("tensor {key} is said to be in {file}, which does not have it"),
                ));
            }
        };
    }
    Ok(tensors)
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::weights::safetensors::tests::small_file;
    use crate::weights::source::FolderSource;
    use crate::weights::source::testing::Memory;
    use crate::weights::stored::FileDtype;
    use ::safetensors::SafeTensors;
    use pollster::block_on;
    use serde_json::json;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    const NAMES: &[&str] = &["diffusion_pytorch_model", "model"];

    fn open(source: &dyn Source) -> Result<Component> {
        block_on(Component::open(source, "c", NAMES))
    }

    /// Every component of the shipped and of the golden pipelines, against the safetensors crate on the whole files.
    #[test]
    fn same_as_the_whole_file() {
        let mut compared = 0;
        for (pipeline, folder) in [
            ("tests/golden/wan22/pipeline", "transformer"),
            ("models/small", "text_encoder"),
            ("tests/golden/odd/pipeline", "transformer"),
            ("tests/golden/odd/pipeline", "text_encoder"),
            ("tests/golden/wan21/pipeline", "vae"),
        ] {
            let root = format!("{ROOT}/{pipeline}");
            let source = FolderSource::new(&root);
            let component = block_on(Component::open(&source, folder, NAMES)).unwrap();
            for (key, location) in component.iter() {
                let whole = std::fs::read(format!("{root}/{}", location.path)).unwrap();
                let tensors = SafeTensors::deserialize(&whole).unwrap();
                let expected = tensors.tensor(key).unwrap();
                assert_eq!(location.shape, expected.shape());
                assert_eq!(location.dtype.name(), expected.dtype().to_string());
                let range = location.range.clone();
                assert_eq!(&whole[range.start as usize..range.end as usize], expected.data());
                compared += 1;
            }
        }
        assert!(compared > 300, "{compared}");
    }

    #[test]
    fn nothing_but_headers_is_read() {
        let file = small_file("a", "b");
        let source = Memory::with(&[("c/model.safetensors", file.clone())]);
        let component = open(&source).unwrap();
        assert_eq!(source.read.get(), file.len() - 32);
        assert_eq!(component.keys().collect::<Vec<_>>(), ["a", "b"]);
        let b = component.find("b").unwrap();
        assert_eq!((&b.dtype, b.shape.as_slice()), (&FileDtype::BF16, &[4][..]));
        assert_eq!(file[b.range.start as usize..b.range.end as usize], (24..32).collect::<Vec<u8>>());
        let missing = Error::TensorMissing { component: "c".to_owned(), tensor: "z".to_owned() };
        assert_eq!(component.find("z"), Err(missing));
    }

    #[test]
    fn parts_and_variants() {
        let index =
            |files: [&str; 2]| json!({"weight_map": {"a": files[0], "d": files[1]}}).to_string().into_bytes();
        let parts = [("c/p1.safetensors", small_file("a", "b")), ("c/p2.safetensors", small_file("c", "d"))];
        let with_index = |path: &'static str, json: Vec<u8>| {
            let mut source = Memory::with(&parts);
            source.files.insert(path.to_owned(), json);
            source
        };
        let good = index(["p1.safetensors", "p2.safetensors"]);
        for path in ["c/model.safetensors.index.json", "c/model.safetensors.index.fp16.json"] {
            let component = open(&with_index(path, good.clone())).unwrap();
            assert_eq!(component.keys().collect::<Vec<_>>(), ["a", "d"]);
            assert_eq!(component.find("d").unwrap().path, "c/p2.safetensors");
        }
        let path = "c/model.safetensors.index.json";
        let absent = open(&with_index(path, index(["p1.safetensors", "p3.safetensors"])));
        assert_eq!(absent, Err(Error::FileMissing { path: "c/p3.safetensors".to_owned() }));
        for files in [
            ["p1.safetensors", "p1.safetensors"],
            ["../c/p1.safetensors", "p2.safetensors"],
            ["", "p2.safetensors"],
            ["https://example.org", "p2.safetensors"],
        ] {
            assert_eq!(
                open(&with_index(path, index(files))).unwrap_err().code(),
                "file_invalid",
                "{files:?}"
            );
        }
        assert_eq!(open(&with_index(path, b"{}".to_vec())).unwrap_err().code(), "file_invalid");

        let both = [
            ("c/diffusion_pytorch_model.bf16.safetensors", small_file("wrong", "x")),
            ("c/diffusion_pytorch_model.fp16.safetensors", small_file("right", "x")),
        ];
        assert!(open(&Memory::with(&both)).unwrap().find("right").is_ok());
        assert_eq!(open(&Memory::default()).unwrap_err().code(), "file_missing");
    }
}
