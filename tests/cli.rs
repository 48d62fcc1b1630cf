//! Section 1: the command line.

mod checks;
mod failures;
mod init;
mod instance;
mod shutdown;
mod terminals;
mod trials;
mod watch;

use crate::harness::{Process, Setup, Upstream, connection, executable};

fn table(name: &str) -> String {
    connection(
        name,
        "http://127.0.0.1:1/base",
        "auth = { type = \"none\" }",
    )
}

#[tokio::test]
async fn help_teaches() {
    let setup = Setup::new();
    for args in [&["--help"][..], &["-h"], &["help"]] {
        let exit = setup.run_bare(args).await;
        assert_eq!(exit.code, Some(0), "{args:?}: {}", exit.stderr);
        for word in [
            "run",
            "check",
            "completions",
            "--config",
            "KEYBEARER_CONFIG",
        ] {
            assert!(
                exit.stdout.contains(word),
                "{args:?}: no {word} in {}",
                exit.stdout
            );
        }
    }
    for command in [
        "run",
        "init",
        "check",
        "test",
        "link",
        "external-id",
        "status",
        "agent",
        "completions",
    ] {
        let exit = setup.run_bare(&[command, "--help"]).await;
        assert_eq!(exit.code, Some(0), "{command}");
        for text in ["Usage", "Examples:\n  ", &format!("keybearer {command}")] {
            assert!(exit.stdout.contains(text), "{command}: {}", exit.stdout);
        }
    }
    let exit = setup.run_bare(&["--version"]).await;
    assert_eq!(exit.code, Some(0));
    assert!(
        exit.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{}",
        exit.stdout
    );
}

#[tokio::test]
async fn what_is_not_understood_exits_with_2() {
    let setup = Setup::new();
    for args in [
        &["unknown"][..],
        &["--unknown"],
        &["check", "--unknown"],
        &["run", "--log-format", "yaml"],
        &["run", "--log-level", "loud"],
        &["completions", "tcl"],
        &["completions"],
        &["check", "--config", "absent.toml"],
        &["run", "--config", "absent.toml"],
    ] {
        let exit = setup.run_bare(args).await;
        assert_eq!(exit.code, Some(2), "{args:?}: {}", exit.stderr);
        assert!(
            !exit.stderr.is_empty() && exit.stdout.is_empty(),
            "{args:?}"
        );
        let named = args.iter().rev().any(|arg| exit.stderr.contains(arg));
        assert!(named, "{args:?}: {}", exit.stderr);
    }
}

#[tokio::test]
async fn completions_are_scripts_of_their_shell() {
    let setup = Setup::new();
    for (shell, mark) in [
        ("bash", "complete "),
        ("zsh", "#compdef keybearer"),
        ("fish", "complete -c keybearer"),
    ] {
        let exit = setup.run_bare(&["completions", shell]).await;
        assert_eq!(exit.code, Some(0), "{shell}: {}", exit.stderr);
        assert!(exit.stdout.contains(mark), "{shell}: {}", exit.stdout);
        for word in ["check", "init", "secret-env", "status", "watch", "interval"] {
            assert!(exit.stdout.contains(word), "{shell}: no {word}");
        }
    }
}

#[tokio::test]
async fn the_configuration_is_searched_in_order() {
    let setup = Setup::new();
    let shown = async |setup: &Setup, args: &[&str], wanted: &str| {
        let exit = setup.run_bare(args).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        let first = format!("/{wanted}");
        assert!(
            exit.stdout.contains(&first),
            "not {wanted}: {}",
            exit.stdout
        );
        let lines = exit
            .stdout
            .lines()
            .filter(|line| line.contains("/base") || line.contains("echo"));
        assert_eq!(lines.count(), 1, "{}", exit.stdout);
    };
    // From the last place to the first; each new one hides those before.
    shown(&setup, &["check"], "echo").await;
    setup.write("config/keybearer.toml", &table("in-config"));
    shown(&setup, &["check"], "in-config").await;
    setup.write("keybearer.toml", &table("here"));
    shown(&setup, &["check"], "here").await;
    setup.write("env.toml", &table("from-env"));
    let setup = setup.env("KEYBEARER_CONFIG", "env.toml");
    shown(&setup, &["check"], "from-env").await;
    setup.write("arg.toml", &table("from-arg"));
    shown(&setup, &["check", "--config", "arg.toml"], "from-arg").await;
    shown(&setup, &["--config", "arg.toml", "check"], "from-arg").await;
}

