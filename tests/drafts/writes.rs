//! Drafts that are written into the configuration: whole, never over anything, and only where that is
//! allowed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{CANARY, bearer, create, fields, instance, plain};
use crate::harness::{Keybearer, RawClient, Response, Setup, Upstream, connection};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The names in a folder.
fn names(path: &Path) -> Vec<String> {
    let files = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Asserts that a connection was written, and is in force.
async fn written(
    keybearer: &Keybearer,
    response: &Response,
    name: &str,
    upstream: &Upstream,
) -> Value {
    assert_eq!(response.status, 201, "{response:?}");
    let place = format!("/connections/{name}");
    assert_eq!(response.header("location"), Some(&*place));
    let told = response.json();
    assert!(told["generation"].as_u64().unwrap() > 1, "{told}");
    let answer = keybearer.get(&format!("/{name}/x")).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(upstream.last().target(), "/base/x");
    told
}

#[tokio::test]
async fn without_leave_nothing_is_written() {
    let upstream = Upstream::start().await;
    for line in ["", "allow_edit = false"] {
        let keybearer = instance(&upstream).await.admin(line).start().await;
        let before = keybearer.setup().text();
        let response = create(&keybearer, &plain("x", &upstream.url("/base"))).await;
        let detail = response.problem(403, "edit-refused", "http_request_denied");
        assert!(detail.contains("allow_edit = true"), "{detail}");
        let path = keybearer.setup().path("keybearer.toml");
        assert_eq!(fs::read_to_string(path).unwrap(), before);
    }
}

#[tokio::test]
async fn who_goes_away_leaves_no_writer_beside_another() {
    let upstream = Upstream::start().await;
    let setup = instance(&upstream).await.admin("allow_edit = true");
    let keybearer = setup.start().await;
    for n in 0..20_u64 {
        let request = keybearer.ask("POST", "/api/connections");
        let draft = plain(&format!("n{n}"), &upstream.url("/base")).to_string();
        let request = request.body("application/json", draft);
        let mut client = RawClient::connect(keybearer.console()).await;
        client.send(request.bytes()).await;
        tokio::time::sleep(Duration::from_millis(n)).await;
    }
    // Whoever comes last has waited for all that were begun.
    let last = plain("last", &upstream.url("/base"));
    assert_eq!(create(&keybearer, &last).await.status, 201);
    let path = keybearer.setup().path("keybearer.toml");
    let text = fs::read_to_string(path).unwrap();
    let log = keybearer.log();
    let written = |name: &str| log.contains(&format!("\"connection\":\"{name}\",\"file\""));
    assert!(written("last"), "{log}");
    for n in 0..20 {
        let table = format!("[connections.n{n}]");
        assert_eq!(
            text.contains(&table),
            written(&format!("n{n}")),
            "{table}: {text}"
        );
    }
}

#[tokio::test]
async fn a_file_gets_more_at_its_end() {
    let upstream = Upstream::start().await;
    let setup = instance(&upstream).await.admin("allow_edit = true");
    let before = setup.text() + "# the last line, without an end";
    let setup = setup
        .file("own.toml", &before)
        .config("own.toml")
        .env("OWN", CANARY);
    let path = setup.path("own.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let keybearer = setup.start().await;
    let draft = bearer("x", &upstream.url("/base"), &json!({ "env": "OWN" }));
    let response = create(&keybearer, &draft).await;
    let told = written(&keybearer, &response, "x", &upstream).await;
    assert_eq!(told["file"], path.canonicalize().unwrap().to_str().unwrap());
    let own = format!("Bearer {CANARY}");
    assert_eq!(upstream.last().header("authorization"), Some(&*own));
    let after = fs::read_to_string(&path).unwrap();
    let rest = after
        .strip_prefix(&before)
        .expect("what was there, byte for byte");
    assert!(
        rest.starts_with("\n\n# ") && rest.contains("[connections.x]"),
        "{rest}"
    );
    assert!(!after.contains(CANARY) && !keybearer.log().contains(CANARY));
    assert_eq!(mode(&path), 0o640);
    assert_eq!(
        names(&keybearer.setup().path(""))
            .iter()
            .filter(|name| name.ends_with(".new"))
            .count(),
        0
    );
    // And one more.
    let response = create(&keybearer, &plain("y", &upstream.url("/base"))).await;
    written(&keybearer, &response, "y", &upstream).await;
    assert!(fs::read_to_string(&path).unwrap().starts_with(&after));
    let again = create(&keybearer, &plain("y", &upstream.url("/base"))).await;
    again.problem(422, "config-rejected", "proxy_configuration_error");
    assert!(fields(&again.json()).contains(&"name"), "{again:?}");
}

#[tokio::test]
async fn a_link_stays_one_and_its_file_keeps_its_owner() {
    let upstream = Upstream::start().await;
    let setup = instance(&upstream).await.admin("allow_edit = true");
    let text = setup.text();
    let setup = setup
        .file("real/k.toml", &text)
        .file("token", "beside the link");
    symlink("real/k.toml", setup.path("link.toml")).unwrap();
    let real = setup.path("real/k.toml");
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&real, Some(65532), Some(65532)).unwrap();
    }
    let keybearer = setup.config("link.toml").start().await;
    let draft = bearer("x", &upstream.url("/base"), &json!({ "file": "token" }));
    let response = create(&keybearer, &draft).await;
    written(&keybearer, &response, "x", &upstream).await;
    let sent = upstream.last();
    assert_eq!(sent.header("authorization"), Some("Bearer beside the link"));
    let link = keybearer.setup().path("link.toml");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&real).unwrap().starts_with(&text));
    if is_root {
        let owned = fs::metadata(&real).unwrap();
        assert_eq!((owned.uid(), owned.gid()), (65532, 65532));
    }
    assert_eq!(mode(&real), 0o600);
}

