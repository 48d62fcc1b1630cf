//! `keybearer init`: a first configuration by options or by questions, which loads.

mod questions;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::Value;

use crate::harness::{Keybearer, Setup, Upstream};

/// The options of each type, without those for its secret, and the environment variable that is usual.
const KINDS: [(&str, &[&str], Option<&str>); 13] = [
    ("none", &[], None),
    (
        "basic",
        &["--username", "me@example.com"],
        Some("MY_API_PASSWORD"),
    ),
    ("bearer", &[], Some("MY_API_TOKEN")),
    ("header", &["--header", "X-Key"], Some("MY_API_KEY")),
    ("query", &["--param", "key"], Some("MY_API_KEY")),
    ("custom", &[], Some("MY_API_KEY")),
    (
        "oauth2_client_credentials",
        &[
            "--token-url",
            "https://login.example/token",
            "--client-id",
            "me",
            "--scope",
            "a",
            "--scope",
            "b",
        ],
        Some("MY_API_CLIENT_SECRET"),
    ),
    (
        "oauth2_authorization_code",
        &[
            "--token-url",
            "https://login.example/token",
            "--authorization-url",
            "https://login.example/authorize",
            "--client-id",
            "me",
        ],
        Some("MY_API_CLIENT_SECRET"),
    ),
    (
        "oauth2_jwt_bearer",
        &[
            "--token-url",
            "https://login.example/token",
            "--issuer",
            "me@example",
            "--subject",
            "you",
        ],
        Some("MY_API_PRIVATE_KEY"),
    ),
    (
        "azure_client_credentials",
        &[
            "--tenant",
            "example.com",
            "--client-id",
            "me",
            "--scope",
            "https://graph.example/.default",
        ],
        Some("MY_API_CLIENT_SECRET"),
    ),
    (
        "azure_authorization_code",
        &["--tenant", "example.com", "--client-id", "me"],
        Some("MY_API_CLIENT_SECRET"),
    ),
    (
        "aws_access_key",
        &[
            "--access-key-id",
            "AKIAIOSFODNN7EXAMPLE",
            "--service",
            "sqs",
            "--region",
            "eu-west-1",
        ],
        Some("MY_API_SECRET_ACCESS_KEY"),
    ),
    (
        "aws_iam_role",
        &[
            "--role-arn",
            "arn:aws:iam::123456789012:role/r",
            "--service",
            "sqs",
            "--region",
            "eu-west-1",
        ],
        None,
    ),
];

fn arguments<'a>(kind: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![
        "init",
        "--name",
        "my.api",
        "--base-url",
        "https://api.example/v1",
        "--auth",
        kind,
    ];
    all.extend(more);
    all
}

fn key() -> String {
    fs::read_to_string("tests/data/keys/rsa.pem").unwrap()
}

