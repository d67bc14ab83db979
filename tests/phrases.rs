//! Phrase files: what they allow, what is found in what was said, and how bad files are answered.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hearken::text::phrases::{Automaton, Format, Match, Phrases, State};
use proptest::prelude::*;

fn lines(text: &str) -> Phrases {
    Phrases::parse(text, Format::Lines, None).expect("good phrases")
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/phrases").join(name)
}

/// All sentences of an automaton without loops.
fn sentences(phrases: &Phrases) -> BTreeSet<String> {
    fn collect_from(phrases: &Phrases, state: State, before: &str, all: &mut BTreeSet<String>) {
        if phrases.automaton().end(state).is_some() {
            assert!(all.insert(before.trim().to_string()), "`{before}` has two states");
        }
        for arc in phrases.automaton().arcs(state) {
            collect_from(phrases, arc.to, &format!("{before} {}", phrases.words()[arc.word as usize]), all);
        }
    }
    let mut all = BTreeSet::new();
    collect_from(phrases, phrases.automaton().start(), "", &mut all);
    all
}

fn match_of(phrases: &Phrases, sentence: &str) -> Option<Match> {
    let words: Option<Vec<u32>> = sentence.split_whitespace().map(|word| phrases.word(word)).collect();
    words.and_then(|words| phrases.find(&words))
}

/// Text, intent and slots of a sentence.
fn meaning(phrases: &Phrases, sentence: &str) -> String {
    let Some(found) = match_of(phrases, sentence) else { return "nothing".into() };
    let slots: Vec<String> = found.slots.iter().map(|slot| format!("{}={}", slot.name, slot.value)).collect();
    format!("{}|{}|{}", found.text, found.intent.unwrap_or_default(), slots.join(","))
}

fn set(sentences: &[&str]) -> BTreeSet<String> {
    sentences.iter().map(|sentence| (*sentence).to_string()).collect()
}

#[test]
fn templates_have_the_documented_meanings() {
    for (template, expected) in [
        ("turn on light", &["turn on light"][..]),
        ("turn on [the] light", &["turn on the light", "turn on light"]),
        ("(turn|switch) on", &["turn on", "switch on"]),
        (
            "(turn on;[the] light)",
            &["turn on the light", "turn on light", "the light turn on", "light turn on"],
        ),
        ("now;[please]", &["now please", "please now", "now"]),
        ("(a;b;c)", &["a b c", "a c b", "b a c", "b c a", "c a b", "c b a"]),
        ("light[s] on", &["lights on", "light on"]),
        ("(un)lock", &["unlock"]),
        ("[a[b]] c", &["ab c", "a c", "c"]),
        ("a | b", &["a", "b"]),
        ("(a|) b", &["a b", "b"]),
        ("50[%| percent]", &["50", "50 percent"]),
        ("What's up, Doc?", &["what's up doc"]),
        ("R&B @ 50%", &["r and b at 50 percent"]),
        ("a * b", &["a b"]),
        ("twenty-one", &["twenty one"]),
        ("\\[x\\] \\(y\\) \\# z # remark", &["x y z"]),
        ("{1..3}", &["one", "two", "three"]),
        ("{-1..1}", &["minus one", "zero", "one"]),
        ("{100..110..10}", &["one hundred", "one hundred ten", "one hundred and ten"]),
        ("a <r> c\n<r> = [x|y]", &["a x c", "a y c", "a c"]),
        ("{drink}\n{drink} = tea\n | iced tea # cold\n", &["tea", "iced tea"]),
        ("/2/ a\n/3/ (/4/ b | c)", &["a", "b", "c"]),
    ] {
        assert_eq!(sentences(&lines(template)), set(expected), "{template}");
    }
}

