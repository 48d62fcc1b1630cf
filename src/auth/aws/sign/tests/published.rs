//! The examples of the S3 API's reference, "Signature Calculations for the Authorization Header".

use http::{Method, Uri};

use super::*;
use crate::auth::aws::sign::payload::PayloadHash;

pub(super) const ID: &str = "AKIAIOSFODNN7EXAMPLE";
pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// 2013-05-24, midnight.
pub(super) const TIME: u64 = 1_369_353_600;

#[test]
fn single_chunk_examples() {
    let signer = signer("s3", one("us-east-1"), keys(ID, SECRET, None));
    let host = ("host", "examplebucket.s3.amazonaws.com");
    for (method, target, fields, content, signature) in [
        (
            Method::GET,
            "/test.txt",
            vec![("range", "bytes=0-9")],
            "",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            Method::PUT,
            "/test$file.text",
            vec![
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            "Welcome to Amazon S3.",
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        ),
        (
            Method::GET,
            "/?lifecycle",
            vec![],
            "",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        ),
        (
            Method::GET,
            "/?max-keys=2&prefix=J",
            vec![],
            "",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ] {
        let mut head = headers(
            fields
                .into_iter()
                .chain([host, ("user-agent", "a browser")]),
        );
        let target = signer.target(Uri::from_static(target)).unwrap();
        let payload = PayloadHash::of(content.as_bytes());
        signer
            .sign(&method, &target, &mut head, payload, at(TIME))
            .unwrap();
        assert_eq!(part(&head, "Signature="), signature, "{target}");
    }
}
