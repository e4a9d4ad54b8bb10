//! The program as a user runs it, in folders of its own.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder of its own, removed at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let unique = format!("kinetoscope-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A copy of a tiny pipeline that a test may damage.
    pub fn model(&self) -> PathBuf {
        let target = self.path("model");
        copy(&repository().join("tests/golden/wan22/pipeline"), &target);
        target
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(drop).unwrap()
        }
    }
}

pub fn kinetoscope(arguments: &[&str]) -> Output {
    kinetoscope_in(&repository(), arguments)
}

pub fn kinetoscope_in(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinetoscope")).current_dir(folder).args(arguments).output().unwrap()
}

/// A short clip of the tiny pipeline at `model`, on the CPU.
pub fn generate(model: &Path, out: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["generate", "--model", model.to_str().unwrap(), "--prompt", "a red ball"];
    arguments.extend(["--device", "cpu", "--width", "64", "--height", "32", "--frames", "5", "--steps", "1"]);
    arguments.extend(["--out", out.to_str().unwrap()]);
    arguments.extend(more);
    kinetoscope(&arguments)
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", stderr(output));
}

/// Ends with status 1 and the code, on one line, the last, which names all of `facts`.
pub fn failed(output: &Output, code: &str, facts: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with(&format!("error[{code}]: ")), "{text}");
    for fact in facts {
        assert!(last.contains(fact), "{fact:?} is not in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}
