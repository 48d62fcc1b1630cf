//! The published test suite of Signature Version 4 and 4A, sent through keybearer: what arrives is
//! verified by botocore, and its canonical request compared with the suite's.
//!
//! Host and time are others than the suite's, and `X-Amz-*` fields more: they are left out of the
//! comparison.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::aws::{Keys, Verifier};
use crate::harness::{Keybearer, RawClient, Recorded, Response, Upstream};

/// What a proxy must refuse, and why, in both versions.
const REFUSED: [(&str, &str); 9] = [
    ("get-header-value-multiline", FOLDED),
    ("get-relative-normalized", DOTS),
    ("get-relative-relative-normalized", DOTS),
    ("get-relative-relative-unnormalized", DOTS),
    ("get-relative-unnormalized", DOTS),
    ("get-slash-dot-slash-normalized", DOTS),
    ("get-slash-dot-slash-unnormalized", DOTS),
    ("get-slash-pointless-dot-normalized", DOTS),
    ("get-slash-pointless-dot-unnormalized", DOTS),
];
/// Of all cases.
const REGION: &str = "us-east-1";
const DOTS: &str = "a dot segment may lead out of the base URL, depending on who resolves it";
const FOLDED: &str = "a field on several lines is read in several ways (RFC 9112 section 5.2)";
const SPACE: &str = "a space ends the target (RFC 9112 section 3.2)";

struct Case {
    name: String,
    folder: PathBuf,
    /// Those of the case, but for an ID of its own, by which they are told apart.
    keys: Keys,
    /// As which service it is signed: S3's rules are those without normalization, by which a path is
    /// encoded once.
    service: String,
    request: String,
}

impl Case {
    fn all(collection: &str) -> Vec<Self> {
        let folders = fs::read_dir(folder().join(collection)).unwrap();
        let mut cases: Vec<_> = folders
            .map(|entry| Self::read(entry.unwrap().path()))
            .collect();
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        cases
    }

    fn read(folder: PathBuf) -> Self {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        // Two cases have no context; what they are about is the path.
        let context = fs::read_to_string(folder.join("context.json"));
        let context: Value = serde_json::from_str(context.as_deref().unwrap_or("{}")).unwrap();
        let word = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
        let credentials = &context["credentials"];
        let request = fs::read_to_string(folder.join("request.txt")).unwrap();
        // Where there is nothing to normalize, an escape tells how often the suite encodes.
        let once = context.is_object() && request.contains("%20");
        let normalized = context["normalize"].as_bool() != Some(false) && !once;
        Self {
            keys: Keys {
                id: format!("AKIDEXAMPLE-{name}"),
                secret: word(&credentials["secret_access_key"], "secret"),
                token: credentials["token"].as_str().map(str::to_owned),
            },
            service: if normalized { "service" } else { "s3" }.to_owned(),
            request,
            name,
            folder,
        }
    }

    /// A connection of its name; `set` has its region as a set, which is version 4A.
    fn table(&self, base_url: &str, set: bool) -> String {
        let Self { name, service, .. } = self;
        let Keys { id, secret, token } = &self.keys;
        let token = token
            .as_ref()
            .map(|token| format!("session_token = \"{token}\"\n"));
        let token = token.unwrap_or_default();
        let region = if set {
            format!("[\"{REGION}\"]")
        } else {
            format!("\"{REGION}\"")
        };
        format!(
            "[connections.{name}]\nbase_url = \"{base_url}\"\n[connections.{name}.auth]\ntype = \"aws_access_key\"\nservice = \"{service}\"\nregion = {region}\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n{token}"
        )
    }

    /// The bytes of its request, under the connection's prefix and for our own host.
    fn bytes(&self) -> Vec<u8> {
        let (head, content) = self
            .request
            .split_once("\n\n")
            .unwrap_or((&self.request, ""));
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let mut bytes = format!("{method} /{}{target}\r\n", self.name);
        for line in lines {
            let host = line.to_ascii_lowercase().starts_with("host:");
            bytes += if host { "Host: localhost" } else { line };
            bytes += "\r\n";
        }
        (bytes + "\r\n" + content).into_bytes()
    }