/// Each type, with its secret in the environment and in a file.
#[tokio::test]
async fn every_type_loads_once_its_secret_is_there() {
    for (kind, more, variable) in KINDS {
        let setup = Setup::new();
        let exit = setup.run_bare(&arguments(kind, more)).await;
        assert_eq!(
            (exit.code, &*exit.stdout),
            (Some(0), ""),
            "{kind}: {}",
            exit.stderr
        );
        let mode = fs::metadata(setup.path("keybearer.toml")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{kind}");
        let text = fs::read_to_string(setup.path("keybearer.toml")).unwrap();
        let folder = fs::read_dir(setup.path("")).unwrap();
        assert_eq!(folder.count(), 1, "nothing is left beside it");
        let exit_told = exit.stderr;
        let exit = setup.run_bare(&["check"]).await;
        let Some(variable) = variable else {
            assert_eq!(exit.code, Some(0), "{kind}: {}\n{text}", exit.stderr);
            continue;
        };
        assert!(
            exit_told.contains(&format!("export {variable}=…")),
            "{exit_told}"
        );
        let told = format!("environment variable `{variable}` is not set");
        assert_eq!(exit.code, Some(2), "{kind}: {}", exit.stdout);
        assert!(exit.stderr.contains(&told), "{kind}: {}", exit.stderr);
        assert_eq!(
            exit.stderr.matches("keybearer.toml:").count(),
            1,
            "{kind}: {}",
            exit.stderr
        );
        let secret = if kind == "oauth2_jwt_bearer" {
            key()
        } else {
            "s3cret".to_owned()
        };
        let setup = setup.env(variable, &secret);
        let exit = setup.run_bare(&["check"]).await;
        assert_eq!(exit.code, Some(0), "{kind}: {}\n{text}", exit.stderr);
        assert!(
            exit.stdout
                .starts_with("my.api: /my.api -> https://api.example/v1, "),
            "{}",
            exit.stdout
        );
        assert!(exit.stdout.contains(kind), "{}", exit.stdout);

        setup.write("the-secret", &secret);
        let more = [
            more,
            &[
                "--secret-file",
                "the-secret",
                "--force",
                "--prefix",
                "/other",
            ],
        ]
        .concat();
        let exit = setup.run_bare(&arguments(kind, &more)).await;
        assert_eq!(exit.code, Some(0), "{kind}: {}", exit.stderr);
        assert!(
            !exit.stderr.contains("the secret:"),
            "it is there: {}",
            exit.stderr
        );
        let exit = setup.run_bare(&["check"]).await;
        assert_eq!(exit.code, Some(0), "{kind}: {}", exit.stderr);
        for text in ["/other -> ", "the-secret"] {
            assert!(exit.stdout.contains(text), "{kind}: {}", exit.stdout);
        }
    }
}

/// What is written is what a running instance uses.
#[tokio::test]
async fn what_is_written_runs() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().env("API_TOKEN", "ours").config("conf.toml");
    let url = upstream.url("/base");
    let args = [
        "init",
        "--name",
        "api",
        "--base-url",
        &url,
        "--auth",
        "bearer",
    ];
    let exit = setup.run(&args).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    // Ports of the test's own, in the places that the comments show.
    let path = setup.path("conf.toml");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines = text.clone();
    for (shown, own) in [
        (
            "# [server]\n# listen = [\"127.0.0.1:8080\"]",
            "[server]\nlisten = [\"127.0.0.1:0\"]",
        ),
        (
            "# [admin]\n# listen = \"127.0.0.1:9080\"",
            "[admin]\nlisten = \"127.0.0.1:0\"",
        ),
    ] {
        assert!(lines.contains(shown), "{lines}");
        lines = lines.replace(shown, own);
    }
    setup.write("conf.toml", &lines);
    let keybearer: Keybearer = setup.start().await;
    assert_eq!(keybearer.get("/api/x").send().await.status, 200);
    let seen = upstream.last();
    assert_eq!(
        (seen.target(), seen.header("authorization")),
        ("/base/x", Some("Bearer ours"))
    );
}

/// The comments can be uncommented.
#[tokio::test]
async fn what_the_comments_show_loads() {
    for (kind, more, variable) in KINDS {
        let setup = Setup::new()
            .env("ACCOUNT", "a")
            .env("PIN", "1")
            .env("AWS_SESSION_TOKEN", "t");
        setup.run_bare(&arguments(kind, more)).await;
        let text = fs::read_to_string(setup.path("keybearer.toml")).unwrap();
        let is_setting = |line: &str| {
            let line = line.trim_start_matches("# ");
            line.starts_with('[')
                || line
                    .split_once(" = ")
                    .is_some_and(|(key, _)| !key.trim().contains(' '))
        };
        let lines = text
            .lines()
            .map(|line| match is_setting(line) && !line.contains("\"…\"") {
                true => line.trim_start_matches("# "),
                false => line,
            });
        let lines = lines.collect::<Vec<_>>().join("\n");
        // EC keys are another file's.
        let lines = lines.replace("algorithm   = \"ES256\"", "algorithm = \"RS256\"");
        setup.write("keybearer.toml", &lines);
        let secret = if kind == "oauth2_jwt_bearer" {
            key()
        } else {
            "s3cret".to_owned()
        };
        let setup = setup.env(variable.unwrap_or("UNUSED"), secret);
        let exit = setup.run_bare(&["check"]).await;
        assert_eq!(exit.code, Some(0), "{kind}: {}\n{lines}", exit.stderr);
    }
}

