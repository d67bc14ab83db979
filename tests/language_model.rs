//! N-gram models compared with those of KenLM's `lmplz`, their files, and their invariants.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use hearken::text::ngram::{
    ArpaWriter, EstimateOptions, NgramModel, NgramState, Text, TrieBuilder, VocabularyLimit, read_arpa,
};
use proptest::prelude::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lm").join(name)
}

/// The model of a text with one sentence per line.
fn model(text: &str, options: &EstimateOptions, limit: &VocabularyLimit) -> NgramModel {
    let mut read = Text::default();
    read.read(Path::new("text"), text.as_bytes(), |_| {}).expect("good text");
    let (vocabulary, estimator) = read.count(limit, options).expect("sentences");
    let mut builder = TrieBuilder::default();
    estimator.finish(&mut builder).expect("a model");
    NgramModel { vocabulary, trie: builder.finish() }
}

fn options(order: usize, prune: &[u32]) -> EstimateOptions {
    EstimateOptions { order, prune: prune.to_vec(), ..EstimateOptions::default() }
}

fn to_arpa(model: &NgramModel) -> String {
    let mut bytes = Vec::new();
    model
        .trie
        .write_to(&mut ArpaWriter::new(&model.vocabulary, &mut bytes, Path::new("memory")))
        .expect("room");
    String::from_utf8(bytes).expect("text")
}

/// N-grams and their two values.
fn ngrams(arpa: &str) -> BTreeMap<String, (f32, f32)> {
    let line = |line: &str| {
        let mut parts = line.split('\t');
        let log_prob: f32 = parts.next()?.parse().ok()?;
        let words = parts.next()?.to_string();
        Some((words, (log_prob, parts.next().map_or(0.0, |b| b.parse().expect("a number")))))
    };
    arpa.lines().filter_map(line).collect()
}

fn assert_alike(found: &str, expected: &str, tolerance: f32) {
    let (found, expected) = (ngrams(found), ngrams(expected));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (words, (log_prob, backoff)) in &expected {
        let (own, own_backoff) = found[words];
        // Probabilities of `<s>` are a convention: 0 or -99.
        assert!(words == "<s>" || (own - log_prob).abs() < tolerance, "{words}: {own}, expected {log_prob}");
        assert!(
            (own_backoff - backoff).abs() < tolerance,
            "{words}: back-off {own_backoff}, expected {backoff}"
        );
    }
}

#[test]
fn models_equal_those_of_lmplz() {
    for (text, order, prune, golden) in [
        ("tiny.txt", 2, &[][..], "lmplz2.arpa"),
        ("tiny.txt", 3, &[], "lmplz3.arpa"),
        ("tiny.txt", 3, &[0, 0, 1], "lmplz3_prune001.arpa"),
        ("fallback.txt", 3, &[], "fallback3.arpa"),
    ] {
        let text = std::fs::read_to_string(data(text)).expect("the text");
        let golden = std::fs::read_to_string(data(golden)).expect("the golden file");
        let own = model(&text, &options(order, prune), &VocabularyLimit::None);
        assert_alike(&to_arpa(&own), &golden, 1e-6);
        // With no memory budget, all data are sorted on disk, with identical results.
        let small = EstimateOptions { memory: 0, ..options(order, prune) };
        assert_eq!(to_arpa(&model(&text, &small, &VocabularyLimit::None)), to_arpa(&own));
    }
}

#[test]
fn scores_equal_those_of_kenlm() {
    let model = NgramModel::read(&data("lmplz3.arpa")).expect("a model");
    let scores = std::fs::read_to_string(data("scores_lmplz3.txt")).expect("the scores");
    let mut compared = 0;
    for line in scores.lines().skip(1) {
        let mut parts = line.split('\t');
        let (total, _, sentence) =
            (parts.next().expect("a number"), parts.next(), parts.next().expect("words"));
        let found = model.perplexity(Path::new("sentence"), sentence.as_bytes()).expect("text");
        let total: f64 = total.parse().expect("a number");
        assert!((found.log_prob - total).abs() < 1e-5, "{sentence}: {}, expected {total}", found.log_prob);
        let mut state = model.trie.begin_state();
        for scored in parts.next().expect("words with scores").split(' ') {
            let (word, score) = scored.rsplit_once(':').expect("a word and its score");
            let log_prob = match word {
                "</s>" => model.trie.next(state, 2).0,
                word => {
                    let (log_prob, next, known) = model.score(state, word);
                    assert_eq!(known, !scored.ends_with('?'));
                    state = next;
                    log_prob
                }
            };
            let score: f32 = score.split('/').next().expect("a number").parse().expect("a number");
            assert!((log_prob - score).abs() < 1e-5, "{sentence}, {word}: {log_prob}, expected {score}");
            compared += 1;
        }
    }
    assert_eq!(compared, 28);
}

