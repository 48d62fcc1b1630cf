//! What is wrong in a configuration is said with its place, its key and what to do.

use crate::harness::Setup;

/// Text of a file that is refused, words of the message, and why.
const REFUSED: &[(&str, &[&str], &str)] = &[
    ("[connections.a\n", &[":1:"], "no TOML"),
    ("[connections.a]\nbase_url = \n", &[":2:"], "no value"),
    (
        "[connections.a]\nbase_url = \"http://x\"\nbase_url = \"http://y\"\n",
        &[":3:", "base_url"],
        "a key twice",
    ),
    (
        "[conections.a]\nbase_url = \"http://x\"\n",
        &[":1:", "conections", "connections"],
        "unknown table",
    ),
    (
        "[server]\nlisten = \"127.0.0.1:0\"\n",
        &[":2:", "listen"],
        "a text for a list",
    ),
    (
        "[server]\nlistn = []\n",
        &[":2:", "listn", "`listen`"],
        "unknown key with a near one",
    ),
    (
        "[server]\nlisten = [\"127.0.0.1\"]\n",
        &[":2:", "listen", "127.0.0.1"],
        "no port",
    ),
    (
        "[server]\nlisten = [\"127.0.0.1:99999\"]\n",
        &[":2:", "listen"],
        "no such port",
    ),
    (
        "[server]\nshutdown_grace = \"soon\"\n",
        &[":2:", "shutdown_grace", "soon"],
        "no duration",
    ),
    (
        "[server]\nshutdown_grace = 30\n",
        &[":2:", "shutdown_grace"],
        "a number for a duration",
    ),
    (
        "[server]\nallowed_origins = [\"app.example\"]\n",
        &[":2:", "app.example"],
        "no origin",
    ),
    ("[log]\nlevel = \"loud\"\n", &[":2:", "loud"], "no level"),
    (
        "[log]\nformat = \"yaml\"\n",
        &[":2:", "yaml", "json"],
        "no format",
    ),
    (
        "[connections.a]\nauth = { type = \"none\" }\n",
        &["base_url"],
        "no base URL",
    ),
    (
        "[connections.a]\nbase_url = \"x.example\"\nauth = { type = \"none\" }\n",
        &[":2:", "https://"],
        "no scheme",
    ),
    (
        "[connections.a]\nbase_url = \"https://u:p@x.example\"\nauth = { type = \"none\" }\n",
        &[":2:", "basic"],
        "userinfo",
    ),
    (
        "[connections.a]\nbase_url = \"https://x.example?k=v\"\nauth = { type = \"none\" }\n",
        &[":2:", "query"],
        "query",
    ),
    (
        "[server]\nlisten = [\"127.0.0.1:18080\"]\n[connections.a]\nbase_url = \"http://127.0.0.1:18080/a\"\nauth = { type = \"none\" }\n",
        &[":4:", "base_url"],
        "it leads back to our own listener",
    ),
    (
        "[server]\nlisten = [\"127.0.0.1:18080\"]\n[connections.a]\nbase_url = \"http://localhost:18080\"\nauth = { type = \"none\" }\n",
        &[":4:", "base_url"],
        "it leads back by another name",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"basc\" }\n",
        &[":3:", "basc", "basic"],
        "unknown type",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"basic\", username = \"u\" }\n",
        &[":3:", "password"],
        "no password",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"basic\", username = \"a:b\", password = \"p\" }\n",
        &[":3:", "username"],
        "a colon in the name",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"bearer\", tokn = \"t\" }\n",
        &[":3:", "tokn", "token"],
        "unknown key of a type",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"bearer\", token = { env = \"ABSENT_VARIABLE\" } }\n",
        &[":3:", "ABSENT_VARIABLE"],
        "no such variable",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"bearer\", token = { env = \"A\", file = \"b\" } }\n",
        &[":3:", "env", "file"],
        "two sources",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"bearer\", token = \"a\\nb\" }\n",
        &[":3:", "token"],
        "a line end in a field",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"header\", headers = { \"X Y\" = \"v\" } }\n",
        &[":3:", "X Y"],
        "no field name",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"header\", headers = { Host = \"v\" } }\n",
        &[":3:", "Host"],
        "a field that is not for credentials",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"custom\", form = { a = \"1\" }, json = { b = \"2\" } }\n",
        &[":3:", "form", "json"],
        "two contents",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"none\" }\nprefix = \"a\"\n",
        &[":4:", "prefix"],
        "a prefix without a slash",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"none\" }\nretries = -1\n",
        &[":4:", "retries"],
        "a negative number",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"none\" }\nlimits = { request_body = \"big\" }\n",
        &[":4:", "request_body", "big"],
        "no size",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"none\" }\nallow = { paths = [\"/[\"] }\n",
        &[":4:", "/["],
        "no glob",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"none\" }\ncookies = \"eat\"\n",
        &[":4:", "eat", "strip"],
        "no such choice",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"none\" }\ntls = { ca_certificate = \"absent.pem\" }\n",
        &[":4:", "absent.pem"],
        "no such file",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"none\" }\n[connections.b]\nprefix = \"/a\"\nbase_url = \"http://y\"\nauth = { type = \"none\" }\n",
        &[":5:", "/a", "used twice"],
        "a prefix twice",
    ),
    (
        "[connections.a]\nbase_url = \"http://x\"\nauth = { type = \"none\" }\nhosts = [\"h.example\"]\n[connections.b]\nbase_url = \"http://y\"\nauth = { type = \"none\" }\nhosts = [\"H.example\"]\n",
        &[":8:", "h.example"],
        "a host twice",
    ),
];

