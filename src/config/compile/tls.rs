//! `tls`: how an upstream's certificate is verified, and what it is shown of us.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

use super::identity::Identities;
use super::secret::Secrets;
use crate::config::fault::Fault;
use crate::config::mask::without_userinfo_and_query;
use crate::config::section::{Context, Section, Text};
use crate::config::source::{Reader, Unreadable};
use crate::connection::{Tls, TlsVersion};

type Certificates = Arc<[CertificateDer<'static>]>;

/// Reads `tls` tables; CA certificates each file once.
pub(super) struct Authorities<'a, 's> {
    context: &'a Context<'a>,
    identities: Identities<'a, 's>,
    files: RefCell<HashMap<PathBuf, Certificates>>,
}

/// Why a file gives no certificates, or none to trust.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidAuthority {
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    #[error("has no certificate; it needs PEM, `-----BEGIN CERTIFICATE-----`")]
    Empty,
    #[error("is not valid PEM")]
    Pem,
    #[error("has a certificate that cannot be trusted: {0}")]
    Untrustable(rustls::Error),
}

impl<'a, 's> Authorities<'a, 's> {
    pub(super) fn new(context: &'a Context<'a>, secrets: &'s Secrets<'a>) -> Self {
        Self {
            context,
            identities: Identities::new(context, secrets),
            files: RefCell::default(),
        }
    }

    /// A `tls` table, what it leaves open taken from `defaults`.
    pub(super) fn tls(&self, section: Option<&Section<'a>>, defaults: &Tls) -> Tls {
        let Some(section) = section else {
            return defaults.clone();
        };
        let server_name = section.parse("server_name", server_name);
        let client = self.identities.of(section);
        let least = section.text("min_version");
        let least = least.and_then(|text| TlsVersion::of_name(text.text));
        Tls {
            client: client.or_else(|| defaults.client.clone()),
            ca_certificate: self
                .certificates(section, "ca_certificate")
                .or_else(|| defaults.ca_certificate.clone()),
            server_name: server_name.or_else(|| defaults.server_name.clone()),
            min_version: least.unwrap_or(defaults.min_version),
        }
    }

    /// The certificates in the file that `key` names.
    pub(super) fn certificates(&self, section: &Section<'a>, key: &str) -> Option<Certificates> {
        let written = section.text(key)?;
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
                error.report(section, written, &path);
                None
            }
        }
    }

    fn read(&self, path: &Path) -> Result<Certificates, InvalidAuthority> {
        let certificates = pem_certificates(self.context.reader, path)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots
                .add(certificate.clone())
                .map_err(InvalidAuthority::Untrustable)?;
        }
        Ok(certificates.into())
    }
}

/// The certificates of a file, at least one.
pub(super) fn pem_certificates(
    reader: &Reader<'_>,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, InvalidAuthority> {
    let contents = reader.read(path)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&contents.bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| InvalidAuthority::Pem)?;
    match certificates.is_empty() {
        true => Err(InvalidAuthority::Empty),
        false => Ok(certificates),
    }
}

impl InvalidAuthority {
    /// Reports it of the file at `path`, where that is `written`.
    pub(super) fn report(&self, section: &Section<'_>, written: Text<'_>, path: &Path) {
        let message = format!("`{}` {self}", path.display());
        let mut fault = Fault::at(written.place, message);
        if let Self::Unreadable(unreadable) = self
            && let Some(hint) = unreadable.hint()
        {
            fault = fault.hint(hint);
        }
        section.report(written.key, fault);
    }
}

/// The keys that make a client certificate.
const IDENTITY: [&str; 4] = [
    "client_certificate",
    "client_key",
    "client_key_password",
    "client_identity",
];

/// Whether the credential's own endpoints are shown the connection's certificate as a proof.
pub(super) fn shows_certificate(section: &Section<'_>) -> bool {
    let auth = section.section("auth");
    auth.is_some_and(|auth| {
        let method = auth.text("client_auth").map(|text| text.text);
        let kind = auth.text("type").map(|text| text.text);
        method == Some("tls") && kind.is_some_and(|kind| kind.starts_with("oauth2_"))
    })
}

/// Reports `client_auth = "tls"` of a connection, unless one of these `tls` tables has a certificate: what
/// is wrong with that was reported.
pub(super) fn refuse_without_certificate(
    connection: &Section<'_>,
    tables: [Option<&Section<'_>>; 2],
) {
    let has_one = |table: &Section<'_>| IDENTITY.iter().any(|key| table.has(key));
    if tables.into_iter().flatten().any(has_one) {
        return;
    }
    let Some(auth) = connection.section("auth") else {
        return;
    };
    if let Some(method) = auth.entry("client_auth") {
        let message = "`client_auth = \"tls\"` needs a client certificate";
        let hint = format!(
            "set `client_certificate` and `client_key`, or `client_identity`, in `[{}.tls]`",
            connection.name()
        );
        auth.report(method.key, Fault::at(method.place, message).hint(hint));
    }
}

/// Reports what `tls` has in vain; where the credential's endpoints are shown a certificate, all but
/// the name of the base URL's host has its use there.
pub(super) fn refuse_without_tls(tls: &Section<'_>, shows_certificate: bool) {
    let others = ["ca_certificate", "min_version"];
    let others = IDENTITY.into_iter().chain(others);
    let others = others.filter(|_| !shows_certificate);
    for key in others.chain(["server_name"]) {
        if let Some(entry) = tls.entry(key) {
            let message = format!("`{key}` has no use, as `base_url` is not `https://`");
            tls.report(key, Fault::at(entry.key_place, message));
        }
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| format!("`{}` is not a host name", without_userinfo_and_query(text)))
}
