//! What passes through an agent.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::erp;
use crate::harness::{Answer, Authority, Setup, Site, Step, Upstream, eventually};

#[tokio::test]
async fn a_request_reaches_an_upstream_over_tls_from_end_to_end() {
    let authority = Authority::new();
    let upstream = Upstream::tls(&authority.issue(&["localhost"])).await;
    let port = upstream.address().port();
    let rest = "tls.ca_certificate = \"upstream-ca.pem\"\nauth = { type = \"bearer\", token = \"canary\" }";
    let tables = erp(&format!("https://localhost:{port}/base"), rest);
    let setup = Setup::new().file("upstream-ca.pem", authority.pem());
    let site = Site::start_with(setup, "", &tables).await;
    let agent = site.agent(&[&format!("localhost:{port}")]).await;
    for n in 0..3 {
        let response = site.keybearer.get(&format!("/erp/{n}")).send().await;
        assert_eq!(response.status, 200, "{response:?}");
        let last = upstream.last();
        assert_eq!(last.header("authorization"), Some("Bearer canary"));
        assert_eq!(last.target(), format!("/base/{n}"));
        assert_eq!(last.server_name.as_deref(), Some("localhost"));
    }
    assert_eq!(upstream.connections(), 1, "it is kept for the next request");
    let shown = site.standing().await;
    assert_eq!(shown["connected"], 1);
    let instance = &shown["instances"][0];
    assert_eq!(instance["streams"], 1);
    assert_eq!(instance["streams_total"], 1);
    assert_eq!(instance["state"], "connected");
    assert_eq!(instance["version"], env!("CARGO_PKG_VERSION"));
    assert!(instance["bytes_sent"].as_u64() > Some(300), "{instance}");
    assert!(
        instance["bytes_received"].as_u64() > Some(300),
        "{instance}"
    );
    eventually("a heartbeat", async || {
        let shown = site.standing().await;
        shown["instances"][0]["round_trip_ms"].as_f64()
    })
    .await;
    let shown = site
        .keybearer
        .ask("GET", "/api/connections/erp")
        .send()
        .await
        .json();
    assert_eq!(
        shown["agent"],
        serde_json::json!({"name": "dc", "connected": 1})
    );
    let metrics = site.keybearer.ask("GET", "/metrics").send().await.text();
    for line in [
        r#"keybearer_agent_connected{agent="dc"} 1"#,
        r#"keybearer_agent_streams{agent="dc"} 1"#,
        r#"keybearer_agent_connections_total{agent="dc",result="accepted"} 1"#,
        r#"keybearer_agent_bytes_total{agent="dc",direction="sent"} "#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(!agent.log().contains("canary"), "{}", agent.log());
    assert!(!site.keybearer.log().contains("canary"));
}
