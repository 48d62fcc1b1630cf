//! What is asked of a contestant, and how.

use std::time::{Duration, Instant};

use crate::contestant::Site;

/// What the caller sends as its own, and what must not reach the upstream.
pub(crate) const CALLERS_SECRET: &str = "callers-own-secret";

const UPLOAD: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scenario {
    Get1k,
    Post64k,
    Sdk64k,
    Dl10m,
    Tls1k,
    Rate3000,
}

/// One request, ready to be written, and the length of the answer's body.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) answer: usize,
}

impl Scenario {
    pub(crate) const ALL: [Self; 6] = [
        Self::Get1k,
        Self::Post64k,
        Self::Sdk64k,
        Self::Dl10m,
        Self::Tls1k,
        Self::Rate3000,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get1k => "get1k",
            Self::Post64k => "post64k",
            Self::Sdk64k => "sdk64k",
            Self::Dl10m => "dl10m",
            Self::Tls1k => "tls1k",
            Self::Rate3000 => "rate3000",
        }
    }

    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Get1k => "GET, browser-like head, 1 KiB answers, 64 connections",
            Self::Post64k => "POST of 64 KiB with Content-Length, 64 connections",
            Self::Sdk64k => {
                "as post64k, with the content's SHA-256 in the head, as AWS's SDKs send it"
            }
            Self::Dl10m => "10 MiB answers, 8 connections",
            Self::Tls1k => "as get1k, over a TLS 1.3 upstream of a private CA",
            Self::Rate3000 => {
                "as get1k, at 3,000 requests/s over 64 connections, timed from when each was due"
            }
        }
    }

    /// Requests per second, where the load does not wait for answers.
    pub(crate) fn rate(self) -> Option<u32> {
        (self == Self::Rate3000).then_some(3000)
    }

    pub(crate) fn connections(self) -> usize {
        // More downloads at once would only fill nginx's temporary files.
        if self == Self::Dl10m { 8 } else { 64 }
    }

    pub(crate) fn tls(self) -> bool {
        self == Self::Tls1k
    }

    /// Whether the requests are worth counting by the bytes of their answers, as few of them end
    /// within a stretch.
    pub(crate) fn counts_bytes(self) -> bool {
        self == Self::Dl10m
    }

    pub(crate) fn message(self, site: &Site) -> Message {
        let (method, file, upload, answer) = match self {
            Self::Get1k | Self::Tls1k | Self::Rate3000 => ("GET", "1k", None, 1024),
            Self::Post64k | Self::Sdk64k => ("POST", "64k", Some(UPLOAD), 2),
            Self::Dl10m => ("GET", "10m", None, 10 * 1024 * 1024),
        };
        let mut bytes = head(method, file, site, self.tls());
        if let Some(length) = upload {
            bytes.truncate(bytes.len() - 2);
            if self == Self::Sdk64k {
                bytes.extend(format!("X-Amz-Content-Sha256: {}\r\n", hash()).as_bytes());
            }
            bytes.extend(
                format!(
                    "Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
                )
                .as_bytes(),
            );
            bytes.resize(bytes.len() + length, b'u');
        }
        Message { bytes, answer }
    }

    /// A request that the upstream answers with the head that reached it.
    pub(crate) fn inspection(self, site: &Site) -> Vec<u8> {
        head("GET", "inspect", site, self.tls())
    }
}

/// The SHA-256 of what is uploaded, in hexadecimal digits.
fn hash() -> String {
    const CONTENT: &[u8] = &[b'u'; UPLOAD];
    let hash = ring::digest::digest(&ring::digest::SHA256, CONTENT);
    hash.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// How long it takes to hash what is uploaded, at best.
pub(crate) fn hashing() -> Duration {
    let once = |_| {
        let begun = Instant::now();
        std::hint::black_box(hash());
        begun.elapsed()
    };
    (0..50).map(once).min().unwrap_or_default()
}

/// What a browser's script sends: fifteen fields.
fn head(method: &str, file: &str, site: &Site, tls: bool) -> Vec<u8> {
    let host = site.address;
    let prefix = site.prefix(tls);
    format!(
        "{method} {prefix}/{file}?page=2&sort=name HTTP/1.1\r\n\
         Host: {host}\r\n\
         Connection: keep-alive\r\n\
         sec-ch-ua-platform: \"Linux\"\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n\
         Accept: application/json, text/plain, */*\r\n\
         sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\n\
         sec-ch-ua-mobile: ?0\r\n\
         Authorization: Bearer {CALLERS_SECRET}\r\n\
         Sec-Fetch-Site: same-origin\r\n\
         Sec-Fetch-Mode: cors\r\n\
         Sec-Fetch-Dest: empty\r\n\
         Referer: http://{host}/app/issues\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-GB,en;q=0.9\r\n\
         Cookie: session={CALLERS_SECRET}; theme=dark\r\n\
         \r\n"
    )
    .into_bytes()
}
