//! A client's TCP connection: it ends when the client does not read, and it is closed so that the
//! client can read the last answer.

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

/// The longest time that a closed connection waits for the client to close it too.
const MAX_LINGER: Duration = Duration::from_secs(2);
/// Reads of what a client still sends meanwhile.
const MAX_LINGER_READS: usize = 1_000;

/// The place of one connection among those that the limit allows, and its count in the metrics.
#[derive(Debug)]
pub struct ConnectionGuard {
    _permit: OwnedSemaphorePermit,
    _gauge: Gauge,
}

impl ConnectionGuard {
    /// Counts a connection that has this permit.
    pub fn new(permit: OwnedSemaphorePermit, metrics: &Arc<Metrics>) -> Self {
        Self { _permit: permit, _gauge: Gauge::up(metrics, |m| &m.connections) }
    }
}

/// A connection as the server's protocols use it.
pub struct ClientStream {
    /// `None` while it is dropped.
    tcp: Option<TcpStream>,
    /// How long a write may wait for a client that does not read.
    write_timeout: Duration,
    /// Rings when a write has waited too long.
    stalled: Option<Pin<Box<Sleep>>>,
    /// The client has closed its side, or the connection is broken.
    has_ended: bool,
    /// `None` for connections beyond the limit, which do not linger.
    guard: Option<ConnectionGuard>,
    metrics: Arc<Metrics>,
}

impl ClientStream {
    /// A connection; with a guard it has a place among the connections, which it keeps to its end.
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
        // Nothing can be said to a client that does not read.
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
        // TCP has no buffer that could be flushed.
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

/// Ends the server's side, and reads until the client has ended its own.
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
