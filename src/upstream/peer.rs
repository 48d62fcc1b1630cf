//! Who answered a TLS handshake: [`Peer`].

use std::fmt;
use std::time::SystemTime;

use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// What a TLS handshake told of the other side.
#[derive(Clone, Debug)]
pub struct Peer {
    version: &'static str,
    alpn: Option<String>,
    resumed: bool,
    /// Whom its certificate names.
    pub subject: String,
    /// When the first certificate of its chain ends.
    pub expires: Option<SystemTime>,
}

impl Peer {
    pub(super) fn of(connection: &ClientConnection) -> Self {
        let chain = connection.peer_certificates().unwrap_or_default();
        let chain: Vec<_> = chain
            .iter()
            .filter_map(|certificate| Certificate::from_der(certificate).ok())
            .collect();
        let expires = |certificate: &Certificate| {
            let validity = certificate.tbs_certificate().validity();
            validity.not_after.to_system_time()
        };
        Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                _ => "TLS",
            },
            alpn: connection
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            subject: chain.first().map_or_else(String::new, |leaf| {
                leaf.tbs_certificate().subject().to_string()
            }),
            expires: chain.iter().map(expires).min(),
        }
    }

    /// How many whole days are left of its chain; negative once it has expired.
    pub fn days_left(&self, now: SystemTime) -> Option<i64> {
        Some(days(self.expires?, now))
    }
}

/// Whole days from `now` to `at`, rounded down.
fn days(at: SystemTime, now: SystemTime) -> i64 {
    const DAY: u64 = 86_400;
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    match at.duration_since(now) {
        Ok(left) => signed(left.as_secs() / DAY),
        Err(past) => -signed(past.duration().as_secs().div_ceil(DAY)),
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version)?;
        if let Some(alpn) = &self.alpn {
            write!(f, ", {alpn}")?;
        }
        if self.resumed {
            f.write_str(", resumed")?;
        }
        write!(f, ", certificate of `{}`", self.subject)?;
        if let Some(days) = self.days_left(SystemTime::now()) {
            write!(f, ", {days} days left")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_day_that_has_begun_is_not_left() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let day = Duration::from_secs(86_400);
        for (at, left) in [
            (now + 30 * day, 30),
            (now + 30 * day - Duration::from_secs(1), 29),
            (now, 0),
            (now - Duration::from_secs(1), -1),
            (now - day, -1),
        ] {
            assert_eq!(days(at, now), left);
        }
    }
}
