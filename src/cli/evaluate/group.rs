//! Groups of utterances by a field of the manifest's lines.

use std::cmp::Ordering;
use std::str::FromStr;

use serde_json::Value;

use crate::corpus::Entry;

/// The group of the lines without the field.
const NONE: &str = "(none)";

/// A field to group by, such as `speaker`; or a field and a number, such as `age:14`, for two groups: below
/// the number, and the rest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grouping {
    pub key: String,
    threshold: Option<f64>,
}

impl FromStr for Grouping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, threshold) = match text.rsplit_once(':') {
            None => (text, None),
            Some((key, number)) => match number.parse::<f64>() {
                Ok(number) if number.is_finite() => (key, Some(number)),
                _ => return Err(format!("expected a number after the colon, found `{number}`")),
            },
        };
        match key {
            "" => Err("expected the name of a field".into()),
            "audio_filepath" | "text" | "offset" | "duration" => {
                Err(format!("expected a field that describes an utterance, such as `speaker`, found `{key}`"))
            }
            _ => Ok(Self { key: key.into(), threshold }),
        }
    }
}

impl Grouping {
    /// Whether the entry has the field.
    pub fn applies_to(&self, entry: &Entry) -> bool {
        self.value(entry).is_some()
    }

    fn value(&self, entry: &Entry) -> Option<Value> {
        if self.key == "speaker" {
            return entry.speaker.clone().map(Value::from);
        }
        entry.extra.get(&self.key).filter(|value| !value.is_null()).cloned()
    }

    /// The name of the entry's group.
    pub fn group_of(&self, entry: &Entry) -> String {
        let Some(value) = self.value(entry) else { return NONE.into() };
        let text = value.as_str().map_or_else(|| value.to_string(), String::from);
        let Some(threshold) = self.threshold else { return text };
        match text.trim().parse::<f64>() {
            Ok(number) if number < threshold => format!("below {threshold}"),
            Ok(_) => format!("{threshold} and above"),
            Err(_) => NONE.into(),
        }
    }
}

/// The order of groups by name: numbers by value, then other names; the group without the field is last.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    // "below 14" comes before "14 and above".
    let rank = |name: &str| {
        let number = name.parse::<f64>().ok().filter(|n| n.is_finite());
        (name == NONE, !name.starts_with("below "), number.is_none())
    };
    let by_number = || match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => Ordering::Equal,
    };
    rank(a).cmp(&rank(b)).then_with(by_number).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(extra: &str) -> Entry {
        let Value::Object(extra) = serde_json::from_str(extra).expect("JSON") else { panic!("no object") };
        let speaker = Some("anna".to_string());
        let audio = "a.wav".into();
        Entry { audio, text: String::new(), duration: None, offset: None, speaker, line: 1, extra }
    }

    #[test]
    fn groups_are_named_by_the_field_or_by_its_side_of_a_number() {
        let group =
            |key: &str, extra: &str| key.parse::<Grouping>().expect("a field").group_of(&entry(extra));
        assert_eq!(group("speaker", "{}"), "anna");
        assert_eq!(group("device", r#"{"device": "phone"}"#), "phone");
        assert_eq!(group("age", r#"{"age": 9}"#), "9");
        assert_eq!(group("age:14", r#"{"age": 9}"#), "below 14");
        assert_eq!(group("age:14", r#"{"age": "14"}"#), "14 and above");
        assert_eq!(group("age:14", r#"{"age": "old"}"#), NONE);
        assert_eq!(group("age", "{}"), NONE);
        for bad in ["", "age:", "age:old", ":3", "text"] {
            assert!(bad.parse::<Grouping>().is_err(), "{bad}");
        }
    }

    #[test]
    fn groups_are_in_order() {
        let mut names = ["(none)", "10", "anna", "9", "14 and above", "below 14"];
        names.sort_by(|a, b| order(a, b));
        assert_eq!(names, ["below 14", "9", "10", "14 and above", "anna", "(none)"]);
    }
}
