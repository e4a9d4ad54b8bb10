//! `kinetoscope inspect`.

use std::path::Path;

use kinetoscope::config::ModelIndex;
use kinetoscope::pipeline::{Architecture, FILES, Inspection, Refusal};
use kinetoscope::weights::source::{FolderSource, exists, read_all};
use kinetoscope::weights::{Component, MetaValue, Overlay, Source};
use kinetoscope::{Error, Result};
use pollster::block_on;
use serde::Serialize;

use super::args::{InspectArgs, file_source, folder_source};

/// Longest config.json that is read.
const CONFIG_BYTES: u64 = 1 << 20;

/// Longest value of the metadata that is shown, in characters.
const SHOWN: usize = 100;

/// What a path holds.
#[derive(Serialize)]
struct Report {
    path: String,
    components: Vec<Inspection>,
    /// Why it cannot be run: a component, or for a pipeline that it is not whole or does not go together.
    refusal: Option<Refusal>,
}

/// Prints what a file or a folder is.
///
/// # Errors
/// [`Error::ReadFailed`] and [`Error::FileMissing`] where there is nothing to read; what headers' readers report.
pub fn run(args: &InspectArgs) -> Result<()> {
    let report = block_on(inspect(&args.path))?;
    if args.json {
        println!("{}", serde_json::json!(report));
    } else {
        show(&report);
    }
    Ok(())
}

async fn inspect(path: &Path) -> Result<Report> {
    let (components, refusal) = if path.is_dir() {
        folder(path).await?
    } else {
        let (source, name) = file_source(path)?;
        alone(Inspection::new(&Component::open_file(&source, &name).await?, None))
    };
    Ok(Report { path: path.display().to_string(), components, refusal })
}

fn alone(component: Inspection) -> (Vec<Inspection>, Option<Refusal>) {
    let refusal = component.refusal.clone();
    (vec![component], refusal)
}

/// A pipeline's folder, or a component's.
async fn folder(path: &Path) -> Result<(Vec<Inspection>, Option<Refusal>)> {
    let source = &*folder_source(path)?;
    let mut components = Vec::new();
    for (name, files) in FILES {
        if let Some(found) = Component::find_files(source, name, files).await? {
            components.push(with_config(source, &found, name).await?);
        }
    }
    if components.is_empty() && !exists(source, ModelIndex::PATH).await? {
        return component_folder(path).await;
    }
    let refusal = Architecture::open(source).await.err().map(|error| Refusal::from(&error));
    Ok((components, refusal))
}

async fn component_folder(path: &Path) -> Result<(Vec<Inspection>, Option<Refusal>)> {
    const PLACE: &str = "component";
    let at = |place: &str| {
        let mut overlay = Overlay::new(None);
        overlay.mount_folder(place, Box::new(FolderSource::new(path)));
        overlay
    };
    let names = FILES[0].1;
    let Some(found) = Component::find_files(&at(PLACE), PLACE, names).await? else {
        return Err(Error::FileMissing { path: path.join(ModelIndex::PATH).display().to_string() });
    };
    // What it is decides in which folder of a pipeline it belongs.
    let place = found.kind().map_or(PLACE, |kind| kind.folder());
    let source = at(place);
    let found = Component::open(&source, place, names).await?;
    Ok(alone(with_config(&source, &found, place).await?))
}

async fn with_config(source: &dyn Source, component: &Component, folder: &str) -> Result<Inspection> {
    let config = match read_all(source, &format!("{folder}/config.json"), CONFIG_BYTES).await {
        Ok(json) => Some(json),
        Err(Error::FileMissing { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(Inspection::new(component, config.as_deref()))
}

fn show(report: &Report) {
    for component in &report.components {
        show_component(component);
        println!();
    }
    match &report.refusal {
        None => println!("Kinetoscope can run {}", report.path),
        Some(refusal) => println!("Kinetoscope cannot run {}: {}", report.path, refusal.message),
    }
}

fn show_component(found: &Inspection) {
    let line = |name: &str, value: &str| println!("{name:<12}{value}");
    line("file", &found.file);
    line("container", &found.container);
    line("holds", found.kind.map_or("nothing that is known", |kind| kind.describe()));
    if let Some(model) = found.model {
        line("model", model);
    }
    let sizes: Vec<String> = found.sizes.iter().map(|(name, size)| format!("{name} {size}")).collect();
    if !sizes.is_empty() {
        line("sizes", &sizes.join(", "));
    }
    line("names", found.naming.describe());
    line(
        "tensors",
        &format!("{}, {} numbers, {}", found.tensors, count(found.parameters), bytes(found.bytes)),
    );
    for (format, share) in &found.formats {
        println!("  {format:<10}{:>6} tensors {:>12}", share.tensors, bytes(share.bytes));
    }
    if !found.unused.is_empty() {
        let first: Vec<&str> = found.unused.iter().take(3).map(String::as_str).collect();
        line("not needed", &format!("{} tensors, such as {}", found.unused.len(), first.join(", ")));
    }
    if found.tokenizer {
        line("tokenizer", "in the file");
    }
    for (key, value) in &found.metadata.0 {
        // Lists are of a tokenizer, which has a line of its own.
        if !matches!(value, MetaValue::Array(_)) {
            println!("  {key} = {}", shortened(&value.to_string()));
        }
    }
    match &found.refusal {
        None => line("runs", "yes"),
        Some(refusal) => line("runs", &format!("no: {}", refusal.message)),
    }
}

/// The beginning of a text, on one line.
fn shortened(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        line.push('…');
    }
    line
}

fn count(number: u64) -> String {
    match number as f64 {
        n if n >= 1e9 => format!("{:.3} billion", n / 1e9),
        n if n >= 1e6 => format!("{:.1} million", n / 1e6),
        _ => number.to_string(),
    }
}

fn bytes(number: u64) -> String {
    match number as f64 {
        n if n >= 1e9 => format!("{:.2} GB", n / 1e9),
        n => format!("{:.2} MB", n / 1e6),
    }
}
