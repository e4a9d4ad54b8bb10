//! SentencePiece's compiled character map, checked before it is used.
//!
//! The map is a trie of bytes, a Darts double array, with the texts that it leads to behind it. `spm_precompiled`, which reads it, takes
//! every number in it on trust: a damaged map would end the program at some character of some prompt.

use tokenizers::normalizers::precompiled::Precompiled;

/// The map of these bytes: the trie's length in bytes, its units, then texts that end with a zero.
///
/// Fails, with the reason, where the map is none or some text would lead out of it.
pub(super) fn checked_charsmap(bytes: &[u8]) -> Result<Precompiled, String> {
    let damaged = || "its character map is damaged".to_owned();
    let (length, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (trie, texts) =
        rest.split_at_checked(length).filter(|_| length.is_multiple_of(4)).ok_or_else(damaged)?;
    let units: Vec<u32> = trie.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
    let texts = std::str::from_utf8(texts).map_err(|_| damaged())?;
    walk(&units, texts).ok_or_else(damaged)?;
    Precompiled::from(bytes).map_err(|_| damaged())
}

/// Goes wherever a key can lead; `None` where that is outside of the trie or inside of a character.
fn walk(units: &[u32], texts: &str) -> Option<()> {
    let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
    let mut seen = vec![false; units.len()];
    let mut open = vec![offset(*units.first()?)];
    while let Some(node) = open.pop() {
        if std::mem::replace(seen.get_mut(node)?, true) {
            continue;
        }
        for byte in 1..=0xff_u8 {
            let child = node ^ usize::from(byte);
            let unit = *units.get(child)?;
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                continue;
            }
            let next = child ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let at = units.get(next)? & !(1 << 31);
                texts.is_char_boundary(at as usize).then_some(())?;
            }
            open.push(next);
        }
    }
    Some(())
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::weights::gguf::GgufHeader;
    use crate::weights::source::{FolderSource, Source};
    use pollster::block_on;
    use proptest::prelude::*;
    use tokenizers::{NormalizedString, Normalizer};

    /// The map of the tiny text encoder's file.
    fn shipped() -> Vec<u8> {
        const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/wan21/files");
        let (source, path) = (FolderSource::new(FILES), "text_encoder.gguf");
        let header = block_on(GgufHeader::read(&source, path)).unwrap();
        let map = header.metadata.array("tokenizer.ggml.precompiled_charsmap").unwrap();
        block_on(source.read(path, map.range.clone())).unwrap()
    }

    fn normalized(map: &Precompiled, text: &str) -> String {
        let mut text = NormalizedString::from(text);
        map.normalize(&mut text).unwrap();
        text.get().to_owned()
    }

    #[test]
    fn a_whole_map_is_used() {
        let map = checked_charsmap(&shipped()).unwrap();
        assert_eq!(normalized(&map, "ﬁve…\u{3000}①ｱ！"), "five... 1ア!");
    }

    #[test]
    fn lengths_are_not_trusted() {
        let whole = shipped();
        for length in 0..whole.len().min(2000) {
            let _ = checked_charsmap(&whole[..length]);
        }
        for length in [u32::MAX, u32::MAX - 3, 6, 0] {
            assert!(
                checked_charsmap(&[&length.to_le_bytes()[..], &whole[4..]].concat()).is_err(),
                "{length}"
            );
        }
    }

    proptest! {
        /// Whatever numbers are changed to: refused, or nothing that is normalised leads out of the map.
        #[test]
        fn damaged_maps(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..4)) {
            let mut bytes = shipped();
            let units = u32::from_le_bytes(*bytes.first_chunk().unwrap()) as usize / 4;
            for (at, unit) in changes {
                let at = 4 + 4 * at.index(units);
                bytes[at..at + 4].copy_from_slice(&unit.to_le_bytes());
            }
            if let Ok(map) = checked_charsmap(&bytes) {
                for text in ["ﬁve…\u{3000}①ｱ！", "e\u{301}\u{a0}ﬂ\t", "～ＡＺａｚ０９", "\u{1}\u{7f}\u{ff}\u{fff}\u{ffff}\u{10ffff}"] {
                    normalized(&map, text);
                }
            }
        }
    }
}
