//! Requests signed as a client would sign them: to prove that servers check, and to have something
//! that keybearer must not pass on.

use std::net::SocketAddr;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use chrono::{DateTime, Utc};
use ring::{digest, hmac};
use serde::Deserialize;

use crate::harness::Request;

/// Somebody's keys.
#[derive(Clone, Debug, Deserialize)]
pub struct Keys {
    /// The access key ID.
    pub id: String,
    /// The secret access key.
    pub secret: String,
    /// The session token of temporary keys.
    pub token: Option<String>,
}

impl Keys {
    /// Keys without a session.
    pub fn new(id: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
            token: None,
        }
    }

    /// What a client is configured with that does not know any.
    pub fn dummy() -> Self {
        Self::new("AKIADUMMY", "dummy-secret")
    }
}

/// What the signature says of the content.
pub enum Payload<'a> {
    /// Its hash, or that of another.
    Hash(&'a [u8]),
    /// What stands in `x-amz-content-sha256` instead of a hash.
    Said(&'a str),
}

/// Who signs, for which service and when.
pub struct Signer<'a> {
    keys: &'a Keys,
    service: &'a str,
    region: &'a str,
    time: SystemTime,
}

impl<'a> Signer<'a> {
    /// Signs at the present time.
    pub fn new(keys: &'a Keys, service: &'a str, region: &'a str) -> Self {
        let time = SystemTime::now();
        Self {
            keys,
            service,
            region,
            time,
        }
    }

    /// Signs at another time.
    #[must_use]
    pub fn at(mut self, time: SystemTime) -> Self {
        self.time = time;
        self
    }

    /// The head of a request with these fields, and its signature.
    pub fn head(
        &self,
        address: SocketAddr,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        payload: &Payload,
    ) -> (Request, String) {
        let token = self.keys.token.clone();
        let credentials = Credentials::new(&self.keys.id, &self.keys.secret, token, None, "tests");
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        if self.service == "s3" {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(self.time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let body = match payload {
            Payload::Hash(content) => SignableBody::Bytes(content),
            Payload::Said(said) => SignableBody::Precomputed((*said).to_owned()),
        };
        let url = format!("http://{address}{target}");
        let signed = fields.iter().copied();
        let signed = SignableRequest::new(method, url, signed, body).unwrap();
        let (instructions, signature) = sign(signed, &parameters).unwrap().into_parts();
        let request = Request::new(address, method, target);
        let add = |request: Request, (name, value): (&str, &str)| request.header(name, value);
        let request = fields.iter().copied().fold(request, add);
        let request = instructions.headers().fold(request, add);
        (request, signature)
    }

    /// A whole request, its content covered by its hash.
    pub fn request(
        &self,
        address: SocketAddr,
        method: &str,
        target: &str,
        content: &[u8],
    ) -> Request {
        let (request, _) = self.head(address, method, target, &[], &Payload::Hash(content));
        request.content(content)
    }

    /// `content` in signed chunks of this size, after a head with this signature.
    pub fn chunks(&self, seed: &str, content: &[u8], size: usize) -> Vec<u8> {
        let mut before = seed.to_owned();
        let mut framed = Vec::new();
        // The last one is empty.
        for chunk in content.chunks(size).chain([&[][..]]) {
            let hashes = format!("{}\n{}", sha256(b""), sha256(chunk));
            before = self.sign("AWS4-HMAC-SHA256-PAYLOAD", &before, &hashes);
            let line = format!("{:x};chunk-signature={before}\r\n", chunk.len());
            framed.extend_from_slice(line.as_bytes());
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
        }
        framed
    }

    fn sign(&self, algorithm: &str, before: &str, hashes: &str) -> String {
        let time = DateTime::<Utc>::from(self.time);
        let (date, time) = (time.format("%Y%m%d"), time.format("%Y%m%dT%H%M%SZ"));
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("{algorithm}\n{time}\n{scope}\n{before}\n{hashes}");
        let mut key = format!("AWS4{}", self.keys.secret).into_bytes();
        for part in scope.split('/') {
            key = hmac(&key, part.as_bytes());
        }
        hex(&hmac(&key, to_sign.as_bytes()))
    }
}

/// The SHA-256 of these bytes in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, message).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
