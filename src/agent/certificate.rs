//! Whose a certificate is.

use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// `commonName` (RFC 4519 section 2.3).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The DNS names of a certificate; its common name where it has none (RFC 6125 section 6.4.4). None if
/// it cannot be read.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let certificate = certificate.tbs_certificate();
    let alternatives = certificate.get_extension::<SubjectAltName>().ok()?;
    let mut names: Vec<_> = alternatives
        .iter()
        .flat_map(|(_, names)| &names.0)
        .filter_map(|name| match name {
            GeneralName::DnsName(name) => Some(name.to_string()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let parts = certificate.subject().iter();
        let common = parts.filter(|part| part.oid == COMMON_NAME);
        names.extend(common.filter_map(|part| {
            let utf8 = part.value.decode_as::<Utf8StringRef<'_>>();
            let text = utf8.map(|text| text.as_str().to_owned());
            let printable = || part.value.decode_as::<PrintableStringRef<'_>>();
            text.or_else(|_| printable().map(|text| text.as_str().to_owned()))
                .ok()
        }));
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn made(names: &[&str], common: &str) -> CertificateDer<'static> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_common_name_counts_where_there_is_no_other() {
        let certificate = made(&["datacenter-1", "b.example"], "ignored");
        assert_eq!(names(&certificate).unwrap(), ["datacenter-1", "b.example"]);
        assert_eq!(names(&made(&[], "datacenter-1")).unwrap(), ["datacenter-1"]);
        assert_eq!(names(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
