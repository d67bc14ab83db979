//! Chooses a connection's protocol by the path of the request, or by the client's first message.

use std::hash::{BuildHasher, RandomState};

use super::hearken::HearkenProtocol;
use super::realtime::RealtimeProtocol;
use super::sherpa::{SherpaFlavor, SherpaProtocol};
use super::vosk::VoskProtocol;
use super::wyoming::WyomingProtocol;
use super::{Action, ModelInfo, Protocol, close};

/// The protocol that the path of a request selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The protocol is detected by the first message; a client of sherpa-onnx is answered in this flavor.
    Detect(SherpaFlavor),
    /// hearken's own protocol.
    Hearken,
    /// vosk-server's protocol.
    Vosk,
    /// sherpa-onnx's protocol in this flavor.
    Sherpa(SherpaFlavor),
    /// OpenAI's realtime protocol.
    Realtime,
    /// The Wyoming protocol.
    Wyoming,
}

/// A client's first message.
#[derive(Clone, Copy, Debug)]
pub enum First<'a> {
    /// A text message with its content.
    Text(&'a str),
    /// A binary message.
    Binary,
}

/// Creates the protocol that the path selects; `None` if the first message decides.
pub fn by_path(opening: Opening, model: &ModelInfo) -> Option<Box<dyn Protocol>> {
    match opening {
        Opening::Detect(_) => None,
        Opening::Hearken => Some(Box::new(HearkenProtocol::new(model.clone()))),
        Opening::Vosk => Some(Box::new(VoskProtocol::new())),
        Opening::Sherpa(flavor) => Some(Box::new(SherpaProtocol::new(flavor, model.sample_rate))),
        Opening::Realtime => {
            // `RandomState` has a new random seed for each session.
            let id = format!("{:016x}", RandomState::new().hash_one("session"));
            Some(Box::new(RealtimeProtocol::new(&id, model)))
        }
        Opening::Wyoming => Some(Box::new(WyomingProtocol::new(model.clone()))),
    }
}

/// Detects the protocol of a connection to `/` by its first message. Clients of sherpa-onnx, whose first
/// message is binary or `Done`, are answered in `flavor`.
///
/// # Errors
/// The close action, when the first message belongs to no protocol.
pub fn by_first_message(
    flavor: SherpaFlavor,
    first: First,
    model: &ModelInfo,
) -> Result<Box<dyn Protocol>, Action> {
    let First::Text(text) = first else {
        return Ok(Box::new(SherpaProtocol::new(flavor, model.sample_rate)));
    };
    let is_vosk = |key: &str| text.contains(&format!("\"{key}\""));
    if text.trim() == "Done" {
        Ok(Box::new(SherpaProtocol::new(flavor, model.sample_rate)))
    } else if text.contains("\"type\"") {
        Ok(Box::new(HearkenProtocol::new(model.clone())))
    } else if ["config", "eof", "reset"].into_iter().any(is_vosk) {
        Ok(Box::new(VoskProtocol::new()))
    } else {
        Err(Action::close(
            close::PROTOCOL_ERROR,
            "the first message belongs to no known protocol: expected {\"type\":\"start\",…}, \
             {\"config\":…} or float32 samples",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_decides_the_protocol() {
        let model = ModelInfo { sample_rate: 16_000, ..ModelInfo::default() };
        let name = |first| by_first_message(SherpaFlavor::Cpp, first, &model).map(|p| p.name());
        assert_eq!(name(First::Binary), Ok("sherpa"));
        assert_eq!(name(First::Text("Done")), Ok("sherpa"));
        assert_eq!(name(First::Text(r#"{"config": {"sample_rate": 8000}}"#)), Ok("vosk"));
        assert_eq!(name(First::Text(r#"{"eof" : 1}"#)), Ok("vosk"));
        assert_eq!(name(First::Text(r#"{"type":"start","version":1}"#)), Ok("hearken"));
        assert!(matches!(name(First::Text("hello")), Err(Action::Close { code: 1002, .. })));
    }
}
