//! The whole way of a person, in a real browser.

use super::{World, call, wait_for_state};
use crate::harness::{Answer, Browser, Upstream};

/// An app shows the link of its 503 on a page of its own, which is another site to the console. From
/// there it is clicks: the link's page, login, consent, the way back.
#[tokio::test]
async fn a_person_goes_from_the_503_to_the_first_answer() {
    let World { server, keybearer } = World::start("").await;
    let refused = call(&keybearer, "/drive/x").await;
    refused.problem(503, "not-linked", "proxy_configuration_error");
    let link = refused.json()["link"].as_str().unwrap().to_owned();
    let app = Upstream::start().await;
    let page = format!("<a id=\"to-keybearer\" href=\"{link}\">Connect</a>");
    app.on(
        "/",
        Answer::sized("200 OK", "Content-Type: text/html\r\n", &page),
    );
    let app = app.url("/").replace("127.0.0.1", "localhost");
    let shown = Browser::clicks_and_consent(&app, &["#to-keybearer", "#link"], &link, "jane").await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert!(shown.text.contains("drive is linked"), "{shown:?}");
    assert!(shown.errors.is_empty(), "{shown:?}");
    assert!(shown.url.contains("/oauth/callback?"), "{shown:?}");

    wait_for_state(&keybearer, "drive", "ready").await;
    World { server, keybearer }.assert_works().await;
}
