//! A certificate authority of the tests' own.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// As certificates count.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// A private authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, a server's or a client's.
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pem: String,
    key_pem: String,
}

impl Authority {
    /// Makes one; two of them trust nothing of each other.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "keybearer tests");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Its own certificate, for `tls.ca_certificate`.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A TLS connector that trusts it, and nothing else.
    pub fn connector(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_slice(self.pem.as_bytes());
        roots.add(own.unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    /// A certificate for these names or addresses.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.sign(params_for(names))
    }

    /// One that ended long ago.
    pub fn issue_expired(&self, names: &[&str]) -> Certificate {
        let mut params = params_for(names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    /// A client's, of this name, with this serial number.
    pub fn client(&self, name: &str, serial: u64) -> Certificate {
        self.client_until(name, serial, SystemTime::now() + 365 * DAY)
    }

    /// A client's that ends then.
    pub fn client_until(&self, name: &str, serial: u64, not_after: SystemTime) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        // By which OpenSSL tells two authorities of one name apart.
        params.use_authority_key_identifier_extension = true;
        let since = not_after.duration_since(UNIX_EPOCH).unwrap();
        params.not_after = date_time_ymd(1970, 1, 1) + since;
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certificate {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

fn params_for(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

impl Certificate {
    /// It in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its key in PEM: PKCS#8.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A TLS acceptor that presents it and speaks HTTP/2 where it is offered.
    pub fn http2_acceptor(&self) -> TlsAcceptor {
        self.acceptor_of(&[b"h2", b"http/1.1"])
    }

    /// A TLS acceptor that presents it and speaks HTTP/1.1.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor_of(&[b"http/1.1"])
    }

    fn acceptor_of(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}
