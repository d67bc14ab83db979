//! A websocket as the transport of a session.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use tokio::time::timeout;
use tungstenite::error::ProtocolError;

use super::session::{Transport, Unreachable};
use super::session_event::{CloseReason, SessionEvent, Unreadable};

/// The longest wait for a client to answer a close.
const MAX_GOODBYE: Duration = Duration::from_secs(2);
/// Bytes of a close frame's reason, of the 123 that RFC 6455, section 5.5, allows.
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

    /// Sends the close, or the answer to the client's, and reads until the client has closed too:
    /// what it has sent meanwhile would otherwise reset the connection before it reads the close.
    async fn close(mut self, reason: Option<CloseReason>) {
        let goodbye = async {
            if let Some(CloseReason { code, text, message, .. }) = reason {
                if let Some(message) = message {
                    WebSocket::send(&mut self, Message::Text(message.into())).await?;
                }
                let end = text.floor_char_boundary(MAX_REASON);
                let frame = CloseFrame { code, reason: text[..end].into() };
                WebSocket::send(&mut self, Message::Close(Some(frame))).await?;
            }
            // Reading sends the answer to a close of the client's.
            while let Some(Ok(_)) = self.recv().await {}
            Ok::<(), axum::Error>(())
        };
        // A client that does not answer is left.
        let _ = timeout(MAX_GOODBYE, goodbye).await;
    }
}

/// A message that is too long or malformed, or a broken connection.
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
