//! Expands every permutation of every shader, validates it, and writes the table that the crate builds its pipelines
//! from: the sources once, and for each permutation its flags and what it binds.
//!
//! A broken shader fails the build with its file and line.
#![allow(missing_docs, reason = "a build script has no public items")]

use std::error::Error;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

use naga::valid::{Capabilities, ValidationFlags, Validator};

#[path = "src/gpu/preprocess.rs"]
mod preprocess;

/// What the crate's table says of one permutation; written with `{:?}`.
#[derive(Debug)]
#[allow(dead_code, reason = "the fields are read by the derived Debug, which writes the table")]
struct Reflection {
    shader: String,
    flags: Vec<String>,
    uniform_bytes: u32,
    bindings: Vec<(u32, Access)>,
    sampler: Option<u32>,
    workgroup_size: [u32; 3],
    workgroup_bytes: u32,
}

/// As the crate's own, by the names that the table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    Read,
    Write,
    Numbers,
    Words,
    Stored(Texel),
}

/// As the crate's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Texel {
    Floats,
    Halves,
    Words16,
    Words32,
}

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
    let shaders = root.join("../shaders");
    println!("cargo::rerun-if-changed={}", shaders.display());
    println!("cargo::rerun-if-changed=src/gpu/preprocess.rs");
    let output = PathBuf::from(env::var("OUT_DIR").unwrap_or_default()).join("shaders.rs");
    match table(&shaders) {
        Ok(text) => {
            if let Err(error) = fs::write(&output, text) {
                println!("cargo::error={}: {error}", output.display());
            }
        }
        Err(faults) => {
            for line in faults.iter().flat_map(|fault| fault.lines()) {
                println!("cargo::error={line}");
            }
            std::process::exit(1);
        }
    }
}