    fn canonical(&self) -> Canonical {
        let file = self.folder.join("header-canonical-request.txt");
        Canonical::parse(&fs::read_to_string(file).unwrap())
    }

    /// Why it must be refused.
    fn reason(&self) -> Option<&'static str> {
        if self.request.starts_with("GET /example space/") {
            return Some(SPACE);
        }
        let found = REFUSED.iter().find(|(name, _)| *name == self.name);
        found.map(|(_, reason)| *reason)
    }
}

/// The folder of the suite, in the package that `Cargo.lock` names.
fn folder() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {told}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == "aws-sigv4");
    let manifest = package.unwrap()["manifest_path"].as_str().unwrap();
    Path::new(manifest).with_file_name("aws-signing-test-suite")
}

/// What is compared of a canonical request.
#[derive(Debug, PartialEq, Eq)]
struct Canonical {
    method: String,
    path: String,
    query: String,
    fields: BTreeMap<String, String>,
    payload: String,
}

impl Canonical {
    fn parse(text: &str) -> Self {
        let text = text.trim_end_matches('\n');
        let mut lines = text.split('\n').map(str::to_owned);
        let mut line = || lines.next().unwrap();
        let (method, path, query) = (line(), line(), line());
        let fields = lines.by_ref().take_while(|line| !line.is_empty());
        let fields = fields.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let ours = name == "host" || name.starts_with("x-amz-");
            (!ours).then(|| (name.to_owned(), value.to_owned()))
        });
        let fields = fields.collect();
        let payload = lines.next_back().unwrap();
        Self {
            method,
            path,
            query,
            fields,
            payload,
        }
    }
}

async fn send(keybearer: &Keybearer, case: &Case) -> Response {
    let mut caller: RawClient = keybearer.caller().await;
    caller.send(case.bytes()).await;
    caller.response().await
}

/// Sends all cases of a collection, and gives how many went through.
async fn run(collection: &str, set: bool) -> usize {
    let upstream = Upstream::start().await;
    let cases = Case::all(collection);
    let tables = cases.iter().map(|case| case.table(&upstream.url(""), set));
    let keybearer = Keybearer::start(&tables.collect::<String>()).await;
    let mut passed: BTreeMap<&str, Vec<(&Case, Recorded)>> = BTreeMap::new();
    for case in &cases {
        let response = send(&keybearer, case).await;
        let name = &case.name;
        if let Some(reason) = case.reason() {
            assert_eq!(response.status, 400, "{name}, as {reason}: {response:?}");
            assert_eq!(upstream.take().len(), 0, "{name}");
            continue;
        }
        assert_eq!(response.status, 200, "{name}: {response:?}");
        let arrived = upstream.take().remove(0);
        passed
            .entry(&case.service)
            .or_default()
            .push((case, arrived));
    }
    for (service, passed) in &passed {
        compare(service, passed).await;
    }
    passed.values().map(Vec::len).sum()
}

/// Verifies what arrived, and compares it with the suite.
async fn compare(service: &str, passed: &[(&Case, Recorded)]) {
    let keys: Vec<_> = passed.iter().map(|(case, _)| &case.keys).collect();
    let arrived: Vec<_> = passed.iter().map(|(_, arrived)| arrived.clone()).collect();
    let verifier = Verifier::new(service, REGION, &keys);
    let verdicts = verifier.accept(&arrived).await;
    for ((case, _), verdict) in passed.iter().zip(verdicts) {
        let name = &case.name;
        assert_eq!(verdict.access_key_id, case.keys.id, "{name}");
        let wanted = case.canonical();
        let mut found = Canonical::parse(&verdict.canonical_request);
        // What the suite does not have is ours to add.
        found
            .fields
            .retain(|name, _| wanted.fields.contains_key(name));
        assert_eq!(found, wanted, "{name}");
    }
}

#[tokio::test]
async fn the_suite_of_version_4() {
    assert_eq!(run("v4", false).await, 30);
}

#[tokio::test]
async fn the_suite_of_version_4a() {
    assert_eq!(run("v4a", true).await, 27);
}
