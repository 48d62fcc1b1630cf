//! `keybearer webhooks`: what it prints, and what it says when it cannot.

use serde_json::{Value, json};

use super::shown::{endpoint, hook, latest, request, send};
use crate::harness::{Answer, Exit, Keybearer, Setup, Upstream, eventually, free_address};
use crate::linking;

/// One whose console the commands find.
async fn start(tables: &str) -> Keybearer {
    linking::setup().tables(tables).start().await
}

async fn ran(keybearer: &Keybearer, args: &[&str]) -> Exit {
    let words: Vec<_> = ["webhooks"].iter().chain(args).copied().collect();
    keybearer.spawn(&words).exit().await
}

/// What a command printed on stdout, and nothing on stderr.
async fn printed(keybearer: &Keybearer, args: &[&str]) -> String {
    let exit = ran(keybearer, args).await;
    assert_eq!((exit.code, &*exit.stderr), (Some(0), ""), "{args:?}");
    exit.stdout
}

async fn json(keybearer: &Keybearer, args: &[&str]) -> Value {
    let args: Vec<_> = args.iter().copied().chain(["--json"]).collect();
    let text = printed(keybearer, &args).await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn endpoints_and_deliveries_are_listed_and_shown() {
    let upstream = Upstream::start().await;
    let target = upstream.url("/in");
    let keybearer = start(&hook(&target, "")).await;
    let shown = endpoint(&keybearer, "hook").await;
    let url = shown["url"].as_str().unwrap();
    let table = format!(
        "ENDPOINT  VERIFY  WAITING  OLDEST  URL -> TARGET\nhook      none          0  -       {url} -> {target}\n"
    );
    for args in [&[][..], &["list"]] {
        assert_eq!(printed(&keybearer, args).await, table);
        assert_eq!(
            json(&keybearer, args).await,
            json!({ "endpoints": [shown] })
        );
    }
    let about = format!(
        "hook\n  url      {url}\n  target   {target}\n  verify   none\n  order    of arrival\n  waiting  0\n"
    );
    let text = printed(&keybearer, &["show", "hook"]).await;
    assert_eq!(
        text,
        format!("{about}  stored   0 B of 256.0 MiB\n\nNo deliveries yet.\n")
    );

    let evil = "{\"a\":[1.10,\"\u{9b}2J\u{7f}\"]}";
    let sent = request(url, "/b?c=d").header("X-Event", "push");
    let sent = sent.body("application/json", evil).send().await;
    assert_eq!(sent.status, 202);
    let summary = latest(&keybearer, "hook", "delivered").await;
    let id = summary["id"].as_str().unwrap();
    let text = printed(&keybearer, &["show", "hook"]).await;
    let (_, deliveries) = text.split_once("\n\n").unwrap();
    let lines: Vec<_> = deliveries.lines().map(str::split_whitespace).collect();
    assert_eq!(lines.len(), 2, "{text}");
    let row: Vec<_> = lines[1]
        .clone()
        .filter(|word| !word.ends_with('s'))
        .collect();
    assert_eq!(row, [id, "ago", "delivered", "1", "200"], "{text}");

    let text = printed(&keybearer, &["show", id]).await;
    let received = summary["received"].as_str().unwrap();
    let parts: Vec<_> = text.split("\n\n").collect();
    let [standing, head, content] = parts[..] else {
        panic!("{text}");
    };
    assert_eq!(
        standing,
        format!(
            "{id}\n  endpoint  hook\n  received  {received}\n  state     delivered\n  attempts  1\n  answer    200"
        )
    );
    let mut head: Vec<_> = head.lines().collect();
    assert_eq!(head.remove(0), "POST /b?c=d");
    // Their order means nothing.
    for line in ["x-event: push", "content-type: application/json"] {
        assert!(head.contains(&line), "{text}");
    }
    let lines = "{\n  \"a\": [\n    1.10,\n    \"\u{fffd}2J\u{fffd}\"\n  ]\n}\n";
    assert_eq!(content, lines);
    let text = printed(&keybearer, &["show", id, "--json"]).await;
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n'),
        "{text:?}"
    );
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown["content"], evil);
    let shown = json(&keybearer, &["show", "hook"]).await;
    assert_eq!(
        (&shown["name"], &shown["deliveries"]),
        (&json!("hook"), &json!([summary]))
    );
}

