//! Implementation of a session's transport by a TCP connection with Wyoming events: a line of JSON, then an
//! optional block of JSON, then an optional payload.
//!
//! ```text
//! {"type": "audio-chunk", "data_length": 61, "payload_length": 2048}\n
//! <61 bytes: JSON object> <2048 bytes: PCM>
//! ```

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use bytes::BytesMut;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::client_stream::ClientStream;
use super::session::{Transport, Unreachable};
use super::session_event::{CloseReason, SessionEvent, Unreadable};

/// Maximum length of an event's line, bytes; larger data belongs into the block after it.
const MAX_LINE: usize = 64 << 10;
/// Maximum time for sending the last event and closing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// An event of a client.
#[derive(Debug, PartialEq)]
pub struct WyomingEvent {
    /// `{"type":…,"data":…}`, with the data of both the line and the block.
    pub json: String,
    /// The payload; empty if there is none.
    pub payload: Bytes,
}

/// Incremental parser of events.
#[derive(Debug)]
pub struct EventReader {
    /// Maximum length of a data block and of a payload, bytes.
    max_len: usize,
    buffer: BytesMut,
    /// Length of the beginning of the buffer that was searched and has no line end.
    searched: usize,
    /// The line of an event whose data and payload are incomplete.
    head: Option<Head>,
}

#[derive(Debug)]
struct Head {
    kind: Value,
    data: Map<String, Value>,
    data_len: usize,
    payload_len: usize,
}

impl EventReader {
    /// Creates a parser for events whose data block and payload have at most `max_len` bytes each.
    pub fn new(max_len: usize) -> Self {
        Self { max_len, buffer: BytesMut::new(), searched: 0, head: None }
    }

    /// The buffer to which received bytes must be appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Removes and returns the next event; `None` while it is incomplete.
    ///
    /// # Errors
    /// When the bytes are not an event, or exceed a limit.
    pub fn next_event(&mut self) -> Result<Option<WyomingEvent>, Unreadable> {
        if self.head.is_none() {
            let line_end = self.buffer[self.searched..].iter().position(|b| *b == b'\n');
            let Some(line_end) = line_end.map(|at| self.searched + at) else {
                self.searched = self.buffer.len();
                return if self.searched > MAX_LINE { Err(Unreadable::TooLong) } else { Ok(None) };
            };
            self.searched = 0;
            let line = self.buffer.split_to(line_end + 1);
            let head = parse_head(&line)?;
            if head.data_len > self.max_len || head.payload_len > self.max_len {
                return Err(Unreadable::TooLong);
            }
            self.head = Some(head);
        }
        let Some(head) = &self.head else { return Ok(None) };
        if self.buffer.len() < head.data_len + head.payload_len {
            return Ok(None);
        }
        let Some(mut head) = self.head.take() else { return Ok(None) };
        let data = self.buffer.split_to(head.data_len);
        if !data.is_empty() {
            match serde_json::from_slice(&data) {
                // Keys of the block replace those of the line.
                Ok(Value::Object(block)) => head.data.extend(block),
                _ => return Err(Unreadable::Malformed),
            }
        }
        let payload = self.buffer.split_to(head.payload_len).freeze();
        let json = json!({"type": head.kind, "data": head.data}).to_string();
        Ok(Some(WyomingEvent { json, payload }))
    }
}

fn parse_head(line: &[u8]) -> Result<Head, Unreadable> {
    let Ok(Value::Object(mut line)) = serde_json::from_slice(line) else { return Err(Unreadable::Malformed) };
    let mut length = |name: &str| match line.remove(name) {
        None | Some(Value::Null) => Ok(0),
        Some(length) => {
            let length = length.as_u64().ok_or(Unreadable::Malformed)?;
            usize::try_from(length).map_err(|_| Unreadable::TooLong)
        }
    };
    let (data_len, payload_len) = (length("data_length")?, length("payload_length")?);
    let data = match line.remove("data") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(data)) => data,
        Some(_) => return Err(Unreadable::Malformed),
    };
    let kind = line.remove("type").filter(Value::is_string).ok_or(Unreadable::Malformed)?;
    Ok(Head { kind, data, data_len, payload_len })
}

/// Encodes an event without payload; `json` is `{"type":…,"data":…}`.
pub fn event_bytes(json: &str) -> Vec<u8> {
    let mut event: Value = serde_json::from_str(json).unwrap_or_default();
    let data = match event["data"].take() {
        Value::Object(data) if !data.is_empty() => Value::Object(data).to_string(),
        _ => String::new(),
    };
    let mut line = json!({"type": event["type"], "version": env!("CARGO_PKG_VERSION")});
    if !data.is_empty() {
        line["data_length"] = json!(data.len());
    }
    format!("{line}\n{data}").into_bytes()
}

