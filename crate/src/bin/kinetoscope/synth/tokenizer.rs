//! A small tokenizer of UMT5's kind: a piece for every printable character of ASCII and for every byte.

use serde_json::{Value, json};

/// Its `tokenizer.json`.
pub fn json() -> Value {
    const SPECIAL: [&str; 3] = ["<pad>", "</s>", "<unk>"];
    let special = SPECIAL.into_iter().map(|piece| json!([piece, 0.0]));
    let characters = ('!'..='~').map(|character| json!([character, -6.0]));
    let bytes = (0..=255u8).map(|byte| json!([format!("<0x{byte:02X}>"), -20.0]));
    let pieces: Vec<Value> = special.chain([json!(["▁", -4.0])]).chain(characters).chain(bytes).collect();
    let added: Vec<Value> = SPECIAL
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    let end = json!({"SpecialToken": {"id": "</s>", "type_id": 0}});
    let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": {
            "type": "TemplateProcessing", "single": [text("A"), end], "pair": [text("A"), end, text("B"), end],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": true, "vocab": pieces},
    })
}

#[cfg(test)]
mod tests {
    use kinetoscope::text::TextTokenizer;

    #[test]
    fn every_text_has_tokens() {
        let json = super::json().to_string();
        let tokenizer = TextTokenizer::from_bytes(json.as_bytes(), "t").unwrap();
        assert_eq!(tokenizer.vocab_size(), 3 + 1 + 94 + 256);
        let ids = tokenizer.encode("a b", 9).unwrap().ids;
        assert_eq!(ids.len(), 5);
        assert_eq!(ids.last(), Some(&1));
        // Three bytes, the space before them, the end.
        assert_eq!(tokenizer.encode("漢", 9).unwrap().ids.len(), 5);
    }
}
