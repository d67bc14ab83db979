//! Reading and writing of ARPA files, the common text format of n-gram models.

use std::io::{BufRead, Read, Write};
use std::path::Path;

use super::key::Packing;
use super::sorter::{Budget, Entry, Sorter};
use super::trie::TrieBuilder;
use super::vocabulary::{MAX_WORD_BYTES, Vocabulary};
use super::{LOG_ZERO, MAX_ORDER, NgramModel, NgramSink, UNKNOWN};
use crate::error::{Error, Result, Stage, io};
use crate::text::column;

/// Writes a model as an ARPA file, n-gram by n-gram.
pub struct ArpaWriter<'a, W> {
    vocabulary: &'a Vocabulary,
    output: W,
    name: &'a Path,
    order: usize,
    section: usize,
}

impl<'a, W: Write> ArpaWriter<'a, W> {
    /// A writer to `output`, which errors call `name`.
    pub fn new(vocabulary: &'a Vocabulary, output: W, name: &'a Path) -> Self {
        Self { vocabulary, output, name, order: 0, section: 0 }
    }

    fn put(&mut self, write: impl FnOnce(&mut W) -> std::io::Result<()>) -> Result<()> {
        write(&mut self.output).map_err(|e| io(Stage::Output, self.name, e))
    }
}

impl<W: Write> NgramSink for ArpaWriter<'_, W> {
    fn begin(&mut self, counts: &[u64]) -> Result<()> {
        self.order = counts.len();
        self.put(|output| {
            writeln!(output, "\\data\\")?;
            counts.iter().zip(1..).try_for_each(|(count, order)| writeln!(output, "ngram {order}={count}"))
        })
    }

    fn ngram(&mut self, words: &[u32], log_prob: f32, backoff: f32) -> Result<()> {
        while self.section < words.len() {
            self.section += 1;
            let section = self.section;
            self.put(|output| writeln!(output, "\n\\{section}-grams:"))?;
        }
        let (vocabulary, longest) = (self.vocabulary, words.len() == self.order);
        self.put(|output| {
            write!(output, "{log_prob}")?;
            for (&word, space) in words.iter().zip(std::iter::once('\t').chain(std::iter::repeat(' '))) {
                write!(output, "{space}{}", vocabulary.word(word))?;
            }
            if longest { writeln!(output) } else { writeln!(output, "\t{backoff}") }
        })
    }

    fn end(&mut self) -> Result<()> {
        while self.section < self.order {
            self.section += 1;
            let section = self.section;
            self.put(|output| writeln!(output, "\n\\{section}-grams:"))?;
        }
        self.put(|output| {
            writeln!(output, "\n\\end\\")?;
            output.flush()
        })
    }
}

/// Maximum length of a line in bytes.
const MAX_LINE_BYTES: u64 = (MAX_ORDER * (MAX_WORD_BYTES + 1) + 100) as u64;

/// Reads an ARPA file.
///
/// Back-off weights may be missing (0), and so may `<unk>`, `<s>` and `</s>`; `<UNK>` is read as `<unk>`;
/// text before `\data\` is ignored. `memory` limits the memory for sorting, in bytes.
///
/// # Errors
/// When the input cannot be read or is not an ARPA file; names the line and the column.
pub fn read_arpa(input: impl BufRead, memory: usize) -> Result<NgramModel> {
    let mut lines = Lines { input, number: 0, line: String::new() };
    let model = read_model(&mut lines, memory);
    model.map_err(|e| e.within(format!("line {}", lines.number)))
}

