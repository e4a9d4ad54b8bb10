//! What a `tokenizer.json` may not have: what the `tokenizers` crate would end the program at, or would take more memory for than the file's length
//! tells.

use super::charsmap::checked_charsmap;
use crate::config::{MAX_VALUES, values};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use tokenizers::PostProcessorWrapper;
use tokenizers::normalizers::precompiled::Precompiled;
use tokenizers::processors::template::TemplateProcessing;

/// Most bytes of the added tokens' texts together. UMT5's have 5,000; the automaton that looks for them takes a hundred for each.
pub(super) const MAX_ADDED: usize = 1 << 15;

/// Most that the patterns may come to, see [`weight`]. T5's come to 8, GPT-4o's to 200; what is allowed takes 30 MB at most, while it is compiled.
const MAX_PATTERNS: usize = 1 << 8;

/// Where a part has parts.
const LISTS: [&str; 4] = ["normalizers", "pretokenizers", "processors", "decoders"];

/// What a pattern weighs at least, and how many bytes of text weigh as much as a class.
const LEAST_WEIGHT: usize = 4;
const TEXT_WEIGHT: usize = 64;

/// Finds broken JSON, a character map that cannot be decoded or is damaged inside, words of no length, patterns that are large once compiled, and more
/// of anything beside the vocabulary than a tokenizer has. What is wrong with the post-processor shows once it is read, see [`check_processor`].
pub(super) fn check(tokenizer_json: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        normalizer: Option<&'a RawValue>,
        #[serde(borrow)]
        pre_tokenizer: Option<&'a RawValue>,
        #[serde(borrow)]
        post_processor: Option<&'a RawValue>,
        #[serde(borrow)]
        decoder: Option<&'a RawValue>,
        #[serde(borrow, default)]
        added_tokens: Vec<Added<'a>>,
    }
    #[derive(Deserialize)]
    struct Added<'a> {
        #[serde(borrow)]
        content: Cow<'a, str>,
    }
    let text = std::str::from_utf8(tokenizer_json).map_err(|e| e.to_string())?;
    let document: Document = serde_json::from_str(text).map_err(|e| e.to_string())?;
    check_added(document.added_tokens.iter().map(|token| token.content.as_ref()))?;
    let mut patterns = 0;
    let Document { normalizer, pre_tokenizer, post_processor, decoder, .. } = document;
    for part in [normalizer, pre_tokenizer, post_processor, decoder].into_iter().flatten() {
        if values(part.get().as_bytes()) > MAX_VALUES {
            return Err(format!("a part of it has more than {MAX_VALUES} values"));
        }
        let part: Value = serde_json::from_str(part.get()).map_err(|e| e.to_string())?;
        if !part.is_object() {
            return Err("a part of it is no object".to_owned());
        }
        check_part(&part, &mut patterns)?;
    }
    if patterns > MAX_PATTERNS {
        return Err("its patterns are too large".to_owned());
    }
    Ok(())
}

/// Whether tokens beside the vocabulary are no more than a tokenizer has.
pub(super) fn check_added<'a>(mut texts: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let total = texts.try_fold(0, |total: usize, text| {
        let total = total + text.len();
        (total <= MAX_ADDED).then_some(total)
    });
    total.map(drop).ok_or_else(|| format!("its added tokens have more than {MAX_ADDED} bytes"))
}

/// A normalizer, pre-tokenizer, post-processor or decoder and those inside of it. What a part is shows in its fields: with a type that nobody knows
/// it is taken for whatever it looks like.
fn check_part(part: &Value, patterns: &mut usize) -> Result<(), String> {
    // Serde would take an array's values for the fields of such a part, in which nothing would show what they are.
    let parts = LISTS.iter().filter_map(|list| part.get(list)?.as_array()).flatten();
    if parts.into_iter().any(|part| !part.is_object()) {
        return Err("a part of it is no object".to_owned());
    }
    if part.get("precompiled_charsmap").is_some()
        || part.get("type").is_some_and(|kind| kind == "Precompiled")
    {
        let map = part.get("precompiled_charsmap").and_then(Value::as_str).unwrap_or_default();
        checked_charsmap(&base64::decode(map).map_err(|e| e.to_string())?)?;
        serde_json::from_str::<Precompiled>(&part.to_string()).map_err(|e| e.to_string())?;
    }
    // Of the type `FixedLength`.
    if part.get("length").is_some_and(|length| length == 0) {
        return Err("its pre-tokenizer makes words of no length".to_owned());
    }
    if let Some(pattern) = part.get("Regex").and_then(Value::as_str) {
        *patterns = patterns.saturating_add(weight(pattern));
    }
    if let Some(text) = part.get("String").and_then(Value::as_str) {
        *patterns = patterns.saturating_add(LEAST_WEIGHT + text.len() / TEXT_WEIGHT);
    }
    match part {
        Value::Array(parts) => parts.iter().try_for_each(|part| check_part(part, patterns)),
        Value::Object(parts) => parts.values().try_for_each(|part| check_part(part, patterns)),
        _ => Ok(()),
    }
}

