//! The body of a form while it is received: its rate, and how many bytes are not the content of a field.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use hyper::body::{Frame, SizeHint};
use tokio::time::sleep;

/// Minimum rate of a body, bytes per second.
const MIN_RATE: f64 = 1024.0;
/// Bytes passed to the form's parser at a time.
const CHUNK: usize = 8 << 10;
/// Maximum number of bytes before the first boundary, or in the headers of a field. The parser searches all
/// of them again whenever more are received, so the cost would otherwise grow with the square.
pub const MAX_OVERHEAD: usize = 16 << 10;

/// The progress of receiving and parsing the body of a form.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes received.
    received: AtomicUsize,
    /// Bytes passed to the parser since it last returned a field or content.
    overhead: AtomicUsize,
}

impl Progress {
    /// Records that the parser has returned a field or content.
    pub fn advance(&self) {
        self.overhead.store(0, Relaxed);
    }

    /// Whether more than [`MAX_OVERHEAD`] bytes were parsed without a field or content.
    pub fn is_overhead(&self) -> bool {
        self.overhead.load(Relaxed) > MAX_OVERHEAD + CHUNK
    }

    /// Waits until fewer than [`MIN_RATE`] bytes per second were received in one `window`; returns the
    /// number of bytes in it.
    pub async fn is_slow(&self, window: Duration) -> usize {
        let needed = (window.as_secs_f64() * MIN_RATE) as usize;
        loop {
            let before = self.received.load(Relaxed);
            sleep(window).await;
            let received = self.received.load(Relaxed) - before;
            if received < needed {
                return received;
            }
        }
    }
}

/// Returns the request with a body that reports its progress and is passed on in chunks of 8 KiB.
pub fn observed(request: Request) -> (Request, Arc<Progress>) {
    let progress = Arc::new(Progress::default());
    let observer = Arc::clone(&progress);
    let request = request.map(|body| {
        Body::new(FormBody { body, chunk: Bytes::new(), has_yielded: false, progress: observer })
    });
    (request, progress)
}

struct FormBody {
    body: Body,
    /// Received bytes that were not passed to the parser yet.
    chunk: Bytes,
    /// A chunk was passed to the parser since the last `Pending`.
    has_yielded: bool,
    progress: Arc<Progress>,
}

impl HttpBody for FormBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if std::mem::take(&mut self.has_yielded) {
            // Otherwise the parser would buffer everything received before it parses any of it.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.chunk.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.chunk = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
            self.progress.received.fetch_add(self.chunk.len(), Relaxed);
        }
        let len = self.chunk.len().min(CHUNK);
        let chunk = self.chunk.split_to(len);
        self.progress.overhead.fetch_add(len, Relaxed);
        if self.progress.is_overhead() {
            return Poll::Ready(Some(Err(axum::Error::new("too many bytes without content"))));
        }
        self.has_yielded = true;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunk.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.size_hint();
        let waiting = self.chunk.len() as u64;
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + waiting);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + waiting);
        }
        whole
    }
}
