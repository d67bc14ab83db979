//! The rest of a request's body, after the request was answered. Closing a connection with unread input
//! resets it, which can discard the answer: so the rest is read and thrown away, up to a bound.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

/// The largest rest that is read, bytes.
const MAX_BYTES: usize = 16 << 20;
/// The longest wait for the rest.
const MAX_TIME: Duration = Duration::from_secs(5);

/// The same request, with a body that is read to its end if it is dropped before.
pub fn drained(request: Request) -> Request {
    // A client that asks first (`expect: 100-continue`) sends nothing after a refusal.
    let asks = request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(DrainedBody { body: Some(body), asks }))
}

/// A body that is read to its end when it is dropped.
struct DrainedBody {
    /// `None` after an error, and while it is dropped.
    body: Option<Body>,
    /// The client waits for `100 Continue` before it sends.
    asks: bool,
}

impl HttpBody for DrainedBody {
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

impl Drop for DrainedBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if self.asks || body.is_end_stream() {
            return;
        }
        // The connection stays open, and counted, as long as its body is being read.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(MAX_TIME, discard(body)));
        }
    }
}

async fn discard(mut body: Body) {
    let mut read = 0;
    while read < MAX_BYTES {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let Some(Ok(frame)) = frame else { return };
        read += frame.data_ref().map_or(0, Bytes::len);
    }
}
