//! No diagnostic tells a secret, whatever is wrong.

use proptest::prelude::*;

use super::world::{CANARY, World};

/// Literal secrets in every place and notation where one may stand.
const SECRETS: &str = r#"
[admin]
listen = "127.0.0.1:9080" # hunter2
token = "hunter2"
[connections.a]
base_url = "https://a.example"
auth = { type = "basic", username = "hunter2", password = 'hunter2' }
[connections.b]
base_url = "https://b.example"
auth.type = "header"
auth.headers = { X-Key = "hunter2", type = "hunter2", env = { value = "hunter2", format = "hunter2 {}" } }
[connections.c]
base_url = "https://c.example"
[connections.c.auth]
type = "custom"
params."env" = "hunter2"
params.prefix = """hunter2
hunter2"""
json.file = '''
hunter2'''
basic.username = """hunter2"""
basic.password = { value = "hunter2" }
[connections]
d = { base_url = "https://d.example", http = "auto", auth = { type = "bearer", token = "hunter2" }, prefix = "/x" }
"#;

/// The same for what renews its credential; shorter, as each letter of it is a case.
const RENEWED: &str = r#"
store.key = "hunter2hunter2hunter2hunter2hunter2hunter2A="
[connections.a]
base_url = "https://a.example"
refresh_on = [{ status = 401 }]
[connections.a.auth]
type = "oauth2_client_credentials"
token_url = "https://b.example"
client_id = "me"
client_secret = "hunter2"
params = { a = "hunter2", b = { command = ["x", "hunter2"], ttl = "1s", format = "hunter2{}" } }
token_format = "hunter2 {}"
"#;

/// The same for keys of AWS.
const KEYS: &str = r#"
[connections.a]
base_url = "https://s3.eu-west-1.amazonaws.com"
auth = { type = "aws_access_key", access_key_id = "hunter2", secret_access_key = "hunter2", session_token = "hunter2" }
[connections.b]
base_url = "https://s3.eu-west-1.amazonaws.com"
[connections.b.auth]
type = "aws_iam_role"
role_arn = "arn:aws:iam::123456789012:role/x"
external_id = "hunter2"
source.role_arn = "arn:aws:iam::123456789012:role/y"
source.source = { access_key_id = { value = "hunter2" }, secret_access_key = "hunter2" }
"#;

/// The same for what upstreams are shown.
const SHOWN: &str = r#"
[defaults.tls]
client_certificate = "client/chain.pem"
client_key = { file = "client/encrypted.key" }
client_key_password = "hunter2"
[connections.a]
base_url = "https://a.example"
tls = { client_identity = { file = "client/new.p12" }, client_key_password = { value = "hunter2" } }
"#;

fn tells(text: &str) -> Option<String> {
    let world = World::default().file("keybearer.toml", text);
    let wrong = world.load("keybearer.toml").result.err()?;
    let json = serde_json::to_string(&wrong).unwrap();
    let all = format!("{wrong}\n{wrong:?}\n{json}");
    all.contains(CANARY).then_some(all)
}

#[test]
fn the_secrets_are_good_as_they_stand() {
    World::default().config(SECRETS);
    World::new().config(RENEWED);
    World::new().config(KEYS);
    World::new().config(SHOWN);
}

#[test]
fn no_slip_of_the_pen_tells_a_secret() {
    let slips = ["", "\"", "\"\"\"", "{", "}", "=", "\n", "."];
    for secrets in [SECRETS, RENEWED, KEYS, SHOWN] {
        for (at, c) in secrets.char_indices() {
            for slip in slips {
                // One character too few, or something too much.
                let end = at + if slip.is_empty() { c.len_utf8() } else { 0 };
                let text = format!("{}{slip}{}", &secrets[..at], &secrets[end..]);
                if let Some(told) = tells(&text) {
                    panic!("{slip:?} at {at} tells a secret:\n{text}\n{told}");
                }
            }
        }
    }
}

