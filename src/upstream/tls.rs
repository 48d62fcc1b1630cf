//! A rustls `ClientConfig` per TLS identity, and the roots it trusts.

use std::sync::{Arc, OnceLock};

use rustls::crypto::ring;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::CertificateDer;
use tracing::{info, warn};

use crate::connection::{HttpVersion, Tls, TlsVersion};

/// The protocols that are offered in the handshake (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offer {
    /// HTTP/2, and HTTP/1.1 for those who do not speak it.
    Both,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Offer {
    /// What is offered where `http` may be spoken.
    pub fn of(http: HttpVersion) -> Self {
        match http {
            HttpVersion::Auto => Self::Both,
            HttpVersion::Http11 => Self::Http1,
            HttpVersion::Http2 => Self::Http2,
        }
    }

    fn protocols(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Both => &[HTTP2, b"http/1.1"],
            Self::Http1 => &[b"http/1.1"],
            Self::Http2 => &[HTTP2],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

/// The name of HTTP/2 over TLS (RFC 9113 section 3.2).
pub(super) const HTTP2: &[u8] = b"h2";

/// Prepares the client side of TLS for upstreams that are trusted, shown who we are, and offered
/// protocols, alike.
///
/// Prepared at load and shared by their connections, so that sessions are resumed: by these only, as
/// the sessions are the configuration's own. A session carries the client certificate that it began
/// with, so one of another identity would speak in its name.
///
/// # Errors
/// The roots cannot be used, or the provider has no cipher suite for the versions.
pub fn client_config(tls: &Tls, offer: Offer) -> Result<Arc<ClientConfig>, rustls::Error> {
    let roots = match &tls.ca_certificate {
        Some(own) => Arc::new(own_roots(own)?),
        None => system_roots(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions(tls.min_version))?
        .with_root_certificates(roots);
    let mut config = match &tls.client {
        Some(identity) => {
            let certified = Arc::clone(identity.certified());
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = offer.protocols();
    Ok(Arc::new(config))
}

/// From the least that will do.
fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match least {
        TlsVersion::Tls12 => &BOTH,
        TlsVersion::Tls13 => &BOTH[..1],
    }
}

/// Prepares the client side of TLS for a proxy: what its upstreams trust is trusted of it as well, and
/// so are the system's roots.
///
/// # Errors
/// As of [`client_config`].
pub(super) fn proxy_config(
    roots: Option<&[CertificateDer<'static>]>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut trusted = RootCertStore::clone(&system_roots());
    trusted.extend(own_roots(roots.unwrap_or_default())?.roots);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn own_roots(certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, rustls::Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate.clone())?;
    }
    Ok(store)
}

/// The system's roots, read once; a certificate that cannot be parsed is left out, and where there
/// is none at all, Mozilla's list serves.
pub fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            warn!(%error, "System certificate not read");
        }
        let mut store = RootCertStore::empty();
        let (trusted, ignored) = store.add_parsable_certificates(loaded.certs);
        if ignored > 0 {
            warn!(trusted, ignored, "System certificates left out");
        }
        if store.is_empty() {
            info!("No system certificates found, using Mozilla's roots");
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Arc::new(store)
    }))
}