#[tokio::test]
async fn a_delivery_is_replayed_and_a_url_replaced() {
    let upstream = Upstream::start().await;
    let keybearer = start(&hook(&upstream.url("/in"), "")).await;
    send(&keybearer, "hook", "{}").await;
    let id = latest(&keybearer, "hook", "delivered").await["id"].take();
    let id = id.as_str().unwrap();
    let exit = ran(&keybearer, &["replay", id]).await;
    assert_eq!(
        (exit.code, exit.stdout, exit.stderr),
        (
            Some(0),
            format!("{id} is delivered again to the target of hook\n"),
            format!("`keybearer webhooks show {id}` tells what came of it.\n")
        )
    );
    upstream.wait_for_requests(2).await;
    let replayed = json(&keybearer, &["replay", id]).await;
    assert_eq!(replayed, json!({ "endpoint": "hook" }));
    upstream.wait_for_requests(3).await;

    let before = endpoint(&keybearer, "hook").await["url"].take();
    let exit = ran(&keybearer, &["rotate", "hook", "--overlap", "7d"]).await;
    let shown = endpoint(&keybearer, "hook").await;
    assert_ne!(shown["url"], before);
    assert_eq!(exit.stdout.trim_end(), shown["url"].as_str().unwrap());
    let until = shown["earlier_ids"]["until"].as_str().unwrap();
    assert_eq!(
        exit.stderr,
        format!("Give it to the sender: one earlier URL is good until {until}.\n")
    );
    let text = printed(&keybearer, &["show", "hook"]).await;
    assert!(
        text.contains(&format!(
            "\n           one earlier URL is good until {until}\n"
        )),
        "{text}"
    );
    let rotated = json(&keybearer, &["rotate", "hook", "--overlap", "0s"]).await;
    assert!(rotated["earlier_ids"].is_null(), "none is left: {rotated}");
    for (overlap, told) in [("366d", "it is 365days at most"), ("x", "such as `24h`")] {
        let exit = ran(&keybearer, &["rotate", "hook", "--overlap", overlap]).await;
        assert_eq!(exit.code, Some(2));
        assert!(exit.stderr.contains(told), "{}", exit.stderr);
    }
}

#[tokio::test]
async fn what_the_target_does_not_take_is_told() {
    let upstream = Upstream::start().await;
    upstream.on("/in", Answer::sized("500 No", "", ""));
    let keybearer = start(&hook(&upstream.url("/in"), "")).await;
    send(&keybearer, "hook", "{}").await;
    let shown = eventually("it to be blocked", async || {
        let shown = endpoint(&keybearer, "hook").await;
        shown["blocked"].is_object().then_some(shown)
    });
    let id = shown.await["blocked"]["id"].take();
    let text = printed(&keybearer, &[]).await;
    let told = format!("hook blocked: {} was tried ", id.as_str().unwrap());
    assert!(
        text.contains(&told) && text.contains(": answered 500"),
        "{text}"
    );
    let text = printed(&keybearer, &["show", "hook"]).await;
    assert!(
        text.contains("\n  blocked  ") && text.contains(" waiting "),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    const ID: &str = "0199f0c2-7d5e-7000-8000-000000000000";
    let upstream = Upstream::start().await;
    let keybearer = start(&hook(&upstream.url("/in"), "")).await;
    let absent = format!(
        "there is no delivery `{ID}`; what was delivered is kept for `retain`, and while there is room"
    );
    for (args, code, told) in [
        (
            &["show", "hok"][..],
            1,
            "the running instance has no endpoint `hok`; did you mean `hook`?",
        ),
        (
            &["rotate", "github"],
            1,
            "the running instance has no endpoint `github`; there is `hook`",
        ),
        (&["show", ID], 1, &absent),
        (&["replay", ID, "--json"], 1, &absent),
        (
            &["replay", "hook"],
            2,
            "`hook` is no delivery's ID; `keybearer webhooks show NAME` lists those of an endpoint",
        ),
    ] {
        let exit = ran(&keybearer, args).await;
        assert_eq!((exit.code, &*exit.stdout), (Some(code), ""), "{args:?}");
        assert_eq!(exit.stderr, format!("error: {told}\n"), "{args:?}");
    }

    let keybearer = start("").await;
    assert_eq!(json(&keybearer, &[]).await, json!({ "endpoints": [] }));
    let exit = ran(&keybearer, &[]).await;
    assert_eq!((exit.code, &*exit.stdout), (Some(0), ""));
    // What it shows loads.
    let lines = exit
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("  "));
    let sample = lines.collect::<Vec<_>>().join("\n");
    assert!(sample.contains("[webhooks.endpoints.github]"), "{sample}");
    let setup = Setup::new().tables(&sample).env("HOOK_SECRET", "s");
    let checked = setup.run(&["check"]).await;
    assert_eq!(checked.code, Some(0), "{sample}\n{}", checked.stderr);
    let exit = ran(&keybearer, &["show", "hook"]).await;
    let told = "error: the running instance has no endpoint for webhooks; add `[webhooks]` and `[webhooks.endpoints.hook]`\n";
    assert_eq!((exit.code, &*exit.stderr), (Some(1), told));

    let address = free_address();
    let setup = Setup::new().admin(&format!("listen = \"{address}\""));
    for args in [
        &["webhooks"][..],
        &["webhooks", "list"],
        &["webhooks", "replay", ID],
    ] {
        let exit = setup.run(args).await;
        assert_eq!((exit.code, &*exit.stdout), (Some(2), ""), "{args:?}");
        let told = format!("error: nobody listens at {address}");
        assert!(exit.stderr.starts_with(&told), "{}", exit.stderr);
    }
}