/// With 6, 3 and 4 bigrams of the counts 1, 2 and 3, the discount of the count 2 is exactly 0: nothing is left for words
/// other than `f` after `e`.
#[test]
fn a_back_off_weight_of_zero_is_finite() {
    let text = ["a b", "c d"].into_iter().chain(["e f"; 2]).chain(["g"; 3]).chain(["h"; 3]).chain(["i"; 4]);
    let own = model(&text.collect::<Vec<_>>().join("\n"), &options(2, &[]), &VocabularyLimit::None);
    let arpa = to_arpa(&own);
    assert_eq!(ngrams(&arpa)["e"].1, -99.0, "{arpa}");
    assert!(
        ngrams(&arpa).values().all(|(log_prob, backoff)| log_prob.is_finite() && backoff.is_finite()),
        "{arpa}"
    );
    assert_sums_to_one(&own);
    assert_eq!(to_arpa(&read_arpa(arpa.as_bytes(), 1 << 20).expect("what is written is read")), arpa);
    let compact = NgramModel::from_bytes(&own.to_bytes()).expect("what is written is read");
    assert_eq!(ngrams(&to_arpa(&compact))["e"].1, -99.0);
    let unseen = own.perplexity(Path::new("sentence"), b"e a".as_slice()).expect("text");
    assert!(unseen.log_prob.is_finite() && unseen.log_prob < -99.0, "{}", unseen.log_prob);
}

#[test]
fn arpa_files_round_trip() {
    let text = std::fs::read_to_string(data("tiny.txt")).expect("the text");
    let own = model(&text, &options(4, &[]), &VocabularyLimit::MostFrequent(20));
    let arpa = to_arpa(&own);
    let again = read_arpa(arpa.as_bytes(), 1 << 20).expect("what is written is read");
    assert_eq!(to_arpa(&again), arpa);
    // Variants of other programs: carriage returns, spaces, no back-off weights, no `<unk>`.
    let foreign = "a remark\r\n\\data\\\r\nngram 1=3\r\nngram 2=1\r\n\r\n\\1-grams:\r\n-1 </s>\r\n-0 <s> -0.5\r\n-0.5 a\r\n\r\n\\2-grams:\r\n-0.25 <s> a\r\n\r\n\\end\\\r\n";
    let foreign = read_arpa(foreign.as_bytes(), 1 << 20).expect("a good file");
    assert_eq!(foreign.trie.counts(), [4, 1]);
    assert_eq!(foreign.score(foreign.trie.begin_state(), "a").0, -0.25);
    assert_eq!(foreign.score(foreign.trie.begin_state(), "b").0, -99.5);
}

