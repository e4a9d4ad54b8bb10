//! A model folder put together of several places: components given as files of their own, beside or in place of a folder.

use super::component::Container;
use super::source::{Source, Span};
use crate::error::{Error, Result};
use futures_util::future::LocalBoxFuture;
use std::collections::BTreeMap;
use std::ops::Range;

/// A folder of which some subfolders come from elsewhere. What is put in the place of a subfolder hides all of it, its config too.
#[derive(Default)]
pub struct Overlay {
    base: Option<Box<dyn Source>>,
    /// By subfolder.
    mounts: BTreeMap<String, Mount>,
}

struct Mount {
    source: Box<dyn Source>,
    /// The only file of the subfolder, by its name there and in the source; `None` for the source's whole folder.
    file: Option<(String, String)>,
}

impl Overlay {
    /// Over `base`, or over nothing.
    pub fn new(base: Option<Box<dyn Source>>) -> Self {
        Self { base, mounts: BTreeMap::new() }
    }

    /// Puts the weight file `file` of `source` in the place of the component `folder`: there it is `model.safetensors` or `model.gguf`.
    ///
    /// Fails as [`Container::detect`] does.
    pub async fn mount_weights(&mut self, folder: &str, source: Box<dyn Source>, file: &str) -> Result<()> {
        let name = match Container::detect(&*source, file).await? {
            Container::Safetensors => "model.safetensors",
            Container::Gguf(_) => "model.gguf",
        };
        self.mount_file(folder, name, source, file);
        Ok(())
    }

    /// Puts the file `file` of `source` in the place of the subfolder `folder`, which holds it as `name` and nothing else.
    pub fn mount_file(&mut self, folder: &str, name: &str, source: Box<dyn Source>, file: &str) {
        let file = Some((name.to_owned(), file.to_owned()));
        self.mounts.insert(folder.to_owned(), Mount { source, file });
    }

    /// Puts the whole of `source` in the place of the subfolder `folder`.
    pub fn mount_folder(&mut self, folder: &str, source: Box<dyn Source>) {
        self.mounts.insert(folder.to_owned(), Mount { source, file: None });
    }

    /// The source that has `path`, and its path there.
    fn resolve<'a>(&'a self, path: &'a str) -> Result<(&'a dyn Source, &'a str)> {
        let missing = || Error::FileMissing { path: path.to_owned() };
        if let Some((folder, rest)) = path.split_once('/')
            && let Some(mount) = self.mounts.get(folder)
        {
            return match &mount.file {
                None => Ok((&*mount.source, rest)),
                Some((name, file)) if name == rest => Ok((&*mount.source, file)),
                Some(_) => Err(missing()),
            };
        }
        self.base.as_deref().map(|base| (base, path)).ok_or_else(missing)
    }
}

impl Source for Overlay {
    fn size<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let (source, inner) = self.resolve(path)?;
            source.size(inner).await.map_err(|error| under(error, path))
        })
    }

    fn read<'a>(&'a self, path: &'a str, range: Range<u64>) -> LocalBoxFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let (source, inner) = self.resolve(path)?;
            source.read(inner, range).await.map_err(|error| under(error, path))
        })
    }

    fn plan(&self, spans: &[Span]) {
        // In runs of the same source, each of which is told all that is its own at once.
        let mut shares: Vec<(&dyn Source, Vec<Span>)> = Vec::new();
        for span in spans {
            let Ok((source, inner)) = self.resolve(&span.path) else { continue };
            let span = Span { path: inner.to_owned(), range: span.range.clone() };
            match shares.iter_mut().find(|(known, _)| std::ptr::addr_eq(*known, source)) {
                Some((_, share)) => share.push(span),
                None => shares.push((source, vec![span])),
            }
        }
        for (source, share) in shares {
            source.plan(&share);
        }
    }
}

