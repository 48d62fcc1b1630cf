//! What commands say when the running instance cannot be asked, or says no: word for word, with the
//! exit code, and always what to do next.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;

use rustix::process::{Signal, geteuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{
    Answer, Exit, Gate, Keybearer, Process, Setup, Upstream, connection, eventually, free_address,
};

const NONE: &str = "auth = { type = \"none\" }";

/// The configuration is found and not named, so that messages are the same everywhere.
async fn ran(setup: &Setup, admin: &str, args: &[&str]) -> Exit {
    let text = format!(
        "[admin]\n{admin}\n{}",
        connection("jira", "http://127.0.0.1:1", NONE)
    );
    setup.write("keybearer.toml", &text);
    setup.run_bare(args).await
}

/// A server that answers every request with these bytes, or never.
async fn server(answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(answer) = answer else {
                held.push(stream);
                continue;
            };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
        }
    });
    address
}

/// The end of each message.
const NAME_IT: &str = "name the configuration that it runs with by --config";

#[tokio::test]
async fn nobody_is_there() {
    let setup = Setup::new();
    let address = free_address().to_string();
    let socket = setup.path("console.sock");
    let at_socket = format!("listen = \"unix:{}\"", socket.display());
    let shown = format!("unix:{} (admin.listen of keybearer.toml)", socket.display());
    let start = format!("start keybearer (`keybearer run`), or {NAME_IT}");
    let left = setup.path("left.sock");
    drop(UnixListener::bind(&left).unwrap());
    let cases = [
        (
            format!("listen = \"{address}\""),
            format!("nobody listens at {address} (admin.listen of keybearer.toml); {start}"),
        ),
        (at_socket, format!("there is no socket at {shown}; {start}")),
        (
            format!("listen = \"unix:{}\"", left.display()),
            format!(
                "nobody listens at unix:{} (admin.listen of keybearer.toml) any more; {start}",
                left.display()
            ),
        ),
        (
            "listen = \"off\"".to_owned(),
            "admin.listen is \"off\" in keybearer.toml: the running instance cannot be asked; set it to an address such as \"127.0.0.1:9080\", and start keybearer again".to_owned(),
        ),
    ];
    for (admin, told) in &cases {
        for args in [
            &["status"][..],
            &["status", "--json"],
            &["link", "jira"],
            &["link", "jira", "--json"],
        ] {
            let exit = ran(&setup, admin, args).await;
            assert_eq!(exit.stderr, format!("error: {told}\n"), "{args:?}");
            assert_eq!((exit.code, &*exit.stdout), (Some(2), ""), "{args:?}");
        }
        // These do it themselves, and say why.
        for args in [&["test", "jira"][..], &["check", "--connect"]] {
            let exit = ran(&setup, admin, args).await;
            let first = exit.stderr.lines().next().unwrap_or_default();
            assert_eq!(first, format!("Tried from here: {told}."), "{args:?}");
            assert_eq!(exit.code, Some(1), "nobody is upstream, either: {args:?}");
        }
    }
    // A configuration that was named is named again.
    let exit = setup.run(&["status"]).await;
    assert_eq!(exit.code, Some(2));
    let start = format!("run --config {}`", setup.path("keybearer.toml").display());
    assert!(exit.stderr.contains(&start), "{}", exit.stderr);
}

#[tokio::test]
async fn a_socket_of_another_user_says_whose_it_is() {
    // To root every socket is open: the command is then run as somebody else.
    let setup = Setup::new().copied("keybearer");
    let socket = setup.path("console.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o000)).unwrap();
    let text = format!("[admin]\nlisten = \"unix:{}\"\n", socket.display());
    setup.write("keybearer.toml", &text);
    for (name, mode) in [("", 0o755), ("keybearer", 0o755), ("keybearer.toml", 0o644)] {
        fs::set_permissions(setup.path(name), Permissions::from_mode(mode)).unwrap();
    }
    let mut command = setup.command(&["status"]);
    if geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let exit = Process::run(&mut command).await;
    let told = format!(
        "error: this user may not use the socket at unix:{} (admin.listen of keybearer.toml); run this command as the user that keybearer runs as (`sudo -u '#{}' …`)\n",
        socket.display(),
        geteuid().as_raw()
    );
    assert_eq!((exit.code, exit.stderr), (Some(2), told));
}

#[tokio::test]
async fn what_answers_is_no_console() {
    let setup = Setup::new();
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&connection("p", &upstream.url(""), NONE)).await;
    let web = server(Some(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    ));
    let web = web.await;
    let mail = server(Some(b"220 mail.example ESMTP\r\n")).await;
    let closing = server(Some(b"")).await;
    let silent = server(None).await;
    let proxy = keybearer.proxy().to_string();
    let free = format!("set admin.listen to a free port and start keybearer, or {NAME_IT}");
    for (address, told) in [
        (
            &web,
            format!("what answers at AT is no keybearer: it answers with 404 Not Found; {free}"),
        ),
        (
            &mail,
            format!("what answers at AT is no keybearer: it answers with what is no HTTP; {free}"),
        ),
        (
            &closing,
            "the instance at AT ended the connection instead of answering (connection closed before message completed); it may just be ending: try again".to_owned(),
        ),
        (
            &silent,
            "the instance at AT has not answered for 300ms; look at its log, or wait longer with --timeout".to_owned(),
        ),
        (
            &proxy,
            format!("AT is answered by keybearer, but not by its console: no connection has this path or host; {NAME_IT}"),
        ),
    ] {
        let at = format!("{address} (admin.listen of keybearer.toml)");
        let told = format!("error: {}\n", told.replace("AT", &at));
        for args in [&["status"][..], &["link", "jira"]] {
            let args = [args, &["--timeout", "300ms"]].concat();
            let exit = ran(&setup, &format!("listen = \"{address}\""), &args).await;
            if address == &proxy {
                // What the proxy says of a path is its own affair.
                assert!(exit.stderr.contains("but not by its console: "), "{}", exit.stderr);
                assert!(exit.stderr.ends_with(&format!("; {NAME_IT}\n")), "{}", exit.stderr);
            } else {
                assert_eq!(exit.stderr, told, "{args:?}");
            }
            assert_eq!((exit.code, &*exit.stdout), (Some(2), ""), "{args:?}");
        }
    }
    assert_eq!(upstream.count(), 0);
}

