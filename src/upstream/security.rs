//! What TLS with an upstream is made of, and what is said when it fails: [`Security`].

use std::sync::Arc;
use std::time::SystemTime;

use rustls::{AlertDescription, CertificateError, ClientConfig, PeerIncompatible};
use rustls_pki_types::ServerName;

use crate::connection::TlsVersion;
use crate::connection::identity::{Certificate, ClientIdentity};
use crate::problem::Kind;

/// What it takes to speak TLS with an upstream.
#[derive(Debug)]
pub(super) struct Security {
    pub(super) config: Arc<ClientConfig>,
    /// What its certificate must be for.
    pub(super) name: ServerName<'static>,
    /// What it is shown if it asks.
    pub(super) client: Option<Arc<ClientIdentity>>,
    /// The least version that is spoken with it.
    pub(super) least: TlsVersion,
}

/// What is to be done where a client certificate may be missing.
const SET_ONE: &str =
    "set tls.client_certificate and tls.client_key, or tls.client_identity, to what it gave you";

impl Security {
    /// Why a handshake failed, for whoever can do something about it.
    /// `key` names the host in the configuration.
    pub(super) fn failure(&self, error: &rustls::Error, key: &str) -> (Kind, String) {
        match error {
            rustls::Error::InvalidCertificate(reason) => {
                (Kind::TlsCertificate, in_words(reason, &self.name, key))
            }
            rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                let text = "it speaks none of the protocols offered (ALPN); set `http` to one that it speaks, or to `auto`";
                (Kind::ProtocolError, text.to_owned())
            }
            rustls::Error::AlertReceived(alert) => (Kind::TlsAlert, self.refusal(*alert)),
            rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::ServerDoesNotSupportTls12Or13,
            ) => (Kind::TlsProtocol, self.too_old()),
            other => {
                let text = format!(
                    "the TLS handshake failed ({other}); check that it speaks TLS {} on this port",
                    self.versions()
                );
                (Kind::TlsProtocol, text)
            }
        }
    }

    /// What an upstream means that ends TLS with an alert (RFC 8446 section 6.2), and what to do.
    pub(super) fn refusal(&self, alert: AlertDescription) -> String {
        use AlertDescription as Alert;
        match (alert, &self.client) {
            (Alert::ProtocolVersion, _) => self.too_old(),
            (Alert::UnrecognisedName, _) => format!(
                "it has no certificate for `{}` (alert {alert:?}); if that is as it should be, set tls.server_name to a name it has",
                self.name.to_str()
            ),
            (Alert::CertificateRequired | Alert::NoCertificate, None) => format!(
                "it demands a client certificate (alert {alert:?}), and this connection has none; {SET_ONE}"
            ),
            (Alert::CertificateRequired | Alert::NoCertificate, Some(client)) => format!(
                "it demands a client certificate (alert {alert:?}), and takes none of the kind of {}; set one with a key that it takes",
                client.leaf()
            ),
            (alert, Some(client)) if is_about_certificate(alert) => format!(
                "it refuses the client certificate {} (alert {alert:?}): {}",
                client.leaf(),
                reason(alert, client.first_to_end())
            ),
            (Alert::HandshakeFailure, Some(client)) => format!(
                "it refused the TLS handshake (alert {alert:?}); it may not take the client certificate {}, or want another name or TLS version",
                client.leaf()
            ),
            (alert, None) if is_about_certificate(alert) || alert == Alert::HandshakeFailure => {
                format!(
                    "it refused the TLS handshake (alert {alert:?}), and was shown no client certificate; if it asks for one, {SET_ONE}; else it may want another name or TLS version"
                )
            }
            _ => format!(
                "it refused the TLS handshake with the alert {alert:?}; it may ask for a client certificate, another name or another TLS version"
            ),
        }
    }

    fn too_old(&self) -> String {
        match self.least {
            TlsVersion::Tls12 => {
                "it speaks neither TLS 1.2 nor 1.3, and older versions are not safe; update it"
                    .to_owned()
            }
            TlsVersion::Tls13 => {
                "it does not speak TLS 1.3, which tls.min_version asks for; switch that on there, or set tls.min_version to \"1.2\"".to_owned()
            }
        }
    }

    fn versions(&self) -> &'static str {
        match self.least {
            TlsVersion::Tls12 => "1.2 or 1.3",
            TlsVersion::Tls13 => "1.3",
        }
    }
}

/// Whether an alert may be about what the client has shown, or has not: in TLS 1.3 such a one comes
/// after the client's handshake is done.
pub(super) fn is_about_client(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    is_about_certificate(alert)
        || matches!(
            alert,
            Alert::CertificateRequired | Alert::HandshakeFailure | Alert::NoCertificate
        )
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate
    )
}

/// Why a client certificate is refused whose chain ends with `ends`.
fn reason(alert: AlertDescription, ends: &Certificate) -> String {
    use AlertDescription as Alert;
    if ends.left(SystemTime::now()).is_none() {
        return format!("{ends} has expired; renew it");
    }
    let reason = match alert {
        Alert::AccessDenied => "it may not be used there; have it allowed, or set another",
        Alert::CertificateExpired => {
            "it takes it for expired, which it is not by this machine's clock; check both clocks"
        }
        Alert::CertificateRevoked => "it was revoked; get another",
        Alert::DecryptError => {
            "it does not verify: its issuer has the name of one that the upstream trusts, and another key; set one of an authority that it trusts"
        }
        Alert::UnknownCA => {
            "it does not know its issuer; set one of an authority that it trusts, its intermediate certificates behind it in the file"
        }
        Alert::UnsupportedCertificate => "it takes none of its kind; get one for TLS clients",
        _ => {
            "it does not say why; get one that it was told of, valid for TLS clients, its intermediate certificates behind it in the file"
        }
    };
    reason.to_owned()
}

/// A certificate's fault as somebody can act on it.
fn in_words(reason: &CertificateError, name: &ServerName<'_>, key: &str) -> String {
    let name = name.to_str();
    let remedy = match key {
        "base_url" => "if that is as it should be, set tls.server_name to a name it has".to_owned(),
        key => format!("write a name it has into {key}"),
    };
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; it must be renewed there (or this machine's clock is wrong)".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; check the clock of this machine".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
            "its certificate is not for `{name}`; {remedy}"
        ),
        // A re-made issuer of a trusted name shows as a bad signature.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is from an issuer that is not trusted; set tls.ca_certificate to the issuer's certificate".to_owned()
        }
        CertificateError::Revoked => "its certificate was revoked; it must be replaced there".to_owned(),
        other => format!("its certificate is not accepted ({other})"),
    }
}
