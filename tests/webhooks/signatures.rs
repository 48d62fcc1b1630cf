//! What proves itself is taken, once; and nothing else. Signatures are made by the providers' own
//! libraries.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{deliveries, endpoint, path, seconds, start, webhook};
use crate::harness::{Keybearer, Process, Request, Upstream, node, python};

const SECRET: &str = "It's a Secret to Everybody";
/// Of Standard Webhooks, as its site has them.
const STANDARD: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

type Fields = BTreeMap<String, String>;

/// The fields by which each provider signs a content at a time.
async fn signed(content: &str, at: u64, id: &str) -> BTreeMap<String, Fields> {
    let settings = json!({ "secret": SECRET, "content": content, "seconds": at });
    let mut script = node::script("webhooks", "sign.js", &settings.to_string());
    let exit = Process::run(&mut script).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let mut all: BTreeMap<String, Fields> = serde_json::from_str(&exit.stdout).unwrap();
    let settings = json!({ "secret": STANDARD, "content": content, "seconds": at, "id": id });
    let exit = python::run("webhooks/sign.py", &[&settings.to_string()]).await;
    all.insert(
        "standard".to_owned(),
        serde_json::from_str(&exit.stdout).unwrap(),
    );
    all
}

/// One endpoint for each provider.
async fn providers(target: &Upstream) -> Keybearer {
    let provider = |name: &str, secret: &str| {
        let verify = format!("verify = {{ type = \"{name}\", secret = {{ env = \"{secret}\" }} }}");
        endpoint(name, &target.url(&format!("/{name}")), &verify)
    };
    let tables = [
        provider("github", "HOOK_SECRET"),
        provider("slack", "HOOK_SECRET"),
        provider("stripe", "HOOK_SECRET"),
        provider("standard", "STANDARD_SECRET"),
    ];
    crate::harness::Setup::new()
        .env("HOOK_SECRET", SECRET)
        .env("STANDARD_SECRET", STANDARD)
        .tables(&super::tables(&tables.concat()))
        .start()
        .await
}

fn with(request: Request, fields: &Fields) -> Request {
    fields.iter().fold(request, |request, (name, value)| {
        request.header(name, value)
    })
}

#[tokio::test]
async fn what_providers_libraries_sign_is_taken_once_and_as_it_is() {
    let target = Upstream::start().await;
    let keybearer = providers(&target).await;
    let now = seconds();
    let content = r#"{"text": "caf\u00e9 – \"quoted\"",  "n": 1.0}"#;
    let all = signed(content, now, "msg_1").await;
    assert_eq!(all.len(), 4);
    for (name, fields) in &all {
        let path = path(&keybearer, name).await;
        let good = || with(webhook(&keybearer, &path, content), fields);
        // Each byte of the content, and of every field of the signature.
        let refused = async |request: Request, what: &str| {
            let answer = request.send().await;
            answer.problem(401, "webhook-unverified", "http_request_denied");
            assert!(answer.header("www-authenticate").is_some(), "{what}");
        };
        for at in 0..content.len() {
            let mut changed = content.as_bytes().to_vec();
            changed[at] ^= 1;
            let request = Request::new(keybearer.webhooks(), "POST", &path);
            let request = request.body("application/json", &changed);
            refused(with(request, fields), &format!("{name}: byte {at}")).await;
        }
        for (field, value) in fields {
            for at in 0..value.len() {
                for bit in [1, 0x20] {
                    let mut changed = value.clone().into_bytes();
                    changed[at] ^= bit;
                    // What no field can carry is another test's.
                    if !(b'!'..=b'~').contains(&changed[at]) {
                        continue;
                    }
                    let changed = String::from_utf8(changed).unwrap();
                    // Slack's time has no other spelling, nor has any.
                    let mut others = fields.clone();
                    others.insert(field.clone(), changed.clone());
                    let request = with(webhook(&keybearer, &path, content), &others);
                    refused(request, &format!("{name}: {field}: {changed}")).await;
                }
            }
            refused(
                good().header(field, value),
                &format!("{name}: {field} twice"),
            )
            .await;
            let mut others = fields.clone();
            others.remove(field);
            let request = with(webhook(&keybearer, &path, content), &others);
            refused(request, &format!("{name}: no {field}")).await;
        }
        let answer = good().send().await;
        assert_eq!(answer.status, 202, "{name}: {answer:?}");
        refused(good(), &format!("{name}: again")).await;
        target.wait_for_requests(1).await;
        let [delivered] = &target.take()[..] else {
            panic!("{name}: more than one delivery");
        };
        assert_eq!(delivered.text(), content, "{name}");
        for (field, value) in fields {
            assert_eq!(delivered.header(field), Some(&**value), "{name}");
        }
        assert_eq!(deliveries(&keybearer, name).await.len(), 1);
    }
    let metrics = keybearer.metrics().await;
    for name in all.keys() {
        let count = |result: &str| {
            let labels = [("endpoint", &**name), ("result", result)];
            metrics.value("keybearer_webhooks_received_total", &labels)
        };
        assert_eq!(count("accepted"), Some(1.0));
        assert!(count("unverified") > Some(50.0));
    }
    for secret in [SECRET, STANDARD] {
        assert!(!keybearer.log().contains(secret));
    }
}