fn read_model<R: BufRead>(lines: &mut Lines<R>, memory: usize) -> Result<NgramModel> {
    let expected = "`\\data\\`, with which an ARPA file begins";
    let hint = "`hearken lm` makes a language model of a text";
    while lines.next_filled(expected).map_err(|e| e.hint(hint))? != "\\data\\" {}
    let mut counts = Vec::new();
    let mut section = lines.next_filled("`ngram 1=` and a number")?.to_string();
    while let Some(rest) = section.strip_prefix("ngram ") {
        counts.push(count(rest, counts.len() + 1)?);
        section = lines.next_filled("`\\1-grams:`")?.to_string();
    }
    if !(1..=MAX_ORDER).contains(&counts.len()) {
        let problem =
            format!("expected n-grams of orders from 1 to at most {MAX_ORDER}, found {}", counts.len());
        return Err(wrong(problem));
    }
    expect(&section, "\\1-grams:")?;
    let vocabulary = read_words(lines, counts[0])?;
    let mut builder = TrieBuilder::default();
    // The declared counts are not trusted for allocation.
    builder.begin(&vec![0; counts.len()])?;
    for (id, &(log_prob, backoff)) in vocabulary.values.iter().enumerate() {
        builder.ngram(&[id as u32], log_prob, backoff)?;
    }
    let reader = SectionReader {
        vocabulary: &vocabulary.words,
        memory,
        packing: Packing::new(vocabulary.words.len()),
    };
    if reader.packing.bits(counts.len()) > 128 {
        return Err(wrong(format!(
            "{} words are too many for n-grams of order {}",
            vocabulary.words.len(),
            counts.len()
        )));
    }
    for (order, &count) in (1..).zip(&counts).skip(1) {
        expect(lines.next_filled("the next section")?, &format!("\\{order}-grams:"))?;
        reader.read(lines, order, count, &mut builder)?;
    }
    expect(lines.next_filled("`\\end\\`")?, "\\end\\")?;
    builder.end()?;
    Ok(NgramModel { vocabulary: vocabulary.words, trie: builder.finish() })
}

fn wrong(problem: String) -> Error {
    Error::new(Stage::Text, problem)
}

fn expect(found: &str, expected: &str) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(wrong(format!("expected `{expected}`, found `{}`", short(found))))
    }
}

/// The start of a line, for error messages.
fn short(line: &str) -> String {
    if line.chars().count() <= 60 {
        line.into()
    } else {
        line.chars().take(60).chain("…".chars()).collect()
    }
}

/// Parses the count in `1=37`, checking the order.
fn count(text: &str, order: usize) -> Result<u64> {
    let number =
        text.split_once('=').filter(|(n, _)| n.trim().parse() == Ok(order)).map(|(_, c)| c.trim().parse());
    match number {
        Some(Ok(count)) => Ok(count),
        _ => Err(wrong(format!("expected `ngram {order}=` and a number, found `ngram {}`", short(text)))),
    }
}

/// The lines of a file, counted for error messages.
struct Lines<R> {
    input: R,
    number: u64,
    line: String,
}

impl<R: BufRead> Lines<R> {
    /// The next line without surrounding white space; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<&str>> {
        let mut bytes = Vec::new();
        self.number += 1;
        let read = (&mut self.input).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes);
        let length = read.map_err(|e| Error::new(Stage::Text, e.to_string()).caused_by(e))?;
        if length as u64 == MAX_LINE_BYTES {
            return Err(wrong(format!(
                "expected an n-gram, found a line of more than {MAX_LINE_BYTES} bytes"
            )));
        }
        self.line = match String::from_utf8(bytes) {
            Ok(line) => line,
            // Old models contain words in other encodings, which no text has.
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        Ok((length > 0).then(|| self.line.trim()))
    }

    /// The next line that is not empty.
    fn next_filled(&mut self, expected: &str) -> Result<&str> {
        while let Some(line) = self.next()? {
            if !line.is_empty() {
                return Ok(self.line.trim());
            }
        }
        Err(wrong(format!("expected {expected}, found the end of the file")))
    }

    /// The next line of a section; `None` at its end, which is an empty line.
    fn next_ngram(&mut self, count: u64, read: u64) -> Result<Option<&str>> {
        let found = match self.next()? {
            Some(line) if !line.is_empty() && !line.starts_with('\\') => return Ok(Some(self.line.trim())),
            Some(line) => short(line),
            None => "the end of the file".into(),
        };
        if read != count {
            let problem = format!(
                "expected {count} n-grams in this section as declared in `\\data\\`, found {read} and then `{found}`"
            );
            return Err(wrong(problem));
        }
        if !found.is_empty() {
            return Err(wrong(format!("expected an empty line after {count} n-grams, found `{found}`")));
        }
        Ok(None)
    }
}

