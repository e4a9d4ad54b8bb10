//! A tokenizer from what a SentencePiece unigram model says of itself, in whatever file: what transformers makes of the same `spiece.model`.

use super::TextTokenizer;
use super::check::check_added;
use super::model::TokenModel;
use super::tokenizer::Inner;
use super::unigram::{Pieces, Unigram};
use tokenizers::AddedToken;
use tokenizers::normalizers::precompiled::Precompiled;
use tokenizers::normalizers::{NormalizerWrapper, Replace, Sequence, replace::ReplacePattern};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::{Template, TemplateProcessing};

/// SentencePiece's types of pieces, by its numbers, which are llama.cpp's.
pub(super) mod piece {
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
    pub const BYTE: i32 = 6;
}

/// Pieces for bytes, where there are any.
const BYTES: usize = 256;

/// The pieces, as far as they are read.
#[derive(Default)]
pub(super) struct SentencePiece {
    pieces: Pieces,
    /// The first one for what is unknown.
    unknown: Option<usize>,
    /// How many stand for a byte.
    bytes: usize,
    /// Texts of those that are found in a prompt before it is cut up: the special ones, and others.
    special: Vec<String>,
    defined: Vec<String>,
}

/// What the model says beside its pieces.
pub(super) struct Settings {
    /// The id of what is unknown; by default the piece of that type.
    pub unknown: Option<usize>,
    /// The id that ends a text.
    pub end: usize,
    /// Whether it is put there.
    pub add_end: bool,
    pub charsmap: Option<Precompiled>,
    pub remove_extra_whitespaces: bool,
    pub add_space_prefix: bool,
}

impl SentencePiece {
    /// Adds the next id's.
    ///
    /// Fails, with the reason, for a score that is none, or for more pieces than a model has.
    pub(super) fn push(&mut self, text: &str, score: f32, kind: i32) -> Result<(), String> {
        if !score.is_finite() {
            return Err(format!("the score of its piece {text:?} is {score}"));
        }
        let id = self.pieces.len();
        match kind {
            piece::UNKNOWN => self.unknown = self.unknown.or(Some(id)),
            piece::BYTE => self.bytes += 1,
            _ => {}
        }
        let found = match kind {
            piece::UNKNOWN | piece::CONTROL => Some(&mut self.special),
            piece::USER_DEFINED => Some(&mut self.defined),
            _ => None,
        };
        if let Some(found) = found.filter(|_| !text.is_empty()) {
            found.push(text.to_owned());
        }
        match kind {
            // They fill the vocabulary up to the table's rows, with scores so low that the unknown's, which is below the lowest, would be of no
            // use: here they have a text that no prompt has, and control pieces' score.
            piece::UNUSED => self.pieces.push(&format!("\0{id}"), 0.0),
            _ => self.pieces.push(text, f64::from(score)),
        }
    }

    /// The tokenizer of all of them.
    ///
    /// Fails, with the reason, where the settings name ids that no piece has.
    pub(super) fn build(self, settings: Settings) -> Result<TextTokenizer, String> {
        let Self { pieces, unknown, bytes, special, defined } = self;
        let failed = |error: tokenizers::Error| format!("its tokenizer: {error}");
        check_added(special.iter().chain(&defined).map(String::as_str))?;
        let count = pieces.len();
        let Some(end) = pieces.get(settings.end).map(str::to_owned) else {
            return Err(format!("its end of sequence is piece {} of {count}", settings.end));
        };
        let model = Unigram::new(pieces, settings.unknown.or(unknown), bytes == BYTES)
            .map_err(|error| format!("its tokenizer: {error}"))?;
        let mut tokenizer = Inner::new(TokenModel::Unigram(model));

        let mut normalizers: Vec<NormalizerWrapper> = settings.charsmap.into_iter().map(Into::into).collect();
        if settings.remove_extra_whitespaces {
            let spaces = Replace::new(ReplacePattern::Regex(" {2,}".to_owned()), " ").map_err(failed)?;
            // Those at the ends are the prompt cleaning's; transformers' own conversion leaves what a character map makes of them.
            normalizers.push(spaces.into());
        }
        tokenizer.with_normalizer(Some(Sequence::new(normalizers))).map_err(failed)?;
        let prepend = match settings.add_space_prefix {
            true => PrependScheme::Always,
            false => PrependScheme::Never,
        };
        tokenizer.with_pre_tokenizer(Some(Metaspace::new('▁', prepend, true)));
        if settings.add_end {
            let template = TemplateProcessing::builder()
                .single(Template::try_from(vec!["$A", &end])?)
                .special_tokens(vec![(end.clone(), settings.end as u32)])
                .build()
                .map_err(|error| error.to_string())?;
            tokenizer.with_post_processor(Some(template));
        }
        let added = |special| move |text| AddedToken::from(text, special).normalized(false);
        tokenizer.add_special_tokens(special.into_iter().map(added(true))).map_err(failed)?;
        tokenizer.add_tokens(defined.into_iter().map(added(false))).map_err(failed)?;
        Ok(TextTokenizer::new(tokenizer))
    }
}
