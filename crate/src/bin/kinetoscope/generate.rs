//! `kinetoscope generate`.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use kinetoscope::gpu::GpuOptions;
use kinetoscope::pipeline::{Clip, Configs, Model, windows};
use kinetoscope::weights::LoadProgress;
use kinetoscope::{CancelFlag, Result};
use pollster::block_on;

use super::args::GenerateArgs;
use super::device;
use super::output::{Output, check_writable};
use super::tensors::{Dump, read_noise};

pub const BYTES: &str = "{msg:>9} {bar:30} {bytes}/{total_bytes}";
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
    let windows = windows(&options, &configs)?;
    let noise = match &args.noise {
        Some(path) => Some(read_noise(path, Clip::new(&options, &configs)?.latents)?),
        None => None,
    };
    let mut output = Output::new(&args.out)?;
    args.dump.as_deref().map_or(Ok(()), check_writable)?;

    let started = Instant::now();
    let gpu = GpuOptions { max_memory: args.memory.most, precision: args.precision, ..GpuOptions::default() };
    let executor = Rc::new(device::open(args.device.into(), gpu)?);
    let info = executor.info();
    eprintln!("device: {} ({}{})", info.name, info.device, if info.software { ", software" } else { "" });
    if let Some(reason) = &info.reason {
        eprintln!("note: {reason}");
    }

    let bar = progress(BYTES, "weights".into());
    let cancel = CancelFlag::new();
    let mut on_progress = |progress: LoadProgress| {
        bar.set_length(progress.total);
        bar.set_position(progress.loaded);
    };
    let model = Rc::new(block_on(Model::load(Rc::new(source), executor, &cancel, &mut on_progress))?);
    bar.finish_and_clear();
    let loaded = started.elapsed().as_secs_f64();

    let mut film = model.film(&options, &cancel)?;
    if let Some(noise) = noise {
        film.session().set_noise(noise)?;
    }
    if film.dropped_frames() > 0 {
        eprintln!(
            "note: {} of the given frames are made anew: they share a latent frame with frames to be made",
            film.dropped_frames()
        );
    }
    let (width, height, max_tokens) = (film.clip().width, film.clip().height, film.clip().max_tokens);
    let steps = film.clip().schedule.steps.len();
    let fps = model.info().fps;
    eprintln!("clip: {width}x{height}, {} frames at {fps} a second", film.frames());
    let mut dump = None;
    let (mut times, mut cached) = ([0.0; 3], 0);
    for window in 1.. {
        let text = block_on(film.encode())?;
        times[0] += text.seconds;
        if text.truncated {
            eprintln!(
                "note: the prompt is longer than the {max_tokens} tokens of this model: its last {} were left out",
                text.dropped
            );
        }
        if let Some(path) = &args.dump {
            let session = film.session();
            let (noise, prompt) = (block_on(session.latents())?, block_on(session.prompt_embeds())?);
            dump = Some(Dump::new(path, session.clip(), noise, prompt));
        }
        let bar = match windows.len() {
            1 => progress(COUNT, "steps".into()),
            many => progress(COUNT, format!("{window} of {many}").into()),
        };
        bar.set_length(steps as u64);
        while let Some(step) = block_on(film.step())? {
            times[1] += step.seconds;
            cached += usize::from(step.cached);
            bar.set_position(step.index as u64 + 1);
            if let Some(dump) = &mut dump {
                dump.steps.extend(block_on(film.session().latents())?);
            }
        }
        bar.finish_and_clear();

        let bar = progress(COUNT, "frames".into());
        bar.set_length(film.frames() as u64);
        while let Some(event) = block_on(film.next_frames())? {
            times[2] += event.seconds;
            bar.set_position((event.index + event.count) as u64);
            for frame in event.rgba.chunks_exact(event.rgba.len() / event.count.max(1)) {
                output.add(frame, width, height, fps)?;
            }
            if let Some(dump) = &mut dump {
                dump.frames.extend(block_on(film.session().frame_values(event.count))?);
            }
        }
        bar.finish_and_clear();
        if !film.next_window()? {
            break;
        }
    }

    output.finish()?;
    if let Some(dump) = dump {
        dump.write()?;
    }
    let [text, stepping, decoding] = times;
    let made = windows.len() * steps;
    eprintln!(
        "load {loaded:.2} s, text {text:.2} s, {made} steps of {:.2} s, decode {decoding:.2} s, in all {:.2} s: {}",
        stepping / made.max(1) as f64,
        started.elapsed().as_secs_f64(),
        args.out.display(),
    );
    if cached > 0 {
        eprintln!("{cached} steps went without a pass through the transformer");
    }
    if let Some(peak) = model.executor().peak_bytes() {
        eprintln!("device memory: at most {peak} bytes, planned {}", model.plan(&options)?.peak_bytes);
    }
    Ok(())
}

/// A bar on the terminal; indicatif draws nothing where standard error is none.
pub fn progress(template: &str, name: Cow<'static, str>) -> ProgressBar {
    // The templates are constants of this file: a broken one falls back to indicatif's own.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_message(name)
}
