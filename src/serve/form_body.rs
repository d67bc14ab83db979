//! The body of a form on its way in: how fast it comes, and how much of it is no content.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use hyper::body::{Frame, SizeHint};
use tokio::time::sleep;

/// The least that has to come, bytes a second.
const MIN_RATE: f64 = 1024.0;
/// Bytes given to the form's parser at a time.
const CHUNK: usize = 8 << 10;
/// The longest part of a form that is no content: what comes before the first boundary, or the head
/// of a field. The parser searches all of it again whenever more comes.
pub const MAX_OVERHEAD: usize = 16 << 10;

/// How far the body of a form is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes received.
    received: AtomicUsize,
    /// Bytes given to the parser since it last returned a field or content of one.
    overhead: AtomicUsize,
}

impl Progress {
    /// Notes that the parser has returned a field, or content of one.
    pub fn advance(&self) {
        self.overhead.store(0, Relaxed);
    }

    /// Whether too much came without a field or content of one.
    pub fn is_overhead(&self) -> bool {
        self.overhead.load(Relaxed) > MAX_OVERHEAD + CHUNK
    }

    /// Waits until the body comes slower than [`MIN_RATE`]; returns the bytes that came in the last
    /// `window`.
    pub async fn is_slow(&self, window: Duration) -> usize {
        let needed = (window.as_secs_f64() * MIN_RATE) as usize;
        loop {
            let before = self.received.load(Relaxed);
            sleep(window).await;
            let came = self.received.load(Relaxed) - before;
            if came < needed {
                return came;
            }
        }
    }
}

/// The same request with a body whose progress is seen, and which the parser gets a chunk at a time.
pub fn observed(request: Request) -> (Request, Arc<Progress>) {
    let progress = Arc::new(Progress::default());
    let seen = Arc::clone(&progress);
    let request = request
        .map(|body| Body::new(FormBody { body, chunk: Bytes::new(), has_yielded: false, progress: seen }));
    (request, progress)
}

struct FormBody {
    body: Body,
    /// Bytes that the parser has not been given yet.
    chunk: Bytes,
    /// The parser has been given a chunk since it last had to wait.
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
            // The parser would read everything that has come before it looks at any of it.
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
            return Poll::Ready(Some(Err(axum::Error::new("too much that is no content"))));
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