/// An instance whose configuration is a folder.
async fn in_a_folder(upstream: &Upstream) -> Setup {
    let setup = instance(upstream).await.admin("allow_edit = true");
    let text = setup.text();
    setup.file("conf/10-main.toml", &text).config("conf")
}

#[tokio::test]
async fn a_folder_gets_a_file_of_its_own() {
    let upstream = Upstream::start().await;
    let setup = in_a_folder(&upstream).await.file("conf/token", "beside");
    let keybearer = setup.start().await;
    let folder = keybearer.setup().path("conf");
    let draft = bearer("x.y", &upstream.url("/base"), &json!({ "file": "token" }));
    let response = create(&keybearer, &draft).await;
    written(&keybearer, &response, "x.y", &upstream).await;
    assert_eq!(
        upstream.last().header("authorization"),
        Some("Bearer beside")
    );
    assert_eq!(names(&folder), ["10-main.toml", "token", "x.y.toml"]);
    assert_eq!(mode(&folder.join("x.y.toml")), 0o600);

    // What is in the way stays as it is, whatever it is.
    fs::write(folder.join("taken.toml"), "# mine\n").unwrap();
    let response = create(&keybearer, &plain("taken", &upstream.url("/base"))).await;
    let detail = response.problem(409, "config-not-writable", "proxy_configuration_error");
    assert!(detail.contains("taken.toml"), "{detail}");
    assert_eq!(
        fs::read_to_string(folder.join("taken.toml")).unwrap(),
        "# mine\n"
    );
    let response = create(&keybearer, &plain(".hidden", &upstream.url("/base"))).await;
    response.problem(409, "config-not-writable", "proxy_configuration_error");
    let response = create(&keybearer, &plain("../outside", &upstream.url("/base"))).await;
    response.problem(422, "config-rejected", "proxy_configuration_error");
    assert_eq!(
        names(&folder),
        ["10-main.toml", "taken.toml", "token", "x.y.toml"]
    );
}

