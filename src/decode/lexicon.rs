//! Lexicon of a search as a prefix tree of pronunciations.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use super::{DecoderOptions, Pronunciation, TokenId, WordId};
use crate::error::{Error, Result, Stage};
use crate::text::TokenTable;

/// The words of a lexicon in the order of their first entries, which are indexed by [`WordId`].
pub fn words(options: &DecoderOptions) -> Vec<String> {
    let mut known = HashSet::new();
    let words = options.lexicon.iter().map(|entry| &entry.word);
    words.filter(|word| known.insert(word.as_str())).cloned().collect()
}

/// A node of the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub token: TokenId,
    /// The children, which have successive indices.
    pub children: Range<u32>,
    /// Range of [`Lexicon::words`] of the words that end at this node.
    words: Range<u32>,
    /// Number of tokens up to and including this one.
    pub depth: u32,
}

/// Prefix tree of pronunciations. Nodes are in breadth-first order, so that children have larger indices than their
/// parents, and siblings have successive indices.
#[derive(Clone, Debug)]
pub struct Lexicon {
    nodes: Vec<Node>,
    roots: Range<u32>,
    /// Words in the order of the nodes at which they end.
    words: Vec<WordId>,
    /// Spellings of the words, indexed by [`WordId`].
    names: Arc<[String]>,
    num_tokens: usize,
}

impl Lexicon {
    /// Creates the tree of a model's lexicon.
    ///
    /// # Errors
    /// When a pronunciation is empty, or has a token that the model does not have.
    pub fn new(tokens: &TokenTable, lexicon: &[Pronunciation]) -> Result<Self> {
        let mut by_name: HashMap<&str, u32> = HashMap::new();
        let ids: HashMap<&str, u32> =
            tokens.tokens().iter().enumerate().map(|(i, token)| (token.as_str(), i as u32)).collect();
        let mut pronunciations = Vec::with_capacity(lexicon.len());
        for entry in lexicon {
            let next = by_name.len() as u32;
            let word = WordId(*by_name.entry(&entry.word).or_insert(next));
            pronunciations.push((token_ids(entry, &ids, tokens.blank())?, word));
        }
        let mut names = vec![String::new(); by_name.len()];
        by_name.iter().for_each(|(&name, &id)| names[id as usize] = name.into());
        Ok(Self::from_pronunciations(names, pronunciations, tokens.len()))
    }

    /// Creates the tree of words with the spellings `names`, which are indexed by [`WordId`], for a model with
    /// `num_tokens` tokens. Pronunciations must not be empty.
    pub fn from_pronunciations(
        names: Vec<String>,
        mut pronunciations: Vec<(Vec<TokenId>, WordId)>,
        num_tokens: usize,
    ) -> Self {
        pronunciations.sort_unstable();
        pronunciations.dedup();
        let names = names.into();
        let mut tree = Self { nodes: Vec::new(), roots: 0..0, words: Vec::new(), names, num_tokens };
        // Ranges of pronunciations with a common prefix, the prefix's length and its node (none for the empty one).
        let mut waiting = VecDeque::from([(0..pronunciations.len(), 0, None)]);
        while let Some((range, depth, parent)) = waiting.pop_front() {
            let shared = &pronunciations[range.clone()];
            let whole = shared.iter().take_while(|(tokens, _)| tokens.len() == depth).count();
            let first_word = tree.words.len() as u32;
            tree.words.extend(shared[..whole].iter().map(|(_, word)| *word));
            let first = tree.nodes.len() as u32;
            let mut at = range.start + whole;
            while at < range.end {
                let token = pronunciations[at].0[depth];
                let end = at + pronunciations[at..range.end].partition_point(|(t, _)| t[depth] <= token);
                waiting.push_back((at..end, depth + 1, Some(tree.nodes.len())));
                tree.nodes.push(Node { token, children: 0..0, words: 0..0, depth: depth as u32 + 1 });
                at = end;
            }
            let children = first..tree.nodes.len() as u32;
            match parent {
                None => tree.roots = children,
                Some(parent) => {
                    tree.nodes[parent].children = children;
                    tree.nodes[parent].words = first_word..tree.words.len() as u32;
                }
            }
        }
        tree
    }

    /// Creates the tree with more words, whose ids follow those of this tree. Pronunciations must not be empty.
    pub fn with_words(&self, names: &[String], more: Vec<(Vec<TokenId>, WordId)>) -> Self {
        let mut pronunciations = more;
        let mut waiting: Vec<(u32, Vec<TokenId>)> = self.roots().map(|root| (root, Vec::new())).collect();
        while let Some((at, mut tokens)) = waiting.pop() {
            let node = self.node(at);
            tokens.push(node.token);
            pronunciations.extend(self.words_at(at).iter().map(|&word| (tokens.clone(), word)));
            waiting.extend(node.children.clone().map(|child| (child, tokens.clone())));
        }
        Self::from_pronunciations([&self.names, names].concat(), pronunciations, self.num_tokens)
    }