/// A foreign server gets to see no token: it is only sent to whom answers as a console does.
#[tokio::test]
async fn a_stranger_gets_no_token() {
    let stranger = Upstream::start().await;
    let setup = Setup::new();
    let admin = format!(
        "listen = \"{}\"\ntoken = \"canary-admin\"",
        stranger.address()
    );
    let exit = ran(&setup, &admin, &["status"]).await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    let seen = stranger.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), None);
    assert!(!exit.stderr.contains("canary"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_token_that_is_wrong_or_missing_is_told() {
    let setup = Setup::new().admin("token = \"canary-right\"");
    let keybearer = setup
        .tables(&connection("jira", "http://127.0.0.1:1", NONE))
        .start()
        .await;
    let listen = keybearer.console();
    let asking = Setup::new();
    let none = format!(
        "the instance at {listen} asks for a token, and keybearer.toml has no admin.token that could be read; {NAME_IT}"
    );
    let wrong = format!(
        "the instance at {listen} does not take the admin.token of keybearer.toml; {NAME_IT}, or give the token that it was started with"
    );
    let unset = format!(
        "{none}\nThe configuration that says where and how to ask has mistakes; mend them first:\nkeybearer.toml:3:17: environment variable `ABSENT_TOKEN` is not set\n    3 | token = {{ env = \"ABSENT_TOKEN\" }}"
    );
    for (token, told) in [
        ("", &none),
        ("token = \"canary-wrong\"", &wrong),
        ("token = { env = \"ABSENT_TOKEN\" }", &unset),
    ] {
        let admin = format!("listen = \"{listen}\"\n{token}");
        for args in [
            &["status"][..],
            &["status", "--json"],
            &["link", "jira"],
            &["test", "jira"],
            &["external-id"],
        ] {
            let exit = ran(&asking, &admin, args).await;
            assert_eq!(exit.stderr, format!("error: {told}\n"), "{args:?}");
            assert_eq!((exit.code, &*exit.stdout), (Some(2), ""), "{args:?}");
        }
    }
    let admin = format!("listen = \"{listen}\"\ntoken = \"canary-wrong\"");
    let exit = ran(&asking, &admin, &["check", "--connect"]).await;
    assert_eq!(
        (exit.code, exit.stderr),
        (Some(2), format!("error: {wrong}\n"))
    );
    let admin = format!("listen = \"{listen}\"\ntoken = \"canary-right\"");
    let exit = ran(&asking, &admin, &["status"]).await;
    assert_eq!((exit.code, &*exit.stderr), (Some(0), ""), "{}", exit.stdout);
}

#[tokio::test]
async fn a_configuration_that_does_not_tell_where_to_ask() {
    let setup = Setup::new();
    let exit = setup.run_bare(&["status", "--config", "absent.toml"]).await;
    let told = "error: no configuration at `absent.toml`\n";
    assert_eq!((exit.code, &*exit.stderr), (Some(2), told));
    let exit = ran(&setup, "listen = \"nowhere\"", &["status"]).await;
    assert_eq!(exit.code, Some(2));
    let lead = "error: it cannot be told where the running instance is\nThe configuration that says where and how to ask has mistakes; mend them first:\nkeybearer.toml:2:10: ";
    assert!(exit.stderr.starts_with(lead), "{}", exit.stderr);
    // What is wrong with connections is none of its business, but what is no TOML may be.
    let address = free_address();
    let admin = format!("listen = \"{address}\"\n[connections.x]\nbase_ulr = 1\n[connections.y");
    let exit = ran(&setup, &admin, &["status"]).await;
    let lead = format!("error: nobody listens at {address} (admin.listen of keybearer.toml)");
    assert!(exit.stderr.starts_with(&lead), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("\nkeybearer.toml:5:"),
        "{}",
        exit.stderr
    );
    assert!(!exit.stderr.contains("base_ulr"), "{}", exit.stderr);
    assert_eq!(exit.code, Some(2));
}

#[tokio::test]
async fn a_connection_that_is_not_there_is_suggested_or_explained() {
    let upstream = Upstream::start().await;
    let tables = connection("jira", &upstream.url(""), NONE)
        + &connection("git", "http://127.0.0.1:1", NONE);
    let keybearer = Setup::new()
        .admin(&format!("listen = \"{}\"", free_address()))
        .tables(&tables)
        .start()
        .await;
    let path = keybearer.setup().path("keybearer.toml");
    let path = path.display();
    let told = async |args: &[&str]| {
        let exit = keybearer.spawn(args).exit().await;
        assert_eq!((exit.code, &*exit.stdout), (Some(1), ""), "{}", exit.stderr);
        exit.stderr
    };
    for command in ["test", "link"] {
        for (name, text) in [
            ("jria", "`jria`; did you mean `jira`?"),
            ("other", "`other`; there is `git`, `jira`"),
        ] {
            let text = format!("error: the running instance has no connection {text}\n");
            assert_eq!(told(&[command, name]).await, text);
            assert_eq!(told(&[command, name, "--json"]).await, text);
        }
    }

    // In the file, but the instance could not take it.
    let setup = keybearer.setup();
    let more = format!(
        "{tables}[connections.new]\nbase_url = \"http://127.0.0.1:1\"\nretries = -1\n{NONE}\n"
    );
    let text = setup.text_with(&more);
    let line = 1 + text
        .lines()
        .position(|line| line == "retries = -1")
        .unwrap();
    setup.replace("keybearer.toml", &text);
    assert_eq!(keybearer.reload().await.status, 422);
    let status = keybearer.ask("GET", "/api/status").send().await.json();
    let at = status["reload"]["at"].as_str().unwrap();
    let rejected = format!("{at}: {path}:{line}:11: `retries` is a number from 0 to 10");
    let lead = format!(
        "error: connection `new` is in {path}, but the running instance does not have it: "
    );
    for command in ["test", "link"] {
        let told = told(&[command, "new"]).await;
        // What it says of an older configuration comes first where there is something to send.
        let told = told.lines().last().unwrap();
        assert_eq!(
            told,
            format!(
                "{lead}it goes on with an older configuration, as its last reload was rejected at {rejected}; mend what `keybearer check` lists"
            )
        );
    }
    let exit = keybearer.spawn(&["status"]).exit().await;
    let warning = format!(
        "warning: the instance goes on with an older configuration, as its last reload was rejected at {rejected}; mend what `keybearer check` lists\n"
    );
    assert_eq!((exit.code, exit.stderr), (Some(0), warning.clone()));
    let exit = keybearer.spawn(&["test", "jira"]).exit().await;
    assert_eq!((exit.code, exit.stderr), (Some(0), warning));

    // In a file that the instance does not run with.
    let admin = format!("[admin]\nlisten = \"{}\"\n", keybearer.console());
    let other = admin + &connection("elsewhere", "http://127.0.0.1:1", NONE);
    setup.write("other.toml", &other);
    let exit = setup
        .run_bare(&["test", "elsewhere", "--config", "other.toml"])
        .await;
    let last = format!(
        "error: connection `elsewhere` is in other.toml, but the running instance does not have it: it runs with {path}; add the connection there, or start an instance with this configuration"
    );
    assert_eq!(exit.code, Some(1));
    assert_eq!(exit.stderr.lines().last(), Some(&*last), "{}", exit.stderr);
    let check = ["check", "--connect", "--config", "other.toml"];
    let exit = setup.run_bare(&check).await;
    let failed = last.replacen("error: ", "  failed: ", 1);
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(exit.stdout.ends_with(&(failed + "\n")), "{}", exit.stdout);
}

#[tokio::test]
async fn an_instance_that_is_ending_says_so() {
    let upstream = Upstream::start().await;
    let gate = Gate::new();
    let held = Answer::fields("").behind(&gate);
    upstream.on("/held", held);
    let mut keybearer = Setup::new()
        .admin(&format!("listen = \"{}\"", free_address()))
        .tables(&connection("p", &upstream.url(""), NONE))
        .start()
        .await;
    let mut caller = keybearer.caller().await;
    caller.send(keybearer.get("/p/held").bytes()).await;
    upstream.wait_for_requests(1).await;
    keybearer.signal(Signal::TERM);
    let draining = async || {
        let exit = keybearer.spawn(&["status"]).exit().await;
        (exit.code == Some(1)).then_some(exit)
    };
    let exit = eventually("a drain", draining).await;
    assert_eq!(
        exit.stderr,
        "warning: the instance is ending: it takes no more requests\n"
    );
    assert!(exit.stdout.contains("p "), "{}", exit.stdout);
    gate.open();
    assert_eq!(keybearer.exit().await.code, Some(0));
}
