//! The API behind the contestants: a listener in plain HTTP, one in TLS 1.3, one in HTTP/2; and a
//! proxy that leads there.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use anyhow::{Context as _, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::configuration::TOKEN;
use crate::{head, http2};

/// The name in the TLS listener's certificate.
pub(crate) const SERVER_NAME: &str = "upstream.test";

/// Serves until the bench ends.
pub(crate) struct Upstream {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// HTTP/2 in cleartext.
    pub(crate) http2: SocketAddr,
    /// A proxy that leads through by CONNECT.
    pub(crate) connect: SocketAddr,
    /// The certificate of the private CA that vouches for the TLS listener, as PEM.
    pub(crate) authority: String,
    /// The TLS listener's own certificate, and its key, likewise.
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certificate for [`SERVER_NAME`], as PEM, and who speaks TLS with it.
struct Identity {
    acceptor: TlsAcceptor,
    authority: String,
    certificate: String,
    key: String,
}

impl Upstream {
    pub(crate) async fn start() -> Result<Self> {
        let (plain_listener, plain) = listen().await?;
        let (tls_listener, tls) = listen().await?;
        let (http2_listener, http2) = listen().await?;
        let (connect_listener, connect) = listen().await?;
        let Identity {
            acceptor,
            authority,
            certificate,
            key,
        } = identity()?;
        tokio::spawn(accept(connect_listener, lead));
        tokio::spawn(accept(http2_listener, |stream| {
            http2::serve(stream, |head| match answer(head) {
                Answer::Inspection => respond("200 OK", head).into(),
                Answer::Ready(bytes) => bytes.into(),
            })
        }));
        tokio::spawn(accept(plain_listener, |stream| async {
            serve(stream).await
        }));
        tokio::spawn(accept(tls_listener, move |stream| {
            let acceptor = acceptor.clone();
            async move { serve(acceptor.accept(stream).await?).await }
        }));
        Ok(Self {
            plain,
            tls,
            http2,
            connect,
            authority,
            certificate,
            key,
        })
    }
}

async fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("bind")?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Fails only for a stream that is gone already.
                let _ = stream.set_nodelay(true);
                // Contestants close their connections as they like.
                tokio::spawn(serve(stream));
            }
            Err(error) => eprintln!("upstream: accept: {error}"),
        }
    }
}

/// Leads one connection to where its CONNECT says.
async fn lead(mut stream: TcpStream) -> Result<()> {
    let mut buffer = vec![0; 4096];
    let mut filled = 0;
    let end = loop {
        if let Some(end) = head::end(&buffer[..filled]) {
            break end;
        }
        match stream.read(&mut buffer[filled..]).await? {
            0 => bail!("closed within a head"),
            read => filled += read,
        }
    };
    let line = std::str::from_utf8(&buffer[..end])?;
    let target = line.strip_prefix("CONNECT ").context("no CONNECT")?;
    let target = target.split(' ').next().unwrap_or_default();
    let mut upstream = TcpStream::connect(target).await?;
    upstream.set_nodelay(true)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    // Contestants end it as they like.
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
    Ok(())
}

/// Answers the requests of one connection, whatever comes.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut filled = 0;
    loop {
        let end = loop {
            if let Some(end) = head::end(&buffer[..filled]) {
                break end;
            }
            match stream.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                read => filled += read,
            }
        };
        let head = &buffer[..end];
        let answer = answer(head);
        // Without one, as most GETs are, there is no body: none of the contestants re-frames.
        let mut body = head::content_length(head).unwrap_or(0);
        let inspection = matches!(answer, Answer::Inspection).then(|| head.to_vec());

        let have = body.min(filled - end);
        buffer.copy_within(end + have..filled, 0);
        filled -= end + have;
        body -= have;
        while body > 0 {
            let limit = body.min(buffer.len() - filled);
            match stream.read(&mut buffer[filled..][..limit]).await? {
                0 => bail!("closed within a body"),
                read => body -= read,
            }
        }
        match answer {
            Answer::Ready(bytes) => stream.write_all(bytes).await?,
            Answer::Inspection => {
                let answer = respond("200 OK", &inspection.unwrap_or_default());
                stream.write_all(&answer).await?;
            }
        }
        stream.flush().await?;
    }
}

enum Answer {
    /// The request's head, as it came.
    Inspection,
    Ready(&'static [u8]),
}

fn answer(head: &[u8]) -> Answer {
    static SMALL: LazyLock<Vec<u8>> = LazyLock::new(|| respond("200 OK", &[b'd'; 1024]));
    static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| respond("200 OK", &vec![b'd'; 10 << 20]));
    static TAKEN: LazyLock<Vec<u8>> = LazyLock::new(|| respond("200 OK", b"ok"));
    static SHORT: LazyLock<Vec<u8>> = LazyLock::new(|| respond("411 Length Required", b""));
    static NOTHING: LazyLock<Vec<u8>> = LazyLock::new(|| respond("200 OK", b""));
    static TOKENS: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let tokens =
            format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":3600}}"#);
        respond("200 OK", tokens.as_bytes())
    });
    static OTHER: LazyLock<Vec<u8>> = LazyLock::new(|| respond("404 Not Found", b""));
    if head.starts_with(b"GET /base/1k?") {
        Answer::Ready(&SMALL)
    } else if head.starts_with(b"GET /base/10m?") {
        Answer::Ready(&LARGE)
    } else if head.starts_with(b"POST /base/64k?") {
        match head::content_length(head) {
            Some(65_536) => Answer::Ready(&TAKEN),
            _ => Answer::Ready(&SHORT),
        }
    } else if head.starts_with(b"POST /collector/v1/traces ") {
        Answer::Ready(&NOTHING)
    } else if head.starts_with(b"POST /token ") {
        Answer::Ready(&TOKENS)
    } else if head.starts_with(b"GET /base/inspect?") {
        Answer::Inspection
    } else {
        Answer::Ready(&OTHER)
    }
}

/// What an API's answer looks like: eight fields.
fn respond(status: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\n\
         Date: Sat, 01 Aug 2026 12:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\n\
         Content-Length: {}\r\n\
         Cache-Control: private, no-store\r\n\
         ETag: \"5f2b0c7d9e\"\r\n\
         Vary: Accept-Encoding\r\n\
         X-Request-Id: 3f8a6c1e-5f0f-4a55-9f0e-0c7a1b2d3e4f\r\n\
         X-RateLimit-Remaining: 4999\r\n\
         \r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// TLS 1.3 with a certificate of a CA made for this run.
fn identity() -> Result<Identity> {
    let mut authority = CertificateParams::default();
    // Named apart from what it signs, or OpenSSL takes that for self-signed.
    authority
        .distinguished_name
        .push(DnType::CommonName, "keybearer bench CA");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new([SERVER_NAME.to_owned()])?.signed_by(&key, &authority)?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        authority: authority.pem(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}