/// A missing file is named as it was asked for.
fn under(error: Error, path: &str) -> Error {
    match error {
        Error::FileMissing { .. } => Error::FileMissing { path: path.to_owned() },
        other => other,
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::weights::Component;
    use crate::weights::safetensors::tests::small_file;
    use crate::weights::source::exists;
    use crate::weights::source::testing::Memory;
    use pollster::block_on;

    fn base() -> Box<dyn Source> {
        Box::new(Memory::with(&[
            ("model_index.json", b"{}".to_vec()),
            ("transformer/config.json", b"{}".to_vec()),
            ("transformer/model.safetensors", small_file("old", "x")),
            ("vae/config.json", b"[]".to_vec()),
        ]))
    }

    #[test]
    fn a_file_hides_the_folder_that_it_stands_for() {
        let mut overlay = Overlay::new(Some(base()));
        let file = Memory::with(&[("some name.safetensors", small_file("new", "x"))]);
        block_on(overlay.mount_weights("transformer", Box::new(file), "some name.safetensors")).unwrap();
        assert_eq!(block_on(exists(&overlay, "transformer/config.json")), Ok(false));
        assert_eq!(block_on(exists(&overlay, "vae/config.json")), Ok(true));
        assert_eq!(block_on(overlay.read("vae/config.json", 0..2)).unwrap(), b"[]");
        let component = block_on(Component::open(&overlay, "transformer", &["model"])).unwrap();
        assert_eq!(component.find("new").unwrap().path, "transformer/model.safetensors");
        let missing = Error::FileMissing { path: "transformer/model.gguf".to_owned() };
        assert_eq!(block_on(overlay.size("transformer/model.gguf")), Err(missing));
    }

    #[test]
    fn a_folder_takes_a_folder_s_place_and_nothing_is_under_nothing() {
        let mut overlay = Overlay::new(None);
        overlay.mount_folder("vae", Box::new(Memory::with(&[("config.json", b"12".to_vec())])));
        overlay.mount_file("tokenizer", "tokenizer.json", Box::new(Memory::with(&[("t", vec![7])])), "t");
        assert_eq!(block_on(overlay.read("vae/config.json", 1..2)).unwrap(), b"2");
        assert_eq!(block_on(overlay.read("tokenizer/tokenizer.json", 0..1)).unwrap(), [7]);
        for path in ["vae/none", "tokenizer/t", "model_index.json", "vae"] {
            let missing = Error::FileMissing { path: path.to_owned() };
            assert_eq!(block_on(overlay.size(path)), Err(missing));
        }
    }

    #[test]
    fn weights_are_told_by_their_first_bytes() {
        let mount = |bytes: &[u8]| {
            let mut overlay = Overlay::new(None);
            let source = Box::new(Memory::with(&[("f", bytes.to_vec())]));
            block_on(overlay.mount_weights("vae", source, "f"))?;
            Ok(block_on(exists(&overlay, "vae/model.gguf")).unwrap())
        };
        assert_eq!(mount(b"GGUF\x03\0\0\0more"), Ok(true));
        assert_eq!(mount(&small_file("a", "b")), Ok(false));
        for bytes in [&b""[..], b"GGUF", b"PK\x03\x04 a zip", b"\x80\x02pickle", b"<!doctype html>"] {
            let error: Error = mount(bytes).unwrap_err();
            assert_eq!(error.code(), "file_invalid");
        }
        assert!(mount(b"PK\x03\x04").unwrap_err().to_string().contains("convert it to safetensors"));
    }

    #[test]
    fn each_source_is_told_what_is_read_of_it() {
        struct Planned(std::rc::Rc<std::cell::RefCell<Vec<String>>>, &'static str);
        impl Source for Planned {
            fn size<'a>(&'a self, _: &'a str) -> LocalBoxFuture<'a, Result<u64>> {
                Box::pin(async { Ok(0) })
            }
            fn read<'a>(&'a self, _: &'a str, _: Range<u64>) -> LocalBoxFuture<'a, Result<Vec<u8>>> {
                Box::pin(async { Ok(Vec::new()) })
            }
            fn plan(&self, spans: &[Span]) {
                self.0.borrow_mut().extend(spans.iter().map(|span| format!("{}: {}", self.1, span.path)));
            }
        }
        let told = std::rc::Rc::default();
        let mut overlay = Overlay::new(Some(Box::new(Planned(std::rc::Rc::clone(&told), "base"))));
        let file = Box::new(Planned(std::rc::Rc::clone(&told), "file"));
        overlay.mount_file("vae", "model.gguf", file, "wan.gguf");
        let span = |path: &str| Span { path: path.to_owned(), range: 0..1 };
        overlay.plan(&[span("a/b"), span("vae/model.gguf"), span("vae/none"), span("c")]);
        assert_eq!(*told.borrow(), ["base: a/b", "base: c", "file: wan.gguf"]);
    }
}