#[test]
fn sentences_are_found_with_their_slots() {
    let phrases = lines(
        "hello\n\
         @intent light\n\
         turn (on|off) [the] {room} light[s]\n\
         set the {room:place} to {0..100:level}% [now -> ]\n\
         @intent order\n\
         [Please] bring me {1..3} {drink}[s]\n\
         {room} = kitchen | living room -> living_room | Anna's room\n\
         {drink} = coffee | ((iced|cold) tea -> iced tea)\n",
    );
    for (sentence, expected) in [
        ("hello", "hello||"),
        ("turn on the kitchen light", "turn on the kitchen light|light|room=kitchen"),
        ("turn off living room lights", "turn off living_room lights|light|room=living_room"),
        ("turn off anna's room lights", "turn off Anna's room lights|light|room=Anna's room"),
        ("set the kitchen to forty two percent", "set the kitchen to 42%|light|place=kitchen,level=42"),
        ("set the kitchen to zero percent now", "set the kitchen to 0%|light|place=kitchen,level=0"),
        ("please bring me two cold teas", "Please bring me 2 iced teas|order|number=2,drink=iced tea"),
        ("bring me one coffee", "bring me 1 coffee|order|number=1,drink=coffee"),
        ("turn on the", "nothing"),
        ("hello hello", "nothing"),
        ("", "nothing"),
    ] {
        assert_eq!(meaning(&phrases, sentence), expected, "{sentence}");
    }
    let found = match_of(&phrases, "set the living room to one hundred percent").expect("allowed");
    let words: Vec<_> = found.slots.iter().map(|slot| slot.words.clone()).collect();
    assert_eq!(words, [2..4, 5..7]);
    let line = phrases.phrases().nth(found.phrase).expect("a phrase");
    assert_eq!((line.line, line.intent), (4, Some("light")));
    assert!(phrases.warnings().is_empty());
}

#[test]
fn weights_are_costs_and_decide_between_meanings() {
    let phrases = lines("(/3/ a | b) c\n/0.5/ a d\n");
    let cost = |sentence: &str| {
        let automaton = phrases.automaton();
        let mut state = automaton.start();
        let mut sum = 0.0;
        for word in sentence.split(' ') {
            let (cost, next) = automaton.next(state, phrases.word(word).expect("known")).expect("allowed");
            (state, sum) = (next, sum + cost);
        }
        sum + automaton.end(state).expect("an end")
    };
    for (sentence, expected) in [("a c", 0.0), ("b c", 3_f32.ln()), ("a d", 2_f32.ln())] {
        assert!((cost(sentence) - expected).abs() < 1e-3, "{sentence}: {}", cost(sentence));
    }
    let both = "{x} y\n@intent likelier\n/2/ {z} y\n{x} = a\n{z} = a\n";
    assert_eq!(meaning(&lines(both), "a y"), "a y|likelier|z=a");
    assert_eq!(meaning(&lines(&both.replace("/2/", "")), "a y"), "a y||x=a", "the first one in the file");
}

#[test]
fn sentences_are_counted_without_writing_them_out() {
    for (template, expected) in [
        ("a\nb\na", 2.0),
        ("[a] [b] [c]", 7.0),
        ("{x} {x} {x} {x} {x} {x} {x} {x} {x} {x} {x} {x}\n{x} = a|b|c|d|e|f|g|h|i|j", 1e12),
        ("(a;b;c;d;e;f;g;h)", 40320.0),
    ] {
        let phrases = lines(template);
        assert_eq!(phrases.automaton().num_sentences(), Some(expected), "{template}");
    }
    let endless = "#JSGF V1.0;\ngrammar g;\npublic <r> = (one | two)+;\n";
    let endless = Phrases::parse(endless, Format::Jsgf, None).expect("good");
    assert_eq!(endless.automaton().num_sentences(), None);
    assert!(match_of(&endless, "one two two one").is_some());
}

#[test]
fn examples_are_sentences_and_repeat_with_the_seed() {
    let phrases =
        lines("turn (on|off) [the] {room} light[s]\nhello [there]\n{room} = kitchen | {1..50} room\n");
    let examples = phrases.examples(40, 7);
    assert_eq!(examples.len(), 40);
    assert_eq!(examples, phrases.examples(40, 7));
    assert_ne!(examples, phrases.examples(40, 8));
    for example in &examples {
        assert_eq!(
            match_of(&phrases, &example.sentence),
            Some(example.meaning.clone()),
            "{}",
            example.sentence
        );
    }
    assert_eq!(lines("a\nb\n").examples(10, 1).len(), 2);
}

