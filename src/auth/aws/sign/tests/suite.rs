//! The published test suite of Signature Version 4 and 4A, as it ships in the package of `aws-sigv4`.
//!
//! Of each case what concerns signatures in the head; the expectations for presigned URLs do not
//! apply. A case without a `context.json` has only what is compared with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::DateTime;
use http::{Method, Uri};
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde_json::Value;

use super::*;
use crate::auth::aws::sign::canonical::{self, Request, Rules};
use crate::auth::aws::sign::digest;
use crate::auth::aws::sign::key::{DayKeys, Means, Scope};
use crate::auth::aws::sign::payload::PayloadHash;
use crate::auth::aws::sign::scratch::Scratch;
use crate::auth::aws::sign::stamp::Stamp;

/// The folder of the suite, in the package that `Cargo.lock` names.
fn folder() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
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

/// One case of the suite.
struct Case {
    folder: PathBuf,
    method: String,
    /// As it is written, which need not be a URI.
    target: String,
    fields: HeaderMap,
    content: String,
    keys: Keys,
    region: String,
    service: String,
    time: SystemTime,
    normalize: bool,
    /// The token is added when all is signed.
    omit_token: bool,
    sign_body: bool,
}

impl Case {
    /// The cases of a collection that have a context.
    fn all(collection: &str) -> Vec<Self> {
        let mut cases: Vec<_> = fs::read_dir(folder().join(collection))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|folder| folder.join("context.json").exists())
            .map(Self::read)
            .collect();
        cases.sort_by(|one, other| one.folder.cmp(&other.folder));
        assert_eq!(cases.len(), 38, "the suite is complete");
        cases
    }

    fn read(folder: PathBuf) -> Self {
        let context = fs::read_to_string(folder.join("context.json")).unwrap();
        let context: Value = serde_json::from_str(&context).unwrap();
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let credentials = &context["credentials"];
        let keys = keys(
            credentials["access_key_id"].as_str().unwrap(),
            credentials["secret_access_key"].as_str().unwrap(),
            credentials["token"].as_str(),
        );
        let (method, target, fields, content) = request(&folder);
        Self {
            method,
            target,
            fields,
            content,
            keys,
            region: word(&context["region"]),
            service: word(&context["service"]),
            time: DateTime::parse_from_rfc3339(context["timestamp"].as_str().unwrap())
                .unwrap()
                .into(),
            normalize: context["normalize"].as_bool().unwrap(),
            omit_token: context["omit_session_token"] == true,
            sign_body: context["sign_body"] != false,
            folder,
        }
    }

    fn expected(&self, file: &str) -> String {
        expected(&self.folder, file)
    }

    fn name(&self) -> String {
        self.folder.display().to_string()
    }

    /// The head with what is added before it is signed.
    fn prepared(&self, set: bool) -> HeaderMap {
        let mut fields = self.fields.clone();
        let mut insert = |name, value: &str| {
            fields.insert(HeaderName::from_static(name), value.parse().unwrap());
        };
        let stamp = Stamp::new(self.time).unwrap();
        insert("x-amz-date", std::str::from_utf8(stamp.as_bytes()).unwrap());
        if self.sign_body {
            let hash = digest::hex_of(self.content.as_bytes());
            insert("x-amz-content-sha256", std::str::from_utf8(&hash).unwrap());
        }
        if let Some(token) = self
            .keys
            .session_token
            .as_ref()
            .filter(|_| !self.omit_token)
        {
            insert("x-amz-security-token", token.expose());
        }
        if set {
            insert("x-amz-region-set", &self.region);
        }
        fields
    }

    /// The canonical request, and the names of the fields in it.
    fn canonical(&self, set: bool, twice: bool) -> (String, String) {
        let rules = Rules {
            normalize: self.normalize,
            twice,
        };
        canonical(
            (&self.method, &self.target),
            &self.prepared(set),
            &digest::hex_of(self.content.as_bytes()),
            rules,
        )
    }

    /// The text to sign of a canonical request, and its signature.
    fn sign(&self, set: bool, canonical: &str) -> (String, String) {
        let scope = Scope {
            region: self.region(set),
            service: self.service.as_str().into(),
        };
        let stamp = Stamp::new(self.time).unwrap();
        let key = DayKeys::new(stamp.day(), &self.keys, &scope);
        let key = key.on(stamp.day(), &self.keys, &scope);
        let mut text = canonical.to_owned().into_bytes();
        key.write_text_to_sign(&stamp, &mut text);
        let text = text.split_off(canonical.len());
        let signature = match &key.means {
            Means::Hmac(key) => digest::hex(hmac::sign(key, &text).as_ref()).into(),
            Means::Ecdsa(key) => key.sign(&text).into_bytes(),
        };
        let [text, signature] = [text, signature].map(|text| String::from_utf8(text).unwrap());
        (text, signature)
    }

    fn region(&self, set: bool) -> Region {
        let region = self.region.as_str().into();
        if set {
            Region::Set(region)
        } else {
            Region::One(region)
        }
    }

    /// Whether one encoding and two are the same, so that both rules are tried.
    fn is_unescaped(&self) -> bool {
        !self.target.contains('%')
    }
}

