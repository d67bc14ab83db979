//! Interpolated modified Kneser-Ney estimation in passes of sorting, each of which may use temporary files
//! (as in KenLM's lmplz):
//!
//! 1. n-grams of the highest order, counted, in suffix order;
//! 2. adjusted counts of all orders, in prefix order: for the highest order and for n-grams that begin
//!    with `<s>` the plain counts, for all others the number of distinct words before them;
//! 3. discounted probabilities and the back-off weights of their histories;
//! 4. interpolated probabilities, in suffix order again, where an n-gram comes next to the shorter one
//!    that it backs off to;
//! 5. joined with the back-off weights in prefix order, and passed to the sink.

use std::iter::Peekable;

use super::discounts::Discounts;
use super::key::{Key, Packing};
use super::sorter::{Budget, Entry, Sorted, Sorter};
use super::{BEGIN, MAX_ORDER, NgramSink};
use crate::error::{Error, Result, Stage};

/// Options of estimation.
#[derive(Clone, Debug)]
pub struct EstimateOptions {
    /// The number of words of the longest n-grams.
    pub order: usize,
    /// For each order from 1, the count up to which n-grams are pruned; the last value applies to all
    /// higher orders. Empty: no pruning.
    pub prune: Vec<u32>,
    /// Memory for sorting in bytes; beyond it temporary files are used.
    pub memory: usize,
}

impl Default for EstimateOptions {
    fn default() -> Self {
        Self { order: 3, prune: Vec::new(), memory: 512 << 20 }
    }
}

impl EstimateOptions {
    /// Checks the options.
    ///
    /// # Errors
    /// When the order is out of range, the first threshold is not 0, or thresholds decrease from order to
    /// order.
    pub fn validate(&self) -> Result<()> {
        let wrong = |problem: String| Err(Error::new(Stage::Usage, problem));
        if !(1..=MAX_ORDER).contains(&self.order) {
            return wrong(format!("expected an order from 1 to {MAX_ORDER}, found {}", self.order));
        }
        if self.prune.len() > self.order {
            let (found, order) = (self.prune.len(), self.order);
            return wrong(format!("expected at most {order} thresholds for pruning, found {found}"));
        }
        if self.prune.first().is_some_and(|&first| first > 0) {
            return wrong(
                "expected 0 as the first threshold for pruning: words are limited by a vocabulary".into(),
            );
        }
        if self.prune.windows(2).any(|w| w[0] > w[1]) {
            return wrong("expected thresholds for pruning that do not decrease from order to order".into());
        }
        Ok(())
    }

    fn threshold(&self, order: usize) -> u32 {
        self.prune.get(order - 1).or(self.prune.last()).copied().unwrap_or(0)
    }
}

/// Statistics of the estimation for one order.
#[derive(Clone, Debug)]
pub struct OrderSummary {
    /// Number of distinct n-grams in the text.
    pub counted: u64,
    /// Number of n-grams in the model.
    pub kept: u64,
    /// The discounts of this order.
    pub discounts: Discounts,
}

/// Counts the n-grams of sentences and estimates a model.
pub struct Estimator(Width);

/// The counter with the narrowest integers that hold an n-gram.
enum Width {
    Narrow(Counter<u64>),
    Wide(Counter<u128>),
}

impl Estimator {
    /// An estimator for sentences of word ids below `words`.
    ///
    /// # Errors
    /// When the options are invalid, or an n-gram of `words` words does not fit into 128 bits.
    pub fn new(words: usize, options: &EstimateOptions) -> Result<Self> {
        options.validate()?;
        let packing = Packing::new(words);
        let width = match packing.bits(options.order) {
            ..=64 => Width::Narrow(Counter::new(words, packing, options)),
            65..=128 => Width::Wide(Counter::new(words, packing, options)),
            _ => {
                let problem =
                    format!("{words} distinct words are too many for n-grams of order {}", options.order);
                return Err(Error::new(Stage::Text, problem).hint("limit the vocabulary"));
            }
        };
        Ok(Self(width))
    }

    /// Counts a sentence without `<s>` and `</s>`, which are added.
    ///
    /// # Errors
    /// When a temporary file cannot be written.
    pub fn add(&mut self, sentence: &[u32]) -> Result<()> {
        match &mut self.0 {
            Width::Narrow(counter) => counter.add(sentence),
            Width::Wide(counter) => counter.add(sentence),
        }
    }