#[test]
fn errors_name_line_and_column() {
    for (text, place, problem) in [
        ("a\nturn (on|off", "2, column 6", "`(` has no `)`"),
        ("turn (on] x", "1, column 9", "expected `)`"),
        ("turn on)", "1, column 8", "`)` closes nothing"),
        ("a {room", "1, column 3", "expected `}`"),
        ("a {room}", "1, column 3", "`{room}` is not defined"),
        ("a {Room}\n{room} = b", "1, column 3", "there is `{room}`"),
        ("a <r>\n<r> = b <s>\n<s> = <r>", "3, column 7", "`<r>` uses itself: <r> → <s> → <r>"),
        ("<r> = b\n\n# x\n<r> = c\na", "4, column 1", "defined in line 1 already"),
        ("a {ro om}", "1, column 3", "expected a name"),
        ("a | b ; c", "1, column 7", "side by side"),
        ("a /2/", "1, column 3", ""),
        ("/x/ a", "1, column 1", "expected a weight"),
        ("/-1/ a", "1, column 1", "expected a weight"),
        ("/2 a", "1, column 1", "expected `/`"),
        ("{5..1}", "1, column 1", "expected numbers that go up"),
        ("{0..99999999}", "1, column 1", "at most"),
        ("{0..99999999999999999999}", "1, column 1", "too large"),
        ("a -> (b)", "1, column 6", "cannot stand after `->`"),
        ("@intents x\na", "1, column 1", "expected `@intent` or `@include`"),
        ("@intent\na", "1, column 1", "expected `@intent` and a name"),
        ("a\n@include", "2, column 1", "the name of a file"),
        ("a\n<r> =", "2, column 6", "found nothing"),
        ("# nothing\n", "1, column 1", "expected phrases"),
        ("a\n ?! \n", "2, column 2", "without any"),
        ("a\\", "1, column 3", "after `\\`"),
        ("ä (b;c;d;e;f;g;h;i;j)", "1, column 1", "in any order"),
        (&format!("a\n{}", "[".repeat(100)), "2, column 65", "brackets inside each other"),
        (&format!("a\n{}b", "x".repeat(300)), "2, column 1", "more than 256 bytes"),
    ] {
        // In other places, a weight is ordinary text.
        if problem.is_empty() {
            assert_eq!(sentences(&lines(text)), set(&["a 2"]), "{text}");
            continue;
        }
        let error =
            Phrases::parse(text, Format::Lines, Some(Path::new("my.txt"))).expect_err(text).to_string();
        assert!(error.starts_with(&format!("my.txt: line {place}: ")), "{text}: {error}");
        assert!(error.contains(problem), "{text}: {error}");
    }
    let error = Phrases::parse("@include x.txt", Format::Lines, None).expect_err("no folder").to_string();
    assert!(error.starts_with("line 1, column 1: only phrases that stand in a file"), "{error}");
    let warnings = |text: &str| lines(text).warnings().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(warnings("a\n{b} = c"), ["line 2, column 1: nothing uses `{b}`"]);
    assert!(warnings("a\n[b] [c]")[0].starts_with("line 2, column 1: all of this phrase is optional"));
}

#[test]
fn too_large_graphs_are_refused() {
    let twice = |inner: &str| format!("{inner} {inner}");
    let mut text = String::from("<a0>\n<a20> = {0..99}\n");
    for i in 0..20 {
        text += &format!("<a{i}> = {}\n", twice(&format!("<a{}>", i + 1)));
    }
    let error = Phrases::parse(&text, Format::Lines, None).expect_err("2^20 copies").to_string();
    assert!(error.starts_with("line 1, column 1: ") && error.contains("arcs"), "{error}");
}