#[tokio::test]
async fn a_configuration_that_is_named_must_be_there() {
    let setup = Setup::new().file("keybearer.toml", &table("here"));
    let setup = setup.env("KEYBEARER_CONFIG", "absent.toml");
    let exit = setup.run_bare(&["check"]).await;
    assert_eq!(exit.code, Some(2), "no falling back: {}", exit.stdout);
    assert!(exit.stderr.contains("absent.toml"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_folder_is_merged() {
    let setup = Setup::new()
        .file("conf/a.toml", &table("a"))
        .file("conf/b.toml", &table("b"))
        .file("conf/notes.txt", "not = [toml")
        .config("conf");
    let exit = setup.run(&["check"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains("/a") && exit.stdout.contains("/b"));
    setup.write("conf/c.toml", &table("a"));
    let exit = setup.run(&["check"]).await;
    assert_eq!(exit.code, Some(2), "a name twice: {}", exit.stdout);
    for file in ["a.toml", "c.toml"] {
        assert!(exit.stderr.contains(file), "{file}: {}", exit.stderr);
    }
}

#[tokio::test]
async fn included_files_are_relative_to_the_one_that_names_them() {
    let setup = Setup::new()
        .file(
            "conf/main.toml",
            &format!("include = [\"more/*.toml\"]\n{}", table("a")),
        )
        .file("conf/more/b.toml", &table("b"))
        .config("conf/main.toml");
    let exit = setup.run(&["check"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(exit.stdout.contains("/a") && exit.stdout.contains("/b"));
    setup.write("conf/more/c.toml", &table("b"));
    let exit = setup.run(&["check"]).await;
    assert_eq!(exit.code, Some(2), "a name twice: {}", exit.stdout);
}

#[tokio::test]
async fn the_built_in_upstream_echoes() {
    let text = "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n\
        [connections.echo]\nbase_url = \"builtin:echo\"\nauth = { type = \"basic\", username = \"demo\", password = \"ours\" }\n";
    let setup = Setup::new().file("echo.toml", text).config("echo.toml");
    let keybearer = setup.start().await;
    let request = keybearer
        .post("/echo/hello?x=1&y")
        .header("Authorization", "Bearer mine")
        .header("X-Tag", "kept");
    let response = request.body("text/plain", "content").send().await;
    assert_eq!(response.status, 200);
    let echo = response.json();
    assert_eq!(echo["method"], "POST");
    assert_eq!(echo["path"], "/hello");
    assert_eq!(echo["query"], "x=1&y");
    assert_eq!(echo["body"], "content");
    let fields = echo["headers"].as_array().expect("a list of pairs");
    let values = |name: &str| {
        let same = fields
            .iter()
            .filter(|field| field[0].as_str().unwrap().eq_ignore_ascii_case(name));
        same.map(|field| field[1].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let ours = format!("Basic {}", crate::harness::base64("demo:ours"));
    assert_eq!(values("authorization"), [ours]);
    assert_eq!(values("x-tag"), ["kept"]);
    let response = keybearer
        .post("/echo")
        .body("application/octet-stream", [0xff, 0])
        .send()
        .await;
    assert_eq!(response.json()["body_base64"], "/wA=");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = Upstream::start().await;
    let address = taken.address().to_string();
    for setup in [
        Setup::new().server(&format!("listen = [\"{address}\"]")),
        Setup::new()
            .file(
                "taken.toml",
                &format!(
                    "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"{address}\"\n{}",
                    table("p")
                ),
            )
            .config("taken.toml"),
    ] {
        let exit = setup.tables(&table("p")).run(&["run"]).await;
        assert_eq!(exit.code, Some(2), "{}", exit.stderr);
        assert!(exit.stderr.contains(&address), "{}", exit.stderr);
        assert!(
            exit.stderr.to_lowercase().contains("in use"),
            "{}",
            exit.stderr
        );
        assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    }
}

#[tokio::test]
async fn no_command_is_run() {
    // A port in use shows that it was about to serve, without a port of its own.
    let taken = Upstream::start().await;
    let address = taken.address().to_string();
    let setup = Setup::new().server(&format!("listen = [\"{address}\"]"));
    let exit = setup.tables(&table("p")).run(&[]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains(&address), "{}", exit.stderr);
}

#[tokio::test]
async fn logs_go_to_standard_error_in_the_asked_format() {
    let upstream = Upstream::start().await;
    let rest = "auth = { type = \"none\" }";
    let tables = connection("p", &upstream.url("/base"), rest);
    for text in [false, true] {
        let setup = Setup::new().tables(&tables);
        let setup = if text { setup.text_logs() } else { setup };
        let mut keybearer = setup.start().await;
        keybearer
            .get("/p/x/y?secret=1")
            .header("X-Note", "1")
            .send()
            .await;
        let line = keybearer.logged(&["/p/x/y", "GET", "200"]).await;
        assert!(!line.contains("secret"), "the query is not logged: {line}");
        if !text {
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            let field = |name: &str| line["fields"].get(name).or(line.get(name)).cloned();
            assert_eq!(field("connection").unwrap(), "p");
            assert_eq!(field("method").unwrap(), "GET");
        }
        keybearer.signal(rustix::process::Signal::TERM);
        let exit = keybearer.exit().await;
        assert!(exit.stdout.is_empty(), "{}", exit.stdout);
        if !text {
            for line in exit.stderr.lines() {
                let parsed = serde_json::from_str::<serde_json::Value>(line);
                assert!(parsed.is_ok(), "not JSON: {line}");
            }
        }
    }
}

#[tokio::test]
async fn access_lines_can_be_switched_off() {
    let upstream = Upstream::start().await;
    let tables = connection("p", &upstream.url("/base"), "auth = { type = \"none\" }");
    let tables = format!("[log]\naccess = false\n{tables}");
    let mut keybearer = Setup::new().tables(&tables).start().await;
    assert_eq!(keybearer.get("/p/unlogged").send().await.status, 200);
    keybearer.signal(rustix::process::Signal::TERM);
    let exit = keybearer.exit().await;
    assert!(!exit.stderr.contains("unlogged"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_closed_standard_output_is_no_panic() {
    let setup = Setup::new().file("keybearer.toml", &table("p"));
    let mut command = std::process::Command::new("sh");
    let script = format!("{} completions bash | head -c 1", executable().display());
    let exit = Process::run(command.current_dir(setup.path("")).args(["-c", &script])).await;
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_checkout_that_the_group_may_write_serves_the_default() {
    // Git checks out with the umask of its user, which may well be 002.
    let setup = Setup::new().file("keybearer.toml", keybearer::config::source::EMBEDDED);
    let path = setup.path("keybearer.toml");
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o664);
    std::fs::set_permissions(&path, writable).unwrap();
    assert_eq!(setup.run_bare(&["check"]).await.code, Some(0));
    let changed = format!("{}\n# changed", keybearer::config::source::EMBEDDED);
    std::fs::write(&path, changed).unwrap();
    let exit = setup.run_bare(&["check"]).await;
    assert_eq!(exit.code, Some(2));
    assert!(exit.stderr.contains("chmod"), "{}", exit.stderr);
}
