//! The byte stream to an upstream: [`UpstreamStream`], cleartext or TLS.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::{AlertDescription, ClientConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::fault::alert;
use super::recase::Recase;
use super::tls::HTTP2;
use super::wire::Wire;

/// A connected stream that hyper speaks HTTP on.
#[derive(Debug)]
pub struct UpstreamStream {
    transport: Transport,
    probe: Arc<AtomicBool>,
    recase: Option<Recase>,
    said: LastWord,
}

/// The alert that the upstream ended TLS with, once it did: for those who are told less of an error than
/// this stream says.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWord(Arc<OnceLock<AlertDescription>>);

impl LastWord {
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        self.0.get().copied()
    }

    #[cold]
    fn note(&self, error: &io::Error) {
        if let Some(alert) = alert(error) {
            // The first is the one that ended it.
            let _ = self.0.set(alert);
        }
    }
}

/// What carries the bytes.
#[derive(Debug)]
pub enum Transport {
    /// Cleartext.
    Tcp(TcpStream),
    /// TLS; boxed, as its state is large.
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS, through a tunnel.
    TunnelTls(Box<TlsStream<Wire>>),
    /// Cleartext, through a tunnel.
    Tunnel(Wire),
}

impl UpstreamStream {
    /// A stream that looks for the upstream's close whenever `probe` is set; and that writes field
    /// names of request heads as `recase` spells them.
    pub fn new(transport: Transport, probe: Arc<AtomicBool>, recase: Option<Recase>) -> Self {
        Self {
            transport,
            probe,
            recase,
            said: LastWord::default(),
        }
    }
}

impl UpstreamStream {
    /// Who is at the end of it, as the system knows it; none through a tunnel.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        let socket = match &self.transport {
            Transport::Tcp(socket) => socket,
            Transport::Tls(stream) => stream.get_ref().0,
            Transport::TunnelTls(_) | Transport::Tunnel(_) => return None,
        };
        Some(socket.peer_addr().ok()?.ip())
    }

    /// What the upstream says at the end.
    pub(super) fn last_word(&self) -> LastWord {
        self.said.clone()
    }

    /// Notes why it ends, if it does.
    fn heard<T>(&self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &done {
            self.said.note(error);
        }
        done
    }

    /// What tells that the tunnel it comes through is for no more requests.
    pub(super) fn leaving(&self) -> Option<CancellationToken> {
        match &self.transport {
            Transport::TunnelTls(stream) => stream.get_ref().0.leaving(),
            Transport::Tunnel(wire) => wire.leaving(),
            Transport::Tcp(_) | Transport::Tls(_) => None,
        }
    }

    /// Whether HTTP/2 was agreed on in the TLS handshake.
    pub(super) fn agreed_on_http2(&self) -> bool {
        let session = match &self.transport {
            Transport::Tls(stream) => stream.get_ref().1,
            Transport::TunnelTls(stream) => stream.get_ref().1,
            Transport::Tcp(_) | Transport::Tunnel(_) => return false,
        };
        session.alpn_protocol() == Some(HTTP2)
    }
}

impl Transport {
    /// Whether the upstream has closed the connection, asked of the system: the runtime may not
    /// have heard of it yet.
    fn is_closed(&self) -> bool {
        // Bytes that nobody asked for are as bad as the end; those under TLS may be its own.
        let (socket, bytes_end_it) = match self {
            Self::Tcp(socket) => (socket, true),
            Self::Tls(stream) => (stream.get_ref().0, false),
            Self::TunnelTls(stream) => return stream.get_ref().0.is_closed(),
            Self::Tunnel(wire) => return wire.is_closed(),
        };
        is_socket_closed(socket, bytes_end_it)
    }
}

/// Whether the peer has closed a socket, or sent bytes where those end it as well, asked of the system.
pub(super) fn is_socket_closed(socket: &TcpStream, bytes_end_it: bool) -> bool {
    match recv(
        socket,
        &mut [0_u8; 1],
        RecvFlags::PEEK | RecvFlags::DONTWAIT,
    ) {
        Ok((_, count)) => count == 0 || bytes_end_it,
        Err(error) => error != Errno::AGAIN,
    }
}

macro_rules! each_transport {
    ($transport:expr, $stream:ident => $does:expr) => {
        match $transport {
            Transport::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $does
            }
            Transport::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $does
            }
            Transport::TunnelTls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $does
            }
            Transport::Tunnel(stream) => {
                let $stream = Pin::new(stream);
                $does
            }
        }
    };
}

