//! Tokens and features for a model whose file does not contain them.

use std::collections::HashMap;

use super::ImportOptions;
use crate::error::{Error, Result, Stage};
use crate::features::FbankOptions;
use crate::text::TokenTable;
use crate::text::tokens::WORD_START;

/// Names of the blank, in the order in which sherpa-onnx looks for them.
const BLANKS: [&str; 5] = ["<blk>", "<eps>", "<blank>", "<pad>", "[PAD]"];

/// Maximum number of tokens.
const MAX_TOKENS: usize = 1 << 20;

/// Parses a token table: `symbol id` per line as in sherpa-onnx and Kaldi (a line with only a number is the
/// space), or a JSON list in the order of the ids. The blank is `<blk>`, `<eps>`, `<blank>`, `<pad>` or
/// `[PAD]`, else id 0. If the tokens are whole words without a word-start mark, the mark is added, so that
/// the words are separated by spaces.
///
/// # Errors
/// Names the line that is malformed or repeats an id; reports gaps in the ids and repeated tokens.
pub fn parse_tokens(text: &str) -> Result<TokenTable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let tokens: Vec<String> = if text.trim_start().starts_with('[') && text.trim_end().ends_with(']') {
        serde_json::from_str(text).map_err(|e| Error::new(Stage::Model, format!("tokens: {e}")))?
    } else {
        by_line(text)?
    };
    let blank = BLANKS.iter().find_map(|b| tokens.iter().position(|t| t == b)).unwrap_or(0);
    let tokens = if are_words(&tokens, blank) { marked_words(tokens, blank) } else { tokens };
    TokenTable::new(tokens, blank as u32)
}

/// Whether a token is not text: `<unk>`, `[UNK]`, `#0`.
fn is_special(token: &str) -> bool {
    let within = |open: char, close: char| token.starts_with(open) && token.ends_with(close);
    let is_disambiguation =
        token.strip_prefix('#').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    within('<', '>') || within('[', ']') || is_disambiguation
}

/// Whether a table's tokens are words (or phones) rather than subwords: most are longer than a letter, and
/// no token marks the start or end of a word.
fn are_words(tokens: &[String], blank: usize) -> bool {
    let text: Vec<&str> = tokens
        .iter()
        .enumerate()
        .filter(|(id, token)| *id != blank && !is_special(token))
        .map(|(_, token)| token.as_str())
        .collect();
    // The marks of SentencePiece, GPT-2, WordPiece, subword-nmt and wav2vec 2.0.
    let parts_words = |token: &&str| {
        [WORD_START, 'Ġ'].iter().any(|mark| token.starts_with(*mark))
            || token.len() > 2 && (token.starts_with("##") || token.ends_with("@@"))
            || token.ends_with("</w>")
            || [" ", "|"].contains(token)
    };
    let long = text.iter().filter(|token| token.chars().nth(1).is_some()).count();
    2 * long > text.len() && !text.iter().any(parts_words)
}

fn marked_words(tokens: Vec<String>, blank: usize) -> Vec<String> {
    let mark = |(id, token): (usize, String)| match id == blank || is_special(&token) {
        true => token,
        false => format!("{WORD_START}{token}"),
    };
    tokens.into_iter().enumerate().map(mark).collect()
}

fn by_line(text: &str) -> Result<Vec<String>> {
    let mut found: HashMap<usize, String> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let error = |problem: String| Error::new(Stage::Model, problem).at(format!("line {}", number + 1));
        let line = line.trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() {
            continue;
        }
        let (symbol, id) = line.trim_end().rsplit_once([' ', '\t']).unwrap_or(("", line.trim()));
        let symbol = if symbol.trim().is_empty() { " " } else { symbol.trim() };
        let id: usize = id.parse().map_err(|_| error(format!("expected `symbol id`, found {line:?}")))?;
        if id >= MAX_TOKENS {
            return Err(error(format!("expected an id below {MAX_TOKENS}, found {id}")));
        }
        if found.insert(id, symbol.into()).is_some() {
            return Err(error(format!("the id {id} occurs twice")));
        }
    }
    let count = found.len();
    (0..count)
        .map(|id| {
            found.remove(&id).ok_or_else(|| {
                Error::new(
                    Stage::Model,
                    format!(
                        "expected the ids 0 to {}, found {count} tokens and none with the id {id}",
                        count - 1
                    ),
                )
            })
        })
        .collect()
}

