//! `kinetoscope plan`.

use kinetoscope::Result;
use kinetoscope::gpu::Limits;
use kinetoscope::pipeline::{Architecture, Clip, ClipPlan};
use pollster::block_on;

use super::args::PlanArgs;

/// Prints what a clip takes.
///
/// # Errors
/// Those of the pipeline; the nearest possible size is in the message.
pub fn run(args: &PlanArgs) -> Result<()> {
    let architecture = block_on(Architecture::open(&args.model.source()?))?;
    let clip = Clip::new(&args.clip.options(), &architecture.configs)?;
    let limits = Limits {
        max_binding: args.max_binding.unwrap_or(Limits::GUARANTEED.max_binding),
        ..Limits::GUARANTEED
    };
    let plan = ClipPlan::new(&architecture, &clip, Some(&limits), None, args.memory.most)?;
    if args.json {
        println!("{}", serde_json::json!(plan));
        return Ok(());
    }
    println!("{}x{}, {} frames, {} steps", clip.width, clip.height, clip.frames, clip.schedule.steps.len());
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
    println!("weights {}, peak {}", mebibytes(plan.weight_bytes), mebibytes(plan.peak_bytes));
    Ok(())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