impl Transport {
    fn write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = each_transport!(&mut *self, stream => stream.poll_write(cx, buf));
        self.explain(cx, written)
    }

    /// Why a write failed. Who refuses a client in TLS 1.3 does so when that one's handshake is done:
    /// it sends an alert and closes, and the write that meets the close may come before the read that
    /// would have found the alert.
    fn explain<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.last_word(cx, error))),
            other => other,
        }
    }

    #[cold]
    fn last_word(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        let said = match self {
            Self::Tls(stream) => {
                let (socket, session) = stream.get_mut();
                unread(socket, session)
            }
            Self::TunnelTls(stream) => {
                let mut buf = [0];
                let read = Pin::new(&mut **stream).poll_read(cx, &mut ReadBuf::new(&mut buf));
                match read {
                    Poll::Ready(Err(said)) => Some(said),
                    _ => None,
                }
            }
            Self::Tcp(_) | Self::Tunnel(_) => None,
        };
        said.filter(|said| alert(said).is_some()).unwrap_or(error)
    }
}

/// What TLS makes of bytes that have arrived and that nobody has read; asked of the system, as the
/// runtime may not have heard of them yet.
fn unread(socket: &TcpStream, session: &mut ClientConnection) -> Option<io::Error> {
    let mut buf = [0; 2048];
    while let Ok((_, count @ 1..)) = recv(socket, &mut buf, RecvFlags::DONTWAIT) {
        let mut bytes = &buf[..count];
        while !bytes.is_empty() {
            // After the end of TLS nothing is taken any more.
            if session.read_tls(&mut bytes).ok()? == 0 {
                return None;
            }
            if let Err(error) = session.process_new_packets() {
                return Some(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
    None
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.probe.load(Ordering::Relaxed) {
            this.probe.store(false, Ordering::Relaxed);
            if this.transport.is_closed() {
                // Nothing read is the end.
                return Poll::Ready(Ok(()));
            }
        }
        let read = each_transport!(&mut this.transport, stream => stream.poll_read(cx, buf));
        this.heard(read)
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let transport = &mut this.transport;
        let Some(recase) = &mut this.recase else {
            let written = transport.write(cx, buf);
            return this.heard(written);
        };
        recase.begin(buf);
        let Some(head) = recase.unwritten() else {
            return transport.write(cx, buf);
        };
        let count = ready!(transport.write(cx, head))?;
        recase.advance(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.recase.is_some() {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            return self.poll_write(cx, first.map_or(&[], |buf| buf));
        }
        let this = self.get_mut();
        let transport = &mut this.transport;
        let written = if let [only] = bufs {
            transport.write(cx, only)
        } else if let Some(buf) = joined(bufs, &mut [0; SMALL]) {
            transport.write(cx, buf)
        } else {
            let written =
                each_transport!(&mut *transport, stream => stream.poll_write_vectored(cx, bufs));
            transport.explain(cx, written)
        };
        this.heard(written)
    }

    fn is_write_vectored(&self) -> bool {
        // hyper then writes a head in one piece, which is what a recase needs.
        self.recase.is_none()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = each_transport!(&mut this.transport, stream => stream.poll_flush(cx));
        let flushed = this.transport.explain(cx, flushed);
        this.heard(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_transport!(&mut self.get_mut().transport, stream => stream.poll_shutdown(cx))
    }
}

/// Up to so many bytes, copying pieces together costs less than a gathering write does.
pub const SMALL: usize = 2048;

/// The pieces of a write as one where they are small: `send` costs the system less than `writev`.
pub fn joined<'b>(bufs: &[IoSlice<'_>], scratch: &'b mut [u8; SMALL]) -> Option<&'b [u8]> {
    let mut length = 0;
    for buf in bufs {
        scratch
            .get_mut(length..length + buf.len())?
            .copy_from_slice(buf);
        length += buf.len();
    }
    Some(&scratch[..length])
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;
    use rustls::crypto::ring;
    use rustls::server::WebPkiClientVerifier;
    use rustls::{AlertDescription, RootCertStore, ServerConfig};
    use rustls_pki_types::{PrivateKeyDer, ServerName};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::connection::Tls;
    use crate::upstream::tls::{Offer, client_config};

    /// A server that demands a client certificate, and what trusts it.
    fn demanding() -> (TlsAcceptor, TlsConnector) {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let tls = Tls {
            ca_certificate: Some([certificate].into()),
            ..Tls::default()
        };
        let client = client_config(&tls, Offer::Http1).unwrap();
        (Arc::new(server).into(), client.into())
    }

    #[tokio::test]
    async fn a_write_that_meets_the_close_tells_the_alert_before_it() {
        let (acceptor, connector) = demanding();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            // Its close resets the connection.
            socket.set_zero_linger().unwrap();
            acceptor.accept(socket).await.unwrap_err()
        });
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, socket).await.unwrap();
        // The client's handshake is done, and the server has refused it and gone.
        server.await.unwrap();
        let transport = Transport::Tls(Box::new(stream));
        let mut stream = UpstreamStream::new(transport, Arc::default(), None);
        let error = loop {
            if let Err(error) = stream.write_all(&[0; 1024]).await {
                break error;
            }
        };
        assert_eq!(alert(&error), Some(AlertDescription::CertificateRequired));
    }
}
