//! HTML character references, decoded as Python's `html.unescape` and ftfy's `unescape_html` decode them.
//!
//! `html-escape`'s own decoder leaves references without a semicolon (`&copy 2024`) and numeric ones of the C1 range as they
//! are; only its table of names is used.

use html_escape::NAMED_ENTITIES;

/// Longest name that Python's pattern takes, in characters.
const MAX_NAME: usize = 32;

/// Longest name that ftfy's pattern takes, without `#` and semicolon.
const MAX_UNAMBIGUOUS: usize = 24;

/// Names that HTML also knows without a semicolon, sorted.
const LEGACY: &[&str] = &[
    "AElig", "AMP", "Aacute", "Acirc", "Agrave", "Aring", "Atilde", "Auml", "COPY", "Ccedil", "ETH",
    "Eacute", "Ecirc", "Egrave", "Euml", "GT", "Iacute", "Icirc", "Igrave", "Iuml", "LT", "Ntilde", "Oacute",
    "Ocirc", "Ograve", "Oslash", "Otilde", "Ouml", "QUOT", "REG", "THORN", "Uacute", "Ucirc", "Ugrave",
    "Uuml", "Yacute", "aacute", "acirc", "acute", "aelig", "agrave", "amp", "aring", "atilde", "auml",
    "brvbar", "ccedil", "cedil", "cent", "copy", "curren", "deg", "divide", "eacute", "ecirc", "egrave",
    "eth", "euml", "frac12", "frac14", "frac34", "gt", "iacute", "icirc", "iexcl", "igrave", "iquest",
    "iuml", "laquo", "lt", "macr", "micro", "middot", "nbsp", "not", "ntilde", "oacute", "ocirc", "ograve",
    "ordf", "ordm", "oslash", "otilde", "ouml", "para", "plusmn", "pound", "quot", "raquo", "reg", "sect",
    "shy", "sup1", "sup2", "sup3", "szlig", "thorn", "times", "uacute", "ucirc", "ugrave", "uml", "uuml",
    "yacute", "yen", "yuml",
];

/// What Windows-1252 has at 0x80 to 0x9F, which numeric references to C1 controls mean.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// `html.unescape(text)`: every reference replaced once; one that nobody knows stays.
pub(super) fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        result.push_str(before);
        rest = match after.strip_prefix('#') {
            Some(number) => numeric(number, &mut result),
            None => named(after, &mut result),
        }
        .unwrap_or_else(|| {
            result.push('&');
            after
        });
    }
    result.push_str(rest);
    result
}

/// ftfy's `unescape_html(text)`: only what no one would write by chance, references that end in a semicolon; names in
/// capitals too (`&EACUTE;`) where they have no other meaning.
pub(super) fn unescape_unambiguous(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        result.push_str(before);
        rest = match unambiguous(after) {
            Some((value, remaining)) => {
                result.push_str(&value);
                remaining
            }
            None => {
                result.push('&');
                after
            }
        };
    }
    result.push_str(rest);
    result
}

/// The value of the reference whose `&` is before `text`, and what follows it.
fn unambiguous(text: &str) -> Option<(String, &str)> {
    let end = text.bytes().take(MAX_UNAMBIGUOUS + 2).position(|b| b == b';')?;
    let (body, rest) = (text.get(..end)?, text.get(end + 1..)?);
    let name = body.strip_prefix('#').unwrap_or(body);
    if !(1..=MAX_UNAMBIGUOUS).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    if name.len() < body.len() {
        let mut value = String::new();
        // Digits with letters behind them are no reference: the semicolon would be left over.
        return numeric(text.get(1..=end)?, &mut value)?.is_empty().then_some((value, rest));
    }
    if let Some(value) = lookup(name) {
        return Some((value.to_owned(), rest));
    }
    if name.bytes().any(|b| b.is_ascii_lowercase()) || known_beginning(name).is_some() {
        return None;
    }
    Some((lookup(&name.to_ascii_lowercase())?.to_uppercase(), rest))
}

/// Decodes what follows `&#` into `result`; what remains to be read, or `None` if it is no reference.
fn numeric<'a>(text: &'a str, result: &mut String) -> Option<&'a str> {
    let (radix, text) = match text.strip_prefix(['x', 'X']) {
        Some(hexadecimal) => (16, hexadecimal),
        None => (10, text),
    };
    let end = text.find(|c: char| !c.is_digit(radix)).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())?;
    // Only a number too large for any character fails to parse.
    let code = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
    result.extend(character(code));
    Some(rest.strip_prefix(';').unwrap_or(rest))
}

