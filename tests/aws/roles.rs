//! Roles: which external ID is told, whose keys ask, and what STS's refusals mean.

use super::{REGION, ROLE, access_key_id, assuming, ours, shown, wait_for_state};
use crate::harness::aws::{Keys, Moto, Sts, Verifier};
use crate::harness::{Keybearer, Setup, Upstream};

fn moto_role(moto: &Moto, name: &str, service: &str, keys: &Keys, external_id: &str) -> String {
    let (url, region, role) = (&moto.url, &moto.region, &moto.role);
    let Keys { id, secret, .. } = keys;
    format!(
        "[connections.{name}]\nbase_url = \"{url}\"\n[connections.{name}.auth]\ntype = \"aws_iam_role\"\nservice = \"{service}\"\nregion = \"{region}\"\nrole_arn = \"{role}\"\nexternal_id = \"{external_id}\"\nsession_name = \"keybearer-test\"\nsts_endpoint = \"{url}\"\nsource = {{ access_key_id = \"{id}\", secret_access_key = \"{secret}\" }}\n"
    )
}

#[tokio::test]
async fn moto_takes_requests_with_the_session_of_a_role() {
    let moto = Moto::shared().await;
    let table = |name, service| moto_role(moto, name, service, &moto.app, &moto.external_id);
    let tables = [table("s3", "s3"), table("sts", "sts")].concat();
    let keybearer = Keybearer::start(&tables).await;
    let bucket = format!(
        "<CreateBucketConfiguration><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
        moto.region
    );
    let create = keybearer.request("PUT", "/s3/of-a-role").content(bucket);
    let response = create.send().await;
    assert_eq!(response.status, 200, "{response:?}");
    let put = keybearer
        .request("PUT", "/s3/of-a-role/key")
        .content("content");
    assert_eq!(put.send().await.status, 200);
    let got = keybearer.get("/s3/of-a-role/key").send().await;
    assert_eq!((got.status, &*got.text()), (200, "content"));
    let who = keybearer.post("/sts/").body(
        "application/x-www-form-urlencoded",
        "Action=GetCallerIdentity&Version=2011-06-15",
    );
    let who = who.send().await.text();
    assert!(who.contains(":assumed-role/reader/keybearer-test"), "{who}");
}

#[tokio::test]
async fn moto_refuses_another_external_id_and_missing_rights() {
    let moto = Moto::shared().await;
    let tables = [
        moto_role(moto, "id", "s3", &moto.app, "another-id"),
        moto_role(moto, "rights", "s3", &moto.powerless, &moto.external_id),
    ];
    let keybearer = Keybearer::start(&tables.concat()).await;
    for name in ["id", "rights"] {
        let response = keybearer.get(&format!("/{name}/")).send().await;
        assert_eq!(response.status, 503, "{response:?}");
        let detail = response.own();
        for said in [&*moto.role, "AccessDenied", "external ID"] {
            assert!(detail.contains(said), "no {said} in {detail}");
        }
        assert_eq!(response.json()["credential_state"], "misconfigured");
    }
}

/// Against a server that answers as STS does, which moto does not.
#[tokio::test]
async fn a_wrong_or_missing_external_id_is_told() {
    let (sts, upstream) = (Sts::start::<3600>().await, Upstream::start().await);
    let role = "arn:aws:iam::123456789012:role/demands-known";
    let table = |name: &str, id: &str| {
        let id = format!("external_id = \"{id}\"");
        let table = assuming(name, &upstream.url(""), &sts.url(), &id);
        table.replacen(ROLE, role, 1)
    };
    let tables = [
        table("right", "known"),
        table("wrong", "other-id"),
        table("none", ""),
    ];
    let keybearer = Keybearer::start(&tables.concat()).await;
    assert_eq!(keybearer.get("/right/x").send().await.status, 200);
    for (name, sent) in [
        ("wrong", "with the external ID `other-id`"),
        ("none", "without an external ID"),
    ] {
        let response = keybearer.get(&format!("/{name}/x")).send().await;
        assert_eq!(response.status, 503, "{response:?}");
        let detail = response.own();
        for said in [role, "AccessDenied", "trust policy", sent, "`external_id`"] {
            assert!(detail.contains(said), "no {said} in {detail}");
        }
        assert_eq!(response.json()["credential_state"], "misconfigured");
        let told = shown(&keybearer, name).await;
        assert_eq!(told["state"], "misconfigured", "{told}");
        assert!(
            told["last_error"].as_str().unwrap().contains(sent),
            "{told}"
        );
    }
    assert!(!keybearer.log().contains(&ours().secret));
}

/// The external ID that the session was asked for with which signed the last request.
fn told_id(upstream: &Upstream) -> String {
    let id = access_key_id(&upstream.last());
    id["ASIA0000".len()..].to_owned()
}