#[test]
fn symbols_are_spoken_by_their_names_or_named_in_a_warning() {
    let phrases = lines("set {0..100}%\nAT&T -> the company\n");
    assert!(phrases.warnings().is_empty());
    assert_eq!(meaning(&phrases, "set twenty one percent"), "set 21%||number=21");
    assert_eq!(meaning(&phrases, "at and t"), "the company||");
    let warnings = |text: &str, format| {
        let phrases = Phrases::parse(text, format, None).expect("good phrases");
        phrases.warnings().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (text, format, expected) in [
        ("a\nb C# {x}\n{x} = 2*3 | *\n | d*\n", Format::Lines, "line 2, column 4: `#`, `*`: symbols"),
        ("[\"a\",\n \"b *\"]", Format::Json, "line 2, column 5: `*`: symbols"),
        ("sentences:\n - a\n - in: b *\n", Format::Yaml, "line 3, column 10: `*`: symbols"),
        (
            "#JSGF V1.0;\ngrammar x;\npublic <y> = a \\* | \"b*\";",
            Format::Jsgf,
            "line 3, column 16: `*`: symbols",
        ),
    ] {
        let warnings = warnings(text, format);
        assert!(warnings.len() == 1 && warnings[0].starts_with(expected), "{text}: {warnings:?}");
        assert_eq!(warnings[0].contains("(lines 2, 3, 4)"), format == Format::Lines, "{warnings:?}");
    }
}

#[test]
fn files_include_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let put = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
    put("main.txt", "@intent one\na\n@include more/lists.txt\nb {x}\n");
    std::fs::create_dir(path("more")).expect("a folder");
    put("more/lists.txt", "{x} = y\nc\n@intent two\n@include last.txt\n");
    put("more/last.txt", "d\n");
    let phrases = Phrases::read(&path("main.txt")).expect("good files");
    let intents: Vec<_> = phrases.phrases().map(|line| (line.template.to_string(), line.intent)).collect();
    let expected = [("a", "one"), ("c", "one"), ("d", "two"), ("b {x}", "one")];
    assert_eq!(intents, expected.map(|(template, intent)| (template.to_string(), Some(intent))));
    put("more/last.txt", "d\n (");
    let error = Phrases::read(&path("main.txt")).expect_err("a bracket").to_string();
    assert!(error.contains("last.txt") && error.contains("line 2, column 2: "), "{error}");
    put("more/last.txt", "@include lists.txt");
    let error = Phrases::read(&path("main.txt")).expect_err("a ring").to_string();
    assert!(error.contains("last.txt") && error.contains("includes itself"), "{error}");
    put("more/last.txt", "\n@include nowhere.txt");
    let error = Phrases::read(&path("main.txt")).expect_err("nothing there").to_string();
    assert!(error.contains("line 2, column 1: `nowhere.txt` cannot be included"), "{error}");
    std::fs::write(path("bytes.txt"), b"a\nb\xff\n").expect("written");
    let error = Phrases::read(&path("bytes.txt")).expect_err("no UTF-8").to_string();
    assert!(error.contains("line 2, column 2: expected text in UTF-8"), "{error}");
}

#[test]
fn lists_of_vosk_are_read() {
    let read = |text: &str| Phrases::parse(text, Format::Json, None);
    let phrases = read("[\"turn on\", \"[unk]\",\n \"a [b] \\\"c\\\"\", \"(d\"]").expect("good");
    assert_eq!(sentences(&phrases), set(&["turn on", "a b c", "d"]), "template signs are characters here");
    let places: Vec<_> = phrases.phrases().map(|line| (line.line, line.column)).collect();
    assert_eq!(places, [(1, 2), (2, 2), (2, 17)]);
    for (text, place, problem) in [
        ("[1, 2]", "line 1, column 2", "invalid type: integer `1`"),
        ("[\"a\",\n \"b\"", "line 2, column 4", "EOF"),
        ("{\"a\": 1}", "line 1, column 0", "invalid type: map"),
        ("[]", "line 1, column 1", "expected phrases, found none"),
        ("[\"[unk]\"]", "line 1, column 1", "expected phrases, found none"),
        ("[\"a\", \" \"]", "line 1, column 7", "no words"),
    ] {
        let error = read(text).expect_err(text).to_string();
        assert!(error.starts_with(place) && error.contains(problem), "{text}: {error}");
    }
    assert_eq!(Format::detect(Path::new("x.txt"), " [\n\"a\"]"), Format::Json);
    assert_eq!(Format::detect(Path::new("x.txt"), "[please] go"), Format::Lines);
    assert_eq!(Format::detect(Path::new("x"), "#JSGF V1.0;"), Format::Jsgf);
    assert_eq!(Format::detect(Path::new("x.yml"), "[\"a\"]"), Format::Yaml);
}