#[tokio::test]
async fn where_it_cannot_be_written_that_is_told() {
    let upstream = Upstream::start().await;
    // A folder that is mounted read-only.
    let setup = in_a_folder(&upstream).await;
    let folder = setup.path("conf");
    let script = format!(
        "mount --bind '{0}' '{0}' && mount -o remount,bind,ro '{0}' && exec \"$0\" \"$@\"",
        folder.display()
    );
    let keybearer = setup
        .wrapped(&["unshare", "-m", "sh", "-c", &script])
        .start()
        .await;
    let response = create(&keybearer, &plain("x", &upstream.url("/base"))).await;
    let detail = response.problem(409, "config-not-writable", "proxy_configuration_error");
    assert!(detail.contains("read-only"), "{detail}");
    assert_eq!(names(&folder), ["10-main.toml"]);

    // A file that its owner does not want to be written to.
    let setup = instance(&upstream).await.admin("allow_edit = true");
    let text = setup.text();
    let setup = setup.file("own.toml", &text).config("own.toml");
    let path = setup.path("own.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    let keybearer = setup.start().await;
    let response = create(&keybearer, &plain("x", &upstream.url("/base"))).await;
    let detail = response.problem(409, "config-not-writable", "proxy_configuration_error");
    assert!(detail.contains("paste the TOML"), "{detail}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);

    // A file that is mounted by itself.
    let setup = instance(&upstream).await.admin("allow_edit = true");
    let text = setup.text();
    let setup = setup.file("own.toml", &text).config("own.toml");
    let path = setup.path("own.toml");
    let script = format!(
        "mount --bind '{0}' '{0}' && exec \"$0\" \"$@\"",
        path.display()
    );
    let keybearer = setup
        .wrapped(&["unshare", "-m", "sh", "-c", &script])
        .start()
        .await;
    let response = create(&keybearer, &plain("x", &upstream.url("/base"))).await;
    let detail = response.problem(409, "config-not-writable", "proxy_configuration_error");
    assert!(detail.contains("mounted by itself"), "{detail}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn what_is_not_good_is_not_written() {
    let upstream = Upstream::start().await;
    let setup = instance(&upstream).await.admin("allow_edit = true");
    let keybearer = setup.start().await;
    let path = keybearer.setup().path("keybearer.toml");
    let before = fs::read_to_string(&path).unwrap();
    let base = upstream.url("/base");
    let given = |mut draft: Value| {
        draft["values"] = json!({ "auth.token": CANARY });
        draft
    };
    for (draft, field) in [
        (plain("p", &base), "name"),
        (plain("x", "nothing"), "base_url"),
        (
            bearer("x", &base, &json!({ "env": "ABSENT" })),
            "auth.token",
        ),
        // What was typed in to try it is no part of it.
        (
            given(bearer("x", &base, &json!({ "env": "ABSENT" }))),
            "auth.token",
        ),
        (
            given(bearer("x", &base, &json!({ "file": "absent" }))),
            "auth.token",
        ),
    ] {
        let response = create(&keybearer, &draft).await;
        response.problem(422, "config-rejected", "proxy_configuration_error");
        let told = response.json();
        assert!(fields(&told).contains(&field), "{told}");
        assert!(!told.to_string().contains(CANARY), "{told}");
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_table_that_does_not_fit_behind_the_file_is_not_written() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().admin("allow_edit = true");
    let inline = format!(
        "connections = {{ p = {{ base_url = \"{}\" }} }}",
        upstream.url("")
    );
    let setup = setup.top(&inline);
    let keybearer = setup.start().await;
    let path = keybearer.setup().path("keybearer.toml");
    let before = fs::read_to_string(&path).unwrap();
    let response = create(&keybearer, &plain("x", &upstream.url("/base"))).await;
    response.problem(422, "config-rejected", "proxy_configuration_error");
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
}

#[tokio::test]
async fn what_cannot_be_put_in_force_is_taken_back() {
    let upstream = Upstream::start().await;
    // A store that is needed for the first time, and cannot be opened.
    let store = "[store]\npath = \"/proc/none/store\"\n";
    let person = json!({ "name": "x", "base_url": upstream.url("/base"), "auth": {
        "type": "oauth2_authorization_code", "authorization_url": "https://a.example",
        "token_url": "https://a.example", "client_id": "a", "client_auth": "none" } });
    let setup = instance(&upstream)
        .await
        .admin("allow_edit = true")
        .tables(store);
    let keybearer = setup.start().await;
    let path = keybearer.setup().path("keybearer.toml");
    let before = fs::read_to_string(&path).unwrap();
    let response = create(&keybearer, &person).await;
    response.problem(422, "config-rejected", "proxy_configuration_error");
    assert!(
        response.text().contains("nothing was written"),
        "{response:?}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), before);

    let setup = in_a_folder(&upstream).await;
    let setup = setup.file("conf/20-store.toml", store);
    let keybearer = setup.start().await;
    let response = create(&keybearer, &person).await;
    response.problem(422, "config-rejected", "proxy_configuration_error");
    let folder = keybearer.setup().path("conf");
    assert_eq!(names(&folder), ["10-main.toml", "20-store.toml"]);
}

#[tokio::test]
async fn of_two_that_write_the_same_name_one_wins() {
    let upstream = Upstream::start().await;
    for setup in [
        in_a_folder(&upstream).await,
        instance(&upstream).await.admin("allow_edit = true"),
    ] {
        let keybearer = setup.start().await;
        let draft = plain("x", &upstream.url("/base"));
        let (a, b, c) = tokio::join!(
            create(&keybearer, &draft),
            create(&keybearer, &draft),
            create(&keybearer, &draft)
        );
        let mut statuses = [a.status, b.status, c.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 422, 422], "{a:?} {b:?} {c:?}");
        assert_eq!(keybearer.get("/x/x").send().await.status, 200);
        // Others go through side by side.
        let drafts: Vec<_> = (0..4)
            .map(|n| plain(&format!("n{n}"), &upstream.url("/base")))
            .collect();
        let all =
            futures_util::future::join_all(drafts.iter().map(|draft| create(&keybearer, draft)));
        for response in all.await {
            assert_eq!(response.status, 201, "{response:?}");
        }
        for n in 0..4 {
            assert_eq!(keybearer.get(&format!("/n{n}/x")).send().await.status, 200);
        }
    }
}

#[tokio::test]
async fn without_a_console_there_is_nothing_to_allow() {
    let upstream = Upstream::start().await;
    let exit = Setup::new()
        .admin("listen = \"off\"")
        .admin("allow_edit = true")
        .tables(&connection("p", &upstream.url(""), ""))
        .run(&["check"])
        .await;
    assert_eq!(exit.code, Some(2), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("`allow_edit` has no use"),
        "{}",
        exit.stderr
    );
}
