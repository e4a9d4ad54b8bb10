//! A SentencePiece unigram model in little memory.
//!
//! The `tokenizers` crate's keeps a hash map for each node of its trie: 280 MB for a quarter of a million pieces such as UMT5's, more the less they
//! have in common. Here the pieces are one text and a list of their order, in which the beginnings of a prompt are found byte by byte: 16 bytes a
//! piece and its text. A prompt is cut into the same pieces, to the last bit of a score; everything around the model stays the crate's.

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tokenizers::models::unigram::{UnigramError, UnigramTrainer};
use tokenizers::{Model, Token};

/// Most pieces of a vocabulary: as many rows an embedding table may have.
pub(super) const MAX_PIECES: usize = 1 << 20;

/// How far a character that no piece has is below the least likely piece.
const UNKNOWN_PENALTY: f64 = 10.0;

/// A vocabulary: texts and what they score, by id.
#[derive(Default)]
pub(super) struct Pieces {
    /// The texts, one after the other.
    texts: String,
    /// Where each ends.
    ends: Vec<u32>,
    /// Logarithms of their likelihoods.
    scores: Vec<f64>,
}

impl Pieces {
    /// Adds the next id's.
    ///
    /// Fails, with the reason, where there are too many.
    pub(super) fn push(&mut self, text: &str, score: f64) -> Result<(), String> {
        let end = u32::try_from(self.texts.len() + text.len()).ok().filter(|_| self.len() < MAX_PIECES);
        let Some(end) = end else { return Err(format!("its vocabulary has more than {MAX_PIECES} pieces")) };
        self.texts.push_str(text);
        self.ends.push(end);
        self.scores.push(score);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// An id's text.
    pub(super) fn get(&self, id: usize) -> Option<&str> {
        let end = *self.ends.get(id)?;
        let start = id.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or(end));
        self.texts.get(start as usize..end as usize)
    }

    fn bytes(&self, id: u32) -> &[u8] {
        self.get(id as usize).unwrap_or_default().as_bytes()
    }

    fn shrink(&mut self) {
        self.texts.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.scores.shrink_to_fit();
    }
}

/// A vocabulary in which texts are looked up, and what becomes of text that it lacks.
pub(super) struct Unigram {
    pieces: Pieces,
    /// Ids in the order of their texts; of equal texts, the last id alone.
    sorted: Vec<u32>,
    /// The piece for what no other has.
    unknown: Option<usize>,
    /// What a character of it scores.
    unknown_score: f64,
    /// Whether what no piece has is spelt in bytes, `<0x41>`.
    byte_fallback: bool,
}

impl Unigram {
    /// Fails where the unknown piece is none of them.
    pub(super) fn new(
        mut pieces: Pieces,
        unknown: Option<usize>,
        byte_fallback: bool,
    ) -> Result<Self, UnigramError> {
        match unknown {
            Some(_) if pieces.len() == 0 => return Err(UnigramError::EmptyVocabulary),
            Some(id) if id >= pieces.len() => return Err(UnigramError::UnkIdNotInVocabulary),
            _ => {}
        }
        pieces.shrink();
        let mut sorted: Vec<u32> = (0..pieces.len() as u32).collect();
        sorted.sort_unstable_by(|&a, &b| pieces.bytes(a).cmp(pieces.bytes(b)).then(b.cmp(&a)));
        sorted.dedup_by(|next, kept| pieces.bytes(*next) == pieces.bytes(*kept));
        let least = pieces.scores.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(Self { pieces, sorted, unknown, unknown_score: least - UNKNOWN_PENALTY, byte_fallback })
    }

    /// The pieces that the text begins with, the shortest first: bytes and id.
    fn prefixes<'a>(&'a self, text: &'a [u8]) -> Prefixes<'a> {
        Prefixes { pieces: &self.pieces, candidates: &self.sorted, text, length: 0 }
    }

    /// The likeliest pieces that the text is made of; those of what is unknown are single characters.
    ///
    /// This is the crate's `encode_optimized`. Of equal scores the first found stays: from the text's start on, the shortest first, and the unknown
    /// piece last.
    fn best_path(&self, text: &str) -> Result<Vec<Segment>, UnigramError> {
        // For every place, the last piece of the best way there.
        let mut best: Vec<Option<Step>> = vec![None; text.len() + 1];
        for (start, character) in text.char_indices() {
            let rest = text.as_bytes().get(start..).unwrap_or_default();
            let here = best.get(start).copied().flatten().map_or(0.0, |step| step.score);
            let mut single = false;
            for (length, id) in self.prefixes(rest) {
                single |= length == character.len_utf8();
                let id = id as usize;
                let score = here + self.pieces.scores.get(id).copied().unwrap_or(f64::NEG_INFINITY);
                if let Some(there) = best.get_mut(start + length).filter(|there| improves(there, score)) {
                    *there = Some(Step { id, score, start });
                }
            }
            let score = here + self.unknown_score;
            let there = best.get_mut(start + character.len_utf8()).filter(|there| improves(there, score));
            if let Some(there) = there.filter(|_| !single) {
                let id = self.unknown.ok_or(UnigramError::MissingUnkId)?;
                *there = Some(Step { id, score, start });
            }
        }
        let mut segments = Vec::new();
        let mut end = text.len();
        while let Some(Step { id, start, .. }) = best.get(end).copied().flatten() {
            segments.push(Segment { id, range: start..end });
            end = start;
        }
        segments.reverse();
        Ok(segments)
    }

