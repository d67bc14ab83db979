//! Damage to a recording that was read past.

/// Damage that a source read past; the rest of the recording was returned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Problems {
    /// Packets of a compressed stream that could not be decoded and were left out.
    pub skipped_packets: u64,
    /// Places where data is missing or could not be read: lost pages, bytes that are not audio.
    pub gaps: u64,
    /// Position of the first of these losses, in seconds of the samples returned.
    pub first_at: Option<f64>,
    /// The input ends before the length in its header, or in the middle of a packet.
    pub truncated: bool,
    /// The recording is longer than this limit, in seconds, and was read up to it.
    pub longer_than: Option<f64>,
}

impl Problems {
    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.skipped_packets == 0 && self.gaps == 0 && !self.truncated && self.longer_than.is_none()
    }

    /// One sentence for each kind of loss, the same in every front end; empty if nothing was lost.
    pub fn messages(&self) -> Vec<String> {
        let mut messages = Vec::new();
        let place = self.first_at.map_or(String::new(), |at| format!(" (the first at {at:.2} s)"));
        if self.gaps > 0 {
            let places = if self.gaps == 1 { "one place" } else { &format!("{} places", self.gaps) };
            messages.push(format!("audio is missing or unreadable at {places}{place}; the rest was read"));
        }
        if self.skipped_packets > 0 {
            let packets = match self.skipped_packets {
                1 => "one damaged packet was".to_string(),
                n => format!("{n} damaged packets were"),
            };
            messages.push(format!("{packets} left out{place}; the rest was read"));
        }
        if self.truncated {
            messages.push(
                "the recording is cut short: the file ends before its audio does; the part before was read"
                    .into(),
            );
        }
        if let Some(limit) = self.longer_than {
            messages
                .push(format!("the recording is longer than the limit of {limit} s; the rest was not read"));
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_is_reported_once() {
        assert!(Problems::default().is_empty());
        assert_eq!(Problems::default().messages(), Vec::<String>::new());
        let problems = Problems {
            skipped_packets: 2,
            gaps: 1,
            first_at: Some(1.5),
            truncated: true,
            longer_than: Some(60.0),
        };
        assert!(!problems.is_empty());
        let messages = problems.messages();
        assert_eq!(messages.len(), 4);
        assert!(messages[0].contains("one place (the first at 1.50 s)"), "{}", messages[0]);
        assert!(messages[1].starts_with("2 damaged packets were left out"), "{}", messages[1]);
        assert!(messages[2].contains("cut short"), "{}", messages[2]);
        assert!(messages[3].contains("the limit of 60 s"), "{}", messages[3]);
    }
}
