#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinetoscope_fuzz::spiece(data));
