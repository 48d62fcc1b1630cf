//! A draft that is tried: with what was typed in, and with nothing of this machine's unless the
//! configuration says so.

use serde_json::{Value, json};

use super::{CANARY, bearer, drafted, instance, plain};
use crate::harness::{Answer, Authority, Keybearer, Upstream, connection};

/// The same draft, to be tried.
fn tried(mut draft: Value, values: Value) -> Value {
    draft["values"] = values;
    draft["trial"] = json!({ "method": "GET", "path": "/x" });
    draft
}

/// Everything that an instance tells of itself.
async fn all_that_is_told(keybearer: &Keybearer) -> String {
    let mut all = keybearer.log();
    for path in ["/api/connections", "/metrics", "/new"] {
        all += &keybearer.ask("GET", path).send().await.text();
    }
    all
}

#[tokio::test]
async fn a_value_that_is_typed_in_is_sent_upstream_and_nowhere_else() {
    let upstream = Upstream::start().await;
    let keybearer = instance(&upstream).await.start().await;
    let base = upstream.url("/base");
    let env = json!({ "env": "NOT_SET" });
    let file = json!({ "file": "not/there", "format": "v-{}" });
    for (draft, values, sent) in [
        (
            bearer("x", &base, &env),
            json!({ "auth.token": CANARY }),
            format!("Bearer {CANARY}"),
        ),
        (
            bearer("x", &base, &file),
            json!({ "auth.token": CANARY }),
            format!("Bearer v-{CANARY}"),
        ),
        (
            json!({ "name": "x", "base_url": base, "auth": { "type": "header", "headers": { "Authorization": env } } }),
            json!({ "auth.headers.Authorization": CANARY }),
            CANARY.to_owned(),
        ),
    ] {
        let told = drafted(&keybearer, &tried(draft, values)).await;
        assert_eq!(told["errors"], json!([]), "{told}");
        assert_eq!(told["trial"]["status"], 200, "{told}");
        assert_eq!(
            told["trial"]["injected"],
            json!(["authorization"]),
            "{told}"
        );
        assert_eq!(
            told["missing"].as_array().unwrap().len(),
            1,
            "still not there: {told}"
        );
        assert_eq!(upstream.last().target(), "/base/x");
        assert_eq!(upstream.last().header("authorization"), Some(&*sent));
        assert!(!told.to_string().contains(CANARY), "{told}");
    }
    let all = all_that_is_told(&keybearer).await;
    assert!(
        all.contains("Draft tried"),
        "who tried what is in the log: {all}"
    );
    assert!(!all.contains(CANARY), "{all}");
    assert!(!all.contains("connection=\"x\""), "no metrics of a draft");
    assert_eq!(
        keybearer.get("/x/x").send().await.status,
        404,
        "it is not in force"
    );
    let folder = std::fs::read_dir(keybearer.setup().path("")).unwrap();
    for file in folder
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
    {
        let bytes = std::fs::read(&file).unwrap();
        assert!(
            !String::from_utf8_lossy(&bytes).contains(CANARY),
            "{}",
            file.display()
        );
    }
}

