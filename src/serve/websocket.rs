//! Implementation of a session's transport by a websocket.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use tokio::time::timeout;
use tungstenite::error::ProtocolError;

use super::session::{Transport, Unreachable};
use super::session_event::{CloseReason, SessionEvent, Unreadable};

/// Maximum time for the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum length of a close frame's reason, bytes; RFC 6455, section 5.5, allows 123.
const MAX_REASON: usize = 120;

impl Transport for WebSocket {
    async fn receive(&mut self) -> SessionEvent {
        match self.recv().await {
            Some(Ok(Message::Text(text))) => SessionEvent::Text(text),
            Some(Ok(Message::Binary(bytes))) => SessionEvent::Binary(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => SessionEvent::Alive,
            Some(Ok(Message::Close(_))) | None => SessionEvent::Left,
            Some(Err(error)) => unreadable(error),
        }
    }

    async fn send(&mut self, text: String) -> Result<(), Unreachable> {
        WebSocket::send(self, Message::Text(text.into())).await.map_err(|_| Unreachable)
    }

    /// Performs the closing handshake, and reads until the client has closed its side: unread input would
    /// reset the connection, which can discard the close frame.
    async fn close(mut self, reason: Option<CloseReason>) {
        let handshake = async {
            if let Some(CloseReason { code, text, message, .. }) = reason {
                if let Some(message) = message {
                    WebSocket::send(&mut self, Message::Text(message.into())).await?;
                }
                let end = text.floor_char_boundary(MAX_REASON);
                let frame = CloseFrame { code, reason: text[..end].into() };
                WebSocket::send(&mut self, Message::Close(Some(frame))).await?;
            }
            // Reading also sends the reply to the client's close frame.
            while let Some(Ok(_)) = self.recv().await {}
            Ok::<(), axum::Error>(())
        };
        // After the timeout the connection is dropped.
        let _ = timeout(CLOSE_TIMEOUT, handshake).await;
    }
}

/// Maps an error to an event: a message that is too long or malformed, or a broken connection.
fn unreadable(error: axum::Error) -> SessionEvent {
    match error.into_inner().downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => SessionEvent::Unreadable(Unreadable::TooLong),
        Some(tungstenite::Error::Utf8(_)) => SessionEvent::Unreadable(Unreadable::NotUtf8),
        Some(tungstenite::Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::ReceivedAfterClosing,
        )) => SessionEvent::Left,
        Some(tungstenite::Error::Protocol(_)) => SessionEvent::Unreadable(Unreadable::Malformed),
        _ => SessionEvent::Left,
    }
}
