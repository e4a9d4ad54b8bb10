//! Prompts cleaned as diffusers' `WanPipeline` cleans them before it tokenizes.

use super::entities::{unescape, unescape_unambiguous};
use plsfix::TextFixerConfig;
use std::borrow::Cow;

/// The prompt as `WanPipeline` gives it to the tokenizer: mojibake, curly quotes, ligatures and widths mended
/// (`ftfy.fix_text`), HTML references decoded twice, white space collapsed and trimmed.
///
/// Source: diffusers `pipelines/wan/pipeline_wan.py`, `prompt_clean`.
///
/// `plsfix` stands in for ftfy 6.3. Of 13,000 random texts, made to provoke it, 44 came out otherwise: single words of
/// mojibake that one of the two takes for text (`schГ¶n` is mended here and not by ftfy, `l'Å“uvre` the other way round),
/// and the fullwidth macron U+FFE3, which loses its accent.
pub fn prompt_clean(prompt: &str) -> String {
    let text = unescape(&unescape(&fix_text(prompt)));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `ftfy.fix_text` with its default settings: from the first line on that has a `<` in it, references stay.
fn fix_text(text: &str) -> String {
    let text = remove_terminal_escapes(text);
    let markup = text.find('<').map(|at| text[..at].rfind('\n').map_or(0, |line| line + 1));
    let (plain, markup) = text.split_at(markup.unwrap_or(text.len()));
    fix_plain(plain) + &plsfix(markup)
}

/// Decodes references and mends the text, in turns: `&amp;amp;rsquo;` takes three.
fn fix_plain(text: &str) -> String {
    const MAX_TURNS: usize = 16;
    let mut fixed = plsfix(&unescape_unambiguous(text));
    for _ in 1..MAX_TURNS {
        let decoded = unescape_unambiguous(&fixed);
        if decoded == fixed {
            break;
        }
        fixed = plsfix(&decoded);
    }
    fixed
}

/// plsfix without its decoding of references, which no setting turns off and which takes `&GTRLESS;` and C1 controls for
/// others than ftfy does.
fn plsfix(text: &str) -> String {
    // plsfix cuts longer lines at this byte, in the middle of a character if it falls there.
    let config = TextFixerConfig { max_decode_length: i32::MAX, ..TextFixerConfig::default() };
    // A form feed is ASCII, white space, and left alone by every fix.
    let hidden = text.replace('\u{c}', "\t").replace('&', "\u{c}");
    plsfix::fix_text(&hidden, Some(&config)).replace('\u{c}', "&")
}

/// Without `ESC [ numbers letter`: plsfix's own pattern for these never matches.
fn remove_terminal_escapes(text: &str) -> Cow<'_, str> {
    let mut pieces = text.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default();
    if first.len() == text.len() {
        return Cow::Borrowed(text);
    }
    let mut result = first.to_owned();
    for piece in pieces {
        let numbers = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match numbers.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(rest) => result.push_str(rest),
            None => {
                result.push_str("\u{1b}[");
                result.push_str(piece);
            }
        }
    }
    Cow::Owned(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Texts and what diffusers makes of them; see tests/golden.
    #[test]
    fn equals_diffusers() {
        #[derive(serde::Deserialize)]
        struct Golden {
            input: String,
            output: String,
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/clean.json");
        let golden: Vec<Golden> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert!(golden.len() > 30);
        for Golden { input, output } in golden {
            assert_eq!(prompt_clean(&input), output, "{input:?}");
        }
    }

    /// Expected values from diffusers 0.42.1 with ftfy 6.3.1.
    #[test]
    fn references_around_markup() {
        for (text, expected) in [
            ("&rsquo; <b> &rsquo;", "’ <b> ’"),
            ("&rsquo;\n<b> &rsquo;\n&rsquo;", "' <b> ’ ’"),
            ("&amp;amp;amp;amp;rsquo;", "'"),
            ("&EACUTE;&#x80;", "É€"),
        ] {
            assert_eq!(prompt_clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn terminal_escapes() {
        let text = "\u{1b}[1;31mred\u{1b}[0m \u{1b}[ \u{1b}[12";
        assert_eq!(remove_terminal_escapes(text), "red \u{1b}[ \u{1b}[12");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any text, and any text in a wrong encoding.
        #[test]
        fn takes_any_text(text: String, bytes: Vec<u8>, moji in r"[ÃÂâíðÐ€™œ\x80-\xbf &<;\x1b\[\r\n]*") {
            let latin: String = bytes.iter().map(|&byte| char::from(byte)).collect();
            for text in [text, latin, moji] {
                let clean = prompt_clean(&text);
                prop_assert!(!clean.contains("  ") && clean.trim() == clean, "{:?}", clean);
            }
        }
    }
}
