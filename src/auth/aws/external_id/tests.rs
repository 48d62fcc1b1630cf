use std::collections::HashSet;
use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::auth::aws::external_id::ExternalIds;

fn scoped(name: &str) -> ExternalId {
    ExternalId::of_scope(name).unwrap()
}

async fn resolved(ids: &ExternalIds, id: &ExternalId) -> String {
    ids.resolve(id).await.unwrap().unwrap().into_string()
}

#[tokio::test]
async fn one_is_made_once_and_each_scope_has_its_own() {
    let ids = ExternalIds::new(Store::memory());
    let first = resolved(&ids, &ExternalId::Generated(None)).await;
    assert!(
        first.starts_with("keybearer-") && first.len() == 42,
        "{first}"
    );
    assert_eq!(
        ExternalId::given(&first),
        Ok(ExternalId::Given(first.as_str().into()))
    );
    assert_eq!(resolved(&ids, &ExternalId::Generated(None)).await, first);
    let x = resolved(&ids, &scoped("x")).await;
    assert_eq!(resolved(&ids, &scoped("x")).await, x);
    let all = HashSet::from([first, x, resolved(&ids, &scoped("y")).await]);
    assert_eq!(all.len(), 3);
}

#[tokio::test]
async fn what_is_given_is_sent_as_it_is() {
    let ids = ExternalIds::new(Store::memory());
    let given = ExternalId::Given("theirs".into());
    assert_eq!(resolved(&ids, &given).await, "theirs");
    assert_eq!(ids.resolve(&ExternalId::None).await.unwrap(), None);
    assert!(
        ids.0.known.lock().await.is_empty(),
        "nothing is made for these"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_who_ask_at_once_get_the_same_and_it_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut asked = tokio::task::JoinSet::new();
    let ids = ExternalIds::new(Store::file(&path, None).unwrap());
    for _ in 0..32 {
        let ids = ids.clone();
        asked.spawn(async move { resolved(&ids, &scoped("x")).await });
    }
    let mut told = asked.join_all().await;
    told.dedup();
    assert_eq!(told.len(), 1);
    drop(ids);
    let ids = ExternalIds::new(Store::file(&path, None).unwrap());
    assert_eq!(resolved(&ids, &scoped("x")).await, told[0]);
}

#[tokio::test]
async fn what_was_begun_is_done_whoever_gives_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::file(&folder.path().join("store"), None).unwrap();
    let ids = ExternalIds::new(store.clone());
    let id = scoped("x");
    assert!(ids.resolve(&id).now_or_never().is_none());
    let key = Key::new("aws/external-id/x");
    let written = async {
        loop {
            if let Some(written) = store.get(&key).await.unwrap() {
                break written;
            }
        }
    };
    let written = tokio::time::timeout(Duration::from_secs(30), written).await;
    let told = resolved(&ids, &id).await;
    assert_eq!(**written.unwrap(), *told.as_bytes());
}

#[tokio::test]
async fn nothing_else_that_is_stored_is_taken_for_one() {
    for stored in [&b"x"[..], b"", b"a b", b"\xff\xff"] {
        let store = Store::memory();
        store
            .put(&Key::new("aws/external-id"), stored)
            .await
            .unwrap();
        let fault = ExternalIds::new(store)
            .resolve(&ExternalId::Generated(None))
            .await;
        let fault = fault.unwrap_err();
        assert_eq!(fault.lapse, Lapse::Misconfigured);
        assert!(
            fault.detail.contains("is no external ID"),
            "{}",
            fault.detail
        );
    }
}

#[tokio::test]
async fn none_is_told_that_is_not_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let ids = ExternalIds::new(Store::file(&path, None).unwrap());
    // What is written from now on would be lost, which the store tells.
    std::fs::rename(path.join("store.redb"), path.join("elsewhere")).unwrap();
    let fault = ids.resolve(&ExternalId::Generated(None)).await.unwrap_err();
    assert_eq!(fault.lapse, Lapse::Passing);
    assert!(
        fault.detail.contains("the external ID cannot be kept"),
        "{}",
        fault.detail
    );
    assert!(ids.0.known.lock().await.is_empty());
}

#[test]
fn a_policy_is_what_iam_takes_but_for_its_principal() {
    let policy = TrustPolicy::new("keybearer-1", "aws-cn");
    assert_eq!(
        serde_json::to_string(&policy).unwrap(),
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws-cn:iam::ACCOUNT_ID:role/KEYBEARER"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"keybearer-1"}}}]}"#
    );
}