    pub(super) fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    /// Spellings of the words, indexed by [`WordId`].
    pub fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    /// The nodes of the first tokens of words.
    pub(super) fn roots(&self) -> Range<u32> {
        self.roots.clone()
    }

    /// The words that end at a node.
    pub(super) fn words_at(&self, node: u32) -> &[WordId] {
        let words = &self.nodes[node as usize].words;
        &self.words[words.start as usize..words.end as usize]
    }

    /// V, the number of tokens of the model.
    pub fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// For each node, the minimum cost of the words that end at or below it.
    pub(super) fn min_costs(&self, cost: impl Fn(WordId) -> f32) -> Vec<f32> {
        let mut least = vec![f32::INFINITY; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let here = self.words_at(at as u32).iter().map(|&word| cost(word));
            let below = least[node.children.start as usize..node.children.end as usize].iter().copied();
            least[at] = here.chain(below).fold(f32::INFINITY, f32::min);
        }
        least
    }
}

fn token_ids(entry: &Pronunciation, ids: &HashMap<&str, u32>, blank: u32) -> Result<Vec<TokenId>> {
    let wrong = |problem: String| Error::new(Stage::Model, problem).at(format!("lexicon: `{}`", entry.word));
    let id = |token: &String| {
        let id = ids.get(token.as_str()).filter(|&&id| id != blank);
        id.copied().map(TokenId).ok_or_else(|| wrong(format!("the model has no token `{token}`")))
    };
    let tokens = entry.tokens.iter().map(id).collect::<Result<Vec<_>>>()?;
    if tokens.is_empty() {
        return Err(wrong("expected the tokens of the word, found none".into()));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TokenTable {
        TokenTable::new(["<blk>", "a", "b", "c"].map(String::from).to_vec(), 0).expect("a good table")
    }

    fn entry(word: &str, tokens: &str) -> Pronunciation {
        Pronunciation { word: word.into(), tokens: tokens.split_whitespace().map(String::from).collect() }
    }

    /// All pronunciations in the tree with their words.
    fn spelled(tree: &Lexicon) -> Vec<(Vec<u32>, u32)> {
        fn walk(tree: &Lexicon, node: u32, so_far: &[u32], found: &mut Vec<(Vec<u32>, u32)>) {
            let tokens = [so_far, &[tree.node(node).token.0]].concat();
            assert_eq!(tree.node(node).depth as usize, tokens.len());
            found.extend(tree.words_at(node).iter().map(|word| (tokens.clone(), word.0)));
            tree.node(node).children.clone().for_each(|child| walk(tree, child, &tokens, found));
        }
        let mut found = Vec::new();
        tree.roots().for_each(|root| walk(tree, root, &[], &mut found));
        found.sort();
        found
    }

    #[test]
    fn words_with_a_common_prefix_share_its_nodes() {
        let lexicon = [
            entry("ab", "a b"),
            entry("a", "a"),
            entry("abc", "a b c"),
            entry("ay", "a"),
            entry("b", "b"),
            entry("ab", "b b"),
        ];
        let tree = Lexicon::new(&table(), &lexicon).expect("a good lexicon");
        let expected =
            [(vec![1], 1), (vec![1], 3), (vec![1, 2], 0), (vec![1, 2, 3], 2), (vec![2], 4), (vec![2, 2], 0)];
        assert_eq!(spelled(&tree), expected);
        assert_eq!((tree.nodes.len(), tree.roots()), (5, 0..2));
        let options = DecoderOptions { lexicon: lexicon.to_vec(), ..Default::default() };
        assert_eq!(words(&options), ["ab", "a", "abc", "ay", "b"]);
        assert_eq!(tree.names()[..], words(&options));
        let costs = tree.min_costs(|word| [3.0, 5.0, 1.0, 7.0, 2.0][word.0 as usize]);
        assert_eq!(costs[..2], [1.0, 2.0], "`abc` below `a`; `b` below `b`");
    }

    #[test]
    fn words_can_be_added() {
        let lexicon = [entry("ab", "a b"), entry("a", "a"), entry("ab", "b b")];
        let tree = Lexicon::new(&table(), &lexicon).expect("a good lexicon");
        let more = tree.with_words(&["ac".into()], vec![(vec![TokenId(1), TokenId(3)], WordId(2))]);
        assert_eq!(spelled(&more), [(vec![1], 1), (vec![1, 2], 0), (vec![1, 3], 2), (vec![2, 2], 0)]);
        assert_eq!(more.names()[..], ["ab", "a", "ac"]);
        assert_eq!(spelled(&tree.with_words(&[], Vec::new())), spelled(&tree));
    }

    #[test]
    fn unknown_tokens_are_refused() {
        for tokens in ["x", "", "<blk>"] {
            let error = Lexicon::new(&table(), &[entry("w", tokens)]).expect_err("bad");
            assert!(error.to_string().contains("`w`"), "{error}");
        }
    }
}