/// What a later issue brings is refused with its name, never accepted and ignored.
const NOT_YET: &[(&str, &str)] = &[
    (
        "auth = { type = \"oauth2_client_credentials\", token_url = \"https://x/t\", client_id = \"a\", client_auth = \"tls\" }",
        "client_auth = \"tls\"",
    ),
    ("auth = { type = \"none\" }\ncallers = [\"app\"]", "callers"),
    (
        "auth = { type = \"none\" }\ntls = { client_certificate = \"c.pem\", client_key = \"k\" }",
        "client_certificate",
    ),
    (
        "auth = { type = \"none\" }\n[store]\ntype = \"redis\"",
        "redis",
    ),
    (
        "auth = { type = \"none\" }\n[callers.app]\ntoken = \"t\"",
        "callers",
    ),
    (
        "auth = { type = \"none\" }\n[agents]\nlisten = \"127.0.0.1:0\"",
        "agents",
    ),
];

#[tokio::test]
async fn every_mistake_is_told_with_its_place_and_key() {
    let mut failures = Vec::new();
    for (text, words, why) in REFUSED {
        failures.extend(refusal(text, words, why).await);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn what_is_not_there_yet_is_refused_by_name() {
    let mut failures = Vec::new();
    for (lines, word) in NOT_YET {
        let text = format!("[connections.a]\nbase_url = \"http://x.example\"\n{lines}\n");
        failures.extend(refusal(&text, &[word], lines).await);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Checks that a file is refused with these words; what is wrong with that, if anything.
async fn refusal(text: &str, words: &[&str], why: &str) -> Option<String> {
    let setup = Setup::new().file("bad.toml", text).config("bad.toml");
    let exit = setup.run(&["check"]).await;
    let lacking = |word: &&&str| !exit.stderr.contains(**word);
    let lacks: Vec<_> = words.iter().chain(&["bad.toml"]).filter(lacking).collect();
    let clean = !exit.stderr.contains("panicked") && exit.stdout.is_empty();
    let good = exit.code == Some(2) && lacks.is_empty() && clean;
    (!good).then(|| {
        format!(
            "{why}: code {:?}, lacks {lacks:?}: {}\n",
            exit.code, exit.stderr
        )
    })
}