#[tokio::test]
async fn nothing_of_this_machine_is_given_to_a_draft() {
    let upstream = Upstream::start().await;
    let setup = instance(&upstream)
        .await
        .env("OWN", CANARY)
        .file("own", CANARY);
    let keybearer = setup.start().await;
    let base = upstream.url("/base");
    let role = json!({
        "name": "x", "base_url": base, "auth": {
            "type": "aws_iam_role", "role_arn": "arn:aws:iam::123456789012:role/r",
            "service": "sqs", "region": "eu-west-1", "sts_endpoint": base, "external_id": "ab" } });
    for draft in [
        bearer("x", &base, &json!({ "env": "OWN" })),
        bearer("x", &base, &json!({ "file": "own" })),
        bearer("x", &base, &json!({ "file": "/etc/passwd" })),
        role.clone(),
    ] {
        let told = drafted(&keybearer, &tried(draft, json!({}))).await;
        assert_eq!(told["errors"], json!([]), "{told}");
        assert!(told["trial"].is_null(), "{told}");
        let why = told["not_tried"].as_str().unwrap();
        assert!(why.contains("allow_edit = true"), "{why}");
        assert!(!told.to_string().contains(CANARY), "{told}");
    }
    // Other connections are on this machine, and what trusts all that is local.
    let token = json!({ "name": "x", "base_url": base, "auth": {
        "type": "oauth2_client_credentials", "token_url": format!("http://{}/p/vault", keybearer.proxy()),
        "token_field": "data.secret", "client_id": "a", "client_auth": "none" } });
    let mut sts = role;
    sts["auth"]["source"] =
        json!({ "access_key_id": "AKIA", "secret_access_key": { "env": "ABSENT" } });
    for (draft, values) in [
        (token, json!({})),
        (sts, json!({ "auth.source.secret_access_key": "given" })),
    ] {
        let told = drafted(&keybearer, &tried(draft, values)).await;
        assert_eq!(told["errors"], json!([]), "{told}");
        let why = told["not_tried"].as_str().unwrap();
        assert!(why.contains("where a draft asks for nothing"), "{why}");
    }
    let absent = bearer("x", &base, &json!({ "env": "ABSENT" }));
    let told = drafted(&keybearer, &tried(absent, json!({}))).await;
    assert!(
        told["not_tried"]
            .as_str()
            .unwrap()
            .contains("not there yet"),
        "{told}"
    );
    let mut changing = plain("x", &base);
    changing["trial"] = json!({ "method": "DELETE" });
    let told = drafted(&keybearer, &changing).await;
    assert!(
        told["not_tried"]
            .as_str()
            .unwrap()
            .contains("GET, HEAD or OPTIONS"),
        "{told}"
    );
    // A trial may be given content of a key that is a file here, and of none other.
    let file = tried(
        bearer("x", &base, &json!({ "file": "own" })),
        json!({ "auth.token": "given" }),
    );
    let told = drafted(&keybearer, &file).await;
    assert_eq!(told["trial"]["status"], 200, "{told}");
    assert_eq!(
        upstream.last().header("authorization"),
        Some("Bearer given")
    );
    assert_eq!(upstream.count(), 1, "nothing else was sent");
}

