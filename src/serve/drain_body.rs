//! Reads the rest of a request's body after the response was sent. Closing a connection with unread input
//! resets it, which can discard the response; so the rest is read and discarded, up to a limit.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

/// Maximum number of bytes that are read and discarded.
const MAX_BYTES: usize = 16 << 20;
/// Maximum time for it.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Returns the request with a body that is read to its end if it is dropped before.
pub fn drained(request: Request) -> Request {
    // A client that sends `expect: 100-continue` sends no body after a refusal.
    let expects_continue = request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(DrainedBody { body: Some(body), expects_continue }))
}

/// A body that is read to its end when it is dropped.
struct DrainedBody {
    /// `None` after an error, and inside `drop`.
    body: Option<Body>,
    /// The client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
}

impl HttpBody for DrainedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Reading the body makes hyper send `100 Continue`.
        self.expects_continue = false;
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
        if self.expects_continue || body.is_end_stream() {
            return;
        }
        // The connection stays open, and keeps its permit, while its body is read.
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
