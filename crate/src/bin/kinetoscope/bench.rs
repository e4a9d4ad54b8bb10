//! `kinetoscope bench`.

use kinetoscope::bench::Bench;
use kinetoscope::bench::report::{CaseReport, Header, Measurement, Outcome};
use kinetoscope::executor::DeviceChoice;
use kinetoscope::gpu::GpuOptions;
use kinetoscope::{CancelFlag, Error, Result};
use pollster::block_on;
use serde_json::json;

use super::args::BenchArgs;
use super::output::failed;

/// Runs the cases, and prints a line for each.
///
/// # Errors
/// A device that cannot be opened or was lost, a file that cannot be written; the first case that failed, after all have run.
pub fn run(args: &BenchArgs) -> Result<()> {
    let device = DeviceChoice::from(args.device);
    let cancel = CancelFlag::new();
    let options = GpuOptions { precision: args.precision, ..GpuOptions::default() };
    let bench = block_on(Bench::open(device, options, args.seconds_per_case, &cancel))?;
    let mut cases = bench.select(&args.suite)?;
    if let Some(part) = &args.only {
        cases.retain(|case| case.id.contains(part));
        if cases.is_empty() {
            return Err(Error::OptionInvalid {
                option: "only".into(),
                expected: format!("part of the name of a case of {}", args.suite.join(", ")),
                found: part.clone(),
            });
        }
    }
    if args.list {
        cases.iter().for_each(|case| println!("{}", case.id));
        return Ok(());
    }
    let header = bench.header();
    print_header(&header);
    let mut reports = Vec::new();
    for case in cases {
        let report = block_on(bench.run(&case.id, &cancel))?;
        print_report(&report);
        reports.push(report);
        // After every case: what was measured is kept when a later one ends the program.
        if let Some(path) = &args.json {
            let json = json!({ "header": header, "cases": reports });
            std::fs::write(path, format!("{json:#}\n")).map_err(|error| failed(path, &error))?;
        }
    }
    let fault = reports.into_iter().find_map(|report| match report.outcome {
        Outcome::Failed { reason, .. } => {
            Some(Error::DeviceError { reason: format!("{}: {reason}", report.case.id) })
        }
        _ => None,
    });
    fault.map_or(Ok(()), Err)
}

fn print_header(header: &Header) {
    let device = &header.device;
    let kind = if device.software { ", a software adapter" } else { "" };
    println!("kinetoscope {} on {} ({}{kind})", header.kinetoscope, device.name, device.backend);
    let limits: Vec<String> = device.limits.iter().map(|(name, value)| format!("{name} {value}")).collect();
    println!("features: {}; barrier-free kernels: {}", device.features.join(", "), device.barrier_free);
    println!("limits: {}", limits.join(", "));
    println!("f32 peak {:.1} GFLOP/s, latency of a submit {}", header.peak / 1e9, time(header.latency));
    println!(
        "{:<44} {:>10} {:>19} {:>10} {:>7} {:>9} {:>6}  kernels",
        "", "median", "min-max", "GFLOP/s", "% peak", "error", "disp."
    );
}

fn print_report(report: &CaseReport) {
    let id = &report.case.id;
    match &report.outcome {
        Outcome::Measured(measurement) => print_measurement(id, measurement),
        Outcome::Skipped { reason } => println!("{id:<44} skipped: {reason}"),
        Outcome::Failed { code, reason } => println!("{id:<44} FAILED ({code}): {reason}"),
    }
}

fn print_measurement(id: &str, found: &Measurement) {
    let seconds = &found.seconds;
    let kernels: Vec<String> = match &found.operations {
        // What has many kernels has a table of its own.
        Some(_) => Vec::new(),
        None => found
            .kernels
            .iter()
            .map(|(name, count)| if *count == 1 { name.clone() } else { format!("{count} {name}") })
            .collect(),
    };
    println!(
        "{id:<44} {:>10} {:>19} {:>10.2} {:>7.1} {:>9} {:>6}  {}",
        time(seconds.median),
        format!("{}-{}", time(seconds.min), time(seconds.max)),
        found.gflops,
        found.percent_of_peak,
        found.error.map_or("-".into(), |error| format!("{:.1e}", error.relative)),
        found.dispatches,
        kernels.join(", "),
    );
    if let Some(operations) = &found.operations {
        println!("    by operation ({}):", operations.by);
        for op in &operations.times {
            println!(
                "    {:<20} {:>6} {:>10} {:>6.1} % {:>10.2} GFLOP/s",
                op.name,
                op.dispatches,
                time(op.seconds),
                op.percent,
                op.flops as f64 / op.seconds.max(1e-12) / 1e9,
            );
        }
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds >= 10.0 => format!("{seconds:.1} s"),
        _ if seconds >= 1.0 => format!("{seconds:.2} s"),
        _ if seconds >= 1e-3 => format!("{:.2} ms", seconds * 1e3),
        _ => format!("{:.1} us", seconds * 1e6),
    }
}
