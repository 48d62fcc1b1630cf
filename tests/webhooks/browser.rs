//! The console's pages of webhooks, in a real browser.

use std::path::Path;

use serde_json::{Value, json};

use super::shown::{endpoint, hook, id, latest, request, send};
use crate::harness::{Answer, Keybearer, Upstream, Walk, base64};

#[tokio::test]
async fn a_person_copies_the_url_sees_what_arrives_and_replays_it() {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&hook(&upstream.url("/in"), "")).await;
    let url = endpoint(&keybearer, "hook").await["url"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut walk = Walk::begin(&keybearer, "meets_webhooks", json!({}));
    let copied = walk.meet("copied", None).await;
    assert_eq!(copied["copied"], url);
    walk.meet("met", Some("open")).await;
    let payload = json!({
        "html": "<script>window.pwned=1</script><img src=x onerror=\"window.pwned=2\">",
    });
    let sent = request(&url, "").header("X-Html", "<img src=x onerror=alert(1)>");
    let sent = sent
        .body("application/json", payload.to_string())
        .send()
        .await;
    assert_eq!(sent.status, 202);
    let listed = walk.meet("listed", None).await;
    let delivery = latest(&keybearer, "hook", "delivered").await;
    assert!(
        listed["listed"].as_str().unwrap().contains(id(&delivery)),
        "{listed}"
    );
    let replayed = walk.meet("replayed", None).await;
    upstream.wait_for_requests(2).await;
    let again = upstream.last();
    assert_eq!(again.text(), payload.to_string());
    assert_eq!(again.header("webhook-id"), Some(id(&delivery)));
    let content = replayed["content"].as_str().unwrap();
    assert_eq!(content, serde_json::to_string_pretty(&payload).unwrap());
    assert_eq!(replayed["pwned"], Value::Null);
    let (told, _) = walk.done().await;
    let rotated = endpoint(&keybearer, "hook").await;
    assert_ne!(rotated["url"], url);
    assert_eq!(told["url"], rotated["url"]);
    assert!(
        told["note"]
            .as_str()
            .unwrap()
            .contains("One earlier URL is good until"),
        "{told}"
    );
}

#[tokio::test]
async fn pages_are_accessible_in_both_schemes_wide_and_narrow() {
    let upstream = Upstream::start().await;
    let more = format!(
        "[webhooks.endpoints.a-rather-long-name-of-an-endpoint]\ntarget = \"{}\"\nordered = false\nverify = {{ type = \"none\" }}",
        upstream.url("/fails")
    );
    let public = "public_url = \"https://hooks.a-rather-long-name.example.com\"\n";
    let tables = hook(&upstream.url("/in"), "") + &more;
    let keybearer = Keybearer::start(&tables).await;
    upstream.on("/fails", Answer::sized("401 No", "", ""));
    let long = json!({ "long": "x".repeat(500), "nested": [{ "a": base64("x") }] });
    let mut pages = json!({ "webhooks": "webhooks" });
    for (name, state) in [
        ("hook", "delivered"),
        ("a-rather-long-name-of-an-endpoint", "waiting"),
    ] {
        send(&keybearer, name, &long.to_string()).await;
        let delivery = latest(&keybearer, name, state).await;
        pages[name] = json!(format!("webhooks/{name}"));
        pages[format!("delivery-{state}")] = json!(format!("deliveries/{}", id(&delivery)));
    }
    let tables = tables.replace(
        "\n\n[webhooks.endpoints.hook]",
        &format!("\n{public}\n[webhooks.endpoints.hook]"),
    );
    keybearer.reconfigure(&tables).await;
    let none = Keybearer::start("").await;
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("webhooks");
    std::fs::create_dir_all(&pictures).unwrap();
    let empty = json!({ "none": "webhooks" });
    for (keybearer, pages) in [(&keybearer, pages), (&none, empty)] {
        let settings = json!({ "pictures": pictures, "pages": pages });
        let (found, _) = Walk::begin(keybearer, "looks", settings).done().await;
        assert_eq!(found, json!([]), "pictures: {}", pictures.display());
    }
}
