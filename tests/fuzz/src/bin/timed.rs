//! Runs a target for some seconds on mutations of the repository's own files, without libFuzzer and on any toolchain.
//!
//!     cargo run --release --bin timed -- TARGET SECONDS [SEED]
//!     cargo run --release --bin timed -- TARGET FILE
//!
//! The second form runs one input, such as one that was found.
//!
//! Every allocation is counted. The program ends with status 1, and the input in `artifacts/`, at the first panic, at the first input that takes more
//! than ten seconds, and at the first that has more allocated at once than [`allowed`] for its length.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use kinetoscope_fuzz::{TARGETS, Target};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Longest that one input may take.
const HANG: Duration = Duration::from_secs(10);

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

fn took(bytes: usize) {
    LARGEST.fetch_max(bytes, Ordering::Relaxed);
    PEAK.fetch_max(LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        took(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Most bytes of one allocation, and of all at once, for an input of this length: a buffer that grows to the length by doubling, and what an input of
/// no length may take.
fn allowed(target: &str, length: usize) -> (usize, usize) {
    let ([times, more], [times_all, more_all]) = match target {
        // Lists of texts, which take 24 bytes each, grow by doubling; see `LEAST_TEXT` and `MAX_VALUES`.
        "manifest" => ([3, 256 << 10], [16, 2 << 20]),
        // The tokenizers crate's cache has room for 10,000 words from the beginning.
        "gguf" => ([2, 320_000], [16, 4 << 20]),
        // And a piece may have two bytes, for which it takes eight of its score.
        "spiece" => ([8, 320_000], [32, 4 << 20]),
        // The automaton that looks for added tokens, and what compiles regular expressions.
        "tokenizer" => ([4, 16 << 20], [16, 32 << 20]),
        _ => ([2, 64 << 10], [16, 1 << 20]),
    };
    (times * length + more, times_all * length + more_all)
}

/// Files of the repository that a target begins with.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let golden = ["wan21", "wan22", "odd", "head128"].map(|case| root.join(format!("tests/golden/{case}/pipeline")));
    let folders: Vec<PathBuf> = golden.into_iter().chain([root.join("models/small")]).collect();
    let each = |names: &[&str]| {
        let paths = folders.iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
        paths.filter_map(|path| fs::read(path).ok()).collect::<Vec<_>>()
    };
    let single = |name: &str| fs::read(root.join("tests/golden/wan21/files").join(name)).ok();
    match target {
        "safetensors" => {
            let files = each(&["text_encoder/model.safetensors", "transformer/diffusion_pytorch_model.safetensors"]);
            files.into_iter().map(|file| short(&file)).collect()
        }
        "gguf" => ["text_encoder.gguf", "transformer.gguf", "vae.gguf"].into_iter().filter_map(single).collect(),
        "spiece" => single("spiece.model").into_iter().collect(),
        "index" => {
            let mut files = each(&["text_encoder/model.safetensors.index.json"]);
            files.push(br#"{"metadata": {}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#.to_vec());
            files
        }
        "manifest" => {
            let hash = "0".repeat(64);
            vec![
                format!(
                    r#"{{"format":"kinetoscope-manifest","version":1,"name":"n","licence":null,"components":{{"vae":{{"bytes":3000,"dtype":"f16"}}}},
                    "defaults":{{}},"chunk_bytes":1024,"part_bytes":4096,"files":[{{"path":"vae/a","bytes":3000,"parts":["parts/a.bin"],
                    "chunks":["{hash}","{hash}","{hash}"]}},{{"path":"b","bytes":0,"parts":[],"chunks":[]}}]}}"#
                )
                .into_bytes(),
            ]
        }
        "configs" => each(&[
            "model_index.json",
            "kinetoscope.json",
            "scheduler/scheduler_config.json",
            "transformer/config.json",
            "text_encoder/config.json",
            "vae/config.json",
        ]),
        _ => each(&["tokenizer/tokenizer.json"]),
    }
}

/// The header alone, and tensors without their bytes are an error: what is short is mutated more often where it counts.
fn short(file: &[u8]) -> Vec<u8> {
    let length = file.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) as usize;
    let data = file.len().min(8 + length + (64 << 10));
    file[..data].to_vec()
}

const WORDS: [&[u8]; 18] = [
    b"0",
    b"-1",
    b"1e999",
    b"18446744073709551615",
    b"4294967296",
    b"null",
    b"[]",
    b"{}",
    b"[[[[[[[[",
    b"\"",
    b",",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\0",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"../",
    b"\xed\xa0\x80",
    b"true",
];