#[tokio::test]
async fn what_was_signed_long_ago_or_for_later_is_refused() {
    let target = Upstream::start().await;
    let keybearer = providers(&target).await;
    let now = seconds();
    for (offset, good) in [(-280_i64, true), (280, true), (-320, false), (320, false)] {
        let at = now.checked_add_signed(offset).unwrap();
        let id = format!("msg_{offset}");
        let content = format!("{{\"at\":{at}}}");
        for (name, fields) in signed(&content, at, &id).await {
            let path = path(&keybearer, &name).await;
            let answer = with(webhook(&keybearer, &path, &content), &fields)
                .send()
                .await;
            // GitHub's signatures have no time.
            let expected = if good || name == "github" { 202 } else { 401 };
            assert_eq!(answer.status, expected, "{name}, {offset} s: {answer:?}");
            if expected == 401 {
                let detail = answer.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains("300 s are tolerated"), "{detail}");
            }
        }
    }
}

#[tokio::test]
async fn a_replay_is_refused_after_a_restart_too() {
    let target = Upstream::start().await;
    let keybearer = providers(&target).await;
    let all = signed("{}", seconds(), "msg_1").await;
    for (name, fields) in &all {
        let path = path(&keybearer, name).await;
        let answer = with(webhook(&keybearer, &path, "{}"), fields).send().await;
        assert_eq!(answer.status, 202, "{name}");
    }
    let (setup, _) = keybearer.kill().await;
    let keybearer = setup.start().await;
    for (name, fields) in &all {
        let path = path(&keybearer, name).await;
        let answer = with(webhook(&keybearer, &path, "{}"), fields).send().await;
        assert_eq!(answer.status, 401, "{name}");
    }
}

#[tokio::test]
async fn other_proofs_are_taken_once_in_a_request_and_never_wrong() {
    let target = Upstream::start().await;
    let at = |name: &str, verify: &str| {
        let verify = format!("verify = {{ {verify} }}");
        endpoint(name, &target.url("/"), &verify)
    };
    let tables = [
        at(
            "basic",
            r#"type = "basic", username = "me", password = "canary-pass""#,
        ),
        at(
            "header",
            r#"type = "header", header = "X-Token", secret = "canary-field""#,
        ),
        at(
            "query",
            r#"type = "query", param = "token", secret = "canary param""#,
        ),
        at(
            "shopify",
            r#"type = "hmac", header = "X-Shopify-Hmac-Sha256", secret = "canary-key", encoding = "base64""#,
        ),
        at(
            "legacy",
            r#"type = "hmac", header = "X-Hub-Signature", secret = "canary-key", algorithm = "sha1", prefix = "sha1=""#,
        ),
        at(
            "long",
            r#"type = "hmac", header = "X-Signature", secret = "canary-key", algorithm = "sha512""#,
        ),
        at(
            "composed",
            r#"type = "hmac", header = "X-Signature", secret = "canary-key", template = "{method}:{path}:{header:X-Time}:{body}", tolerance = "1m""#,
        ),
    ];
    let keybearer = start(&tables.concat()).await;
    // The known answers of RFC 2104's construction, as `openssl dgst -hmac canary-key` gives them.
    let now = seconds().to_string();
    let composed = path(&keybearer, "composed").await;
    let tag = |algorithm: &str, text: &str| hmac(algorithm, "canary-key", text);
    let long_ago = "1000000000".to_owned();
    let of = |time: &str| tag("sha256", &format!("POST:{composed}/x?y=1:{time}:{{}}"));
    let base64 = crate::harness::base64;
    type Case<'a> = (&'a str, &'a str, Vec<(&'a str, String)>, u16);
    let cases: Vec<Case<'_>> = vec![
        (
            "basic",
            "",
            vec![(
                "Authorization",
                format!("Basic {}", base64("me:canary-pass")),
            )],
            202,
        ),
        (
            "basic",
            "",
            vec![(
                "Authorization",
                format!("basic {}", base64("me:canary-pass")),
            )],
            202,
        ),
        (
            "basic",
            "",
            vec![("Authorization", format!("Basic {}", base64("me:canary")))],
            401,
        ),
        (
            "basic",
            "",
            vec![(
                "Authorization",
                format!("Bearer {}", base64("me:canary-pass")),
            )],
            401,
        ),
        ("basic", "", vec![], 401),
        (
            "header",
            "",
            vec![("X-Token", "canary-field".to_owned())],
            202,
        ),
        (
            "header",
            "",
            vec![("x-token", "canary-fielD".to_owned())],
            401,
        ),
        (
            "header",
            "",
            vec![
                ("X-Token", "canary-field".to_owned()),
                ("X-Token", "other".to_owned()),
            ],
            401,
        ),
        ("query", "?a=1&token=canary%20param", vec![], 202),
        ("query", "/deep?token=canary+param", vec![], 202),
        ("query", "?token=canary", vec![], 401),
        (
            "query",
            "?token=canary+param&token=canary+param",
            vec![],
            401,
        ),
        ("query", "", vec![], 401),
        (
            "shopify",
            "",
            vec![("X-Shopify-Hmac-Sha256", tag("sha256/base64", "{}"))],
            202,
        ),
        (
            "shopify",
            "",
            vec![("X-Shopify-Hmac-Sha256", tag("sha256", "{}"))],
            401,
        ),
        (
            "legacy",
            "",
            vec![("X-Hub-Signature", format!("sha1={}", tag("sha1", "{}")))],
            202,
        ),
        // Nothing tells whether it is the same one again.
        (
            "legacy",
            "",
            vec![("X-Hub-Signature", format!("sha1={}", tag("sha1", "{}")))],
            202,
        ),
        (
            "legacy",
            "",
            vec![("X-Hub-Signature", tag("sha1", "{}"))],
            401,
        ),
        (
            "long",
            "",
            vec![("X-Signature", tag("sha512", "{}").to_uppercase())],
            202,
        ),
        ("long", "", vec![("X-Signature", tag("sha256", "{}"))], 401),
        (
            "composed",
            "/x?y=1",
            vec![("X-Time", now.clone()), ("X-Signature", of(&now))],
            202,
        ),
        (
            "composed",
            "/x?y=1",
            vec![("X-Time", now.clone()), ("X-Signature", of(&now))],
            401,
        ),
        (
            "composed",
            "/x?y=2",
            vec![("X-Time", now.clone()), ("X-Signature", of(&now))],
            401,
        ),
        (
            "composed",
            "/x?y=1",
            vec![("X-Time", long_ago.clone()), ("X-Signature", of(&long_ago))],
            401,
        ),
    ];
    for (name, rest, fields, status) in cases {
        let path = path(&keybearer, name).await + rest;
        let request = webhook(&keybearer, &path, "{}");
        let request = fields.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{name}{rest} {fields:?}: {answer:?}");
        assert!(!answer.text().contains("canary"), "{answer:?}");
    }
    assert!(!keybearer.log().contains("canary"), "{}", keybearer.log());
}