/// Parses a line: returns its values and fills `words`.
fn parse<'a>(line: &'a str, order: usize, words: &mut Vec<&'a str>) -> Result<(f32, f32)> {
    let mut parts = line.split([' ', '\t']).filter(|part| !part.is_empty());
    let number = |text: Option<&str>, most: f32, kind: &str| match text.map(str::parse::<f32>) {
        Some(Ok(value)) if value <= most => Ok(value.max(LOG_ZERO)),
        _ => Err(wrong(format!("expected {kind}, found `{}`", short(text.unwrap_or("nothing"))))
            .at(column(line, text.unwrap_or_default()))),
    };
    // Rounding makes some probabilities slightly greater than 1.
    let log_prob = number(parts.next(), 1e-3, "the logarithm of a probability, at most 0")?.min(0.0);
    words.clear();
    words.extend(parts.by_ref().take(order));
    if words.len() < order {
        let problem = format!("expected {order} words after the number, found {}", words.len());
        return Err(wrong(problem).at(column(line, "")));
    }
    if let Some(long) = words.iter().find(|word| word.len() > MAX_WORD_BYTES) {
        return Err(wrong(format!(
            "expected words of at most {MAX_WORD_BYTES} bytes, found `{}`",
            short(long)
        ))
        .at(column(line, long)));
    }
    let weight = |text| number(Some(text), -LOG_ZERO, "the logarithm of a back-off weight");
    let backoff = parts.next().map_or(Ok(0.0), weight)?;
    if let Some(more) = parts.next() {
        return Err(wrong(format!(
            "expected a number, {order} words and a number, found additionally `{}`",
            short(more)
        ))
        .at(column(line, more)));
    }
    Ok((log_prob, backoff))
}

/// The words and the values of their unigrams.
struct Words {
    words: Vocabulary,
    values: Vec<(f32, f32)>,
}

fn read_words<R: BufRead>(lines: &mut Lines<R>, count: u64) -> Result<Words> {
    let mut unigrams: Vec<(Box<str>, f32, f32)> = Vec::new();
    while let Some(line) = lines.next_ngram(count, unigrams.len() as u64)? {
        let mut words = Vec::new();
        let (log_prob, backoff) = parse(line, 1, &mut words)?;
        let word = if words[0] == "<UNK>" { "<unk>" } else { words[0] };
        unigrams.push((word.into(), log_prob, backoff));
    }
    let words = Vocabulary::new(unigrams.iter().map(|(word, ..)| &**word))?;
    let mut values = vec![None; words.len()];
    for (word, log_prob, backoff) in &unigrams {
        let Some(id) = words.id(word) else { continue };
        if values[id as usize].replace((*log_prob, *backoff)).is_some() {
            return Err(wrong(format!("the word `{}` occurs twice", short(word))));
        }
    }
    let values = values.into_iter().map(|value| value.unwrap_or((LOG_ZERO, 0.0))).collect();
    Ok(Words { words, values })
}

/// Reads the sections after the first.
struct SectionReader<'a> {
    vocabulary: &'a Vocabulary,
    memory: usize,
    packing: Packing,
}

impl SectionReader<'_> {
    fn read<R: BufRead>(
        &self,
        lines: &mut Lines<R>,
        order: usize,
        count: u64,
        builder: &mut TrieBuilder,
    ) -> Result<()> {
        // The order in a file is arbitrary; the builder needs n-grams sorted by word ids.
        let mut sorter = Sorter::<u128>::new(&Budget::new(self.memory), false);
        let mut read = 0;
        let mut ids = vec![0; order];
        while let Some(line) = lines.next_ngram(count, read)? {
            let mut words = Vec::with_capacity(order);
            let (log_prob, backoff) = parse(line, order, &mut words)?;
            for (id, word) in ids.iter_mut().zip(&words) {
                let unknown = || {
                    wrong(format!("the word `{}` is not among the 1-grams", short(word)))
                        .at(column(line, word))
                };
                *id =
                    if *word == "<UNK>" { UNKNOWN } else { self.vocabulary.id(word).ok_or_else(unknown)? };
            }
            if !builder.has_history(&ids[..order - 1]) {
                let history = words[..order - 1].join(" ");
                return Err(wrong(format!(
                    "`{}` continues `{}`, which is not in the previous section",
                    short(line),
                    short(&history)
                ))
                .at(column(line, words[0])));
            }
            let key = ids.iter().fold(0_u128, |key, &id| self.packing.push(key, id));
            sorter.push(Entry::new(key, [log_prob.to_bits(), backoff.to_bits()]))?;
            read += 1;
        }
        let mut last = None;
        for entry in sorter.finish()? {
            let entry = entry?;
            let key = entry.key;
            for (place, id) in ids.iter_mut().rev().enumerate() {
                *id = self.packing.word(key, place);
            }
            if last.replace(key) == Some(key) {
                let ngram: Vec<&str> = ids.iter().map(|&id| self.vocabulary.word(id)).collect();
                return Err(wrong(format!("the n-gram `{}` occurs twice in this section", ngram.join(" "))));
            }
            let [log_prob, backoff] = entry.values.map(f32::from_bits);
            builder.ngram(&ids, log_prob, backoff)?;
        }
        builder.end_order(order);
        Ok(())
    }
}