    /// Estimates the model and passes its n-grams to the sink, order by order, sorted by word ids.
    ///
    /// # Errors
    /// When there were no sentences, or a temporary file or the sink fails.
    pub fn finish(self, sink: &mut dyn NgramSink) -> Result<Vec<OrderSummary>> {
        match self.0 {
            Width::Narrow(counter) => counter.finish(sink),
            Width::Wide(counter) => counter.finish(sink),
        }
    }
}

/// The first pass: n-grams of the highest order in suffix order.
struct Counter<K: Key> {
    words: usize,
    packing: Packing,
    options: EstimateOptions,
    budget: Budget,
    sorter: Sorter<K>,
    padded: Vec<u32>,
}

impl<K: Key> Counter<K> {
    fn new(words: usize, packing: Packing, options: &EstimateOptions) -> Self {
        let budget = Budget::new(options.memory);
        let sorter = Sorter::new(&budget, true);
        Self { words, packing, options: options.clone(), budget, sorter, padded: Vec::new() }
    }

    fn add(&mut self, sentence: &[u32]) -> Result<()> {
        let order = self.options.order;
        self.padded.clear();
        self.padded.resize(order - 1, BEGIN);
        self.padded.extend_from_slice(sentence);
        self.padded.push(super::END);
        for window in self.padded.windows(order) {
            let key = window.iter().rev().fold(K::default(), |key, &w| self.packing.push(key, w));
            self.sorter.push(Entry::new(key, [1, 0]))?;
        }
        Ok(())
    }

    fn finish(self, sink: &mut dyn NgramSink) -> Result<Vec<OrderSummary>> {
        let Self { words, packing, options, budget, sorter, .. } = self;
        let mut adjusted = Adjusted::new(words, packing, &budget, options.order);
        for entry in sorter.finish()? {
            adjusted.count(entry?)?;
        }
        let adjusted = adjusted.finish()?;
        if adjusted.unigrams.iter().all(|&a| a == 0) {
            return Err(Error::new(Stage::Text, "expected sentences, found none"));
        }
        Interpolation::new(adjusted, packing, &options, &budget)?.finish(sink)
    }
}

/// Adjusted counts: those of unigrams by word id; those of higher orders in prefix order, with the values
/// adjusted count and plain count.
struct Adjusted<K: Key> {
    packing: Packing,
    order: usize,
    unigrams: Vec<u32>,
    higher: Vec<Sorter<K>>,
    /// For each order, the numbers of n-grams with the adjusted counts 1 to 4, and the number of all
    /// n-grams.
    tallies: Vec<([u64; 4], u64)>,
    /// The previous n-gram and its length without padding.
    last: Option<(K, usize)>,
    /// For each length of a suffix of the current n-gram, the number of distinct words before it so far.
    different: Vec<u32>,
    /// For each length of a suffix of the current n-gram, its count so far.
    plain: Vec<u32>,
}

impl<K: Key> Adjusted<K> {
    fn new(words: usize, packing: Packing, budget: &Budget, order: usize) -> Self {
        Self {
            packing,
            order,
            unigrams: vec![0; words],
            higher: (2..=order).map(|_| Sorter::new(budget, false)).collect(),
            tallies: vec![Default::default(); order],
            last: None,
            different: vec![0; order],
            plain: vec![0; order],
        }
    }

    /// The suffix of `n` words of an n-gram of the highest order.
    fn ending(&self, key: K, n: usize) -> K {
        (n..self.order).fold(key, |key, _| self.packing.pop(key))
    }

    /// Counts the next n-gram of the highest order. In suffix order all n-grams with the same suffix are
    /// adjacent.
    fn count(&mut self, entry: Entry<K>) -> Result<()> {
        let (key, count) = (entry.key, { entry.values }[0]);
        // Of the `<s>` that pad the start, an n-gram contains only one.
        let begins = (0..self.order).take_while(|&place| self.packing.word(key, place) == BEGIN).count();
        let length = self.order - begins.saturating_sub(1);
        let mut common = 0;
        if let Some((last, last_length)) = self.last {
            common =
                (0..self.order).rev().find(|&n| self.ending(last, n) == self.ending(key, n)).unwrap_or(0);
            self.emit(last, last_length, common)?;
        }
        for n in common + 1..self.order {
            self.different[n] = 0;
            self.plain[n] = 0;
        }
        for n in 1..length.min(self.order) {
            self.plain[n] = self.plain[n].saturating_add(count);
            // The next longer suffix is new, so this one has one more distinct word before it.
            if n >= common {
                self.different[n] += 1;
            }
        }
        if length < self.order {
            self.plain[length] = self.plain[length].saturating_add(count);
        }
        self.last = Some((key, length));
        if length == self.order { self.put(key, length, count, count) } else { Ok(()) }
    }

