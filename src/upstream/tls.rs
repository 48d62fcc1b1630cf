//! A rustls `ClientConfig` per TLS identity, and the roots it trusts.

use std::sync::{Arc, OnceLock};

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use tracing::{info, warn};

/// Prepares the client side of TLS for upstreams that trust the same roots.
///
/// Prepared at load and shared by their connections, so that sessions are resumed.
///
/// # Errors
/// The roots cannot be used, or the provider has no cipher suite for TLS 1.2 and 1.3.
pub fn client_config(
    roots: Option<&[CertificateDer<'static>]>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let roots = match roots {
        Some(own) => Arc::new(own_roots(own)?),
        None => system_roots(),
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
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
fn system_roots() -> Arc<RootCertStore> {
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