#[test]
fn a_lost_or_doubled_line_tells_no_secret() {
    for secrets in [SECRETS, RENEWED, KEYS, SHOWN] {
        no_line_tells(secrets);
    }
}

fn no_line_tells(secrets: &str) {
    let lines: Vec<_> = secrets.lines().collect();
    for lost in 0..lines.len() {
        for other in 0..lines.len() {
            let mut text = lines.clone();
            text.insert(other, lines[lost]);
            assert_eq!(tells(&text.join("\n")), None);
            text.remove(lost + usize::from(other <= lost));
            assert_eq!(tells(&text.join("\n")), None);
        }
    }
}

#[test]
fn a_secret_under_any_likely_name_is_masked() {
    for name in [
        "access_key",
        "access_key_id",
        "access_token",
        "api_key",
        "apikey",
        "auth_token",
        "bearer",
        "client_key",
        "client_key_pass",
        "client_key_password",
        "client_sec",
        "client_secret",
        "clientsecret",
        "command",
        "credential",
        "credentials",
        "key",
        "login",
        "pass",
        "passphrase",
        "passwd",
        "password",
        "private_key",
        "psk",
        "pwd",
        "secret",
        "secret_access_key",
        "secret_key",
        "secrets",
        "session",
        "session_token",
        "token",
        "tokens",
        "user",
        "username",
    ] {
        for table in [
            "",
            "[server]",
            "[admin]",
            "[store]",
            "[log]",
            "[defaults]",
            "[connections]",
            "[connections.a]",
            "[connections.a.auth]",
            "[connections.a.auth.basic]",
            "[connections.a.auth]\ntype = \"oauth2_authorization_code\"",
            "[connections.a.auth]\ntype = \"azure_client_credentials\"",
            "[connections.a.auth]\ntype = \"aws_access_key\"",
            "[connections.a.auth]\ntype = \"aws_iam_role\"",
            "[connections.a.auth.source]",
            "[connections.a.auth.source.source]",
            "[connections.a.auth.external_id]",
            "[connections.a.auth.params]",
            "[[connections.a.refresh_on]]",
            "[connections.a.tls]",
            "[connections.a.allow]",
            "[connections.a.strip]",
            "[connections.a.timeouts]",
            "[other]",
        ] {
            let text = format!("{table}\n{name} = \"hunter2\"\nunknown = 7\n");
            assert_eq!(tells(&text), None, "{text}");
        }
    }
}

proptest! {
    #[test]
    fn random_text_never_panics(text in ".{0,200}") {
        let _ = World::default().file("keybearer.toml", text).load("keybearer.toml");
    }

    #[test]
    fn random_pieces_never_panic_nor_tell(pieces in prop::collection::vec(piece(), 0..24)) {
        prop_assert_eq!(tells(&pieces.concat()), None);
    }
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "\n",
        "\r\n",
        " ",
        "=",
        " = ",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "{",
        "}",
        "[",
        "]",
        "[[",
        "]]",
        ",",
        ".",
        "#",
        "[server]\n",
        "[connections.a]\n",
        "[connections.a.auth]\n",
        "[[connections]]\n",
        "[connections.a.tls]\n",
        "include",
        "listen",
        "base_url",
        "auth",
        "type",
        "token",
        "headers",
        "prefix",
        "hosts",
        "timeouts",
        "\"bearer\"",
        "\"header\"",
        "\"https://a.example\"",
        "\"/a\"",
        "7",
        "true",
        "1979-05-27",
        "token = \"hunter2\"\n",
        "auth = { type = \"bearer\", token = \"hunter2\" }\n",
        "[[connections.a.refresh_on]]\n",
        "command = [\"x\", \"hunter2\"]\n",
        "client_secret",
        "token_url",
        "\"oauth2_client_credentials\"",
        "\"aws_iam_role\"",
        "secret_access_key",
        "source",
        "source = \"hunter2\"\n",
        "é",
        "\u{feff}",
        "\0",
    ])
}
