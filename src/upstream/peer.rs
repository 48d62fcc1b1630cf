//! Who answered a TLS handshake: [`Peer`].

use std::fmt;
use std::time::SystemTime;

use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};

use crate::connection::identity::Certificate;

/// What a TLS handshake told of the other side.
#[derive(Clone, Debug)]
pub struct Peer {
    version: &'static str,
    alpn: Option<String>,
    resumed: bool,
    /// Its own certificate.
    leaf: Option<Certificate>,
    /// The one of its chain that ends first.
    first_to_end: Option<Certificate>,
}

impl Peer {
    pub(super) fn of(connection: &ClientConnection) -> Self {
        let chain = connection.peer_certificates().unwrap_or_default();
        let chain: Vec<_> = chain.iter().filter_map(Certificate::parse).collect();
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
            leaf: chain.first().cloned(),
            first_to_end: chain
                .into_iter()
                .min_by_key(|certificate| certificate.not_after),
        }
    }

    /// How many whole days are left of its chain; negative once it has ended.
    pub fn days_left(&self, now: SystemTime) -> Option<i64> {
        Some(self.first_to_end.as_ref()?.days_left(now))
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
        if let Some(leaf) = &self.leaf {
            write!(f, ", certificate of `{}`", leaf.subject)?;
        }
        if let Some(days) = self.days_left(SystemTime::now()) {
            write!(f, ", {days} days left")?;
        }
        Ok(())
    }
}
