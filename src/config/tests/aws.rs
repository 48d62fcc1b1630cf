//! What the keys of the AWS types become.

use std::time::Duration;

use super::world::{CANARY, World};
use crate::connection::auth::Auth;
use crate::connection::aws::{AccessKey, Aws, ExternalId, Payload, Region, Role, Source};

/// The credential of a connection of `tests/data/config/valid/aws.toml`.
fn aws(name: &str) -> Aws {
    let text = include_str!("../../../tests/data/config/valid/aws.toml");
    let config = World::new().config(text);
    let connection = config.connections.iter().find(|it| &*it.name == name);
    match &connection.unwrap().auth {
        Auth::Aws(aws) => Aws::clone(aws),
        auth => panic!("{auth:?}"),
    }
}

fn access_key(source: &Source) -> &AccessKey {
    match source {
        Source::AccessKey(key) => key,
        source => panic!("{source:?}"),
    }
}

fn role(name: &str) -> Role {
    aws(name).source.role().unwrap().clone()
}

fn one(region: &str) -> Region {
    Region::One(region.into())
}

#[test]
fn every_key_of_an_access_key_is_kept() {
    let full = aws("full");
    assert_eq!((full.kind, &*full.service), ("aws_access_key", "s3"));
    assert_eq!(
        (&full.region, full.payload),
        (&one("eu-west-1"), Payload::Chunked)
    );
    let key = access_key(&full.source);
    assert_eq!((key.id.expose(), key.secret.expose()), (CANARY, CANARY));
    let token = key.session_token.as_ref().unwrap();
    assert_eq!(token.command().unwrap().ttl, Duration::from_secs(900));

    let minimal = aws("minimal");
    assert_eq!((&*minimal.service, minimal.payload), ("s3", Payload::Auto));
    assert_eq!(minimal.region, one("eu-west-1"));
    assert_eq!(access_key(&minimal.source).session_token, None);
}

#[test]
fn what_is_written_wins_over_what_the_host_tells() {
    let written = aws("override");
    assert_eq!(&*written.service, "IoTSecuredTunneling");
    assert_eq!(written.region, one("eu-west-2"));
    assert_eq!(aws("other-server").region, one("RegionOne"));
    assert_eq!(aws("everywhere").region, Region::Set("*".into()));
    assert_eq!(
        aws("some-regions").region,
        Region::Set("eu-west-1,us-*".into())
    );
}

#[test]
fn every_key_of_a_role_is_kept() {
    let full = role("role");
    assert_eq!(&*full.arn, "arn:aws:iam::123456789012:role/reader");
    assert_eq!(
        full.external_id,
        ExternalId::Given("hunter2:=@,+./-_".into())
    );
    assert_eq!(&*full.session_name, "me@example.com");
    assert_eq!(full.duration, Duration::from_secs(12 * 3600));
    assert_eq!(
        full.sts_endpoint.unwrap().as_str(),
        "http://127.0.0.1:1/sts"
    );
    assert_eq!(&*full.sts_region, "eu-west-1");
    let key = access_key(&full.source);
    assert_eq!(key.session_token.as_ref().unwrap().expose(), CANARY);
}

#[test]
fn what_a_role_leaves_out_is_as_documented() {
    let minimal = role("role-minimal");
    assert_eq!(minimal.external_id, ExternalId::Generated(None));
    assert_eq!(&*minimal.session_name, "keybearer-role-minimal");
    assert_eq!(minimal.duration, Duration::from_secs(3600));
    assert_eq!(
        (&minimal.source, &minimal.sts_endpoint),
        (&Source::Default, &None)
    );
    assert_eq!(minimal.sts_host(), "sts.cn-north-1.amazonaws.com.cn");

    let scoped = role("role-default");
    assert_eq!(scoped.source, Source::Default);
    assert_eq!(
        scoped.external_id,
        ExternalId::Generated(Some("project-x".into()))
    );
    assert_eq!(
        scoped.sts_host(),
        "sts.us-gov-west-1.amazonaws.com",
        "where the role lies, as the connection's region is another partition's"
    );
    assert_eq!(&*role("other-sts").sts_region, "home");
}

#[test]
fn roles_lead_to_roles() {
    let chain = aws("chain");
    let shown: Vec<_> = (chain.source.roles())
        .map(|role| {
            (
                &*role.arn,
                &*role.session_name,
                role.sts_host(),
                role.duration.as_secs(),
            )
        })
        .collect();
    let arn = |name: &str| format!("arn:aws:iam::123456789012:role/{name}");
    assert_eq!(
        shown,
        [
            (
                &*arn("last"),
                "keybearer-chain",
                "sts.eu-west-1.amazonaws.com".to_owned(),
                900
            ),
            (
                &*arn("middle"),
                "middle",
                "sts.us-west-2.amazonaws.com".to_owned(),
                3600
            ),
            (
                &*arn("first"),
                "keybearer-chain",
                "sts.eu-west-1.amazonaws.com".to_owned(),
                7200
            ),
        ]
    );
    assert_eq!(role("chain").external_id, ExternalId::None);
    let secrets = Auth::Aws(Box::new(chain));
    let keys: Vec<_> = secrets.secrets().into_iter().map(|(key, _)| key).collect();
    let below = "source.source.source.";
    assert_eq!(
        keys,
        [
            format!("{below}access_key_id"),
            format!("{below}secret_access_key")
        ]
    );
}

#[test]
fn long_names_of_connections_fit_into_a_session_name() {
    let name = "x".repeat(80);
    let text = format!(
        "[connections.{name}]\nbase_url = \"https://sqs.eu-west-1.amazonaws.com\"\n\
        auth = {{ type = \"aws_iam_role\", role_arn = \"arn:aws:iam::123456789012:role/r\" }}"
    );
    let config = World::new().config(&text);
    let Auth::Aws(aws) = &config.connections[0].auth else {
        panic!("aws");
    };
    let session_name = &aws.source.role().unwrap().session_name;
    assert_eq!(
        (
            session_name.len(),
            session_name.starts_with("keybearer-xxx")
        ),
        (64, true)
    );
}

#[test]
fn no_debug_output_tells_a_key() {
    for name in ["full", "minimal", "role", "chain"] {
        let mut aws = aws(name);
        // That one is no secret, and is shown.
        if let Source::Role(role) = &mut aws.source {
            role.external_id = ExternalId::None;
        }
        let shown = format!("{aws:?}");
        assert!(!shown.contains(CANARY), "{shown}");
    }
}
