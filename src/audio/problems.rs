//! What a recording lost on its way here.

/// Damage that a source read past. What is left of the recording was given out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Problems {
    /// Packets of a compressed stream that could not be decoded and were left out.
    pub skipped_packets: u64,
    /// Places where data is missing or could not be read: lost pages, bytes that are no audio.
    pub gaps: u64,
    /// Where the first of these losses is, seconds from the start of what was given out.
    pub first_at: Option<f64>,
    /// The input ends before the end that its header announces, or in the middle of a packet.
    pub truncated: bool,
}

impl Problems {
    /// Whether nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.skipped_packets == 0 && self.gaps == 0 && !self.truncated
    }

    /// Says each loss in a sentence, for any front end; nothing where nothing was lost.
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
                "the recording is cut short: it stops before its own end; what is there was read".into(),
            );
        }
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_is_said_once() {
        assert!(Problems::default().is_empty());
        assert_eq!(Problems::default().messages(), Vec::<String>::new());
        let problems = Problems { skipped_packets: 2, gaps: 1, first_at: Some(1.5), truncated: true };
        assert!(!problems.is_empty());
        let messages = problems.messages();
        assert_eq!(messages.len(), 3);
        assert!(messages[0].contains("one place (the first at 1.50 s)"), "{}", messages[0]);
        assert!(messages[1].starts_with("2 damaged packets were left out"), "{}", messages[1]);
        assert!(messages[2].contains("cut short"), "{}", messages[2]);
    }
}
