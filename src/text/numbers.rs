//! English numbers: from digits to words and from words to digits.

/// The numbers below twenty.
const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
/// The tens from twenty.
const TENS: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
/// The powers of a thousand.
const SCALES: [(u64, &str); 3] = [(1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand")];

/// The first number without words here.
pub const MAX_NUMBER: u64 = 1_000_000_000_000;

/// The words of a number, such as `one hundred five` for 105; with `and`, `one hundred and five`. Numbers
/// from [`MAX_NUMBER`] on are spelled digit by digit.
pub fn number_words(number: u64, and: bool) -> Vec<&'static str> {
    if number >= MAX_NUMBER {
        return digit_words(&number.to_string());
    }
    let mut words = Vec::new();
    push_number(number, and, &mut words);
    words
}

fn push_number(number: u64, and: bool, words: &mut Vec<&'static str>) {
    let (mut rest, before) = (number, words.len());
    for (scale, name) in SCALES.into_iter().chain([(100, "hundred")]) {
        if rest >= scale {
            push_number(rest / scale, and, words);
            words.push(name);
            rest %= scale;
        }
    }
    if rest == 0 && words.len() > before {
        return;
    }
    if and && words.len() > before {
        words.push("and");
    }
    if rest < 20 {
        words.push(SMALL[rest as usize]);
        return;
    }
    words.push(TENS[rest as usize / 10 - 2]);
    if rest % 10 > 0 {
        words.push(SMALL[rest as usize % 10]);
    }
}

/// The words of single digits; other characters are omitted.
pub fn digit_words(digits: &str) -> Vec<&'static str> {
    digits.chars().filter_map(|c| Some(SMALL[c.to_digit(10)? as usize])).collect()
}

/// The words of an ordinal number, such as `one hundred fifth` for 105.
pub fn ordinal_words(number: u64, and: bool) -> Vec<String> {
    let mut words: Vec<String> = number_words(number, and).into_iter().map(String::from).collect();
    if let Some(last) = words.last_mut() {
        let value = below_hundred(last);
        let ordinal = ORDINALS.iter().find(|(_, ordinal)| value == Some(*ordinal));
        *last = ordinal.map_or_else(|| format!("{last}th"), |(name, _)| (*name).to_string());
    }
    words
}

/// The possible readings of digits: as a year, as a number, digit by digit.
pub fn spoken_forms(digits: &str) -> Vec<Vec<&'static str>> {
    let mut forms = Vec::new();
    let number = digits.parse::<u64>().ok().filter(|&n| n < MAX_NUMBER);
    if let Some(number) = number.filter(|_| digits == "0" || !digits.starts_with('0')) {
        if let (1100..2100, true) = (number, !(2000..2010).contains(&number)) {
            forms.push(year_words(number));
        }
        forms.push(number_words(number, false));
        forms.push(number_words(number, true));
    }
    if digits.len() > 1 || forms.is_empty() {
        forms.push(digit_words(digits));
    }
    forms.dedup();
    forms
}

/// The reading of a year: `nineteen eighty four`, `nineteen oh five`, `nineteen hundred`.
fn year_words(year: u64) -> Vec<&'static str> {
    let mut words = number_words(year / 100, false);
    match year % 100 {
        0 => words.push("hundred"),
        rest @ 1..10 => words.extend(["oh", SMALL[rest as usize]]),
        rest => words.extend(number_words(rest, false)),
    }
    words
}

/// The numbers that are written in digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbers {
    /// None: all numbers remain words.
    #[default]
    Words,
    /// All except single numbers below ten.
    Digits,
    /// All except a single `one`, which is seldom a number.
    All,
}

impl Numbers {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::Words, Self::Digits, Self::All];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Digits => "digits",
            Self::All => "all",
        }
    }
}

/// A part of a text in which numbers are written in digits: a number or another word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The digits or the word.
    pub text: String,
    /// The range of words that it replaces.
    pub words: std::ops::Range<usize>,
}