    /// Writes the suffixes of the n-gram `last` that are longer than `common` words.
    fn emit(&mut self, last: K, length: usize, common: usize) -> Result<()> {
        for n in common + 1..=length.min(self.order - 1) {
            let begins = n == length && self.packing.word(last, self.order - n) == BEGIN;
            let adjusted = if begins { self.plain[n] } else { self.different[n] };
            self.put(self.ending(last, n), n, adjusted, self.plain[n])?;
        }
        Ok(())
    }

    fn put(&mut self, ending: K, n: usize, adjusted: u32, plain: u32) -> Result<()> {
        let (tally, all) = &mut self.tallies[n - 1];
        if let Some(t) = tally.get_mut(adjusted as usize - 1) {
            *t += 1;
        }
        *all += 1;
        if n == 1 {
            self.unigrams[self.packing.last(ending) as usize] = adjusted;
            return Ok(());
        }
        self.higher[n - 2].push(Entry::new(self.packing.reversed(ending, n), [adjusted, plain]))
    }

    fn finish(mut self) -> Result<Self> {
        if let Some((last, length)) = self.last {
            self.emit(last, length, 0)?;
        }
        Ok(self)
    }
}

/// The passes from discounted to interpolated probabilities.
struct Interpolation<K: Key> {
    packing: Packing,
    unigrams: Vec<f64>,
    /// For each order from 2, in suffix order: the discounted probability and the weight of the shorter
    /// n-gram.
    discounted: Vec<Peekable<Sorted<K>>>,
    /// For each order from 1, in prefix order: the back-off weights of histories.
    backoffs: Vec<Sorter<K>>,
    /// For each order from 2, in prefix order: log10 of the interpolated probabilities.
    interpolated: Vec<Sorter<K>>,
    summaries: Vec<OrderSummary>,
}

impl<K: Key> Interpolation<K> {
    fn new(
        adjusted: Adjusted<K>,
        packing: Packing,
        options: &EstimateOptions,
        budget: &Budget,
    ) -> Result<Self> {
        let order = options.order;
        let mut summaries: Vec<_> = (adjusted.tallies.iter())
            .map(|&(tally, all)| OrderSummary {
                counted: all,
                kept: all,
                discounts: Discounts::estimate(tally),
            })
            .collect();
        let unigrams = unigram_probabilities(&adjusted.unigrams, &summaries[0].discounts);
        let mut discounted = Vec::new();
        let mut backoffs = Vec::new();
        for (counts, n) in adjusted.higher.into_iter().zip(2..) {
            let (mut here, mut histories) = (Sorter::new(budget, false), Sorter::new(budget, false));
            let summary = &mut summaries[n - 1];
            summary.kept = 0;
            let discount =
                Discount { packing, n, threshold: options.threshold(n), discounts: summary.discounts };
            discount.run(counts.finish()?, &mut here, &mut histories, &mut summary.kept)?;
            discounted.push(here.finish()?.peekable());
            backoffs.push(histories);
        }
        let interpolated = (2..=order).map(|_| Sorter::new(budget, false)).collect();
        Ok(Self { packing, unigrams, discounted, backoffs, interpolated, summaries })
    }

    fn finish(mut self, sink: &mut dyn NgramSink) -> Result<Vec<OrderSummary>> {
        for word in 0..self.unigrams.len() {
            self.interpolate(2, K::of(word as u32), self.unigrams[word])?;
        }
        if self.discounted.iter_mut().any(|left| left.peek().is_some()) {
            return Err(Error::new(Stage::Text, "an n-gram has no suffix to back off to"));
        }
        drop(self.discounted);
        let order = self.summaries.len();
        self.summaries[0].kept = self.unigrams.len() as u64;
        sink.begin(&self.summaries.iter().map(|s| s.kept).collect::<Vec<_>>())?;
        let mut backoffs = self.backoffs.into_iter().map(Sorter::finish);
        let mut next_backoffs = || backoffs.next().transpose().map(Backoffs::new);
        let mut histories = next_backoffs()?;
        for (word, &p) in self.unigrams.iter().enumerate() {
            let log_prob = if word as u32 == BEGIN { super::LOG_ZERO } else { p.log10() as f32 };
            sink.ngram(&[word as u32], log_prob, histories.of(K::of(word as u32))?)?;
        }
        for (entries, n) in self.interpolated.into_iter().zip(2..=order) {
            let mut histories = next_backoffs()?;
            let mut words = vec![0; n];
            for entry in entries.finish()? {
                let entry = entry?;
                let key = entry.key;
                for (place, word) in words.iter_mut().rev().enumerate() {
                    *word = self.packing.word(key, place);
                }
                sink.ngram(&words, f32::from_bits({ entry.values }[0]), histories.of(key)?)?;
            }
        }
        sink.end()?;
        Ok(self.summaries)
    }