#[test]
fn sentences_of_home_assistant_are_those_of_hassil() {
    let phrases = Phrases::read(&data("en.yaml")).expect("a good file");
    let expected = std::fs::read_to_string(data("en.expanded.tsv")).expect("the golden file");
    let mut compared = 0;
    let mut all = BTreeSet::new();
    for line in expected.lines() {
        let (intent, sentence) = line.split_once('\t').expect("two columns");
        let words = hearken::text::normalize::spoken_words(sentence);
        // hassil writes the numbers of ranges in digits; they are spoken as words.
        let words: Vec<String> = words
            .iter()
            .flat_map(|word| match word.parse() {
                Ok(number) => hearken::text::numbers::number_words(number, false)
                    .into_iter()
                    .map(String::from)
                    .collect(),
                Err(_) => vec![word.clone()],
            })
            .collect();
        let sentence = words.join(" ");
        let found = match_of(&phrases, &sentence).unwrap_or_else(|| panic!("`{sentence}` is not allowed"));
        assert_eq!(found.intent.as_deref(), Some(intent), "{sentence}");
        all.insert(sentence);
        compared += 1;
    }
    assert_eq!(compared, 140);
    assert_eq!(sentences(&phrases), all);
    assert_eq!(
        meaning(&phrases, "turn on the kitchen lights"),
        "turn on the kitchen lights|LightSet|domain=light,room=kitchen_1"
    );
    assert_eq!(
        meaning(&phrases, "please twenty percent"),
        "please 20 percent|LightSet|domain=light,level=20"
    );
    let warnings: Vec<String> = phrases.warnings().iter().map(ToString::to_string).collect();
    for expected in ["`{text}` stands for any words", "can never be said", "`skip_words` are not skipped"] {
        assert!(warnings.iter().any(|warning| warning.contains(expected)), "{expected}: {warnings:?}");
    }
}

#[test]
fn simple_sentence_files_are_read() {
    let text = "sentences:\n  - in: [hello, 'good (morning|evening)']\n    out: HELLO\n  - turn {state}\nlists:\n  state:\n    values: [on, off]\n";
    let phrases = Phrases::parse(text, Format::Yaml, None).expect("good");
    assert_eq!(sentences(&phrases), set(&["hello", "good morning", "good evening", "turn on", "turn off"]));
    assert_eq!(meaning(&phrases, "good evening"), "HELLO||");
    assert_eq!(meaning(&phrases, "turn off"), "turn off||state=off", "no booleans");
    for (text, place, problem) in [
        ("sentences:\n  - turn (on\n", "line 2, column 10", "`(` has no `)`"),
        ("sentences:\n  - \"turn {x}\"\n", "line 2, column 11", "`{x}` is not defined"),
        ("sentences: {a: b}\n", "line 1, column 12", "expected a list of sentences, found a table"),
        (
            "intents:\n  A:\n    data:\n      - slots: {}\n",
            "line 4, column 9",
            "expected a block with `sentences:`",
        ),
        ("sentences: [a]\nsentences: [b]\n", "line 2, column 1", "stands in line 1 already"),
        ("sentences:\n - a\n - [b\n", "line 4, column 1", "expected YAML"),
        ("sentences: [a]\nlists:\n  x:\n    range: {from: 1, to: b}\n", "line 4, column 26", "whole number"),
        ("sentences: &x [a]\nlists: *x\n", "line 2, column 8", "aliases"),
        ("just text", "line 1, column 1", "expected `intents:` or `sentences:`, found a text"),
        ("", "line 1, column 1", "empty file"),
    ] {
        let error = Phrases::parse(text, Format::Yaml, None).expect_err(text).to_string();
        assert!(error.starts_with(place) && error.contains(problem), "{text}: {error}");
    }
}

#[test]
fn grammars_in_jsgf_are_read() {
    let jsgf = |rules: &str| {
        Phrases::parse(&format!("#JSGF V1.0 UTF-8 en;\ngrammar home;\n{rules}"), Format::Jsgf, None)
    };
    for (rules, expected) in [
        (
            "public <top> = (turn | switch) [the] light;",
            &["turn light", "turn the light", "switch light", "switch the light"][..],
        ),
        (
            "public <top> = <verb> light; // x\n/* y\n */<verb> = /10/ on | /1/ off;",
            &["on light", "off light"],
        ),
        ("public <top> = <home.a> | <NULL> b | c <VOID>;\n<a> = \"light blue\" {tag};", &["light blue", "b"]),
        ("public <a> = grün;\npublic <b> = don't | twenty-one;", &["grün", "don't", "twenty one"]),
    ] {
        assert_eq!(sentences(&jsgf(rules).expect(rules)), set(expected), "{rules}");
    }
    let phrases =
        jsgf("public <digits> = <digit>+ [stop];\n<digit> = one | two;\npublic <very> = very* good;")
            .expect("good");
    assert_eq!(meaning(&phrases, "one two one stop"), "one two one stop|digits|");
    assert_eq!(meaning(&phrases, "very very good"), "very very good|very|");
    assert!(match_of(&phrases, "stop").is_none() && match_of(&phrases, "good").is_some());
    for (rules, place, problem) in [
        ("<top> = a;", "line 3, column 10", "expected a `public` rule"),
        ("public <top> = a", "line 3, column 16", "expected `;` after the rule, found the end of the file"),
        ("public <top> = <no>;", "line 3, column 16", "`<no>` is not defined"),
        ("public <top> = one | one <top>;", "line 3, column 26", "uses itself"),
        ("import <x.y>;\npublic <top> = a;", "line 3, column 1", "`import`"),
        ("public <top> = (a | b;", "line 3, column 22", "expected `)`"),
        ("public <top> = a | ;", "line 3, column 20", "expected words"),
        ("public <top> = a\n /* b", "line 4, column 2", "no `*/`"),
        ("public <top> = a {b;", "line 3, column 18", "`{` has no `}`"),
    ] {
        let error = jsgf(rules).expect_err(rules).to_string();
        assert!(error.starts_with(place) && error.contains(problem), "{rules}: {error}");
    }
    let error = Phrases::parse("grammar a;\n", Format::Jsgf, None).expect_err("no head").to_string();
    assert!(error.starts_with("line 1, column 1: expected `#JSGF V1.0;`"), "{error}");
}