#[tokio::test]
async fn json_says_what_was_written_and_what_to_do() {
    let setup = Setup::new();
    let args = arguments("oauth2_authorization_code", KINDS[7].1);
    let exit = setup
        .run_bare(&[args, vec!["--json", "-o", "a.toml"]].concat())
        .await;
    assert_eq!((exit.code, &*exit.stderr), (Some(0), ""));
    let told: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(
        (&told["path"], &told["connection"]),
        (&"a.toml".into(), &"my.api".into())
    );
    assert_eq!(
        told["pending"][0]["key"],
        "connections.my.api.auth.client_secret.env"
    );
    let next = told["next"].as_array().unwrap().iter();
    let next: Vec<_> = next.map(|step| step["command"].as_str().unwrap()).collect();
    assert_eq!(
        next,
        [
            "export MY_API_CLIENT_SECRET=…",
            "keybearer check --config 'a.toml'",
            "keybearer run --config 'a.toml'",
            "keybearer link my.api --config 'a.toml'",
            "keybearer test my.api --config 'a.toml'",
            "curl http://127.0.0.1:8080/my.api",
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_and_leaves_nothing() {
    let setup = Setup::new();
    fs::create_dir(setup.path("folder")).unwrap();
    let good = arguments("bearer", &[]);
    let all = |more: &[&'static str]| [good.clone(), more.to_vec()].concat();
    for (args, told) in [
        (
            vec!["init"],
            "there is no terminal to ask at; give --name, --base-url, --auth as well (`keybearer init --help` has examples)",
        ),
        (
            vec![
                "init",
                "--name",
                "a",
                "--base-url",
                "https://a.example",
                "--auth",
                "aws_access_key",
            ],
            "there is no terminal to ask at; give --access-key-id as well (`keybearer init --help` has examples)",
        ),
        (
            all(&["--username", "me"]),
            "type `bearer` has no use for --username; the options that it takes are none of its own",
        ),
        (
            vec!["init", "--auth", "none", "--secret-env", "X"],
            "type `none` has no use for --secret-env and --secret-file; the options that it takes are none of its own",
        ),
        (
            all(&["--output", "folder"]),
            "`folder` is a folder; name a file in it with --output",
        ),
        (
            all(&["--output", "absent/a.toml"]),
            "there is no folder `absent`; make it first (`mkdir -p 'absent'`)",
        ),
        (
            vec![
                "init",
                "--name",
                "a b",
                "--base-url",
                "ftp://x",
                "--auth",
                "bearer",
            ],
            "nothing was written, as it would not load:\n  connections.a b: `a b` is no name for a connection\n  hint: a name has letters, digits, `_`, `-`, and `.` between them\n  connections.a b.base_url: a base URL starts with `https://` or `http://`",
        ),
        (
            all(&["--secret-env", "ghp_no-variable"]),
            "nothing was written, as it would not load:\n  connections.my.api.auth.token.env: `env` takes the name of an environment variable",
        ),
        (
            all(&["--secret-env", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"]),
            "nothing was written: a secret is named by its environment variable, and what was given looks like the secret itself; put that into a variable such as MY_API_TOKEN, and give its name",
        ),
    ] {
        let exit = setup.run_bare(&args).await;
        assert_eq!(
            (exit.code, &*exit.stdout),
            (Some(2), ""),
            "{args:?}: {}",
            exit.stderr
        );
        assert!(
            exit.stderr.starts_with(&format!("error: {told}")),
            "{args:?}: {}",
            exit.stderr
        );
        assert!(!exit.stderr.contains("ghp_"), "{}", exit.stderr);
        let left = fs::read_dir(setup.path("")).unwrap().count();
        assert_eq!(left, 1, "{args:?}: only the folder is there");
    }
    let exit = setup.run_bare(&["init", "--auth", "oauth3"]).await;
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.contains("oauth2_jwt_bearer"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_file_that_is_there_is_replaced_by_force_alone() {
    let setup = Setup::new().file("keybearer.toml", "# mine\n");
    symlink("nowhere", setup.path("link.toml")).unwrap();
    for (path, option) in [
        ("keybearer.toml", &[][..]),
        ("link.toml", &["--config", "link.toml"]),
    ] {
        let exit = setup.run_bare(&arguments("none", option)).await;
        let told = format!(
            "error: `{path}` is there already; --output names another file, --force replaces it\n"
        );
        assert_eq!((exit.code, exit.stderr), (Some(2), told));
    }
    assert_eq!(
        fs::read_to_string(setup.path("keybearer.toml")).unwrap(),
        "# mine\n"
    );
    // One that would not load takes nothing's place.
    let exit = setup
        .run_bare(&[
            "init",
            "--name",
            "a",
            "--base-url",
            "x",
            "--auth",
            "none",
            "--force",
        ])
        .await;
    assert_eq!(exit.code, Some(2));
    assert_eq!(
        fs::read_to_string(setup.path("keybearer.toml")).unwrap(),
        "# mine\n"
    );
    let exit = setup.run_bare(&arguments("none", &["--force"])).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(setup.run_bare(&["check"]).await.code, Some(0));
}
