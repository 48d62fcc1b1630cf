//! A second opinion on signatures: botocore's, over what an upstream recorded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::signer::Keys;
use crate::harness::{Recorded, python};

/// What a signature has to be for, and who may have made it.
pub struct Verifier {
    service: String,
    region: String,
    keys: Vec<Keys>,
}

/// What botocore makes of a request.
#[derive(Clone, Debug, Deserialize)]
pub struct Verdict {
    /// Why the request would be refused; none: it would not.
    pub fault: Option<String>,
    /// Who signed: an access key ID.
    pub access_key_id: String,
    /// The canonical request, as far as one can be made.
    pub canonical_request: String,
    /// The names that the signature covers.
    pub signed_headers: Vec<String>,
    /// The last line of the canonical request: a hash, or what stands for it.
    pub payload: String,
    /// The hash of the content without the framing of `aws-chunked`.
    pub content_sha256: String,
    /// How long the chunks of `aws-chunked` are, without the last one.
    pub chunks: Vec<u64>,
}

impl Verifier {
    /// Accepts signatures by these keys for this service and region. Regions with a comma or a `*`
    /// are what `X-Amz-Region-Set` has to hold, in version 4A.
    pub fn new(service: &str, region: &str, keys: &[&Keys]) -> Self {
        Self {
            service: service.to_owned(),
            region: region.to_owned(),
            keys: keys.iter().copied().cloned().collect(),
        }
    }

    /// What becomes of each request.
    pub async fn judge(&self, requests: &[Recorded]) -> Vec<Verdict> {
        let keys = self.keys.iter().map(|Keys { id, secret, token }| {
            let key = json!({ "secret": secret, "token": token });
            (id.clone(), key)
        });
        let job = json!({
            "service": self.service,
            "region": self.region,
            "keys": keys.collect::<serde_json::Map<_, _>>(),
            "requests": requests.iter().map(told).collect::<Vec<_>>(),
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.json");
        std::fs::write(&path, job.to_string()).unwrap();
        let exit = python::run("aws/verify.py", &[path.to_str().unwrap()]).await;
        serde_json::from_str(&exit.stdout).unwrap()
    }

    /// Asserts that each request would be accepted.
    pub async fn accept(&self, requests: &[Recorded]) -> Vec<Verdict> {
        assert!(!requests.is_empty(), "nothing to verify");
        let verdicts = self.judge(requests).await;
        for (verdict, request) in verdicts.iter().zip(requests) {
            assert_eq!(verdict.fault, None, "{:?}: {verdict:#?}", request.head);
        }
        verdicts
    }

    /// Asserts that this request would be accepted.
    pub async fn accept_one(&self, request: &Recorded) -> Verdict {
        self.accept(std::slice::from_ref(request)).await.remove(0)
    }
}

fn told(request: &Recorded) -> Value {
    json!({
        "method": request.method(),
        "target": request.target(),
        "fields": request.head.fields,
        "content": STANDARD.encode(&request.body),
        "complete": request.complete,
    })
}
