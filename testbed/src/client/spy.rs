//! A stream that remembers the TLS alert it met.
//!
//! In TLS 1.3 a server refuses a client certificate when the client is done with its handshake and busy writing. The
//! write then fails, and the reason lies unread in the socket: it is fetched here.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::rustls_error;

/// Where the alert is left.
#[derive(Clone, Debug, Default)]
pub(super) struct AlertSlot(Arc<Mutex<Option<AlertDescription>>>);

impl AlertSlot {
    pub fn get(&self) -> Option<AlertDescription> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, error: &io::Error) {
        if let Some(rustls::Error::AlertReceived(alert)) = rustls_error(error) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(*alert);
        }
    }
}

/// The stream.
#[derive(Debug)]
pub(super) struct Spy<S> {
    stream: S,
    slot: AlertSlot,
    /// A failed write, kept back until the reading side has said why.
    failed: Option<io::Error>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Spy<S> {
    pub fn new(stream: S, slot: AlertSlot) -> Self {
        Self { stream, slot, failed: None }
    }

    /// Runs a write; if it fails, reads to the end first.
    fn write<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.failed.is_none() {
            match ready!(write(Pin::new(&mut self.stream), cx)) {
                Ok(done) => return Poll::Ready(Ok(done)),
                Err(error) => self.failed = Some(error),
            }
        }
        // The event loop may not know yet that there is something to read: then this is called again.
        ready!(self.drain(cx));
        let error = self.failed.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
        Poll::Ready(Err(error))
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; 1024];
        loop {
            let mut buf = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                Ok(()) => return Poll::Ready(()),
                Err(error) => {
                    self.slot.note(&error);
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Spy<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if let Err(e) = &result {
            self.slot.note(e);
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Spy<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