/// The syntax tree of a template.
#[derive(Clone, Debug)]
enum Tree {
    Word(u8),
    Glued(Box<Tree>, Box<Tree>),
    Row(Vec<Tree>),
    One(Vec<Tree>),
    Maybe(Box<Tree>),
    AnyOrder(Vec<Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = (0..4_u8).prop_map(Tree::Word);
    leaf.prop_recursive(4, 12, 3, |inner| {
        let several = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            several.clone().prop_map(Tree::Row),
            several.clone().prop_map(Tree::One),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::AnyOrder),
            inner.clone().prop_map(|tree| Tree::Maybe(Box::new(tree))),
            (inner.clone(), inner).prop_map(|(a, b)| Tree::Glued(Box::new(a), Box::new(b))),
        ]
    })
}

impl Tree {
    /// The template's text, in brackets inside another template.
    fn template(&self) -> String {
        let join =
            |trees: &[Tree], sign: &str| trees.iter().map(Tree::template).collect::<Vec<_>>().join(sign);
        match self {
            Tree::Word(word) => char::from(b'a' + word).to_string(),
            Tree::Glued(a, b) => format!("{}{}", a.template(), b.template()),
            Tree::Row(trees) => format!("({})", join(trees, " ")),
            Tree::One(trees) => format!("({})", join(trees, "|")),
            Tree::Maybe(tree) => format!("[{}]", tree.template()),
            Tree::AnyOrder(trees) => format!("({})", join(trees, ";")),
        }
    }

    /// All texts that the template allows; `None` if there are too many.
    fn texts(&self) -> Option<BTreeSet<String>> {
        let product = |left: BTreeSet<String>, right: &BTreeSet<String>, sign: &str| {
            let all: BTreeSet<String> =
                left.iter().flat_map(|a| right.iter().map(move |b| format!("{a}{sign}{b}"))).collect();
            (all.len() < 2000).then_some(all)
        };
        match self {
            Tree::Word(_) => Some(BTreeSet::from([self.template()])),
            Tree::Glued(a, b) => product(a.texts()?, &b.texts()?, ""),
            Tree::Row(trees) => {
                let mut all = trees[0].texts()?;
                for tree in &trees[1..] {
                    all = product(all, &tree.texts()?, " ")?;
                }
                Some(all)
            }
            Tree::One(trees) => {
                let mut all = BTreeSet::new();
                for tree in trees {
                    all.extend(tree.texts()?);
                }
                Some(all)
            }
            Tree::Maybe(tree) => {
                let mut all = tree.texts()?;
                all.insert(String::new());
                Some(all)
            }
            Tree::AnyOrder(trees) => {
                let mut all = BTreeSet::new();
                for first in 0..trees.len() {
                    let mut rest = trees.clone();
                    let tree = rest.remove(first).texts()?;
                    let rest = if rest.is_empty() {
                        BTreeSet::from([String::new()])
                    } else {
                        Tree::AnyOrder(rest).texts()?
                    };
                    // Parts in any order are separate words.
                    let apart =
                        |texts: BTreeSet<String>| texts.into_iter().map(|text| format!(" {text} ")).collect();
                    all.extend(product(apart(tree), &rest, " ")?);
                }
                Some(all)
            }
        }
    }
}

fn tidy(texts: BTreeSet<String>) -> BTreeSet<String> {
    let tidy = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    texts.into_iter().map(tidy).filter(|text| !text.is_empty()).collect()
}

