//! A client's TCP connection. It is closed if the client does not read for too long; a normal close is done
//! so that the client can still read the last response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep, timeout};

use super::metrics::{Gauge, Metrics};

/// Maximum time to wait until the client closes its side too.
const MAX_LINGER: Duration = Duration::from_secs(2);
/// Maximum number of reads during that time.
const MAX_LINGER_READS: usize = 1_000;

/// The permit of one open connection, and its count in the metrics.
#[derive(Debug)]
pub struct ConnectionGuard {
    _permit: OwnedSemaphorePermit,
    _gauge: Gauge,
}

impl ConnectionGuard {
    /// Counts a connection until the guard is dropped.
    pub fn new(permit: OwnedSemaphorePermit, metrics: &Arc<Metrics>) -> Self {
        Self { _permit: permit, _gauge: Gauge::up(metrics, |m| &m.connections) }
    }
}

/// A client's connection with a write timeout and a lingering close.
pub struct ClientStream {
    /// `None` only inside `drop`.
    tcp: Option<TcpStream>,
    /// Maximum time that a write may wait for the client to read.
    write_timeout: Duration,
    /// Timer of the write that is waiting.
    stalled: Option<Pin<Box<Sleep>>>,
    /// The client has closed its side, or the connection is broken.
    has_ended: bool,
    /// `None` for connections beyond the limit, which are closed at once.
    guard: Option<ConnectionGuard>,
    metrics: Arc<Metrics>,
}

impl ClientStream {
    /// Wraps a connection; it holds the guard, if there is one, until it is closed.
    pub fn new(
        tcp: TcpStream,
        guard: Option<ConnectionGuard>,
        write_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { tcp: Some(tcp), write_timeout, stalled: None, has_ended: false, guard, metrics }
    }

    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Some(tcp) = &mut self.tcp else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let polled = write(Pin::new(tcp), context);
        if polled.is_ready() {
            self.stalled = None;
            self.has_ended |= matches!(polled, Poll::Ready(Err(_)));
            return polled;
        }
        let write_timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(write_timeout)));
        if stalled.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.stalled = None;
        // Counted once: later writes fail too.
        if !std::mem::replace(&mut self.has_ended, true) {
            self.metrics.close("slow_reader");
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(tcp) = &mut self.tcp else { return Poll::Ready(Ok(())) };
        let before = buffer.remaining();
        let polled = Pin::new(tcp).poll_read(context, buffer);
        match &polled {
            Poll::Ready(Ok(())) => self.has_ended |= before > 0 && buffer.remaining() == before,
            Poll::Ready(Err(_)) => self.has_ended = true,
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |tcp, context| tcp.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |tcp, context| tcp.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP stream has no buffer to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tcp) = &mut self.tcp else { return Poll::Ready(Ok(())) };
        Pin::new(tcp).poll_shutdown(context)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let (Some(tcp), Some(guard)) = (self.tcp.take(), self.guard.take()) else { return };
        if self.has_ended {
            return;
        }
        // Closing a socket with unread input resets the connection, which can discard the answer.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = timeout(MAX_LINGER, linger(tcp)).await;
                drop(guard);
            });
        }
    }
}

/// Shuts down the server's side, and reads until the client has closed its own.
async fn linger(mut tcp: TcpStream) -> io::Result<()> {
    tcp.shutdown().await?;
    let mut rest = [0; 4096];
    for _ in 0..MAX_LINGER_READS {
        if tcp.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}