    /// The tokens of text that no piece has: a piece after all, where that is what its characters come to together; its bytes; or the unknown.
    fn unknown_tokens(&self, text: &str, unknown: usize, range: Range<usize>) -> Vec<Token> {
        let offsets = (range.start, range.end);
        let found = self.token_to_id(text);
        if found.is_none() && self.byte_fallback {
            let bytes = text.bytes().map(|byte| {
                let piece = format!("<0x{byte:02X}>");
                self.token_to_id(&piece).map(|id| Token::new(id, piece, offsets))
            });
            if let Some(bytes) = bytes.collect() {
                return bytes;
            }
        }
        vec![Token::new(found.unwrap_or(unknown as u32), text.to_owned(), offsets)]
    }
}

fn improves(there: &Option<Step>, score: f64) -> bool {
    there.is_none_or(|step| score > step.score)
}

#[derive(Clone, Copy)]
struct Step {
    id: usize,
    score: f64,
    start: usize,
}

struct Segment {
    id: usize,
    range: Range<usize>,
}

/// Pieces that a text begins with.
struct Prefixes<'a> {
    pieces: &'a Pieces,
    /// Ids of those that have the text's first `length` bytes, in order: one that has no more comes first.
    candidates: &'a [u32],
    text: &'a [u8],
    length: usize,
}

impl Iterator for Prefixes<'_> {
    type Item = (usize, u32);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let byte = Some(self.text.get(self.length)?);
            let next = |id: &u32| self.pieces.bytes(*id).get(self.length);
            let (_, from) = self.candidates.split_at(self.candidates.partition_point(|id| next(id) < byte));
            let (found, _) = from.split_at(from.partition_point(|id| next(id) == byte));
            self.candidates = found;
            self.length += 1;
            let first = *found.first()?;
            if self.pieces.bytes(first).len() == self.length {
                return Some((self.length, first));
            }
        }
    }
}

impl Model for Unigram {
    type Trainer = UnigramTrainer;

    fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        let segments = self.best_path(text)?;
        let mut tokens = Vec::with_capacity(segments.len());
        // What is unknown is one token, however many characters it has.
        for run in segments.chunk_by(|a, b| Some(a.id) == self.unknown && Some(b.id) == self.unknown) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let range = first.range.start..last.range.end;
            let piece = text.get(range.clone()).unwrap_or_default();
            match self.unknown.filter(|unknown| *unknown == first.id) {
                Some(unknown) => tokens.extend(self.unknown_tokens(piece, unknown, range)),
                None => {
                    tokens.push(Token::new(first.id as u32, piece.to_owned(), (range.start, range.end)));
                }
            }
        }
        Ok(tokens)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        let found = self.sorted.binary_search_by(|id| self.pieces.bytes(*id).cmp(token.as_bytes())).ok()?;
        self.sorted.get(found).copied()
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.pieces.get(id as usize).map(str::to_owned)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.sorted.iter().filter_map(|&id| Some((self.id_to_token(id)?, id))).collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.pieces.len()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a vocabulary is written as a part of its tokenizer.json".into())
    }

    fn get_trainer(&self) -> UnigramTrainer {
        UnigramTrainer::default()
    }
}

impl fmt::Debug for Unigram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pieces, unknown, byte_fallback, .. } = self;
        f.debug_struct("Unigram")
            .field("pieces", &pieces.len())
            .field("unknown", unknown)
            .field("byte_fallback", byte_fallback)
            .finish()
    }
}

impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Borrowed, unless it is escaped.
        #[derive(Deserialize)]
        struct Piece<'a>(#[serde(borrow)] Cow<'a, str>, f64);

        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pieces;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of pieces and their scores")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pieces, A::Error> {
                let mut pieces = Pieces::default();
                while let Some(Piece(text, score)) = list.next_element()? {
                    pieces.push(&text, score).map_err(serde::de::Error::custom)?;
                }
                Ok(pieces)
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

impl Serialize for Pieces {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = (0..self.len()).map(|id| self.get(id).unwrap_or_default());
        serializer.collect_seq(texts.zip(&self.scores))
    }
}

