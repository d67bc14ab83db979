//! `tokens.txt`: a token and its id on each line, as sherpa-onnx and icefall read it.

use crate::error::{Error, Result, Stage};
use crate::text::TokenTable;

/// Writes `tokens.txt`; the blank is written as `<blk>`, by which the readers recognize it.
pub(super) fn tokens_txt(tokens: &TokenTable) -> Result<Vec<u8>> {
    let mut text = String::new();
    for (id, token) in tokens.tokens().iter().enumerate() {
        let is_blank = id == tokens.blank() as usize;
        let error = |problem: String| {
            Error::new(Stage::Model, problem).at(format!("token {id}")).hint("rename the token")
        };
        if !is_blank && ["<blk>", "<eps>", "<blank>"].contains(&token.as_str()) {
            return Err(error(format!("sherpa-onnx would read `{token}` as the blank")));
        }
        match token.as_str() {
            _ if is_blank => text.push_str(&format!("<blk> {id}\n")),
            // A line with only a number is the space.
            " " => text.push_str(&format!("{id}\n")),
            token if token.is_empty() || token.contains(char::is_whitespace) => {
                return Err(error(format!("expected a token without spaces, found {token:?}")));
            }
            token => text.push_str(&format!("{token} {id}\n")),
        }
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(tokens: &[&str], blank: u32) -> TokenTable {
        TokenTable::new(tokens.iter().map(|t| t.to_string()).collect(), blank).expect("a good table")
    }

    #[test]
    fn tokens_are_written_with_their_ids() {
        let text = tokens_txt(&table(&["_", "▁one", " "], 0)).expect("good tokens");
        assert_eq!(text, "<blk> 0\n▁one 1\n2\n".as_bytes());
        assert!(tokens_txt(&table(&["a", "b c"], 0)).is_err());
        assert!(tokens_txt(&table(&["a", "<eps>"], 0)).is_err());
    }
}