/// A few changes; most of them where the header is.
fn mutate(random: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..1 << random.random_range(0..5) {
        if data.is_empty() {
            break;
        }
        let skewed = random.random_range(0.0..1.0f64).powi(random.random_range(1..4));
        let at = (skewed * data.len() as f64) as usize;
        let end = (at + random.random_range(1..64)).min(data.len());
        match random.random_range(0..10) {
            0 => data[at] ^= 1 << random.random_range(0..8),
            1 => data[at] = random.random_range(0..=255),
            2 => data.truncate(at),
            3 => drop(data.drain(at..end)),
            4 => {
                let copy = data[at..end].to_vec();
                let to = random.random_range(0..=data.len());
                data.splice(to..to, copy);
            }
            5 => {
                let other = &seeds[random.random_range(0..seeds.len())];
                let from = random.random_range(0..=other.len());
                let piece = other[from..(from + 64).min(other.len())].to_vec();
                data.splice(at..at, piece);
            }
            6 => drop(data.splice(at..end, WORDS[random.random_range(0..WORDS.len())].iter().copied())),
            7 => drop(data.splice(at..at, WORDS[random.random_range(0..WORDS.len())].iter().copied())),
            // Many times over, as a list has its values.
            8 => {
                let piece = data[at..end.min(at + random.random_range(1..24))].repeat(random.random_range(1..1 << 14));
                drop(data.splice(at..at, piece));
            }
            // A number of the text, by another one.
            _ => {
                let Some(start) = data[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) else { continue };
                let end = data[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(data.len(), |n| start + n);
                let number: u64 = random.random();
                let number = (number >> random.random_range(0..64)).to_string();
                data.splice(start..end, number.into_bytes());
            }
        }
    }
    data
}

fn fail(target: &str, data: &[u8], what: &str) -> ! {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts");
    let path = folder.join(format!("{target}-{:016x}", data.iter().fold(0u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })));
    let _ = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, data));
    eprintln!("{target}: {what}; the input is {}", path.display());
    exit(1);
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let target = arguments.first().and_then(|name| TARGETS.into_iter().find(|(known, _)| known == name));
    if let (Some(target), Some(Ok(data))) = (target, arguments.get(1).map(fs::read)) {
        return once(target, &data);
    }
    let (Some(target), Some(seconds)) = (target, arguments.get(1).and_then(|text| text.parse().ok())) else {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("timed TARGET SECONDS [SEED]; targets: {}", names.join(", "));
        exit(2);
    };
    let seed = arguments.get(2).and_then(|text| text.parse().ok()).unwrap_or(0);
    run(target, Duration::from_secs(seconds), seed);
}

/// Runs one input and says what it took.
fn once((name, target): Target, data: &[u8]) {
    let (before, now) = (LIVE.load(Ordering::Relaxed), Instant::now());
    PEAK.store(before, Ordering::Relaxed);
    LARGEST.store(0, Ordering::Relaxed);
    target(data);
    println!(
        "{name}: {} bytes in {:.0} ms; {} bytes in one allocation, {} in all",
        data.len(),
        now.elapsed().as_secs_f64() * 1e3,
        LARGEST.load(Ordering::Relaxed),
        PEAK.load(Ordering::Relaxed).saturating_sub(before),
    );
}

fn run((name, target): Target, time: Duration, seed: u64) {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "no file to begin with");
    let mut random = StdRng::seed_from_u64(seed);
    let current = Arc::new(Mutex::new(Vec::new()));
    let started = Instant::now();
    // Milliseconds since the start at which the current input was begun.
    let begun = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let watch = {
        let (current, begun, done) = (current.clone(), begun.clone(), done.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(200));
                let running = started.elapsed().saturating_sub(Duration::from_millis(begun.load(Ordering::Relaxed)));
                if running > HANG {
                    fail(name, &current.lock().unwrap(), "it takes more than ten seconds");
                }
            }
        }
    };
    thread::spawn(watch);
    std::panic::set_hook(Box::new(|_| {}));
    let (mut inputs, mut slowest, mut worst) = (0u64, Duration::ZERO, [0f64; 2]);
    while started.elapsed() < time {
        let data = mutate(&mut random, &seeds);
        *current.lock().unwrap() = data.clone();
        begun.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
        LARGEST.store(0, Ordering::Relaxed);
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let now = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&data)));
        slowest = slowest.max(now.elapsed());
        let found = [LARGEST.load(Ordering::Relaxed), PEAK.load(Ordering::Relaxed).saturating_sub(before)];
        if let Err(panic) = outcome {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            fail(name, &data, &format!("it panics: {}", message.unwrap_or_default()));
        }
        let (single, all) = allowed(name, data.len());
        if found[0] > single || found[1] > all {
            fail(name, &data, &format!("{} bytes at once and {} in all for {}", found[0], found[1], data.len()));
        }
        for (worst, found) in worst.iter_mut().zip(found) {
            *worst = worst.max(found as f64 / (data.len() + 4096) as f64);
        }
        inputs += 1;
    }
    done.store(true, Ordering::Relaxed);
    println!(
        "{name}: {inputs} inputs in {:.0} s, no panic; the slowest took {:.0} ms; at most {:.1} times an input's length and 4 KiB in one \
         allocation, {:.1} times in all",
        started.elapsed().as_secs_f64(),
        slowest.as_secs_f64() * 1e3,
        worst[0],
        worst[1],
    );
}