/// The character that a numeric reference means; none for controls and for what Unicode sets aside as no character.
fn character(code: u32) -> Option<char> {
    match code {
        0 => Some('\u{fffd}'),
        0x80..=0x9f => WINDOWS_1252.get(code as usize - 0x80).copied(),
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => None,
        _ if code <= 0x10_ffff && code & 0xfffe == 0xfffe => None,
        _ => Some(char::from_u32(code).unwrap_or('\u{fffd}')),
    }
}

/// Decodes what follows `&` as a name into `result`; what remains to be read, or `None` if it is no reference.
fn named<'a>(text: &'a str, result: &mut String) -> Option<&'a str> {
    let stops = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | '#' | ';');
    let end = text.char_indices().take(MAX_NAME).find(|&(_, c)| stops(c)).map(|(at, _)| at);
    let end = end.or_else(|| text.char_indices().nth(MAX_NAME).map(|(at, _)| at)).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    if let Some(rest) = rest.strip_prefix(';')
        && let Some(value) = lookup(name)
    {
        result.push_str(value);
        return Some(rest);
    }
    let (value, length) = known_beginning(name)?;
    result.push_str(value);
    text.get(length..)
}

/// The longest beginning of `name` that is known without a semicolon: its value and its length in bytes.
fn known_beginning(name: &str) -> Option<(&'static str, usize)> {
    (2..=name.len()).rev().find_map(|length| {
        let beginning = name.get(..length)?;
        LEGACY.binary_search(&beginning).ok()?;
        Some((lookup(beginning)?, length))
    })
}

fn lookup(name: &str) -> Option<&'static str> {
    let index = NAMED_ENTITIES.binary_search_by(|(known, _)| known.cmp(&name.as_bytes())).ok()?;
    NAMED_ENTITIES.get(index).map(|&(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Expected values from Python 3.11's `html.unescape`.
    #[test]
    fn equals_python() {
        for (text, expected) in [
            ("&amp;&lt;&gt;&quot;&#39;&apos;", "&<>\"''"),
            ("&notit; &notin; &not; &not &no;", "¬it; ∉ ¬ ¬ &no;"),
            ("&copy2024 &COPY; &eacute&Eacute", "©2024 © éÉ"),
            ("&#128;&#x9F;&#150 &#0; &#1;&#xFFFF;|", "€Ÿ– \u{fffd} |"),
            ("&#xD800;&#1114112;&#99999999999999999999;", "\u{fffd}\u{fffd}\u{fffd}"),
            ("&#;&#x;&#xg;&;& &", "&#;&#x;&#xg;&;& &"),
            ("&NotEqualTilde;&fjlig;", "\u{2242}\u{338}fj"),
            (
                "&CounterClockwiseContourIntegral;&CounterClockwiseContourIntegralX;",
                "∳&CounterClockwiseContourIntegralX;",
            ),
            ("&amp;amp;", "&amp;"),
            ("&ampé &é;", "&é &é;"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    /// Expected values from ftfy 6.3's `unescape_html`.
    #[test]
    fn equals_ftfy() {
        for (text, expected) in [
            ("P&eacute;rez P&EACUTE;REZ STRA&SZLIG;E &nTILDE;", "Pérez PÉREZ STRASSE &nTILDE;"),
            ("&GTRLESS; &LTCIR; &GT; &AMP;", "&GTRLESS; &LTCIR; > &"),
            ("this&not that &copy 2024 &amp;amp;", "this&not that &copy 2024 &amp;"),
            ("&#65;&#x41;&#128;&#65a;&#;&#17;", "AA€&#65a;&#;"),
        ] {
            assert_eq!(unescape_unambiguous(text), expected, "{text}");
        }
    }

    #[test]
    fn tables_are_complete() {
        assert!(LEGACY.is_sorted());
        assert_eq!(LEGACY.len(), 106);
        for name in LEGACY {
            assert!(lookup(name).is_some(), "{name}");
        }
        assert_eq!(NAMED_ENTITIES.len(), 2125);
    }

    proptest! {
        #[test]
        fn takes_any_text(text in r"([&#;xX]|[a-z]{0,4}|amp|lt|not|[0-9a-f]{1,9}|\PC)*") {
            let decoded = [unescape(&text), unescape_unambiguous(&text)];
            if !text.contains('&') {
                prop_assert_eq!(decoded, [text.clone(), text]);
            }
        }
    }
}