/// The text of the generated file, or what is wrong with which shader.
fn table(shaders: &Path) -> Result<String, Vec<String>> {
    let sources = sources(shaders).map_err(|fault| vec![fault])?;
    let find = |path: &str| {
        sources.iter().find(|(name, _)| name == path).map(|(name, text)| (name.as_str(), text.as_str()))
    };
    let list = fs::read_to_string(shaders.join("permutations"))
        .map_err(|error| vec![format!("shaders/permutations: {error}")])?;
    let (mut reflections, mut faults) = (Vec::new(), Vec::new());
    for (index, line) in list.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let mut words = line.split_whitespace();
        let Some(shader) = words.next() else { continue };
        for flags in permutations(words) {
            if reflections.iter().any(|r: &Reflection| r.shader == shader && r.flags == flags) {
                let flags = flags.join(" ");
                faults.push(format!("shaders/permutations:{}: {shader} {flags} is listed twice", index + 1));
                continue;
            }
            match reflect(&find, shader, &flags) {
                Ok(reflection) => reflections.push(reflection),
                Err(fault) => {
                    faults.push(format!("{fault} (permutation {shader} {})", flags.join(" ")));
                    // The other permutations would mostly repeat the same fault.
                    break;
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut text =
        String::from("use Access::*;\nuse Texel::*;\n\npub(super) static SOURCES: &[(&str, &str)] = &[\n");
    for (name, _) in &sources {
        let path = format!("\"/../shaders/{name}\"");
        let _ =
            writeln!(text, "    ({name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path}))),");
    }
    text.push_str("];\n\npub(super) static REFLECTIONS: &[Reflection] = &[\n");
    for r in &reflections {
        let _ = writeln!(
            text,
            "    Reflection {{ shader: {:?}, flags: &{:?}, uniform_bytes: {}, bindings: &{:?}, sampler: {:?}, workgroup_size: {:?}, workgroup_bytes: {} }},",
            r.shader, r.flags, r.uniform_bytes, r.bindings, r.sampler, r.workgroup_size, r.workgroup_bytes
        );
    }
    text.push_str("];\n");
    let mut hasher = DefaultHasher::new();
    (list, &sources).hash(&mut hasher);
    let _ = writeln!(text, "\npub(super) const HASH: u64 = {:#x};", hasher.finish());
    Ok(text)
}

/// Every `.wgsl` file below `shaders/`, by its path there, in order.
fn sources(shaders: &Path) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for folder in ["", "shared/"] {
        let path = shaders.join(folder);
        let entries = fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".wgsl") {
                let text = fs::read_to_string(entry.path()).map_err(|error| format!("{name}: {error}"))?;
                found.push((format!("{folder}{name}"), text));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Every choice of one flag (or none, `-`) from each axis `A|B|-`.
fn permutations<'a>(axes: impl Iterator<Item = &'a str>) -> Vec<Vec<&'a str>> {
    axes.fold(vec![Vec::new()], |all, axis| {
        let with = |flags: &Vec<&'a str>, flag: &'a str| {
            let mut flags = flags.clone();
            flags.extend((flag != "-").then_some(flag));
            flags
        };
        all.iter().flat_map(|flags| axis.split('|').map(move |flag| with(flags, flag))).collect()
    })
}

/// An error and what caused it, on one line.
fn causes(error: &dyn Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Expands, validates and reflects one permutation.
fn reflect<'a>(
    find: &impl Fn(&str) -> Option<(&'a str, &'a str)>,
    shader: &str,
    flags: &[&str],
) -> Result<Reflection, String> {
    let file = format!("{shader}.wgsl");
    let at = |file: &str, number: usize, reason: &str| format!("shaders/{file}:{number}: {reason}");
    let lines = preprocess::expand(find, &file, flags).map_err(|f| at(&f.file, f.number, &f.reason))?;
    let text = preprocess::join(&lines);
    let place = |location: Option<naga::SourceLocation>, reason: String| {
        let line = location.and_then(|l| lines.get((l.line_number as usize).saturating_sub(1)));
        line.map_or_else(|| at(&file, 0, &reason), |line| at(line.file, line.number, &reason))
    };

    let module = naga::front::wgsl::parse_str(&text)
        .map_err(|error| place(error.location(&text), error.message().into()))?;
    // What every WebGPU device has; a shader that wants f16 arithmetic or subgroups says so by its flag.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let any = |of: &[&str]| flags.iter().any(|flag| of.contains(flag));
    let matrices = any(&["MATRIX8", "MATRIX16"]);
    capabilities.set(Capabilities::SHADER_FLOAT16, matrices || any(&["F16", "HALVES"]));
    capabilities.set(Capabilities::SUBGROUP, matrices || any(&["QUAD", "OCTET"]));
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, matrices);
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| place(error.location(&text), causes(error.as_inner())))?;

    let fault = |reason: &str| at(&file, 0, reason);
    let entry = match module.entry_points.as_slice() {
        [entry] if entry.name == "main" && entry.stage == naga::ShaderStage::Compute => entry,
        _ => return Err(fault("a shader has one entry point, the compute function main")),
    };
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|error| fault(&error.to_string()))?;
    let (mut uniform_bytes, mut sampler, mut bindings, mut workgroup_bytes) = (None, None, Vec::new(), 0);
    for (handle, variable) in module.global_variables.iter() {
        let size = layouter[variable.ty].size;
        match (variable.space, variable.binding) {
            (naga::AddressSpace::Uniform, Some(naga::ResourceBinding { group: 0, binding: 0 })) => {
                uniform_bytes = Some(size);
            }
            (
                naga::AddressSpace::Storage { access },
                Some(naga::ResourceBinding { group: 0, binding: binding @ 1..=8 }),
            ) => {
                let writes = access.contains(naga::StorageAccess::STORE);
                bindings.push((handle, binding, if writes { Access::Write } else { Access::Read }));
            }
            (
                naga::AddressSpace::Handle,
                Some(naga::ResourceBinding { group: 0, binding: binding @ 1..=8 }),
            ) => {
                let access = match module.types[variable.ty].inner {
                    naga::TypeInner::Sampler { comparison: false } => {
                        sampler = Some(binding);
                        continue;
                    }
                    naga::TypeInner::Image {
                        class: naga::ImageClass::Sampled { kind: naga::ScalarKind::Float, multi: false },
                        dim: naga::ImageDimension::D2,
                        arrayed: false,
                    } => Access::Numbers,
                    naga::TypeInner::Image {
                        class: naga::ImageClass::Sampled { kind: naga::ScalarKind::Uint, multi: false },
                        dim: naga::ImageDimension::D2,
                        arrayed: false,
                    } => Access::Words,
                    naga::TypeInner::Image {
                        class: naga::ImageClass::Storage { format, access: naga::StorageAccess::LOAD },
                        dim: naga::ImageDimension::D2,
                        arrayed: false,
                    } => Access::Stored(match format {
                        naga::StorageFormat::Rgba32Float => Texel::Floats,
                        naga::StorageFormat::Rgba16Float => Texel::Halves,
                        naga::StorageFormat::Rgba16Uint => Texel::Words16,
                        naga::StorageFormat::Rgba32Uint => Texel::Words32,
                        _ => return Err(fault("storage textures are of the formats that tensors have")),
                    }),
                    _ => return Err(fault("textures are of two dimensions, of f32 or u32")),
                };
                bindings.push((handle, binding, access));
            }
            (naga::AddressSpace::WorkGroup, None) => workgroup_bytes += size,
            (naga::AddressSpace::Private, None) => {}
            _ => {
                return Err(fault(
                    "bindings are a uniform block at 0 and storage buffers, textures or a sampler at 1 to 8, in group 0",
                ));
            }
        }
    }
    if let Some((_, binding, _)) =
        bindings.iter().find(|(handle, ..)| info.get_entry_point(0)[*handle].is_empty())
    {
        return Err(fault(&format!("binding {binding} is not used")));
    }
    let mut bindings: Vec<_> = bindings.into_iter().map(|(_, binding, access)| (binding, access)).collect();
    bindings.sort_unstable();
    if bindings.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
        return Err(fault("two variables share a binding"));
    }
    Ok(Reflection {
        shader: shader.into(),
        flags: flags.iter().map(|&f| f.into()).collect(),
        uniform_bytes: uniform_bytes.ok_or_else(|| fault("there is no uniform block at binding 0"))?,
        bindings,
        sampler,
        workgroup_size: entry.workgroup_size,
        workgroup_bytes,
    })
}