/// Writes the numbers among words in digits: `three one four` is `314`, `twenty one` is `21`, `nineteen
/// ninety nine` is `1999`, `two point five` is `2.5`, `twenty first` is `21st`. `oh` is a zero between
/// other digits and before two of them.
pub fn write_numbers(words: &[&str], numbers: Numbers) -> Vec<Written> {
    let mut written = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let found = if numbers == Numbers::Words { None } else { number_at(words, at, numbers) };
        let (text, length) = found.unwrap_or_else(|| (words[at].to_string(), 1));
        written.push(Written { text, words: at..at + length });
        at += length;
    }
    written
}

/// The digits of the number that begins at a word, and its number of words.
fn number_at(words: &[&str], at: usize, numbers: Numbers) -> Option<(String, usize)> {
    let rest = &words[at..];
    if let Some(run) = digit_run(rest) {
        return Some(run);
    }
    if let Some(year) = year(rest) {
        return Some(year);
    }
    let (value, length) = cardinal(rest)?;
    if let Some(ordinal) = ordinal(rest, value, length) {
        return Some(ordinal);
    }
    let decimals = match rest.get(length) {
        Some(&"point") => rest[length + 1..].iter().map_while(|word| digit(word)).collect::<String>(),
        _ => String::new(),
    };
    if !decimals.is_empty() {
        let length = length + 1 + decimals.len();
        return Some((format!("{value}.{decimals}"), length));
    }
    let remains_word = match numbers {
        Numbers::Words => true,
        Numbers::Digits => value < 10,
        Numbers::All => rest[0] == "one" && length == 1,
    };
    if remains_word && length == 1 { None } else { Some((value.to_string(), length)) }
}

/// The digit that a word names.
fn digit(word: &str) -> Option<char> {
    let value = SMALL[..10].iter().position(|small| *small == word)?;
    char::from_digit(value as u32, 10)
}

/// The value of a word below a hundred: `seven`, `seventeen`, `seventy`.
fn below_hundred(word: &str) -> Option<u64> {
    let small = SMALL.iter().position(|small| *small == word);
    let tens = || TENS.iter().position(|tens| *tens == word).map(|tens| 10 * (tens + 2));
    small.or_else(tens).map(|value| value as u64)
}

/// A sequence of at least two digits.
fn digit_run(words: &[&str]) -> Option<(String, usize)> {
    let mut digits = String::new();
    let mut length = 0;
    while let Some(word) = words.get(length) {
        let next = |by: usize| words.get(length + by).and_then(|word| digit(word));
        let times = match *word {
            "double" => 2,
            "triple" => 3,
            _ => 1,
        };
        if times > 1 {
            // A single `double one` is not a number.
            match next(1).filter(|_| !digits.is_empty() || next(2).is_some()) {
                Some(digit) => digits.extend(std::iter::repeat_n(digit, times)),
                None => break,
            }
            length += 2;
        } else if let Some(digit) = digit(word) {
            digits.push(digit);
            length += 1;
        } else if matches!(*word, "oh" | "o")
            && next(1).is_some()
            && (!digits.is_empty() || next(2).is_some())
        {
            digits.push('0');
            length += 1;
        } else {
            break;
        }
    }
    // A digit that begins another number is not part of the sequence: `five hundred`, `two point five`.
    let follows = words.get(length).is_some_and(|word| is_scale(word) || *word == "point");
    if follows && length > 0 {
        digits.pop();
        length -= 1;
    }
    (digits.len() > 1).then_some((digits, length))
}

fn is_scale(word: &str) -> bool {
    word == "hundred" || SCALES.iter().any(|(_, name)| *name == word)
}

/// A value below a hundred and its number of words: `twenty`, `twenty one`.
fn two_digits(words: &[&str]) -> Option<(u64, usize)> {
    let value = below_hundred(words.first()?)?;
    let unit = words.get(1).and_then(|word| digit(word)).and_then(|digit| digit.to_digit(10));
    match unit {
        Some(unit @ 1..) if value >= 20 => Some((value + u64::from(unit), 2)),
        _ => Some((value, 1)),
    }
}