    /// Interpolates the n-grams of order `n` with the suffix `ending`, and recursively those that have them
    /// as suffix.
    fn interpolate(&mut self, n: usize, ending: K, shorter: f64) -> Result<()> {
        let Some(at) = n.checked_sub(2).filter(|&at| at < self.discounted.len()) else { return Ok(()) };
        loop {
            let packing = self.packing;
            let here =
                |e: &Result<Entry<K>>| e.as_ref().is_ok_and(|e| packing.pop(e.key) == ending) || e.is_err();
            let Some(entry) = self.discounted[at].next_if(here) else { return Ok(()) };
            let entry = entry?;
            let (key, [own, weight]) = (entry.key, entry.values.map(f32::from_bits));
            let probability = f64::from(own) + f64::from(weight) * shorter;
            let log_prob = probability.log10() as f32;
            self.interpolated[at].push(Entry::new(packing.reversed(key, n), [log_prob.to_bits(), 0]))?;
            self.interpolate(n + 1, key, probability)?;
        }
    }
}

/// The probabilities of unigrams, interpolated with the uniform distribution.
fn unigram_probabilities(adjusted: &[u32], discounts: &Discounts) -> Vec<f64> {
    let total: f64 = adjusted.iter().map(|&a| f64::from(a)).sum();
    let taken: f64 = adjusted.iter().map(|&a| discounts.of(a)).sum();
    // All words, `</s>` and `<unk>`, but not `<s>`, which is never predicted.
    let uniform = taken / total / (adjusted.len() - 1) as f64;
    adjusted.iter().map(|&a| (f64::from(a) - discounts.of(a)) / total + uniform).collect()
}

/// The discounting pass of one order.
struct Discount {
    packing: Packing,
    n: usize,
    threshold: u32,
    discounts: Discounts,
}

impl Discount {
    /// Converts adjusted counts in prefix order into discounted probabilities and back-off weights.
    fn run<K: Key>(
        &self,
        counts: Sorted<K>,
        discounted: &mut Sorter<K>,
        backoffs: &mut Sorter<K>,
        kept: &mut u64,
    ) -> Result<()> {
        let mut counts = counts.peekable();
        let mut group: Vec<Entry<K>> = Vec::new();
        while let Some(entry) = counts.next() {
            group.push(entry?);
            let history = self.packing.pop(group[0].key);
            let same = |e: &Result<Entry<K>>| e.as_ref().is_ok_and(|e| self.packing.pop(e.key) == history);
            if counts.peek().is_some_and(same) {
                continue;
            }
            let (mut total, mut taken) = (0.0, 0.0);
            for [adjusted, plain] in group.iter().map(|e| e.values) {
                total += f64::from(adjusted);
                // The whole count of a pruned n-gram goes to the shorter one.
                let out = plain <= self.threshold;
                taken += if out { f64::from(adjusted) } else { self.discounts.of(adjusted) };
            }
            let weight = (taken / total) as f32;
            backoffs.push(Entry::new(history, [weight.to_bits(), 0]))?;
            for entry in group.drain(..) {
                let (key, [adjusted, plain]) = (entry.key, entry.values);
                if plain > self.threshold {
                    let own = ((f64::from(adjusted) - self.discounts.of(adjusted)) / total) as f32;
                    let values = [own.to_bits(), weight.to_bits()];
                    discounted.push(Entry::new(self.packing.reversed(key, self.n), values))?;
                    *kept += 1;
                }
            }
        }
        Ok(())
    }
}

/// Back-off weights of the histories of one order, requested in prefix order.
struct Backoffs<K: Key>(Option<Peekable<Sorted<K>>>);

impl<K: Key> Backoffs<K> {
    fn new(sorted: Option<Sorted<K>>) -> Self {
        Self(sorted.map(Iterator::peekable))
    }

    /// log10 of an n-gram's back-off weight; 0 if it is not a history.
    fn of(&mut self, ngram: K) -> Result<f32> {
        let Some(entries) = &mut self.0 else { return Ok(0.0) };
        while let Some(entry) = entries.next_if(|e| e.as_ref().map_or(true, |e| { e.key } <= ngram)) {
            let entry = entry?;
            if { entry.key } == ngram {
                return Ok(f32::from_bits({ entry.values }[0]).log10().max(super::LOG_ZERO));
            }
        }
        Ok(0.0)
    }
}
