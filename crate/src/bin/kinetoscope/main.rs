//! The command line: the same pipeline as in the browser, on a native GPU or on the CPU.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod args;
mod bench;
mod convert;
mod device;
mod device_args;
mod footage;
mod generate;
mod inspect;
mod output;
mod pack;
mod parts;
mod plan;
mod synth;
mod tensors;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let result = match args::Cli::parse().command {
        args::Command::Generate(args) => generate::run(&args),
        args::Command::Plan(args) => plan::run(&args),
        args::Command::Inspect(args) => inspect::run(&args),
        args::Command::Pack(args) => pack::run(&args),
        args::Command::Synth(args) => synth::run(&args),
        args::Command::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What a driver says may have several lines; whoever reads this program's errors by line gets one.
            let message = error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ");
            eprintln!("error[{}]: {message}", error.code());
            ExitCode::FAILURE
        }
    }
}
