//! `kinetoscope generate`.

use std::rc::Rc;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use kinetoscope::executor::Executor;
use kinetoscope::gpu::GpuOptions;
use kinetoscope::pipeline::{Clip, Configs, Model};
use kinetoscope::weights::LoadProgress;
use kinetoscope::{CancelFlag, Result};
use pollster::block_on;

use super::args::GenerateArgs;
use super::output::{Output, check_writable};
use super::tensors::{Dump, read_noise};

const BYTES: &str = "{msg:>9} {bar:30} {bytes}/{total_bytes}";
const COUNT: &str = "{msg:>9} {bar:30} {pos}/{len}  {eta} left";

/// Makes a clip and writes it.
///
/// # Errors
/// Those of the pipeline, and [`kinetoscope::Error::WriteFailed`].
pub fn run(args: &GenerateArgs) -> Result<()> {
    // Whatever can be wrong with the request is found before the weights are read, not after minutes of work.
    let source = args.model.source()?;
    let configs = block_on(Configs::read(&source))?;
    let options = args.options(&configs)?;
    let clip = Clip::new(&options, &configs)?;
    let noise = args.noise.as_ref().map(|path| read_noise(path, clip.latents)).transpose()?;
    let output = Output::new(&args.out)?;
    args.dump.as_deref().map_or(Ok(()), check_writable)?;

    let started = Instant::now();
    let executor = Rc::new(block_on(Executor::open(args.device.into(), &GpuOptions::default()))?);
    let info = executor.info();
    eprintln!("device: {} ({}{})", info.name, info.device, if info.software { ", software" } else { "" });
    if let Some(reason) = &info.reason {
        eprintln!("note: {reason}");
    }

    let bar = progress(BYTES, "weights");
    let cancel = CancelFlag::new();
    let mut on_progress = |progress: LoadProgress| {
        bar.set_length(progress.total);
        bar.set_position(progress.loaded);
    };
    let model = Rc::new(block_on(Model::load(Rc::new(source), executor, &cancel, &mut on_progress))?);
    bar.finish_and_clear();
    let loaded = started.elapsed().as_secs_f64();

    let mut session = model.session(&options, &cancel)?;
    if let Some(noise) = noise {
        session.set_noise(noise)?;
    }
    let text = block_on(session.encode())?;
    if text.truncated {
        eprintln!(
            "note: the prompt is longer than the {} tokens of this model: its last {} were left out",
            clip.max_tokens, text.dropped
        );
    }
    if let Some(dropped) = clip.timeline.as_ref().map(|timeline| timeline.dropped).filter(|n| *n > 0) {
        eprintln!(
            "note: {dropped} of the given frames are made anew: they share a latent frame with frames to be made"
        );
    }
    let mut dump = match &args.dump {
        Some(path) => {
            Some(Dump::new(path, &clip, block_on(session.latents())?, block_on(session.prompt_embeds())?))
        }
        None => None,
    };

    let bar = progress(COUNT, "steps");
    bar.set_length(clip.schedule.steps.len() as u64);
    let mut step_seconds = 0.0;
    while let Some(step) = block_on(session.step())? {
        step_seconds += step.seconds;
        bar.set_position(step.index as u64 + 1);
        if let Some(dump) = &mut dump {
            dump.steps.extend(block_on(session.latents())?);
        }
    }
    bar.finish_and_clear();

    let bar = progress(COUNT, "frames");
    bar.set_length(clip.frames as u64);
    let mut decode_seconds = 0.0;
    let mut frames = Vec::with_capacity(clip.frames);
    while let Some(event) = block_on(session.next_frames())? {
        decode_seconds += event.seconds;
        bar.set_position((event.index + event.count) as u64);
        frames.extend(event.rgba.chunks_exact(event.rgba.len() / event.count.max(1)).map(<[u8]>::to_vec));
        if let Some(dump) = &mut dump {
            dump.frames.extend(block_on(session.frame_values(event.count))?);
        }
    }
    bar.finish_and_clear();

    output.write(&frames, clip.width, clip.height, model.info().fps)?;
    if let Some(dump) = dump {
        dump.write()?;
    }
    eprintln!(
        "load {loaded:.2} s, text {:.2} s, {} steps of {:.2} s, decode {decode_seconds:.2} s, in all {:.2} s: {}",
        text.seconds,
        clip.schedule.steps.len(),
        step_seconds / clip.schedule.steps.len().max(1) as f64,
        started.elapsed().as_secs_f64(),
        args.out.display(),
    );
    Ok(())
}

/// A bar on the terminal; indicatif draws nothing where standard error is none.
fn progress(template: &str, name: &'static str) -> ProgressBar {
    // The templates are constants of this file: a broken one falls back to indicatif's own.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_message(name)
}
