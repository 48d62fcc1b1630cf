//! `tls`: how an upstream's certificate is verified.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::config::fault::Fault;
use crate::config::mask::without_userinfo_and_query;
use crate::config::section::{Context, Section};
use crate::config::source::Unreadable;
use crate::connection::Tls;

type Certificates = Arc<[CertificateDer<'static>]>;

/// Reads CA certificates, each file once.
pub(super) struct Authorities<'a> {
    context: &'a Context<'a>,
    files: RefCell<HashMap<PathBuf, Certificates>>,
}

/// Why a file gives no certificates to trust.
#[derive(Debug, thiserror::Error)]
enum InvalidAuthority {
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error("has no certificate; it needs PEM, `-----BEGIN CERTIFICATE-----`")]
    Empty,
    #[error("is not valid PEM")]
    Pem,
    #[error("has a certificate that cannot be trusted: {0}")]
    Untrustable(rustls::Error),
}

impl<'a> Authorities<'a> {
    pub(super) fn new(context: &'a Context<'a>) -> Self {
        Self {
            context,
            files: RefCell::default(),
        }
    }

    /// A `tls` table, what it leaves open taken from `defaults`.
    pub(super) fn tls(&self, section: Option<&Section<'a>>, defaults: &Tls) -> Tls {
        let Some(section) = section else {
            return defaults.clone();
        };
        let server_name = section.parse("server_name", server_name);
        Tls {
            ca_certificate: self
                .ca_certificate(section)
                .or_else(|| defaults.ca_certificate.clone()),
            server_name: server_name.or_else(|| defaults.server_name.clone()),
        }
    }

    fn ca_certificate(&self, section: &Section<'a>) -> Option<Certificates> {
        let written = section.text("ca_certificate")?;
        let path = self.context.document(written.place).resolve(written.text);
        if let Some(known) = self.files.borrow().get(&path) {
            return Some(Arc::clone(known));
        }
        match self.read(&path) {
            Ok(certificates) => {
                let shared = Arc::clone(&certificates);
                self.files.borrow_mut().insert(path, shared);
                Some(certificates)
            }
            Err(error) => {
                let message = format!("`{}` {error}", path.display());
                let mut fault = Fault::at(written.place, message);
                if let InvalidAuthority::Unreadable(unreadable) = &error
                    && let Some(hint) = unreadable.hint()
                {
                    fault = fault.hint(hint);
                }
                section.report(written.key, fault);
                None
            }
        }
    }

    fn read(&self, path: &Path) -> Result<Certificates, InvalidAuthority> {
        let contents = self.context.reader.read(path)?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&contents.bytes)
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidAuthority::Pem)?;
        if certificates.is_empty() {
            return Err(InvalidAuthority::Empty);
        }
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots
                .add(certificate.clone())
                .map_err(InvalidAuthority::Untrustable)?;
        }
        Ok(certificates.into())
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| format!("`{}` is not a host name", without_userinfo_and_query(text)))
}