/// A year spoken in two parts: `nineteen ninety nine`.
fn year(words: &[&str]) -> Option<(String, usize)> {
    let (century, first) = two_digits(words).filter(|(century, _)| (13..=20).contains(century))?;
    let rest = &words[first..];
    let (year, length) = match rest.first() {
        Some(&("oh" | "o")) => (rest.get(1).and_then(|word| digit(word))?.to_digit(10)?.into(), 2),
        Some(&"hundred") if century < 20 && rest.get(1).is_none_or(|word| below_hundred(word).is_none()) => {
            (0, 1)
        }
        _ => two_digits(rest).filter(|(year, _)| *year >= 10)?,
    };
    let length = first + length;
    let continues = words
        .get(length)
        .is_some_and(|word| is_scale(word) || *word == "point" || below_hundred(word).is_some());
    (!continues || rest.first() == Some(&"hundred")).then(|| (format!("{century}{year:02}"), length))
}

/// A cardinal number and its number of words: `one hundred and five thousand two hundred`.
fn cardinal(words: &[&str]) -> Option<(u64, usize)> {
    let (mut total, mut part, mut length) = (0_u64, None, 0);
    // Each scale must be smaller than the previous one.
    let mut largest = u64::MAX;
    let mut hundreds = false;
    while length < words.len() {
        let rest = &words[length..];
        // `and` may only precede a part below a hundred, or below a scale that came before.
        let skip = usize::from(rest[0] == "and" && (hundreds || part.is_none() && total > 0));
        let first = match rest.get(skip) {
            Some(&"a") if skip == 0 && length == 0 && rest.get(1).is_some_and(|word| is_scale(word)) => {
                Some((1, 1))
            }
            Some(_)
                if part.is_none() || hundreds && part.is_some_and(|part: u64| part.is_multiple_of(100)) =>
            {
                two_digits(&rest[skip..])
            }
            _ => None,
        };
        if let Some((value, taken)) = first {
            part = Some(part.unwrap_or(0) + value);
            length += skip + taken;
            if let Some(&"hundred") = words.get(length).filter(|_| !hundreds && (1..100).contains(&value)) {
                part = part.map(|part| part * 100);
                hundreds = true;
                length += 1;
            }
            if let Some(value) = part.filter(|part| *part > 0) {
                let scale =
                    SCALES.iter().find(|(scale, name)| words.get(length) == Some(name) && *scale < largest);
                if let Some(&(scale, _)) = scale {
                    total += value * scale;
                    (part, hundreds, largest) = (None, false, scale);
                    length += 1;
                }
            }
            continue;
        }
        break;
    }
    (length > 0).then_some((total + part.unwrap_or(0), length))
}

/// Ordinals and their numbers.
const ORDINALS: [(&str, u64); 28] = [
    ("first", 1),
    ("second", 2),
    ("third", 3),
    ("fourth", 4),
    ("fifth", 5),
    ("sixth", 6),
    ("seventh", 7),
    ("eighth", 8),
    ("ninth", 9),
    ("tenth", 10),
    ("eleventh", 11),
    ("twelfth", 12),
    ("thirteenth", 13),
    ("fourteenth", 14),
    ("fifteenth", 15),
    ("sixteenth", 16),
    ("seventeenth", 17),
    ("eighteenth", 18),
    ("nineteenth", 19),
    ("twentieth", 20),
    ("thirtieth", 30),
    ("fortieth", 40),
    ("fiftieth", 50),
    ("sixtieth", 60),
    ("seventieth", 70),
    ("eightieth", 80),
    ("ninetieth", 90),
    ("hundredth", 100),
];