fn canonical(
    (method, target): (&str, &str),
    headers: &HeaderMap,
    payload: &[u8],
    rules: Rules,
) -> (String, String) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let request = Request {
        method,
        path,
        query,
        headers,
        payload,
    };
    let mut scratch = Scratch::new();
    let names = canonical::write(&request, rules, &mut scratch);
    let text = String::from_utf8(scratch.text).unwrap();
    let names = text[names].to_owned();
    (text, names)
}

fn expected(folder: &Path, file: &str) -> String {
    let text = fs::read_to_string(folder.join(file)).unwrap();
    text.replace("\r\n", "\n").trim().to_owned()
}

/// A request as text; lines that are folded are put together by a space (RFC 9112 section 5.2).
fn request(folder: &Path) -> (String, String, HeaderMap, String) {
    let text = fs::read_to_string(folder.join("request.txt")).unwrap();
    let text = text.replace("\r\n", "\n");
    let (head, content) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let (line, fields) = head.split_once('\n').unwrap();
    let (method, rest) = line.split_once(' ').unwrap();
    let (target, _) = rest.rsplit_once(' ').unwrap();
    let fields = fields.replace("\n ", " ");
    let fields = fields.lines().map(|line| line.split_once(':').unwrap());
    let fields = headers(fields.map(|(name, value)| (name, value.trim())));
    (
        method.to_owned(),
        target.to_owned(),
        fields,
        content.to_owned(),
    )
}

#[test]
fn version_4() {
    for case in Case::all("v4") {
        let (text, names) = case.canonical(false, false);
        assert_eq!(
            text,
            case.expected("header-canonical-request.txt"),
            "{}",
            case.name()
        );
        if case.is_unescaped() {
            assert_eq!(case.canonical(false, true).0, text, "{}", case.name());
        }
        let (to_sign, signature) = case.sign(false, &text);
        assert_eq!(
            to_sign,
            case.expected("header-string-to-sign.txt"),
            "{}",
            case.name()
        );
        assert_eq!(
            signature,
            case.expected("header-signature.txt"),
            "{}",
            case.name()
        );
        let whole = case.expected("header-signed-request.txt");
        assert!(whole.contains(&format!("SignedHeaders={names}, Signature={signature}")));
    }
}

#[test]
fn version_4a() {
    for case in Case::all("v4a") {
        let (text, names) = case.canonical(true, false);
        assert_eq!(
            text,
            case.expected("header-canonical-request.txt"),
            "{}",
            case.name()
        );
        if case.is_unescaped() {
            assert_eq!(case.canonical(true, true).0, text, "{}", case.name());
        }
        let (to_sign, signature) = case.sign(true, &text);
        assert_eq!(
            to_sign,
            case.expected("header-string-to-sign.txt"),
            "{}",
            case.name()
        );
        // Signatures of this kind need not be equal: both are valid under the published key.
        let public = public_key(&case);
        for signature in [signature, case.expected("header-signature.txt")] {
            let verified = public.verify(to_sign.as_bytes(), &unhex(&signature));
            assert!(verified.is_ok(), "{}", case.name());
        }
        assert!(
            public
                .verify(
                    b"another text",
                    &unhex(&case.expected("header-signature.txt"))
                )
                .is_err()
        );
        let whole = case.expected("header-signed-request.txt");
        assert!(whole.contains(&format!("SignedHeaders={names}, ")));
    }
}

/// Cases with a hash of the content in a field, which is what a signer always sends, and with a
/// target that is a URI, from one end to the other.
#[test]
fn heads_of_version_4() {
    let mut signed = 0;
    for case in Case::all("v4").iter().filter(|case| case.sign_body) {
        let mut head = case.fields.clone();
        let method = Method::from_bytes(case.method.as_bytes()).unwrap();
        let uri = Uri::try_from(&case.target).unwrap();
        let payload = PayloadHash::of(case.content.as_bytes());
        signer(&case.service, case.region(false), case.keys.clone())
            .sign(&method, &uri, &mut head, payload, case.time)
            .unwrap();
        let whole = case.expected("header-signed-request.txt");
        let authorization = head["authorization"].to_str().unwrap();
        assert!(
            whole.contains(authorization),
            "{}: {authorization}",
            case.name()
        );
        signed += 1;
    }
    assert_eq!(signed, 2);
}

/// The two cases of how a path is encoded once more.
#[test]
fn paths_encoded_twice() {
    for name in ["double-encode-path", "double-url-encode"] {
        let folder = folder().join("v4").join(name);
        let (method, target, mut fields, _) = request(&folder);
        fields.insert("x-amz-date", HeaderValue::from_static("20210511T154045Z"));
        let (text, _) = canonical(
            (&method, &target),
            &fields,
            digest::EMPTY.as_bytes(),
            Rules::OTHERS,
        );
        assert_eq!(
            text,
            expected(&folder, "header-canonical-request.txt"),
            "{name}"
        );
    }
}

fn public_key(case: &Case) -> UnparsedPublicKey<Vec<u8>> {
    let key: Value = serde_json::from_str(&case.expected("public-key.json")).unwrap();
    let coordinate = |name: &str| unhex(key[name].as_str().unwrap());
    let point = [vec![4], coordinate("X"), coordinate("Y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}