/// A client's connection. An event is received as a text message, its payload as a binary message.
pub struct WyomingTransport {
    stream: ClientStream,
    reader: EventReader,
    /// The payload of the last event, which is received next.
    payload: Bytes,
}

impl WyomingTransport {
    /// Wraps a connection; a data block and a payload may have at most `max_len` bytes each.
    pub fn new(stream: ClientStream, max_len: usize) -> Self {
        Self { stream, reader: EventReader::new(max_len), payload: Bytes::new() }
    }
}

impl Transport for WyomingTransport {
    async fn receive(&mut self) -> SessionEvent {
        if !self.payload.is_empty() {
            return SessionEvent::Binary(std::mem::take(&mut self.payload));
        }
        loop {
            match self.reader.next_event() {
                Ok(Some(WyomingEvent { json, payload })) => {
                    self.payload = payload;
                    return SessionEvent::Text(Utf8Bytes::from(json));
                }
                Ok(None) => {}
                Err(why) => return SessionEvent::Unreadable(why),
            }
            match self.stream.read_buf(self.reader.buffer()).await {
                Ok(0) | Err(_) => return SessionEvent::Left,
                Ok(_) => {}
            }
        }
    }

    async fn send(&mut self, text: String) -> Result<(), Unreachable> {
        self.stream.write_all(&event_bytes(&text)).await.map_err(|_| Unreachable)
    }

    async fn close(mut self, reason: Option<CloseReason>) {
        let last_event = async {
            if let Some(message) = reason.and_then(|reason| reason.message) {
                self.stream.write_all(&event_bytes(&message)).await?;
            }
            self.stream.shutdown().await
        };
        // After the timeout the connection is dropped.
        let _ = timeout(CLOSE_TIMEOUT, last_event).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses all events of bytes that are received in `chunks`.
    fn events(chunks: &[&[u8]]) -> Result<Vec<WyomingEvent>, Unreadable> {
        let mut reader = EventReader::new(1000);
        let mut events = Vec::new();
        for chunk in chunks {
            reader.buffer().extend_from_slice(chunk);
            while let Some(event) = reader.next_event()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    const TWO: &[u8] =
        b"{\"type\": \"audio-chunk\", \"data\": {\"rate\": 1, \"width\": 2}, \"data_length\": 13, \
                         \"payload_length\": 3}\n{\"rate\": 16 }\n\0\n{\"type\":\"describe\"}\n";

    #[test]
    fn the_data_of_line_and_block_are_joined() {
        let events = events(&[TWO]).expect("two events");
        let data: Value = serde_json::from_str(&events[0].json).expect("JSON");
        assert_eq!(data, json!({"type": "audio-chunk", "data": {"rate": 16, "width": 2}}));
        assert_eq!(events[0].payload, &b"\n\0\n"[..]);
        assert_eq!(events[1].json, r#"{"data":{},"type":"describe"}"#);
    }

    #[test]
    fn chunking_makes_no_difference() {
        let whole = events(&[TWO]).expect("two events");
        for cut in 0..TWO.len() {
            assert_eq!(events(&[&TWO[..cut], &TWO[cut..]]), Ok(events(&[TWO]).expect("two events")), "{cut}");
        }
        let bytes: Vec<&[u8]> = TWO.chunks(1).collect();
        assert_eq!(events(&bytes), Ok(whole));
    }

    #[test]
    fn invalid_events_are_refused() {
        for (bytes, why) in [
            (&b"this is not json\n"[..], Unreadable::Malformed),
            (b"\r\n", Unreadable::Malformed),
            (b"[]\n", Unreadable::Malformed),
            (b"{}\n", Unreadable::Malformed),
            (b"{\"type\": 7}\n", Unreadable::Malformed),
            (b"{\"type\": \"a\", \"data\": []}\n", Unreadable::Malformed),
            (b"{\"type\": \"a\", \"data_length\": -1}\n", Unreadable::Malformed),
            (b"{\"type\": \"a\", \"data_length\": 2}\n[]", Unreadable::Malformed),
            (b"{\"type\": \"a\", \"data_length\": 1001}\n", Unreadable::TooLong),
            (b"{\"type\": \"a\", \"payload_length\": 18446744073709551615}\n", Unreadable::TooLong),
            (&[b' '; MAX_LINE + 1], Unreadable::TooLong),
        ] {
            assert_eq!(events(&[bytes]), Err(why), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn written_events_can_be_read() {
        let bytes = event_bytes(r#"{"type":"transcript","data":{"text":"é"}}"#);
        let read = events(&[&bytes]).expect("an event");
        assert_eq!(read[0].json, r#"{"data":{"text":"é"},"type":"transcript"}"#);
        assert!(String::from_utf8_lossy(&bytes).contains("\"data_length\":13"));
        assert!(
            !String::from_utf8_lossy(&event_bytes(r#"{"type":"transcript-stop","data":null}"#))
                .contains("data")
        );
    }
}
