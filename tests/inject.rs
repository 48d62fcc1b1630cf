//! Section 2, auth: what each type adds, seen at the upstream's end.

mod contents;

use crate::harness::{Keybearer, Recorded, Setup, Upstream, base64, connection};

/// One type of auth and what the upstream sees of it.
struct Case {
    auth: &'static str,
    fields: &'static [(&'static str, &'static str)],
    why: &'static str,
}

const CASES: &[Case] = &[
    Case {
        auth: r#"{ type = "none" }"#,
        fields: &[],
        why: "nothing",
    },
    Case {
        auth: r#"{ type = "basic", username = "me@example.com", password = { env = "PASSWORD" } }"#,
        fields: &[("Authorization", "basic me@example.com:pass word")],
        why: "name and password",
    },
    Case {
        auth: r#"{ type = "basic", username = "jürgen", password = "pä€ß" }"#,
        fields: &[("Authorization", "basic jürgen:pä€ß")],
        why: "UTF-8 (RFC 7617)",
    },
    Case {
        auth: r#"{ type = "basic", username = "", password = "key" }"#,
        fields: &[("Authorization", "basic :key")],
        why: "empty name",
    },
    Case {
        auth: r#"{ type = "basic", username = "key", password = "" }"#,
        fields: &[("Authorization", "basic key:")],
        why: "empty password",
    },
    Case {
        auth: r#"{ type = "basic", username = "me", password = "a:b:c" }"#,
        fields: &[("Authorization", "basic me:a:b:c")],
        why: "colons in the password",
    },
    Case {
        auth: r#"{ type = "bearer", token = "literal" }"#,
        fields: &[("Authorization", "Bearer literal")],
        why: "a literal",
    },
    Case {
        auth: r#"{ type = "bearer", token = { env = "TOKEN" } }"#,
        fields: &[("Authorization", "Bearer from-env")],
        why: "from the environment",
    },
    Case {
        auth: r#"{ type = "bearer", token = { file = "token" } }"#,
        fields: &[("Authorization", "Bearer from-file")],
        why: "from a file, without its last newline",
    },
    Case {
        auth: r#"{ type = "bearer", token = { file = "token", format = "v1.{}" } }"#,
        fields: &[("Authorization", "Bearer v1.from-file")],
        why: "from a file, with a format",
    },
    Case {
        auth: r#"{ type = "header", headers = { "X-Key" = "one", X-Other = { env = "TOKEN", format = "Token token={}" } } }"#,
        fields: &[("X-Key", "one"), ("X-Other", "Token token=from-env")],
        why: "two fields, one with a format",
    },
    Case {
        auth: r#"{ type = "header", headers = { Authorization = { env = "TOKEN", format = "GenieKey {}" } } }"#,
        fields: &[("Authorization", "GenieKey from-env")],
        why: "another scheme in Authorization",
    },
    Case {
        auth: r#"{ type = "header", headers = { Cookie = "session=ours" } }"#,
        fields: &[("Cookie", "session=ours")],
        why: "a field that is always stripped of the caller's",
    },
    Case {
        auth: r#"{ type = "custom", headers = { X-Key = { file = "token" } }, basic = { username = "me", password = { env = "TOKEN" } } }"#,
        fields: &[
            ("X-Key", "from-file"),
            ("Authorization", "basic me:from-env"),
        ],
        why: "custom: fields and Basic together",
    },
];

#[tokio::test]
async fn every_type_adds_its_fields_exactly_once() {
    let upstream = Upstream::start().await;
    let tables = CASES.iter().enumerate().map(|(n, case)| {
        let auth = format!("auth = {}", case.auth);
        connection(&format!("c{n}"), &upstream.url("/base"), &auth)
    });
    let keybearer = sources(Setup::new())
        .tables(&tables.collect::<String>())
        .start()
        .await;
    for (n, case) in CASES.iter().enumerate() {
        let request = keybearer
            .get(&format!("/c{n}/x"))
            .header("Authorization", "Bearer mine")
            .header("Cookie", "mine=1")
            .header("X-Key", "mine")
            .header("Accept", "*/*");
        let response = request.send().await;
        assert_eq!(response.status, 200, "{}: {}", case.why, response.text());
        let seen = upstream.last();
        for name in ["Authorization", "Cookie", "X-Key", "X-Other"] {
            let expected = case.fields.iter().find(|(field, _)| *field == name);
            let expected = expected.map(|(_, value)| match value.strip_prefix("basic ") {
                Some(plain) => format!("Basic {}", base64(plain)),
                None => (*value).to_owned(),
            });
            // `none` strips the caller's credentials, and leaves what is nobody's.
            if name == "X-Key" && expected.is_none() {
                continue;
            }
            assert_eq!(
                seen.header(name),
                expected.as_deref(),
                "{}: {name}",
                case.why
            );
        }
        assert_eq!(seen.header("accept"), Some("*/*"));
    }
}

/// The secrets that the cases name.
fn sources(setup: Setup) -> Setup {
    setup
        .env("TOKEN", "from-env")
        .env("PASSWORD", "pass word")
        .file("token", "from-file\n")
}

#[tokio::test]
async fn parameters_follow_the_callers_own_and_are_encoded() {
    let upstream = Upstream::start().await;
    let auth =
        r#"auth = { type = "query", params = { key = { env = "TOKEN" }, "a b" = "ä&=+ /?#%" } }"#;
    let setup = sources(Setup::new()).tables(&connection("q", &upstream.url("/base"), auth));
    let keybearer = setup.start().await;
    let ours = [("a b", "ä&=+ /?#%"), ("key", "from-env")];
    for (sent, kept) in [
        ("", vec![]),
        ("?z=1&y=%20+&x", vec!["z=1", "y=%20+", "x"]),
        ("?key=mine&z=1&a%20b=mine&A+B=mine", vec!["z=1"]),
    ] {
        keybearer.get(&format!("/q/x{sent}")).send().await;
        let seen = upstream.last();
        let pairs = query_of(&seen);
        let (first, last) = pairs.split_at(kept.len());
        assert_eq!(first, kept, "{sent}: the caller's come first, as they were");
        let mut last: Vec<_> = last.iter().map(|pair| decoded(pair)).collect();
        last.sort();
        let ours = ours.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(last, ours, "{sent}");
    }
}

fn query_of(seen: &Recorded) -> Vec<String> {
    let (_, query) = seen.target().split_once('?').expect("a query");
    query.split('&').map(str::to_owned).collect()
}

/// A pair, percent-decoded and nothing else: a `+` that stands for a space fails the comparison.
fn decoded(pair: &str) -> (String, String) {
    let decode = |text: &str| {
        let text = percent_encoding::percent_decode_str(text).decode_utf8();
        text.unwrap().into_owned()
    };
    let (name, value) = pair.split_once('=').expect("a value");
    (decode(name), decode(value))
}

#[tokio::test]
async fn names_merged_into_content_are_taken_out_of_the_query_too() {
    let upstream = Upstream::start().await;
    let auth = "auth = { type = \"custom\", form = { api_key = \"ours\" } }";
    let keybearer = Keybearer::start(&connection("p", &upstream.url("/base"), auth)).await;
    let form = "application/x-www-form-urlencoded";
    let request = keybearer.post("/p/x?api_key=mine&a=1").body(form, "b=2");
    assert_eq!(request.send().await.status, 200);
    let seen = upstream.last();
    assert_eq!(
        (seen.target(), seen.text()),
        ("/base/x?a=1", "b=2&api_key=ours")
    );
}
