//! What a courier is given and what it brings, as JSON: [`Job`], and an exchange's outcome.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, StatusCode};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use url::Url;
use zeroize::{Zeroize, Zeroizing};

use super::proxy::JobProxy;
use crate::auth::fetch::{Answer, Endpoint, FetchFault, Role, Way};
use crate::connection::identity::ClientIdentity;
use crate::connection::network::Road;
use crate::connection::{Tls, TlsVersion};
use crate::secret::Origin;
use crate::store::{Spool, SpoolKey};
use crate::upstream::Upstreams;

/// One exchange, with all that it takes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    url: String,
    role: Role,
    /// Each as the base64 of its DER.
    roots: Option<Vec<String>>,
    client: Option<Client>,
    /// The least version of TLS.
    least: String,
    /// None where the way is straight.
    proxy: Option<JobProxy>,
    /// DNS servers that are asked instead of the system's.
    dns: Vec<SocketAddr>,
    connect: Duration,
    limit: Duration,
    /// Base64, and so below.
    form: String,
    authorization: Option<String>,
    /// What the answer is sealed with.
    key: String,
    /// And what for.
    place: String,
}

/// What a server is shown that asks for a client certificate.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    /// Each as the base64 of its DER.
    chain: Vec<String>,
    key: String,
}

/// A form, and the client's `Authorization`.
pub(super) type Message = (Zeroizing<Vec<u8>>, Option<HeaderValue>);

/// What came of it.
#[derive(Serialize, Deserialize)]
enum Outcome {
    Answer {
        status: u16,
        media_type: Option<Box<str>>,
        retry_after: Option<Duration>,
        /// Base64.
        content: String,
    },
    Unreachable(String),
    Unusable(String),
}

// === impl Job ===

impl Job {
    pub(super) fn new(
        endpoint: &Endpoint,
        form: &[u8],
        authorization: Option<&HeaderValue>,
        spool: &Spool,
    ) -> Self {
        let Way { tls, connect, .. } = endpoint.way();
        let encoded = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let roots = tls.ca_certificate.as_ref();
        let client = tls.client.as_ref().map(|identity| Client {
            chain: identity.chain().iter().map(|one| encoded(one)).collect(),
            key: encoded(identity.key()),
        });
        Self {
            url: endpoint.url().as_str().to_owned(),
            role: endpoint.role(),
            roots: roots.map(|roots| roots.iter().map(|root| encoded(root)).collect()),
            client,
            least: tls.min_version.name().to_owned(),
            proxy: endpoint.proxy().map(JobProxy::new),
            dns: endpoint.dns().to_vec(),
            connect: *connect,
            limit: endpoint.limit(),
            form: encoded(form),
            authorization: authorization.map(|value| encoded(value.as_bytes())),
            key: spool.key().expose().to_owned(),
            place: spool.place().to_owned(),
        }
    }

    /// None for half of one, and for anything else that is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let roots = self.roots.iter().flatten();
        let long: usize = roots.map(|root| root.len() + 3).sum();
        let client = self.client.iter();
        let client = client.flat_map(|client| client.chain.iter().chain([&client.key]));
        let client: usize = client.map(|one| one.len() + 3).sum();
        let long = long + client + self.url.len() + self.form.len() + self.place.len();
        let long = long + self.proxy.as_ref().map_or(0, JobProxy::length);
        written(
            self,
            long + self.authorization.as_ref().map_or(0, String::len),
        )
    }

    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        let roots = match &self.roots {
            Some(roots) => Some(certificates(roots)?.into()),
            None => None,
        };
        let client = match &self.client {
            Some(client) => Some(Arc::new(client.identity()?)),
            None => None,
        };
        let way = Way {
            tls: Tls {
                client,
                ca_certificate: roots,
                server_name: None,
                min_version: TlsVersion::of_name(&self.least)?,
            },
            road: match &self.proxy {
                Some(proxy) => Road::through(proxy.proxy()),
                None => Road::Direct,
            },
            connect: self.connect,
        };
        let url = Url::parse(&self.url).ok()?;
        let upstreams = Upstreams::default();
        upstreams.ask(&self.dns);
        Endpoint::on(&upstreams, way, self.role, &url, self.limit).ok()
    }

    pub(super) fn message(&self) -> Option<Message> {
        let decoded = |text: &String| BASE64_STANDARD.decode(text).ok().map(Zeroizing::new);
        let authorization = match &self.authorization {
            None => None,
            Some(text) => {
                let mut value = HeaderValue::from_bytes(&decoded(text)?).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Some((decoded(&self.form)?, authorization))
    }

    pub(super) fn key(&self) -> SpoolKey {
        SpoolKey::new(&self.key)
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.url.zeroize();
        self.form.zeroize();
        self.authorization.zeroize();
        self.key.zeroize();
    }
}

// === impl Client ===

impl Client {
    fn identity(&self) -> Option<ClientIdentity> {
        let key = BASE64_STANDARD.decode(&self.key).ok()?;
        let key = PrivateKeyDer::try_from(key).ok()?;
        ClientIdentity::new(certificates(&self.chain)?, key, Origin::Issued).ok()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

fn certificates(encoded: &[String]) -> Option<Vec<CertificateDer<'static>>> {
    let decoded = encoded.iter().map(|one| BASE64_STANDARD.decode(one));
    let decoded: Result<_, _> = decoded.map(|one| one.map(CertificateDer::from)).collect();
    decoded.ok()
}

// === impl Outcome ===

impl Drop for Outcome {
    fn drop(&mut self) {
        if let Self::Answer { content, .. } = self {
            content.zeroize();
        }
    }
}

/// What came of an exchange, to be sealed.
pub(super) fn write(outcome: &Result<Answer, FetchFault>) -> Zeroizing<Vec<u8>> {
    let outcome = match outcome {
        Ok(answer) => Outcome::Answer {
            status: answer.status.as_u16(),
            media_type: answer.media_type.clone(),
            retry_after: answer.retry_after,
            content: BASE64_STANDARD.encode(&*answer.content),
        },
        Err(FetchFault::Unreachable(why)) => Outcome::Unreachable(why.clone()),
        Err(FetchFault::Unusable(why)) => Outcome::Unusable(why.clone()),
    };
    let long = match &outcome {
        Outcome::Answer { content, .. } => content.len(),
        Outcome::Unreachable(why) | Outcome::Unusable(why) => why.len(),
    };
    written(&outcome, long)
}

/// What came of an exchange, as it was written; none for anything else.
pub(in crate::auth) fn read(bytes: &[u8]) -> Option<Result<Answer, FetchFault>> {
    let outcome: Outcome = serde_json::from_slice(bytes).ok()?;
    Some(match &outcome {
        Outcome::Answer {
            status,
            media_type,
            retry_after,
            content,
        } => Ok(Answer {
            status: StatusCode::from_u16(*status).ok()?,
            media_type: media_type.clone(),
            retry_after: *retry_after,
            content: Zeroizing::new(BASE64_STANDARD.decode(content).ok()?),
        }),
        Outcome::Unreachable(why) => Err(FetchFault::Unreachable(why.clone())),
        Outcome::Unusable(why) => Err(FetchFault::Unusable(why.clone())),
    })
}

/// As JSON, with room for texts of so many bytes, as a buffer that grows leaves copies behind.
fn written(value: &impl Serialize, long: usize) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(long + 1024));
    // Texts and numbers can always be written as JSON, and memory always takes more.
    let _ = serde_json::to_writer(&mut *bytes, value);
    bytes
}

/// All that comes, until it ends or breaks off.
pub(super) async fn read_to_end(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What is there of it shows by itself whether it is whole.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    bytes
}