#[tokio::test]
async fn a_secret_of_another_connection_stays_there() {
    let upstream = Upstream::start().await;
    let other = connection(
        "other",
        "https://b.example",
        "auth = { type = \"bearer\", token = { env = \"OWN\" } }",
    );
    let setup = instance(&upstream).await.tables(&other).env("OWN", CANARY);
    let keybearer = setup.start().await;
    let draft = bearer("x", &upstream.url(""), &json!({ "env": "OWN" }));
    let told = drafted(&keybearer, &tried(draft.clone(), json!({}))).await;
    assert_eq!(
        told["errors"],
        json!([]),
        "the other one is still good: {told}"
    );
    assert!(told["not_tried"].is_string(), "{told}");
    let told = drafted(&keybearer, &tried(draft, json!({ "auth.token": "given" }))).await;
    assert_eq!(told["trial"]["status"], 200, "{told}");
    assert_eq!(
        upstream.last().header("authorization"),
        Some("Bearer given")
    );
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn with_edit_allowed_it_is_tried_with_what_is_there() {
    let upstream = Upstream::start().await;
    let setup = instance(&upstream).await.admin("allow_edit = true");
    let setup = setup.env("OWN", CANARY).file("own", "from-the-file\n");
    let keybearer = setup.start().await;
    for (token, sent) in [
        (json!({ "env": "OWN" }), CANARY),
        (json!({ "file": "own" }), "from-the-file"),
    ] {
        let draft = bearer("x", &upstream.url(""), &token);
        let told = drafted(&keybearer, &tried(draft, json!({}))).await;
        assert_eq!(told["trial"]["status"], 200, "{told}");
        let authorization = format!("Bearer {sent}");
        assert_eq!(
            upstream.last().header("authorization"),
            Some(&*authorization)
        );
        assert!(!told.to_string().contains(sent), "{told}");
    }
    let mut changing = plain("x", &upstream.url(""));
    changing["trial"] = json!({ "method": "DELETE", "path": "/y?a=1" });
    let told = drafted(&keybearer, &changing).await;
    assert_eq!(told["trial"]["status"], 200, "{told}");
    assert_eq!(
        (upstream.last().method(), upstream.last().target()),
        ("DELETE", "/y?a=1")
    );
    let all = all_that_is_told(&keybearer).await;
    assert!(!all.contains(CANARY), "{all}");
}

#[tokio::test]
async fn a_token_is_had_with_a_secret_that_is_typed_in() {
    let upstream = Upstream::start().await;
    let answer = r#"{"access_token": "canary-draft-token-5e", "expires_in": 3600}"#;
    upstream.on(
        "/token",
        Answer::sized("200 OK", "Content-Type: application/json\r\n", answer),
    );
    let setup = instance(&upstream).await.admin("allow_edit = true");
    let keybearer = setup.start().await;
    let draft = json!({ "name": "x", "base_url": upstream.url("/base"), "auth": {
        "type": "oauth2_client_credentials", "token_url": upstream.url("/token"),
        "client_id": "a", "client_secret": { "env": "NOT_SET" }, "client_auth": "post" } });
    let told = drafted(
        &keybearer,
        &tried(draft, json!({ "auth.client_secret": CANARY })),
    )
    .await;
    assert_eq!(told["trial"]["status"], 200, "{told}");
    let phases: Vec<_> = told["trial"]["phases"].as_array().unwrap().iter().collect();
    assert!(
        phases.iter().any(|phase| phase["phase"] == "credential"),
        "{told}"
    );
    let requests = upstream.requests();
    assert!(
        requests[0].text().contains(CANARY),
        "the token endpoint has it"
    );
    assert_eq!(
        requests[1].header("authorization"),
        Some("Bearer canary-draft-token-5e")
    );
    let all = told.to_string() + &all_that_is_told(&keybearer).await;
    assert!(
        !all.contains(CANARY) && !all.contains("canary-draft-token"),
        "{all}"
    );
}

#[tokio::test]
async fn files_can_be_typed_in_too() {
    let authority = Authority::new();
    let upstream = Upstream::tls(&authority.issue(&["localhost"])).await;
    let plain_upstream = Upstream::start().await;
    let keybearer = instance(&plain_upstream).await.start().await;
    let url = format!("https://localhost:{}", upstream.address().port());
    let mut draft = plain("x", &url);
    draft["tls"] = json!({ "ca_certificate": "private-ca.pem" });
    let told = drafted(&keybearer, &tried(draft.clone(), json!({}))).await;
    assert!(told["not_tried"].is_string(), "{told}");
    let values = json!({ "tls.ca_certificate": authority.pem() });
    let told = drafted(&keybearer, &tried(draft, values)).await;
    assert_eq!(told["trial"]["status"], 200, "{told}");
}

#[tokio::test]
async fn what_stands_in_the_way_is_told() {
    let upstream = Upstream::start().await;
    let keybearer = instance(&upstream).await.start().await;
    upstream.on("/base/x", Answer::sized("401 Unauthorized", "", ""));
    let told = drafted(
        &keybearer,
        &tried(plain("x", &upstream.url("/base")), json!({})),
    )
    .await;
    let failure = told["trial"]["failure"].as_str().unwrap();
    assert!(failure.contains("did not take the credential"), "{failure}");
    let person = json!({ "name": "x", "base_url": upstream.url(""), "auth": {
        "type": "oauth2_authorization_code", "authorization_url": "https://a.example",
        "token_url": "https://a.example", "client_id": "a", "client_auth": "none" } });
    let told = drafted(&keybearer, &tried(person, json!({}))).await;
    let failure = told["trial"]["failure"].as_str().unwrap();
    assert!(failure.contains("a person's consent"), "{failure}");
    assert!(told["trial"]["link"].is_null(), "there is none yet: {told}");
    let mut silent = plain("x", &upstream.url("/base"));
    let before = upstream.count();
    silent["trial"] = json!({ "send": false });
    let told = drafted(&keybearer, &silent).await;
    assert!(
        told["trial"]["failure"].is_null() && told["trial"]["status"].is_null(),
        "{told}"
    );
    assert_eq!(upstream.count(), before, "nothing was sent");
    let mut wrong = plain("x", &upstream.url("/base"));
    wrong["trial"] = json!({ "path": "no-slash" });
    let told = drafted(&keybearer, &wrong).await;
    assert!(
        told["not_tried"]
            .as_str()
            .unwrap()
            .contains("starts with `/`"),
        "{told}"
    );
}
