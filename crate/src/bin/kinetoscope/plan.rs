//! `kinetoscope plan`.

use kinetoscope::gpu::{Limits, Precision, Tiles};
use kinetoscope::pipeline::{Advice, Alternative, Architecture, Clip, Obstacle, Verdict};
use kinetoscope::{Error, Result};
use pollster::block_on;
use serde_json::json;

use super::args::PlanArgs;

/// Prints what a clip takes, or the nearest clips that the device can make.
///
/// # Errors
/// Those of the pipeline; the nearest possible size is in the message.
pub fn run(args: &PlanArgs) -> Result<()> {
    let architecture = block_on(Architecture::open(&args.model.source()?))?;
    let clip = Clip::new(&args.clip.options(), &architecture.configs)?;
    let guaranteed = Limits::GUARANTEED;
    let max_binding = args.max_binding.unwrap_or(guaranteed.max_binding);
    let limits = Limits {
        max_binding,
        // A device that binds more has buffers as large.
        max_buffer: guaranteed.max_buffer.max(max_binding),
        // Whether the device gains by these is not known: with them it takes more memory.
        winograd_channels: Limits::HARDWARE_WINOGRAD_CHANNELS,
        tiles: match args.precision {
            Precision::I8 => Tiles { bytes: true, few: 0, ..guaranteed.tiles },
            Precision::F32 | Precision::F16 => guaranteed.tiles,
        },
        ..guaranteed
    };
    let advice = Advice::new(&architecture, &args.clip.options(), Some(&limits), args.memory.most)?;
    let Advice { download, verdict, alternatives } = advice;
    let plan = match verdict {
        Verdict::Fits { plan } => plan,
        Verdict::TooLarge { obstacle: Obstacle { what, needed, allowed } } => {
            if args.json {
                println!("{}", json!({ "download": download, "alternatives": alternatives }));
            } else {
                for Alternative { remedy, width, height, frames, peak_bytes, .. } in alternatives {
                    let peak = mebibytes(peak_bytes);
                    println!("{remedy}: {width}x{height}, {frames} frames would fit, with a peak of {peak}");
                }
            }
            return Err(Error::DeviceTooSmall { what, needed, allowed });
        }
    };
    let wall = plan.wall().map_or("", |stage| stage.stage);
    if args.json {
        let mut json = json!(plan);
        if let Some(fields) = json.as_object_mut() {
            fields.insert("download".into(), json!(download));
            fields.insert("wall".into(), json!(wall));
            fields.insert("alternatives".into(), json!(alternatives));
        }
        println!("{json}");
        return Ok(());
    }
    println!("{}x{}, {} frames, {} steps", clip.width, clip.height, clip.frames, clip.schedule.steps.len());
    let parts: Vec<String> =
        download.iter().map(|(component, bytes)| format!("{component} {}", mebibytes(*bytes))).collect();
    println!("download {}: {}", mebibytes(download.values().sum()), parts.join(", "));
    println!(
        "{:<8} {:>12} {:<10} {:>12} {:>12} {:>12} {:>10}",
        "", "weights", "", "temporaries", "in all", "binding", "TFLOP"
    );
    for stage in &plan.stages {
        println!(
            "{:<8} {:>12} {:<10} {:>12} {:>12} {:>12} {:>10.3}",
            stage.stage,
            mebibytes(stage.weight_bytes),
            stage.weights,
            mebibytes(stage.temporary_bytes),
            mebibytes(stage.total_bytes),
            mebibytes(stage.largest_binding),
            stage.flops as f64 / 1e12,
        );
    }
    println!(
        "weights {}, peak {} ({wall}), largest binding {}",
        mebibytes(plan.weight_bytes),
        mebibytes(plan.peak_bytes),
        mebibytes(plan.largest_binding)
    );
    for Alternative { remedy, peak_bytes, .. } in alternatives {
        println!(
            "the transformer's weights are read again at every step; with {remedy} they would stay, peak {}",
            mebibytes(peak_bytes)
        );
    }
    Ok(())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
