//! boto3, unmodified, with dummy keys and keybearer as its endpoint.

use serde_json::{Value, json};

use super::signing;
use crate::harness::aws::{Moto, S3Server};
use crate::harness::{Keybearer, python};

async fn run(task: &str, url: &str, mut with: Value) {
    with["task"] = json!(task);
    with["url"] = json!(url);
    with["region"] = json!(super::REGION);
    python::run("aws/boto3_client.py", &[&with.to_string()]).await;
}

/// A connection per service, all of moto's, with the keys of its user.
pub fn tables(moto: &Moto) -> String {
    let table = |service: &&str| signing(service, &moto.url, service, &moto.app, "");
    ["s3", "sqs", "dynamodb", "sts"].iter().map(table).collect()
}

async fn with_moto() -> (String, Keybearer) {
    let keybearer = Keybearer::start(&tables(Moto::shared().await)).await;
    (format!("http://{}", keybearer.proxy()), keybearer)
}

async fn with_s3_server() -> (S3Server, String, Keybearer) {
    let server = S3Server::start("bucket").await;
    let base_url = format!("http://{}", server.address());
    let keybearer = Keybearer::start(&signing("s3", &base_url, "s3", server.keys(), "")).await;
    let url = format!("http://{}/s3", keybearer.proxy());
    (server, url, keybearer)
}

#[tokio::test]
async fn keys_of_every_kind() {
    let (url, _keybearer) = with_moto().await;
    run(
        "objects",
        &(url + "/s3"),
        json!({ "bucket": "boto3-objects" }),
    )
    .await;
}

#[tokio::test]
async fn content_of_every_size_and_checksum() {
    let (_server, url, _keybearer) = with_s3_server().await;
    run("transfers", &url, json!({ "bucket": "bucket" })).await;
}

#[tokio::test]
async fn pages_of_a_thousand_keys() {
    const KEYS: usize = 1200;
    let (server, url, _keybearer) = with_s3_server().await;
    for n in 0..KEYS {
        std::fs::write(server.file("bucket", &format!("key {n:04}+ä")), "x").unwrap();
    }
    run("pages", &url, json!({ "bucket": "bucket", "keys": KEYS })).await;
}

#[tokio::test]
async fn presigned_urls_with_dummy_keys() {
    let (_server, url, _keybearer) = with_s3_server().await;
    run("presigned", &url, json!({ "bucket": "bucket" })).await;
}

#[tokio::test]
async fn other_services() {
    let (url, _keybearer) = with_moto().await;
    run("services", &url, json!({ "name": "boto3-services" })).await;
}