fn hmac(algorithm: &str, key: &str, text: &str) -> String {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let (digest, encoding) = algorithm.split_once('/').unwrap_or((algorithm, "hex"));
    let mut openssl = Command::new("openssl")
        .args(["dgst", &format!("-{digest}"), "-hmac", key, "-binary"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let tag = openssl.wait_with_output().unwrap().stdout;
    assert!(!tag.is_empty(), "{algorithm}");
    match encoding {
        "base64" => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(tag)
        }
        _ => tag.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[tokio::test]
async fn who_asks_whether_the_url_is_meant_gets_an_answer() {
    let target = Upstream::start().await;
    let url = target.url("/");
    let tables = [
        endpoint("open", &url, "verify = { type = \"none\" }"),
        endpoint(
            "meta",
            &url,
            "verify = { type = \"github\", secret = \"s\" }\nverify_token = \"canary-token\"",
        ),
        endpoint(
            "slack",
            &url,
            &format!("verify = {{ type = \"slack\", secret = \"{SECRET}\" }}"),
        ),
    ];
    let keybearer = start(&tables.concat()).await;
    let subscribe = "?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=";
    let question = r#"{"token":"t","challenge":"<b>3eZbrw1a","type":"url_verification"}"#;
    let get = |path: &str| Request::new(keybearer.webhooks(), "GET", path);
    let post = |path: &str| Request::new(keybearer.webhooks(), "POST", path);
    let open = path(&keybearer, "open").await;
    let meta = path(&keybearer, "meta").await;
    let slack = path(&keybearer, "slack").await;
    let signature = signed(question, seconds(), "m").await["slack"].clone();
    for (request, status, text) in [
        (
            post(&format!("{open}?validationToken=Validation%3A+T%26+1")).content(""),
            200,
            "Validation: T& 1",
        ),
        (get(&format!("{open}{subscribe}x")), 200, "1158201444"),
        (
            get(&format!("{meta}{subscribe}canary-token")),
            200,
            "1158201444",
        ),
        (get(&format!("{meta}{subscribe}other")), 401, ""),
        (webhook(&keybearer, &open, question), 200, "<b>3eZbrw1a"),
        (
            with(webhook(&keybearer, &slack, question), &signature),
            200,
            "<b>3eZbrw1a",
        ),
        (webhook(&keybearer, &slack, question), 401, ""),
    ] {
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 200 {
            assert_eq!(answer.text(), text);
            assert_eq!(
                answer.header("content-type"),
                Some("text/plain; charset=utf-8")
            );
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
    }
    assert_eq!(target.count(), 0, "a question is no delivery");
    assert_eq!(deliveries(&keybearer, "open").await, Vec::<Value>::new());
    assert!(!keybearer.log().contains("canary"));
}