#[test]
fn errors_in_arpa_files_name_the_line() {
    let good = std::fs::read_to_string(data("lmplz3.arpa")).expect("the golden file");
    // Column 0 stands for an error of the whole line, or for something missing.
    for (from, to, line, column, problem) in [
        ("ngram 2=77", "ngram 2=78", 123, 0, "expected 78 n-grams"),
        ("ngram 2=77", "ngram two=77", 3, 0, "ngram 2="),
        ("\\2-grams:", "\\3-grams:", 45, 0, "expected `\\2-grams:`"),
        ("-1.8684214\t<unk>", "x\t<unk>", 7, 1, "expected the logarithm of a probability"),
        ("-1.8684214\t<unk>", "0.5\t<unk>", 7, 1, "expected the logarithm of a probability"),
        ("-1.8684214\t<unk>", "NaN\t<unk>", 7, 1, "expected the logarithm of a probability"),
        ("<unk>\t0", "<unk>\tx", 7, 18, "back-off"),
        ("\tswitch\t", "\tturn\t", 44, 0, "`turn` occurs twice"),
        ("on </s>\t0", "on", 46, 15, "expected 2 words"),
        ("on </s>\t0", "on </s>\t0\t0", 46, 23, "found additionally `0`"),
        ("on </s>\t0", "on nowhere\t0", 46, 16, "`nowhere`"),
        ("\tlight on </s>", "\ton light </s>", 125, 13, "which is not in the previous section"),
        ("\\end\\", "", 221, 0, "the end of the file"),
        ("\\data\\", "\\date\\", 221, 0, "the end of the file"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = read_arpa(good.replacen(from, to, 1).as_bytes(), 1 << 20).expect_err(to).to_string();
        assert!(error.contains(problem), "{to}: {error}");
        let place =
            if column > 0 { format!("line {line}, column {column}: ") } else { format!("line {line}: ") };
        assert!(error.starts_with(&place), "{to}: {error}, expected {place}");
    }
    let twice = good.replacen("light off </s>", "light on </s>", 1);
    let error = read_arpa(twice.as_bytes(), 1 << 20).expect_err("twice").to_string();
    assert!(error.contains("`light on </s>` occurs twice"), "{error}");
}

#[test]
fn compact_files_keep_the_model() {
    let text = std::fs::read_to_string(data("tiny.txt")).expect("the text");
    for (order, prune) in [(1, &[][..]), (2, &[]), (3, &[]), (5, &[0, 0, 1])] {
        let own = model(&text, &options(order, prune), &VocabularyLimit::None);
        let bytes = own.to_bytes();
        let again = NgramModel::from_bytes(&bytes).expect("what is written is read");
        assert_alike(&to_arpa(&again), &to_arpa(&own), 0.0051);
        assert_eq!(again.to_bytes(), bytes);
        for cut in 0..bytes.len() {
            NgramModel::from_bytes(&bytes[..cut]).expect_err("an end is missing");
        }
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 4;
        let error = NgramModel::from_bytes(&damaged).expect_err("a bit is wrong").to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}

#[test]
fn vocabularies_are_limited() {
    let text = "one two two three three three\n";
    let most = model(text, &options(2, &[]), &VocabularyLimit::MostFrequent(2));
    assert_eq!(most.vocabulary.ordinary_words().collect::<Vec<_>>(), ["three", "two"]);
    let list = VocabularyLimit::Words(vec!["one".into(), "four".into()]);
    let listed = model(text, &options(2, &[]), &list);
    assert_eq!(listed.vocabulary.ordinary_words().collect::<Vec<_>>(), ["four", "one"]);
    let unigram = |word| listed.score(listed.trie.empty_state(), word).0;
    assert!(unigram("four") < unigram("one") && unigram("four") > -3.0);
    assert_eq!(unigram("two"), unigram("<unk>"));
}

#[test]
fn errors_in_texts_name_the_line() {
    let long = "x".repeat(2000);
    for (text, place, problem) in [
        (b"a b\nc </s>\n".as_slice(), "my.txt: line 2, column 3: ", "`</s>`"),
        (b"a b\nc \xc3\xa4 \xff\n", "my.txt: line 2, column 5: ", "UTF-8"),
        (format!("a\n b {long}\n").as_bytes(), "my.txt: line 2, column 4: ", "without a space"),
    ] {
        let error = Text::default().read(Path::new("my.txt"), text, |_| {}).expect_err(problem).to_string();
        assert!(error.starts_with(place) && error.contains(problem), "{error}");
    }
    let error =
        Text::default().read(Path::new("my.txt"), b"\x1f\x8b\x08".as_slice(), |_| {}).expect_err("gzip");
    assert!(error.to_string().contains("gzip"), "{error}");
    let mut empty = Text::default();
    empty.read(Path::new("my.txt"), b" \n\n".as_slice(), |_| {}).expect("spaces");
    let error = empty.count(&VocabularyLimit::None, &options(3, &[])).err().expect("nothing is there");
    assert!(error.to_string().contains("expected sentences"), "{error}");
}

/// All states that can be reached with a limited number of words.
fn states(model: &NgramModel) -> Vec<NgramState> {
    let mut all = vec![model.trie.empty_state(), model.trie.begin_state()];
    let mut at = 0;
    while at < all.len() {
        for word in (0..model.vocabulary.len() as u32).filter(|&word| word != 1 && word != 2) {
            let next = model.trie.next(all[at], word).1;
            if !all.contains(&next) {
                all.push(next);
            }
        }
        at += 1;
    }
    all
}

fn assert_sums_to_one(model: &NgramModel) {
    for state in states(model) {
        let words = (0..model.vocabulary.len() as u32).filter(|&word| word != 1);
        let sum: f64 = words.map(|word| 10_f64.powf(model.trie.next(state, word).0.into())).sum();
        assert!((sum - 1.0).abs() < 1e-4, "after {state:?}: {sum}");
    }
}

#[test]
fn pruning_removes_the_least_useful_ngrams_and_keeps_sums_of_one() {
    let text = std::fs::read_to_string(data("tiny.txt")).expect("the text");
    let own = model(&text, &options(3, &[]), &VocabularyLimit::None);
    let same = own.trie.prune(0.0).expect("a trie");
    assert_alike(&to_arpa(&NgramModel { trie: same, ..own.clone() }), &to_arpa(&own), 1e-4);
    let perplexity = |model: &NgramModel| {
        model.perplexity(Path::new("text"), text.as_bytes()).expect("the text").with_unknown()
    };
    let pruned = NgramModel { trie: own.trie.prune(1e-3).expect("a trie"), ..own.clone() };
    assert_sums_to_one(&pruned);
    assert!(pruned.trie.counts()[2] < own.trie.counts()[2], "{:?}", pruned.trie.counts());
    let ratio = perplexity(&pruned) / perplexity(&own);
    assert!((0.9..2.0).contains(&ratio), "{ratio}");
    let words = NgramModel { trie: own.trie.prune(1e9).expect("a trie"), ..own.clone() };
    assert_eq!(words.trie.counts(), [37, 0, 0]);
    assert_sums_to_one(&words);
}

#[test]
fn models_are_interpolated() {
    let text = std::fs::read_to_string(data("tiny.txt")).expect("the text");
    let one = model(&text, &options(3, &[]), &VocabularyLimit::None);
    let two = model("turn on the garage light\nopen the garage\n", &options(2, &[]), &VocabularyLimit::None);
    let both = one.interpolate(&two, 0.75).expect("few words");
    assert_sums_to_one(&both);
    assert_eq!(both.vocabulary.len(), one.vocabulary.len() + 1);
    let p = |model: &NgramModel, words: &[&str]| {
        let mut state = model.trie.empty_state();
        words
            .iter()
            .map(|word| {
                let (log_prob, next, known) = model.score(state, word);
                state = next;
                if known { 10_f64.powf(log_prob.into()) } else { 0.0 }
            })
            .last()
            .expect("words")
    };
    for words in [&["turn"][..], &["garage"], &["the", "light"], &["turn", "on"], &["turn", "on", "the"]] {
        let expected = 0.75 * p(&one, words) + 0.25 * p(&two, words);
        let found = p(&both, words);
        assert!((found - expected).abs() < 1e-6, "{words:?}: {found}, expected {expected}");
    }
    // A model interpolated with itself is unchanged.
    let alone = one.interpolate(&one, 0.5).expect("few words");
    assert_alike(&to_arpa(&alone), &to_arpa(&one), 1e-4);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_text_makes_a_model_that_sums_to_one(
        sentences in prop::collection::vec(prop::collection::vec(0..7_u8, 0..8), 1..20),
        order in 1..6_usize,
        threshold in 0..3_u32,
        limit in 0..8_usize,
    ) {
        let line = |s: &Vec<u8>| s.iter().map(|w| format!("w{w}")).collect::<Vec<_>>().join(" ");
        let text = sentences.iter().map(line).collect::<Vec<_>>().join("\n");
        prop_assume!(text.contains('w'));
        let limit = if limit < 7 { VocabularyLimit::MostFrequent(limit) } else { VocabularyLimit::None };
        let options = options(order, &[0, threshold][..order.min(2)]);
        let own = model(&text, &options, &limit);
        assert_sums_to_one(&own);
        let on_disk = model(&text, &EstimateOptions { memory: 0, ..options }, &limit);
        prop_assert_eq!(to_arpa(&on_disk), to_arpa(&own));
        let again = NgramModel::from_bytes(&own.to_bytes()).expect("what is written is read");
        assert_alike(&to_arpa(&again), &to_arpa(&own), 0.0051);
        assert_sums_to_one(&own.interpolate(&own, 0.3).expect("few words"));
        assert_sums_to_one(&NgramModel { trie: own.trie.prune(1e-3).expect("a trie"), ..own.clone() });
    }

    #[test]
    fn damaged_arpa_files_do_not_panic(at in 0..5000_usize, with in prop::collection::vec(any::<u8>(), 0..8), take in 0..40_usize) {
        let mut bytes = std::fs::read(data("lmplz3.arpa")).expect("the golden file");
        let at = at.min(bytes.len());
        let end = (at + take).min(bytes.len());
        bytes.splice(at..end, with);
        if let Ok(model) = read_arpa(BufReader::new(bytes.as_slice()), 1 << 16) {
            states(&model);
            NgramModel::from_bytes(&model.to_bytes()).expect("what is written is read");
        }
    }

    #[test]
    fn damaged_compact_files_do_not_panic(flips in prop::collection::vec((0..2000_usize, 0..8_u32), 1..6)) {
        let mut bytes = model("a b c\na c b\nc a b c\n", &options(3, &[]), &VocabularyLimit::None).to_bytes();
        let length = bytes.len() - 4;
        for (at, bit) in flips {
            bytes[16 + at % (length - 16)] ^= 1 << bit;
        }
        // The checksum is corrected, so that the rest is read.
        let sum = checksum(&bytes[..length]);
        bytes[length..].copy_from_slice(&sum.to_le_bytes());
        if let Ok(model) = NgramModel::from_bytes(&bytes) {
            states(&model);
        }
    }
}

/// CRC-32.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 },
        )
    })
}
