//! The style of the shaders. The registries have no maintained formatter for WGSL, so this checks what one would do.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests are not an interface, and fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn shaders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders");
    let mut found = Vec::new();
    for folder in [root.clone(), root.join("shared")] {
        found.extend(fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    }
    found.retain(|path| path.extension().is_some_and(|e| e == "wgsl"));
    assert!(found.len() > 10, "the shaders are found");
    found
}

/// What a formatter would change, as `line: reason`.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let header: String = text.lines().take_while(|line| line.starts_with("//")).collect();
    for part in ["Formula:", "Layouts:", "Grid:", "Workgroup:"] {
        if !header.contains(part) {
            faults.push(format!("1: the header does not state {part}"));
        }
    }
    if !text.ends_with('\n') || text.ends_with("\n\n") {
        faults.push("the file does not end with one newline".into());
    }
    let (mut depth, mut continued) = (0_usize, false);
    for (index, line) in text.lines().enumerate() {
        let mut fault = |reason: &str| faults.push(format!("{}: {reason}", index + 1));
        if line.contains('\t') || line.ends_with(' ') {
            fault("a tab or a trailing blank");
        }
        if line.chars().count() > 120 {
            fault("more than 120 columns");
        }
        let code = line.split("//").next().unwrap_or_default().trim();
        let closers = code.chars().take_while(|c| "})]".contains(*c)).count();
        // An expression that goes on is one step further in.
        let steps = depth.saturating_sub(closers) + usize::from(continued && closers == 0);
        let indent = line.len() - line.trim_start().len();
        if !line.trim().is_empty() && indent != 4 * steps {
            fault(&format!("indented by {indent}, expected {}", 4 * steps));
        }
        let opened = code.chars().filter(|c| "{([".contains(*c)).count();
        let closed = code.chars().filter(|c| "})]".contains(*c)).count();
        depth = (depth + opened).saturating_sub(closed);
        let ends =
            code.is_empty() || code.ends_with([';', '{', '}', ',', '(', '[', ':']) || code.starts_with('@');
        continued = if code.is_empty() { continued } else { !ends };
    }
    if depth != 0 {
        faults.push("brackets are not balanced".into());
    }
    faults
}

#[test]
fn shaders_are_formatted_and_state_their_contract() {
    let mut all = Vec::new();
    for path in shaders() {
        let text = fs::read_to_string(&path).unwrap();
        all.extend(faults(&text).into_iter().map(|fault| format!("{}:{fault}", path.display())));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn faults_are_found() {
    let header = "// Formula: x. Layouts: x. Grid: x. Workgroup: x.\n";
    let good =
        "\nfn f(\n    a: u32,\n) {\n    let b = a +\n        1u;\n    if b > 2u {\n        g();\n    }\n}\n";
    assert_eq!(faults(&format!("{header}{good}")), [""; 0]);
    for (bad, line) in [
        ("fn f() {\n  g();\n}\n", "3:"),
        ("fn f() {\n\tg();\n}\n", "3:"),
        ("fn f() {\n    g(); \n}\n", "3:"),
        ("fn f() {\n    g();\n    }\n", "4:"),
        ("fn f() {\n    let a = 1 +\n    2;\n}\n", "4:"),
        ("fn f() {\n", "brackets"),
        ("fn f() {}", "the file"),
    ] {
        let found = faults(&format!("{header}{bad}"));
        assert!(found.first().is_some_and(|f| f.starts_with(line)), "{bad:?}: {found:?}");
    }
    assert!(faults("fn f() {}\n").len() == 4);
}

/// A shader that no variant names would never be validated.
#[test]
fn every_shader_is_in_the_permutation_table() {
    let names: Vec<_> = kinetoscope::gpu::shaders::reflections().iter().map(|r| r.shader).collect();
    for path in shaders().iter().filter(|path| path.parent().is_some_and(|p| p.ends_with("shaders"))) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(names.contains(&stem), "{stem} is not in shaders/permutations");
    }
}
