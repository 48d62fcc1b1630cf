//! `tls.client_…`: the certificate that upstreams are shown, and its key.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::secret::Secrets;
use super::tls::{InvalidAuthority, pem_certificates};
use crate::config::fault::Fault;
use crate::config::section::{Context, Entry, Section, Text};
use crate::connection::identity::{ClientIdentity, InvalidIdentity, key, pkcs12};
use crate::secret::{Origin, Secret};

/// Reads client certificates, those of the same files and secrets once.
pub(super) struct Identities<'a, 's> {
    context: &'a Context<'a>,
    secrets: &'s Secrets<'a>,
    known: RefCell<Vec<(Parts, Arc<ClientIdentity>)>>,
}

/// What an identity is made of: a file of certificates and a key, or one of both.
#[derive(PartialEq)]
struct Parts {
    file: PathBuf,
    key: Option<Secret>,
    password: Option<Secret>,
}

impl<'a, 's> Identities<'a, 's> {
    pub(super) fn new(context: &'a Context<'a>, secrets: &'s Secrets<'a>) -> Self {
        Self {
            context,
            secrets,
            known: RefCell::default(),
        }
    }

    /// The identity of a `tls` table; none if it has none, or it was reported.
    pub(super) fn of(&self, section: &Section<'a>) -> Option<Arc<ClientIdentity>> {
        let password = self.secrets.take_at_load(section, "client_key_password");
        let entry = |key: &str| section.entry(key);
        match (
            entry("client_certificate"),
            entry("client_key"),
            entry("client_identity"),
        ) {
            (None, None, None) => {
                let password = entry("client_key_password")?;
                let message = "`client_key_password` has no use without `client_key` or `client_identity` beside it";
                section.report(password.key, Fault::at(password.key_place, message));
                None
            }
            (Some(certificate), Some(_), None) => self.pem(section, &certificate, password),
            (Some(certificate), None, None) => {
                let message = "`client_certificate` needs its private key in `client_key`";
                section.report(certificate.key, Fault::at(certificate.key_place, message));
                None
            }
            (None, Some(key), None) => {
                let message = "`client_key` needs its certificate in `client_certificate`";
                section.report(key.key, Fault::at(key.key_place, message));
                None
            }
            (certificate, key, Some(_)) => {
                for idle in [certificate, key].into_iter().flatten() {
                    let message = format!(
                        "`{}` has no use beside `client_identity`, which holds certificate and key; remove one of them",
                        idle.key
                    );
                    section.report(idle.key, Fault::at(idle.key_place, message));
                }
                self.pkcs12(section, password)
            }
        }
    }

    fn pem(
        &self,
        section: &Section<'a>,
        certificate: &Entry<'a>,
        password: Option<Secret>,
    ) -> Option<Arc<ClientIdentity>> {
        let written = certificate.text()?;
        let file = self.context.document(written.place).resolve(written.text);
        let key = self.secrets.take_at_load(section, "client_key");
        if section.has("client_key_password") && password.is_none() {
            return None;
        }
        let parts = Parts {
            file,
            key,
            password,
        };
        if let Some(known) = self.known(&parts) {
            return Some(known);
        }
        // Both are read, so that both are told of.
        let chain = self.chain(section, written, &parts.file);
        let secret = parts.key.as_ref()?;
        let origin = secret.origin().clone();
        let key = key::read(secret.expose(), parts.password.as_ref())
            .map_err(|invalid| refuse_key(section, &invalid.to_string(), &origin))
            .ok()?;
        match ClientIdentity::new(chain?, key, origin.clone()) {
            Ok(identity) => Some(self.keep(parts, identity)),
            Err(invalid @ InvalidIdentity::UnusableKey) => {
                refuse_key(section, &invalid.to_string(), &origin);
                None
            }
            Err(invalid) => {
                section.refuse(written, format!("`{}` {invalid}", parts.file.display()));
                None
            }
        }
    }

    fn chain(
        &self,
        section: &Section<'a>,
        written: Text<'a>,
        file: &Path,
    ) -> Option<Vec<CertificateDer<'static>>> {
        pem_certificates(self.context.reader, file)
            .map_err(|error| error.report(section, written, file))
            .ok()
    }

    fn pkcs12(
        &self,
        section: &Section<'a>,
        password: Option<Secret>,
    ) -> Option<Arc<ClientIdentity>> {
        let entry = section.entry("client_identity")?;
        let written = match section.below(&entry) {
            None => entry.text()?,
            Some(table) => table.text("file").or_else(|| {
                table.missing("file", "`client_identity` needs a `file`, in PKCS#12");
                None
            })?,
        };
        if section.has("client_key_password") && password.is_none() {
            return None;
        }
        let parts = Parts {
            file: self.context.document(written.place).resolve(written.text),
            key: None,
            password,
        };
        if let Some(known) = self.known(&parts) {
            return Some(known);
        }
        let refuse = |why: &dyn std::fmt::Display| {
            section.refuse(
                Text {
                    key: entry.key,
                    ..written
                },
                format!("`{}` {why}", parts.file.display()),
            );
        };
        let contents = self
            .context
            .reader
            .read(&parts.file)
            .map_err(|error| {
                InvalidAuthority::from(error).report(section, written, &parts.file);
            })
            .ok()?;
        let (chain, key) = pkcs12::read(&contents.bytes, parts.password.as_ref())
            .map_err(|invalid| refuse(&invalid))
            .ok()?;
        let origin = Origin::File(Arc::new(parts.file.clone()));
        let identity = ClientIdentity::new(chain, key, origin)
            .map_err(|invalid| refuse(&invalid))
            .ok()?;
        Some(self.keep(parts, identity))
    }

    fn known(&self, parts: &Parts) -> Option<Arc<ClientIdentity>> {
        let known = self.known.borrow();
        let (_, identity) = known.iter().find(|(known, _)| known == parts)?;
        Some(Arc::clone(identity))
    }

    fn keep(&self, parts: Parts, identity: ClientIdentity) -> Arc<ClientIdentity> {
        let identity = Arc::new(identity);
        self.known.borrow_mut().push((parts, Arc::clone(&identity)));
        identity
    }
}

fn refuse_key(section: &Section<'_>, why: &str, origin: &Origin) {
    let Some(entry) = section.entry("client_key") else {
        return;
    };
    let mut fault = Fault::at(entry.place, format!("`client_key` {why}"));
    if *origin == Origin::Literal {
        fault = fault.hint("a key in a file is written as `client_key = { file = \"…\" }`");
    }
    section.report(entry.key, fault);
}