/// Whether a post-processor that was read can be applied to a text: by one template at most, because a second has not one text but the pieces of the
/// first to deal with; of that text, and not of a second; and of special tokens that it defines. As it was read, because the crate reads a part in many
/// forms, an array in the place of an object among them.
pub(super) fn check_processor(processor: &PostProcessorWrapper) -> Result<(), String> {
    let mut templates = Vec::new();
    collect_templates(processor, &mut templates);
    let template = match templates[..] {
        [] => return Ok(()),
        [template] => serde_json::to_value(template).map_err(|e| e.to_string())?,
        _ => return Err("its post-processors have more than one template".to_owned()),
    };
    let defined = |id: &str| template.get("special_tokens").is_some_and(|all| all.get(id).is_some());
    for piece in template.get("single").and_then(Value::as_array).into_iter().flatten() {
        let id = |kind| piece.get(kind).and_then(|piece| piece.get("id")?.as_str());
        if id("Sequence").is_some_and(|id| id != "A") {
            return Err("the template of its post-processor for one text asks for a second".to_owned());
        }
        if let Some(id) = id("SpecialToken").filter(|id| !defined(id)) {
            return Err(format!("the template of its post-processor uses {id}, which it does not define"));
        }
    }
    Ok(())
}

fn collect_templates<'a>(processor: &'a PostProcessorWrapper, found: &mut Vec<&'a TemplateProcessing>) {
    match processor {
        PostProcessorWrapper::Template(template) => found.push(template),
        PostProcessorWrapper::Sequence(parts) => {
            parts.as_ref().iter().for_each(|part| collect_templates(part, found));
        }
        _ => {}
    }
}

/// How large the program is that a pattern becomes: its classes, each of which may be all letters of all alphabets, as often as counted
/// repetitions repeat it. The crate's engine has a limit of its own, 10 MiB for a pattern, that it has no way to lower.
fn weight(pattern: &str) -> usize {
    let bytes = pattern.as_bytes();
    let marks = bytes.iter().filter(|byte| matches!(byte, b'\\' | b'[' | b'.')).count();
    let counts = pattern.match_indices('{').filter_map(|(at, _)| {
        // `\x{3000}` is a character.
        let escape = at.checked_sub(2).and_then(|from| pattern.get(from..at));
        let (inside, _) = pattern.get(at + 1..)?.split_once('}')?;
        let numbers = inside.split(',').filter_map(|number| number.trim().parse::<usize>().ok());
        numbers.max().filter(|_| !matches!(escape, Some("\\x" | "\\u" | "\\U")))
    });
    let repeated = counts.fold(1, |product: usize, count| product.saturating_mul(count.max(1)));
    repeated.saturating_mul(LEAST_WEIGHT + marks + pattern.len() / TEXT_WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reason(part: &str, value: Value) -> String {
        check(json!({ part: value }).to_string().as_bytes()).unwrap_err()
    }

    /// What tokenizers of large language models split a text at: more than T5's have.
    #[test]
    fn patterns_in_use() {
        let patterns = [
            " {2,}",
            r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            r"[\x{4e00}-\x{9999}\u{3000}]",
        ];
        for pattern in patterns {
            let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
            check(json!({"pre_tokenizer": split}).to_string().as_bytes()).unwrap();
            assert!(weight(pattern) < 250, "{pattern} {}", weight(pattern));
        }
    }

    #[test]
    fn large_patterns() {
        for pattern in
            [r"\w{200}", "(a{100}){100}", r"(?=\w{999})", "a{99999999999}b{9999999999}", "a{7,900}"]
        {
            let replace = json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": ""});
            assert!(reason("normalizer", replace.clone()).contains("patterns"), "{pattern}");
            assert!(
                reason("decoder", json!({"type": "Sequence", "decoders": [replace]})).contains("patterns")
            );
        }
        let text = json!({"type": "Replace", "pattern": {"String": "a".repeat(1 << 14)}, "content": ""});
        assert!(reason("normalizer", text).contains("patterns"));
        let many = vec![json!({"type": "Replace", "pattern": {"Regex": "a"}, "content": ""}); 200];
        assert!(reason("normalizer", json!({"type": "Sequence", "normalizers": many})).contains("patterns"));
    }

    #[test]
    fn templates() {
        let template = |piece: Value| {
            json!({"type": "TemplateProcessing", "single": [piece, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}})
        };
        let checked = |processor: Value| check_processor(&serde_json::from_value(processor).unwrap());
        let good = template(json!({"SpecialToken": {"id": "</s>", "type_id": 0}}));
        let sequence = |parts: [&Value; 2]| json!({"type": "Sequence", "processors": parts});
        let bytes =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        checked(good.clone()).unwrap();
        checked(sequence([&bytes, &good])).unwrap();
        for piece in
            [json!({"SpecialToken": {"id": "<s>", "type_id": 0}}), json!({"SpecialToken": ["<s>", 0]})]
        {
            assert!(checked(template(piece)).unwrap_err().contains("<s>"));
        }
        for piece in [json!({"Sequence": {"id": "B", "type_id": 0}}), json!({"Sequence": ["B", 0]})] {
            let bad = template(piece);
            assert!(checked(sequence([&bytes, &bad])).unwrap_err().contains("second"));
        }
        assert!(checked(sequence([&good, &good])).unwrap_err().contains("more than one"));
    }

    #[test]
    fn more_than_a_tokenizer_has() {
        assert!(reason("post_processor", json!({"a": vec![0; 5000]})).contains("values"));
        let token = json!({"id": 0, "content": "a".repeat(1 << 14)});
        assert!(reason("added_tokens", json!([token, token, token])).contains("added tokens"));
        let length = json!({"type": "FixedLength", "length": 0});
        assert!(reason("pre_tokenizer", length.clone()).contains("no length"));
        let several = |part: Value| json!({"type": "Sequence", "pretokenizers": [part]});
        assert!(reason("pre_tokenizer", several(length)).contains("no length"));
        for part in [json!(["FixedLength", 0]), json!([0])] {
            assert!(reason("pre_tokenizer", part.clone()).contains("no object"));
            assert!(reason("pre_tokenizer", several(part)).contains("no object"));
        }
    }
}
