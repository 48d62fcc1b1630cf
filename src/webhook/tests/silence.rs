//! What is written for whoever looks for a fault says nothing that was sent.

use std::fmt::Debug;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use zeroize::Zeroizing;

use super::super::ids::{Earlier, Ids};
use super::super::queue::Ready;
use super::*;
use crate::connection::webhook::Order;

#[tokio::test]
async fn no_debug_output_has_content_fields_or_ids() {
    let mut fields = HeaderMap::new();
    fields.insert(AUTHORIZATION, HeaderValue::from_static("canary-field"));
    let head = Head::new(&Method::POST, "/canary-rest", Some("canary=query"), &fields);
    let content = || {
        let mut content = head.packed(8);
        content.extend_from_slice(b"canary-content");
        content
    };
    let arrival = || Arrival {
        endpoint: "hook".into(),
        mark: None,
        content: content(),
        limit: 1 << 20,
        at: UNIX_EPOCH,
        held: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let store = Store::file(&folder.path().join("store"), None).unwrap();
    let queue = Queue::open(store.vault().unwrap()).unwrap();
    let id = queue.accept(arrival()).await.unwrap();
    let ready = Ready {
        id,
        attempts: 0,
        content: Some(content()),
    };
    let earlier = Earlier {
        id: "canary-earlier".into(),
        until: 0,
    };
    let ids = Ids {
        current: "canary-current".into(),
        earlier: vec![earlier.clone()],
    };
    let next = queue
        .next(&"hook".into(), Order::Any, Vec::new(), 1, UNIX_EPOCH)
        .await
        .unwrap();
    assert_eq!(next.ready[0].content.as_ref(), Some(&content()));
    let shown: [&dyn Debug; 7] = [&head, &arrival(), &ready, &next, &earlier, &ids, &queue];
    // Numbers in a list are content, too.
    let bytes = |it: &Zeroizing<Vec<u8>>| format!("{:?}", &it[it.len() - 4..]);
    let bytes = bytes(&content());
    for shown in shown {
        for text in [format!("{shown:?}"), format!("{shown:#?}")] {
            assert!(!text.contains("canary"), "{text}");
            let line: String = text.split_whitespace().collect();
            let bytes: String = bytes.trim_matches(['[', ']']).split_whitespace().collect();
            assert!(!line.contains(&bytes), "{text}");
        }
    }
}