/// Whether all states of an automaton differ in their arcs or in whether a phrase may end there.
fn is_minimal(automaton: &Automaton) -> bool {
    let mut seen = BTreeSet::new();
    (0..automaton.num_states() as u32).map(State).all(|state| {
        let arcs: Vec<_> = automaton.arcs(state).iter().map(|arc| (arc.word, arc.cost, arc.to)).collect();
        seen.insert((automaton.end(state).is_some(), arcs))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_graph_allows_what_the_template_says(trees in prop::collection::vec(tree(), 1..4)) {
        let templates: Vec<String> = trees.iter().map(Tree::template).collect();
        let expanded: Option<Vec<_>> = trees.iter().map(Tree::texts).collect();
        prop_assume!(expanded.is_some());
        let expanded = tidy(expanded.into_iter().flatten().flatten().collect());
        prop_assume!(!expanded.is_empty());
        let phrases = lines(&templates.join("\n"));
        let found = sentences(&phrases);
        prop_assert_eq!(&found, &expanded, "{:?}", templates);
        prop_assert_eq!(phrases.automaton().num_sentences(), Some(expanded.len() as f64));
        prop_assert!(is_minimal(phrases.automaton()));
        // Each is recognized with its own text.
        for sentence in &expanded {
            prop_assert_eq!(match_of(&phrases, sentence).map(|found| found.text), Some(sentence.clone()));
        }
        // As a value of a list, the text is the value of the slot.
        let list = lines(&format!("{{x}}\n{{x}} = {}", templates.join(" | ")));
        prop_assert_eq!(sentences(&list), found);
        for sentence in &expanded {
            let slots = match_of(&list, sentence).map(|found| found.slots).unwrap_or_default();
            prop_assert_eq!(slots.len(), 1);
            prop_assert_eq!(&slots[0].value, sentence);
            prop_assert_eq!(&slots[0].words, &(0..sentence.split(' ').count()));
        }
    }

    #[test]
    fn damaged_files_do_not_panic(
        which in 0..4_usize,
        edits in prop::collection::vec((0..2000_usize, 0..12_usize, "[a-c(){}<>|;/\\\\#@=\\[\\]\"':,*+. \n-]{0,6}"), 1..6),
    ) {
        let (text, format) = [
            ("@intent a\nturn (on|off) [the] {room} light[s] # x\n{room} = /2/ kitchen | living room -> l\n<r> = a;b\nset <r> {0..20:n}%\n".to_string(), Format::Lines),
            ("[\"one two\", \"[unk]\", \"three \\\"four\\\"\"]".to_string(), Format::Json),
            (std::fs::read_to_string(data("en.yaml")).expect("the file"), Format::Yaml),
            ("#JSGF V1.0;\ngrammar g;\npublic <a> = /3/ one <b>* | \"x y\" {t} [two]+; // c\n<b> = three | <NULL>;\n".to_string(), Format::Jsgf),
        ].into_iter().nth(which).expect("one of four");
        let mut characters: Vec<char> = text.chars().collect();
        for (at, take, with) in edits {
            let at = at % characters.len().max(1);
            let end = (at + take).min(characters.len());
            characters.splice(at..end, with.chars());
        }
        let text: String = characters.into_iter().collect();
        match Phrases::parse(&text, format, None) {
            Ok(phrases) => {
                phrases.automaton().num_sentences();
                for example in phrases.examples(5, 1) {
                    prop_assert!(match_of(&phrases, &example.sentence).is_some(), "{}: {}", text, example.sentence);
                }
            }
            Err(error) => {
                let place = error.place().unwrap_or_default();
                prop_assert!(place.starts_with("line ") && place.contains(", column "), "{}: {}", text, error);
            }
        }
    }
}

#[test]
fn the_example_of_coffee_orders_finds_every_slot() {
    let phrases =
        Phrases::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/orders.txt")).expect("good");
    assert!(phrases.warnings().is_empty());
    // 9 forms of the request, 3 articles, 7 sizes, 3 roasts and 3 shots or none, in any order, 10 drinks, and
    // 6 * 6 kinds of milk and cream, 6 * 3 of sugar.
    let before: f64 = {
        let pairs = 7.0 * 3.0 + 7.0 * 3.0 + 3.0 * 3.0;
        1.0 + (7.0 + 3.0 + 3.0) + 2.0 * pairs + 6.0 * 7.0 * 3.0 * 3.0
    };
    let (milk, sugar) = (6.0 * 6.0, 6.0 * 3.0);
    let after = 1.0 + milk + sugar + 2.0 * milk * sugar;
    assert_eq!(phrases.automaton().num_sentences(), Some(9.0 * 3.0 * before * 10.0 * after));
    assert!(phrases.automaton().num_states() < 200, "{}", phrases.automaton().num_states());
    for (sentence, slots) in [
        ("brew espresso", "coffeeDrink=espresso"),
        (
            "can i get a triple shot light roast iced coffee",
            "numberOfShots=triple shot,roast=light roast,coffeeDrink=iced coffee",
        ),
        (
            "i'd like a twelve ounce medium roast house coffee with a little bit of brown sugar and some soy milk",
            "size=twelve ounce,roast=medium roast,coffeeDrink=house coffee,sugarAmount=a little bit of brown sugar,milkAmount=some soy milk",
        ),
        ("make me a medium mocha with cream", "size=medium,coffeeDrink=mocha,milkAmount=cream"),
    ] {
        let found = meaning(&phrases, sentence);
        assert!(found.ends_with(&format!("|orderDrink|{slots}")), "{sentence}: {found}");
    }
    for sentence in
        ["a latte", "get me a latte with", "get me a small large latte", "get me a latte with milk and cream"]
    {
        assert!(match_of(&phrases, sentence).is_none(), "{sentence}");
    }
}

/// The phone ids of each word, from a small dictionary.
fn pronunciations(phrases: &Phrases, dictionary: &str) -> Vec<Vec<Vec<u32>>> {
    let dictionary = hearken::text::pronunciation::Pronunciations::parse(dictionary).expect("good lines");
    phrases.words().iter().map(|word| dictionary.get(word).to_vec()).collect()
}

#[test]
fn sentences_that_sound_alike_are_found() {
    let phrases = lines(
        "turn on the (light -> l|right -> r)\n@intent colors\n{color} [please]\n{color} = (red|read) -> red | dread | green | (a|an) apple\n",
    );
    let dictionary = "turn T ER N\non AA N\nthe DH AH\nlight L AY T\nright R AY T\nred R EH D\nread R EH D\ndread D R EH D\ngreen G R IY N\nplease P L IY Z\na AH\nan AE N\napple AE P AH L\n";
    let report = phrases.alike(&pronunciations(&phrases, dictionary));
    assert!(!report.cut_short);
    let pairs: Vec<(&str, &str, f32)> = report
        .pairs
        .iter()
        .map(|pair| (pair.sentences[0].as_str(), pair.sentences[1].as_str(), pair.distance))
        .collect();
    // Not `red` and `read`, nor `a apple` and `an apple`, which mean the same.
    assert!(pairs.contains(&("turn on the light", "turn on the right", 1.0)), "{pairs:?}");
    assert!(
        pairs.iter().any(|(a, b, d)| a.contains("dread") != b.contains("dread") && *d == 1.0),
        "{pairs:?}"
    );
    assert!(!pairs.iter().any(|(a, b, _)| a.contains("apple") || b.contains("green")), "{pairs:?}");
    let phrases = lines("go by bus\n@intent b\ngo buy bus\n");
    let report = phrases.alike(&pronunciations(&phrases, "go G OW\nby B AY\nbuy B AY\nbus B AH S\n"));
    let pair = &report.pairs[0];
    assert_eq!((pair.distance, report.pairs.len()), (0.0, 1));
    assert_eq!(pair.parts, ["buy", "by"].map(String::from));
}

#[test]
fn pictures_are_valid_xml_of_bounded_size() {
    let phrases = lines("a & <r> [b] (c;d) {x:y} {0..9} e -> \\<f\\>\n<r> = (\"g\"|h)\n{x} = i\n");
    let svg = phrases.to_svg();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    for part in ["&amp;", "&lt;r&gt;", "{x:y}", "0..9", "→ &lt;f&gt;", "&quot;g&quot;", "in any order"] {
        assert!(svg.contains(part), "{part}: {svg}");
    }
    // Every tag is closed, and all coordinates are numbers.
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    let many: String = (0..5000).map(|i| format!("phrase {i}\n")).collect();
    let svg = lines(&many).to_svg();
    assert!(svg.len() < 500_000 && svg.contains("… 4800 more"), "{}", svg.len());
}
