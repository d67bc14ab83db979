//! The compact binary format of n-gram models: quantized values in Huffman codes, n-grams as indices among
//! the words that may follow the shorter history, and a checksum.
//!
//! ```text
//! "hearken ngram 1\n"   16 bytes
//! words                 sorted, each as the length of the prefix shared with the previous one, and the rest
//! trie                  see `write_trie`
//! CRC-32                of all bytes before, little-endian
//! ```

use super::trie::Trie;
use super::{LOG_ZERO, MAX_ORDER, NgramModel, Vocabulary};
use crate::error::{Error, Result, Stage};
use crate::text::bits::{BitReader, BitWriter, Huffman, crc32};

/// The magic bytes of a file.
pub(crate) const MAGIC: &[u8; 16] = b"hearken ngram 1\n";

/// The step between quantized values of log10: 2.3 % in probability.
const STEP: f32 = 0.01;

/// From this number on, the number of a history's successors is written in gamma code.
const MAX_COUNT: u32 = 63;

impl NgramModel {
    /// Encodes the model as the bytes of a file. Values are quantized to steps of 0.01 in log10.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bits = BitWriter::default();
        MAGIC.iter().for_each(|&byte| bits.put(byte.into(), 8));
        write_words(&self.vocabulary, &mut bits);
        write_trie(&self.trie, STEP, &mut bits);
        let mut bytes = bits.finish();
        bytes.extend(crc32(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`NgramModel::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are another file or damaged. Memory is bounded by their number.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (vocabulary, mut bits) = open(bytes)?;
        let trie = read_trie(&mut bits, vocabulary.len())?;
        Ok(Self { vocabulary, trie })
    }

    /// As [`NgramModel::from_bytes`]; `meanwhile` runs with the words while another thread reads the n-grams.
    pub(crate) fn from_bytes_while<T>(
        bytes: &[u8],
        meanwhile: impl FnOnce(&Vocabulary) -> T,
    ) -> Result<(Self, T)> {
        let (vocabulary, bits) = open(bytes)?;
        let words = vocabulary.len();
        let read = || read_trie(&mut bits.clone(), words);
        let (trie, result) = std::thread::scope(|scope| {
            let reading = std::thread::Builder::new().spawn_scoped(scope, read);
            let result = meanwhile(&vocabulary);
            let trie = match reading {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // A system without threads.
                Err(_) => read(),
            };
            (trie, result)
        });
        Ok((Self { vocabulary, trie: trie? }, result))
    }
}

/// Checks a file and reads its words; returns also the bits of the trie.
fn open(bytes: &[u8]) -> Result<(Vocabulary, BitReader<'_>)> {
    if !bytes.starts_with(MAGIC) {
        return Err(Error::new(Stage::Text, "expected a language model of hearken or an ARPA file"));
    }
    let Some((body, sum)) = bytes.split_last_chunk::<4>() else { return Err(damaged()) };
    if u32::from_le_bytes(*sum) != crc32(body) {
        return Err(damaged());
    }
    let mut bits = BitReader::new(body, MAGIC.len() * 8);
    let vocabulary = read_words(&mut bits)?;
    Ok((vocabulary, bits))
}

fn damaged() -> Error {
    Error::new(Stage::Text, "the file is damaged: its checksum does not fit its content")
        .hint("copy or create it again")
}

fn write_words(vocabulary: &Vocabulary, bits: &mut BitWriter) {
    let mut counts = vec![0; 256];
    let mut before = "";
    // Length of the prefix shared with the previous word, and the rest.
    let parts = vocabulary.ordinary_words().map(|word| {
        let shared = word.bytes().zip(before.bytes()).take_while(|(a, b)| a == b).count();
        before = word;
        (shared, &word.as_bytes()[shared..])
    });
    let parts: Vec<_> = parts.collect();
    parts.iter().flat_map(|(_, rest)| *rest).for_each(|&byte| counts[usize::from(byte)] += 1);
    let code = Huffman::from_counts(&counts);
    code.write(bits);
    bits.put_gamma(parts.len() as u32);
    for (shared, rest) in parts {
        bits.put_gamma(shared as u32);
        bits.put_gamma(rest.len() as u32);
        rest.iter().for_each(|&byte| code.put(byte.into(), bits));
    }
}

fn read_words(bits: &mut BitReader) -> Result<Vocabulary> {
    let wrong = || Error::new(Stage::Text, "the list of words is damaged");
    let code = Huffman::read(bits, 256)?;
    let count = bits.get_gamma();
    let mut vocabulary = Vocabulary::default();
    let mut word: Vec<u8> = Vec::new();
    let mut bytes = 0_u64;
    for _ in 0..count {
        let (shared, rest) = (bits.get_gamma() as usize, bits.get_gamma() as usize);
        bits.check()?;
        if shared > word.len() || rest > super::vocabulary::MAX_WORD_BYTES || rest == 0 {
            return Err(wrong());
        }
        word.truncate(shared);
        word.extend((0..rest).map(|_| code.get(bits) as u8));
        bytes += word.len() as u64;
        if word.len() > super::vocabulary::MAX_WORD_BYTES || bytes > u64::from(u32::MAX) {
            return Err(wrong());
        }
        let text = std::str::from_utf8(&word).map_err(|_| wrong())?;
        if !vocabulary.push_sorted(text) {
            return Err(wrong());
        }
    }
    bits.check()?;
    Ok(vocabulary)
}

/// The symbol of a log-probability: 0 for probability 0, else 1 plus the number of steps below 0.
fn prob_symbol(log_prob: f32, step: f32) -> usize {
    if log_prob <= LOG_ZERO { 0 } else { 1 + (-log_prob / step).round() as usize }
}

fn prob_value(symbol: usize, step: f32) -> f32 {
    if symbol == 0 { LOG_ZERO } else { (-((symbol - 1) as f32 * step)).max(LOG_ZERO) }
}

/// The symbol of a back-off weight: even for steps below 0, odd for steps above.
fn backoff_symbol(backoff: f32, step: f32) -> usize {
    let steps = (backoff.clamp(LOG_ZERO, -LOG_ZERO) / step).round();
    if steps <= 0.0 { 2 * -steps as usize } else { 2 * steps as usize - 1 }
}

fn backoff_value(symbol: usize, step: f32) -> f32 {
    let steps = symbol.div_ceil(2) as f32;
    if symbol.is_multiple_of(2) { -steps * step } else { steps * step }
}

/// The number of low bits of a Rice code that suits `count` indices below `all`.
fn rice_bits(all: usize, count: usize) -> u32 {
    (all as u64 * 11 / 16 / count as u64).max(1).ilog2()
}

/// The three codes of one order.
struct Codes {
    probs: Huffman,
    backoffs: Huffman,
    counts: Huffman,
}

impl Codes {
    fn of(trie: &Trie, order: usize, step: f32) -> Self {
        let mut counts = [Vec::new(), Vec::new(), Vec::new()];
        let mut count = |which: usize, symbol: usize| {
            let counts: &mut Vec<u64> = &mut counts[which];
            counts.resize(counts.len().max(symbol + 1), 0);
            counts[symbol] += 1;
        };
        for node in trie.level(order) {
            count(0, prob_symbol(trie.log_probs[node], step));
            if order < trie.order() {
                count(1, backoff_symbol(trie.backoffs[node], step));
            }
        }
        for history in trie.level(order - 1) {
            count(2, trie.successors(history as u32).len().min(MAX_COUNT as usize));
        }
        let [probs, backoffs, counts] = counts.map(|counts| Huffman::from_counts(&counts));
        Self { probs, backoffs, counts }
    }

    fn write(&self, bits: &mut BitWriter) {
        [&self.probs, &self.backoffs, &self.counts].into_iter().for_each(|code| code.write(bits));
    }

    fn read(bits: &mut BitReader) -> Result<Self> {
        let most = usize::from(u16::MAX);
        let mut read = |most| Huffman::read(bits, most);
        Ok(Self { probs: read(most)?, backoffs: read(most)?, counts: read(MAX_COUNT as usize + 1)? })
    }
}

/// Writes a trie: the step, the order, and for each order the codes and the number of n-grams; then for
/// each history the number of successors, their words, and their values.
pub(crate) fn write_trie(trie: &Trie, step: f32, bits: &mut BitWriter) {
    bits.put(step.to_bits(), 32);
    bits.put_gamma(trie.order() as u32);
    for order in 1..=trie.order() {
        let codes = Codes::of(trie, order, step);
        codes.write(bits);
        bits.put_gamma(trie.level(order).len() as u32);
        // If the model contains the suffix of every n-gram, indices among the suffix's successors are
        // smaller.
        let short = order > 1 && trie.level(order - 1).all(|history| ranks(trie, history as u32).is_some());
        bits.put(short.into(), 1);
        for history in trie.level(order - 1) {
            let successors = trie.successors(history as u32);
            let count = successors.len() as u32;
            if order > 1 {
                codes.counts.put(count.min(MAX_COUNT) as usize, bits);
                if count >= MAX_COUNT {
                    bits.put_gamma(count - MAX_COUNT);
                }
            }
            let (places, all) = match short {
                true => (
                    ranks(trie, history as u32).unwrap_or_default(),
                    trie.ending_successors(history as u32).len(),
                ),
                false => (trie.words[successors.clone()].to_vec(), trie.num_words()),
            };
            let low = rice_bits(all, count.max(1) as usize);
            let mut next = 0;
            for (place, node) in places.into_iter().zip(successors) {
                if order > 1 {
                    bits.put_rice(place - next, low);
                }
                next = place + 1;
                codes.probs.put(prob_symbol(trie.log_probs[node], step), bits);
                if order < trie.order() {
                    codes.backoffs.put(backoff_symbol(trie.backoffs[node], step), bits);
                }
            }
        }
    }
}

/// The indices of a history's successors among those of its suffix (the history without its first word);
/// `None` if one is missing there.
fn ranks(trie: &Trie, history: u32) -> Option<Vec<u32>> {
    let range = trie.ending_successors(history);
    let words = &trie.words[range];
    let mut ranks = Vec::new();
    let mut from = 0;
    for node in trie.successors(history) {
        from += words[from..].binary_search(&trie.words[node]).ok()?;
        ranks.push(from as u32);
    }
    Some(ranks)
}

/// Reads a trie of `num_words` words.
///
/// # Errors
/// When the bits are not a trie. Memory is bounded by the number of bits.
pub(crate) fn read_trie(bits: &mut BitReader, num_words: usize) -> Result<Trie> {
    let wrong = |what: &str| Error::new(Stage::Text, format!("the n-grams are damaged: {what}"));
    let step = f32::from_bits(bits.get(32));
    let orders = bits.get_gamma() as usize;
    if !(1..=MAX_ORDER).contains(&orders) || !(0.002..=1.0).contains(&step) {
        return Err(wrong("invalid order or step"));
    }
    let mut trie = Trie {
        levels: vec![0, 1],
        words: vec![0],
        log_probs: vec![0.0],
        backoffs: vec![0.0],
        successors: Vec::new(),
        suffixes: vec![0],
    };
    for order in 1..=orders {
        let codes = Codes::read(bits)?;
        let expected = bits.get_gamma() as usize;
        let short = bits.get(1) == 1;
        bits.check()?;
        let end = trie.words.len() + expected;
        if order == 1 && (expected != num_words || short) || end >= u32::MAX as usize {
            return Err(wrong("their number does not fit the words"));
        }
        let order = Order { codes, step, is_first: order == 1, is_last: order == orders, short };
        order.reserve(&mut trie, expected.min(bits.left()));
        let begin = trie.words.len();
        for history in trie.level(trie.levels.len() - 2) {
            order.read(&mut trie, history as u32, num_words, end, bits)?;
        }
        if trie.words.len() != end {
            return Err(wrong("there are fewer than declared"));
        }
        if order.short {
            // In a loop of their own, since these accesses to memory have no order: the processor overlaps them.
            let (shorter, own) = trie.words.split_at_mut(begin);
            own.iter_mut().for_each(|ending| *ending = shorter[*ending as usize]);
        }
        trie.levels.push(end as u32);
    }
    trie.successors.push(trie.words.len() as u32);
    Ok(trie)
}

/// The encoding of the n-grams of one order.
struct Order {
    codes: Codes,
    step: f32,
    is_first: bool,
    is_last: bool,
    short: bool,
}

impl Order {
    /// Reserves memory for a number of n-grams.
    fn reserve(&self, trie: &mut Trie, ngrams: usize) {
        let histories = trie.words.len() - trie.successors.len();
        trie.successors.reserve(histories);
        trie.words.reserve(ngrams);
        trie.log_probs.reserve(ngrams);
        if !self.is_last {
            trie.suffixes.reserve(ngrams);
            trie.backoffs.reserve(ngrams);
        }
    }

    /// Reads the successors of one history. If they are among those of its suffix, they get the nodes of the shorter
    /// n-grams in place of their words.
    fn read(
        &self,
        trie: &mut Trie,
        history: u32,
        num_words: usize,
        end: usize,
        bits: &mut BitReader,
    ) -> Result<()> {
        let wrong = |what: &str| Error::new(Stage::Text, format!("the n-grams are damaged: {what}"));
        trie.successors.push(trie.words.len() as u32);
        let count = match self.is_first {
            true => num_words,
            false => match self.codes.counts.get(bits) as u32 {
                MAX_COUNT => bits.get_gamma().saturating_add(MAX_COUNT) as usize,
                count => count as usize,
            },
        };
        // Indices refer to the successors of the suffix, or to all words.
        let among = if self.short { trie.ending_successors(history) } else { 0..num_words };
        if count > among.len() || trie.words.len() + count > end {
            return Err(wrong("a history has too many successors"));
        }
        let low = rice_bits(among.len(), count.max(1));
        let mut next = 0;
        for _ in 0..count {
            let place = next + if self.is_first { 0 } else { bits.get_rice(low) as usize };
            if place >= among.len() {
                return Err(wrong("a word is out of range"));
            }
            next = place + 1;
            let ending = among.start + place;
            let word = if self.short { ending as u32 } else { place as u32 };
            if !self.is_last {
                let suffix = if self.short { ending as u32 } else { trie.suffix(history, word) };
                trie.suffixes.push(suffix);
            }
            trie.words.push(word);
            trie.log_probs.push(prob_value(self.codes.probs.get(bits), self.step));
            if !self.is_last {
                trie.backoffs.push(backoff_value(self.codes.backoffs.get(bits), self.step));
            }
        }
        bits.check()
    }
}