/// An ordinal after a number that ends in tens or hundreds: `twenty first`.
fn ordinal(words: &[&str], value: u64, length: usize) -> Option<(String, usize)> {
    let length = length + usize::from(words.get(length) == Some(&"and") && value.is_multiple_of(100));
    let (_, last) = ORDINALS.iter().find(|(name, _)| words.get(length) == Some(name))?;
    let value = match last {
        1..10 if value.is_multiple_of(10) && value % 100 != 10 && value >= 20 => value + last,
        10..100 if value.is_multiple_of(100) && value >= 100 => value + last,
        _ => return None,
    };
    let ending = match (value % 10, value % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    Some((format!("{value}{ending}"), length + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str, numbers: Numbers) -> String {
        let words: Vec<&str> = text.split(' ').collect();
        write_numbers(&words, numbers).into_iter().map(|w| w.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn numbers_are_written_in_digits() {
        for (spoken, digits, all) in [
            ("one", "one", "one"),
            ("nine", "nine", "9"),
            ("ten", "10", "10"),
            ("thirteen", "13", "13"),
            ("twenty one", "21", "21"),
            ("one hundred", "100", "100"),
            ("a hundred and five people", "105 people", "105 people"),
            ("a light", "a light", "a light"),
            (
                "i have one apple and two pears",
                "i have one apple and two pears",
                "i have one apple and 2 pears",
            ),
            ("three one four one five", "31415", "31415"),
            ("one two", "12", "12"),
            ("zero zero seven", "007", "007"),
            ("oh seven nine", "079", "079"),
            ("oh one more thing", "oh one more thing", "oh one more thing"),
            ("five oh five", "505", "505"),
            ("nineteen ninety nine", "1999", "1999"),
            ("twenty twenty six", "2026", "2026"),
            ("nineteen oh five", "1905", "1905"),
            ("nineteen hundred", "1900", "1900"),
            ("two thousand and one", "2001", "2001"),
            ("two point five percent", "2.5 percent", "2.5 percent"),
            ("five dollars and ten cents", "five dollars and 10 cents", "5 dollars and 10 cents"),
            ("half past ten", "half past 10", "half past 10"),
            ("ten thirty p m", "10 30 p m", "10 30 p m"),
            ("no one knows", "no one knows", "no one knows"),
            ("the twenty first of may", "the 21st of may", "the 21st of may"),
            ("one hundred and twelfth street", "112th street", "112th street"),
            ("my first try", "my first try", "my first try"),
            ("one thousand two hundred and thirty four", "1234", "1234"),
            ("five hundred", "500", "500"),
            ("call five five five double two", "call 55522", "call 55522"),
            ("it's ten o'clock", "it's 10 o'clock", "it's 10 o'clock"),
            ("salt and pepper", "salt and pepper", "salt and pepper"),
            ("twenty and thirty", "20 and 30", "20 and 30"),
            ("two million three hundred thousand", "2300000", "2300000"),
        ] {
            assert_eq!(written(spoken, Numbers::Digits), digits, "{spoken}");
            assert_eq!(written(spoken, Numbers::All), all, "{spoken}, all");
            assert_eq!(written(spoken, Numbers::Words), spoken);
        }
    }

    #[test]
    fn digits_have_several_spoken_forms() {
        let forms = |digits| spoken_forms(digits).into_iter().map(|form| form.join(" ")).collect::<Vec<_>>();
        assert_eq!(forms("3"), ["three"]);
        assert_eq!(forms("007"), ["zero zero seven"]);
        assert_eq!(forms("21"), ["twenty one", "two one"]);
        assert!(forms("1984").contains(&"nineteen eighty four".to_string()));
        assert!(forms("105").contains(&"one hundred and five".to_string()));
        assert_eq!(forms("99999999999999999999").len(), 1);
        let ordinal = |number| ordinal_words(number, false).join(" ");
        assert_eq!(
            [0, 1, 12, 20, 21, 100].map(ordinal),
            ["zeroth", "first", "twelfth", "twentieth", "twenty first", "one hundredth"]
        );
    }

    proptest! {
        #[test]
        fn numbers_round_trip(number in prop_oneof![10..3000_u64, 0..MAX_NUMBER], and in any::<bool>()) {
            prop_assume!(number >= 10);
            prop_assert_eq!(written(&number_words(number, and).join(" "), Numbers::Digits), number.to_string());
        }

        #[test]
        fn every_word_is_in_one_chunk(spoken in prop::collection::vec(0..14_usize, 0..12)) {
            let all = ["one", "twenty", "ten", "hundred", "thousand", "and", "oh", "point", "a", "first", "double", "apple", "million", "zero"];
            let words: Vec<&str> = spoken.into_iter().map(|i| all[i]).collect();
            for numbers in [Numbers::Digits, Numbers::All] {
                let mut at = 0;
                for piece in write_numbers(&words, numbers) {
                    prop_assert_eq!(piece.words.start, at);
                    prop_assert!(piece.words.end > at);
                    at = piece.words.end;
                }
                prop_assert_eq!(at, words.len());
            }
        }
    }
}