/// Parses features: the name of a preset (`kaldi`: samples in ±1; `wenet`: samples in ±32768), or JSON with
/// the fields of [`FbankOptions`], where missing ones have the values of Kaldi's preset.
///
/// # Errors
/// When the text is neither.
pub fn parse_features(text: &str) -> Result<FbankOptions> {
    match text.trim() {
        "kaldi" | "sherpa" | "icefall" => Ok(FbankOptions::default()),
        "wenet" => Ok(FbankOptions { sample_scale: 32768.0, ..FbankOptions::default() }),
        json if json.starts_with('{') => {
            serde_json::from_str(json).map_err(|e| Error::new(Stage::Usage, format!("features: {e}")))
        }
        other => Err(Error::new(
            Stage::Usage,
            format!("expected features as JSON or one of kaldi, wenet; found {other:?}"),
        )),
    }
}

/// The value of the metadata entry `key`.
pub(super) fn entry<'a>(entries: &'a [(String, String)], key: &str) -> Option<&'a str> {
    entries.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

/// The file's metadata entries with keys that hearken does not use, without repetitions.
pub(super) fn foreign_entries(entries: &[(String, String)]) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = Vec::new();
    for (key, value) in entries {
        let ours = key.starts_with("hearken.") || super::super::metadata::is_hearken_key(key);
        if !ours && !kept.iter().any(|(k, _)| k == key) {
            kept.push((key.clone(), value.clone()));
        }
    }
    kept
}

/// Kaldi's features with `num_features` mel bins.
pub(super) fn default_features(
    num_features: usize,
    options: &ImportOptions,
    notes: &mut Vec<String>,
) -> FbankOptions {
    if options.features.is_none() {
        notes.push(format!("the file does not describe its features: assuming {num_features} log-mel features as Kaldi computes them; set them if that is wrong"));
    }
    FbankOptions { num_mel_bins: num_features, ..FbankOptions::default() }
}

/// The tokens of the metadata entry `tokens`, or numbers.
pub(super) fn default_tokens(
    count: usize,
    entries: &[(String, String)],
    options: &ImportOptions,
    notes: &mut Vec<String>,
) -> Result<TokenTable> {
    if let Some(tokens) = &options.tokens {
        return Ok(tokens.clone());
    }
    if let Some(tokens) =
        entry(entries, "tokens").and_then(|text| parse_tokens(text).ok()).filter(|t| t.len() == count)
    {
        return Ok(tokens);
    }
    notes.push(
        "the file does not contain its tokens: they are numbered, and the blank is 0; set them if that is wrong".into(),
    );
    let name = |id: usize| if id == 0 { "<blk>".into() } else { format!("▁{id}") };
    TokenTable::new((0..count).map(name).collect(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_files_are_read() {
        let table = parse_tokens("<blk> 0\n▁one 1\n2\n# 3\n").expect("good");
        assert_eq!(table.tokens(), ["<blk>", "▁one", " ", "#"]);
        let table = parse_tokens("a 0\nb 1\n<blk> 2\n").expect("good");
        assert_eq!(table.blank(), 2);
        assert_eq!(parse_tokens("[\"<blk>\", \"x\"]").expect("good").len(), 2);
        for bad in ["a 0\nb 0\n", "a 0\nb 2\n", "a x\n", "", "a 99999999999\n"] {
            assert!(parse_tokens(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn whole_words_are_separated_and_subwords_are_not() {
        let text = |tokens: &str, ids: &[u32]| parse_tokens(tokens).expect("good").decode(ids);
        assert_eq!(text("<blk> 0\none 1\ntwo 2\n<unk> 3\n", &[1, 2, 1]), "one two one");
        assert_eq!(text("[\"<blk>\", \"oh\", \"a\", \"six\"]", &[2, 3, 1]), "a six oh");
        assert_eq!(text("<blk> 0\n▁o 1\nne 2\n▁two 3\n", &[1, 2, 3]), "one two");
        assert_eq!(text("<blk> 0\na 1\nb 2\nsh 3\n", &[1, 2, 3]), "absh", "letters, no words");
        assert_eq!(text("<blk> 0\nab 1\ncd 2\n3\n", &[1, 2, 3, 1]), "abcd ab", "a space separates them");
        assert_eq!(text("<blk> 0\nab 1\n##cd 2\nef 3\n", &[1, 2]), "ab##cd");
    }

    #[test]
    fn features_are_read() {
        assert_eq!(parse_features("wenet").expect("known").sample_scale, 32768.0);
        assert_eq!(parse_features("{\"num_mel_bins\": 40}").expect("good").num_mel_bins, 40);
        assert!(parse_features("{\"bins\": 40}").is_err());
        assert_eq!(parse_features("mfcc").expect_err("unknown").exit_code(), 2);
    }
}