#[tokio::test]
async fn a_generated_external_id_stays_and_is_printed_with_the_policy() {
    let (sts, upstream) = (Sts::start::<3600>().await, Upstream::start().await);
    let table = |name: &str, rest: &str| assuming(name, &upstream.url(""), &sts.url(), rest);
    let tables = [
        table("own", ""),
        table("same", ""),
        table("scoped", "external_id = { scope = \"project-x\" }"),
        table("none", "external_id = \"\""),
    ];
    let keybearer = Setup::new().tables(&tables.concat()).start().await;
    let mut told = Vec::new();
    for name in ["own", "same", "scoped", "none"] {
        assert_eq!(
            keybearer.get(&format!("/{name}/x")).send().await.status,
            200
        );
        told.push(told_id(&upstream));
    }
    assert_eq!(told[0], told[1], "one for the deployment");
    assert_ne!(told[0], told[2], "one for the scope");
    assert!(told[0].len() >= 22, "{told:?}");
    assert_eq!(told[3], "", "{told:?}");
    let (setup, _) = keybearer.stop().await;
    for (args, wanted) in [
        (&["external-id"][..], &told[0]),
        (&["external-id", "--scope", "project-x"], &told[2]),
    ] {
        let exit = setup.run(args).await;
        assert_eq!(exit.code, Some(0), "{exit:?}");
        assert!(exit.stdout.contains(wanted), "{wanted}: {exit:?}");
        for said in [
            "sts:ExternalId",
            "sts:AssumeRole",
            "\"Version\": \"2012-10-17\"",
        ] {
            assert!(exit.stdout.contains(said), "{said}: {exit:?}");
        }
    }
    let keybearer = setup.start().await;
    assert_eq!(keybearer.get("/own/x").send().await.status, 200);
    assert_eq!(told_id(&upstream), told[0], "after a restart");
}

#[tokio::test]
async fn a_role_assumes_another() {
    let (sts, upstream) = (Sts::start::<3600>().await, Upstream::start().await);
    let url = sts.url();
    let Keys { id, secret, .. } = ours();
    let table = assuming("p", &upstream.url(""), &url, "external_id = \"last\"");
    let (head, _) = table.split_once("source = ").unwrap();
    let first = "arn:aws:iam::123456789012:role/first";
    let source = format!(
        "source = {{ role_arn = \"{first}\", external_id = \"first\", sts_endpoint = \"{url}\", source = {{ access_key_id = \"{id}\", secret_access_key = \"{secret}\" }} }}\n"
    );
    let keybearer = Keybearer::start(&(head.to_owned() + &source)).await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    let asked = sts.asked();
    let roles: Vec<_> = asked.iter().map(|form| form["RoleArn"].as_str()).collect();
    assert_eq!(roles, [first, ROLE]);
    assert_eq!(
        [&asked[0], &asked[1]].map(|form| form["ExternalId"].as_str()),
        ["first", "last"]
    );
    let requests = sts.upstream().requests();
    let session = Sts::keys(&access_key_id(&requests[1]));
    assert!(session.id.ends_with("first"), "{}", session.id);
    let verifier = Verifier::new("sts", REGION, &[&ours(), &session]);
    verifier.accept(&requests).await;
    let last = Sts::keys(&access_key_id(&upstream.last()));
    assert!(last.id.ends_with("last"), "{}", last.id);
    let verifier = Verifier::new("s3", REGION, &[&last]);
    verifier.accept(&upstream.requests()).await;
}

#[tokio::test]
async fn what_sts_refuses_is_told_with_what_to_do() {
    for (status, code, message, state, said) in [
        (
            "403 Forbidden",
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
            "misconfigured",
            "source.access_key_id",
        ),
        (
            "403 Forbidden",
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
            "misconfigured",
            "source.secret_access_key",
        ),
        (
            "403 Forbidden",
            "RegionDisabledException",
            "STS is not activated in this region.",
            "misconfigured",
            "activated",
        ),
        (
            "400 Bad Request",
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            "misconfigured",
            "duration",
        ),
        (
            "400 Bad Request",
            "Throttling",
            "Rate exceeded",
            "retrying",
            "Rate exceeded",
        ),
    ] {
        let (sts, upstream) = (Sts::start::<3600>().await, Upstream::start().await);
        sts.answers([Sts::refuses(status, code, message)]);
        let table = assuming(
            "p",
            &upstream.url(""),
            &sts.url(),
            "external_id = \"known\"",
        );
        let keybearer = Keybearer::start(&table).await;
        let response = keybearer.get("/p/x").send().await;
        assert_eq!(response.status, 503, "{code}: {response:?}");
        let detail = response.own();
        assert!(
            detail.contains(said) && detail.contains(code),
            "{code}: {detail}"
        );
        let told = wait_for_state(&keybearer, "p", state).await;
        assert!(
            told["last_error"].as_str().unwrap().contains(said),
            "{told}"
        );
        assert_eq!(upstream.count(), 0);
    }
}

#[tokio::test]
async fn the_default_chain_finds_keys_in_the_environment() {
    let (sts, upstream) = (Sts::start::<3600>().await, Upstream::start().await);
    let table = assuming("p", &upstream.url(""), &sts.url(), "external_id = \"\"");
    let (table, _) = table.split_once("source = ").unwrap();
    let found = Keys {
        token: Some("token/of+the==environment".to_owned()),
        ..Keys::new("ASIAENVIRONMENT", "secret/of+the=environment")
    };
    let setup = Setup::new()
        .env("AWS_ACCESS_KEY_ID", &found.id)
        .env("AWS_SECRET_ACCESS_KEY", &found.secret)
        .env("AWS_SESSION_TOKEN", found.token.as_ref().unwrap());
    let keybearer = setup.tables(table).start().await;
    assert_eq!(keybearer.get("/p/x").send().await.status, 200);
    let verifier = Verifier::new("sts", REGION, &[&found]);
    verifier.accept(&sts.upstream().requests()).await;
    assert!(access_key_id(&upstream.last()).starts_with("ASIA0"));
}