/// From the `model` of a `tokenizer.json`.
impl<'de> Deserialize<'de> for Unigram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            vocab: Pieces,
            unk_id: Option<usize>,
            #[serde(default)]
            byte_fallback: bool,
        }
        let Fields { vocab, unk_id, byte_fallback } = Fields::deserialize(deserializer)?;
        Self::new(vocab, unk_id, byte_fallback).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Unigram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut model = serializer.serialize_struct("Unigram", 4)?;
        model.serialize_field("type", "Unigram")?;
        model.serialize_field("unk_id", &self.unknown)?;
        model.serialize_field("vocab", &self.pieces)?;
        model.serialize_field("byte_fallback", &self.byte_fallback)?;
        model.end()
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::models::unigram::Unigram as Reference;

    type Vocabulary = Vec<(String, f64)>;

    fn ours(
        vocabulary: &Vocabulary,
        unknown: Option<usize>,
        byte_fallback: bool,
    ) -> Result<Unigram, UnigramError> {
        let mut pieces = Pieces::default();
        for (text, score) in vocabulary {
            pieces.push(text, *score).unwrap();
        }
        Unigram::new(pieces, unknown, byte_fallback)
    }

    /// Of few letters and few scores, so that pieces come twice, begin with each other and score the same; some are empty, some stand for bytes.
    fn vocabulary() -> impl Strategy<Value = Vocabulary> {
        let text =
            prop_oneof![8 => "[abé漢▁]{0,4}", 1 => "<0x(61|62|C3|A9|e6)>", 1 => "\\PC{0,3}", 1 => "a{0,40}"];
        let score = prop_oneof![4 => (-4i8..2).prop_map(f64::from), 2 => -20.0..0.0, 1 => -1e308..1e308];
        prop::collection::vec((text, score), 0..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        /// The crate's own model is the reference, in everything that is asked of one.
        #[test]
        fn equals_the_crate(
            vocabulary in vocabulary(),
            unknown in prop::option::weighted(0.8, 0..26usize),
            byte_fallback: bool,
            texts in prop::collection::vec("[abcé漢▁]{0,24}|\\PC{0,8}|a{0,60}", 1..4),
        ) {
            let reference = Reference::from(vocabulary.clone(), unknown, byte_fallback);
            let found = ours(&vocabulary, unknown, byte_fallback);
            let (reference, found) = match (reference, found) {
                (Ok(reference), Ok(found)) => (reference, found),
                (reference, found) => {
                    prop_assert_eq!(reference.unwrap_err().to_string(), found.unwrap_err().to_string());
                    return Ok(());
                }
            };
            for text in texts.iter().chain(vocabulary.iter().map(|(text, _)| text)) {
                match (reference.tokenize(text), found.tokenize(text)) {
                    (Ok(expected), Ok(found)) => prop_assert_eq!(expected, found),
                    (expected, found) => {
                        prop_assert_eq!(expected.unwrap_err().to_string(), found.unwrap_err().to_string());
                    }
                }
                prop_assert_eq!(reference.token_to_id(text), found.token_to_id(text));
            }
            for id in 0..vocabulary.len() as u32 + 1 {
                prop_assert_eq!(reference.id_to_token(id), found.id_to_token(id));
            }
            prop_assert_eq!(reference.get_vocab(), found.get_vocab());
            prop_assert_eq!(reference.get_vocab_size(), found.get_vocab_size());
            let json = serde_json::to_string(&found).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&reference).unwrap());
            // Reading may be off by the last bit, in both alike.
            let [expected, found] = [
                serde_json::from_str::<Reference>(&json).map(|model| serde_json::to_string(&model).unwrap()),
                serde_json::from_str::<Unigram>(&json).map(|model| serde_json::to_string(&model).unwrap()),
            ];
            prop_assert_eq!(expected.unwrap(), found.unwrap());
        }
    }

    /// Two ways that score the same: the one that was found first, which is the one whose last piece begins first.
    #[test]
    fn ties() {
        let pieces = [("a", -1.0), ("b", -1.0), ("ab", -2.0), ("aab", -3.0), ("aa", -2.0)];
        let pieces: Vocabulary = pieces.map(|(text, score)| (text.to_owned(), score)).to_vec();
        let found = ours(&pieces, None, false).unwrap().tokenize("aab").unwrap();
        assert_eq!(found.iter().map(|token| token.id).collect::<Vec<_>>(), [3]);
    }

    /// A piece as long as a file, one as long as a prompt, and prompts of nothing but their beginnings.
    #[test]
    fn long_pieces() {
        let pieces = [
            ("<unk>".to_owned(), 0.0),
            ("a".repeat(1 << 22), -1.0),
            ("a".repeat(3000), -1.0),
            ("a".to_owned(), -1.0),
        ];
        let found = ours(&pieces.to_vec(), Some(0), false).unwrap();
        assert_eq!(found.tokenize(&"a".repeat(2999)).unwrap().len(), 2999);
        assert_eq!(found.tokenize(&"a".repeat(3001)).unwrap().len(), 2);
    }

    #[test]
    fn too_many_pieces() {
        let mut pieces = Pieces::default();
        for _ in 0..MAX_PIECES {
            pieces.push("", 0.0).unwrap();
        }
        assert!(pieces.push("", 0.0).unwrap_err().contains("1048576"));
    }
}
