//! What a client still sends after it was answered. A connection that is closed with bytes unread is
//! reset, and the client (or the proxy before us) may never see the answer: so the rest of a body that
//! nobody wants is read and thrown away, up to a bound.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

/// The most that is thrown away, bytes.
const MOST_BYTES: usize = 16 << 20;
/// The longest that it is waited for.
const MOST_TIME: Duration = Duration::from_secs(5);

/// The same request, whose body is read to its end wherever it is dropped before.
pub fn kept(request: Request) -> Request {
    // Who asks before it sends (`expect: 100-continue`) sends nothing after a refusal.
    let asks = request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(Remains { body: Some(body), asks }))
}

/// A body that does not end half-read.
struct Remains {
    /// `None` after an error, and while it is dropped.
    body: Option<Body>,
    /// The client waits for a word before it sends.
    asks: bool,
}

impl HttpBody for Remains {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Reading tells the client to send.
        self.asks = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if self.asks || body.is_end_stream() {
            return;
        }
        // The connection stays open, and counted, as long as somebody reads its body.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(MOST_TIME, discard(body)));
        }
    }
}

async fn discard(mut body: Body) {
    let mut read = 0;
    while read < MOST_BYTES {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let Some(Ok(frame)) = frame else { return };
        read += frame.data_ref().map_or(0, Bytes::len);
    }
}
