use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::auth::aws::testing::{
    Moto, access_key, aws, connected, external_ids, refusal, role, session,
};
use crate::auth::testing::Server;
use crate::connection::aws::ExternalId;
use crate::secret::{Command, Origin, Secret};

const ALLOW: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#;

fn trust(principal: &str, external_id: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{{"AWS":"{principal}"}},"Condition":{{"StringEquals":{{"sts:ExternalId":"{external_id}"}}}}}}]}}"#
    )
}

async fn find(role: &Role) -> Result<Found, Fault> {
    let source = Source::Role(Box::new(role.clone()));
    let connection = connected("api", source.clone());
    let upstreams = Arc::new(Upstreams::default());
    let keys = KeySource::new(&connection, &aws(source), upstreams, external_ids());
    keys.find(SystemTime::now()).await
}

/// What is told where there are no keys; never a secret.
async fn refused(role: &Role, secret: &str) -> String {
    let fault = find(role).await.unwrap_err();
    assert_eq!(fault.lapse, Lapse::Misconfigured, "{}", fault.detail);
    assert!(!fault.detail.contains(secret), "{}", fault.detail);
    fault.detail
}

#[tokio::test]
async fn roles_are_assumed_where_signatures_and_policies_are_checked() {
    let moto = Moto::start();
    let user = moto
        .iam(&[("Action", "CreateUser"), ("UserName", "app")], "Arn")
        .await;
    let allow = [
        ("Action", "PutUserPolicy"),
        ("UserName", "app"),
        ("PolicyName", "assume"),
        ("PolicyDocument", ALLOW),
    ];
    moto.iam(&allow, "RequestId").await;
    let outer_trust = trust(
        "arn:aws:sts::123456789012:assumed-role/inner/keybearer",
        "kb-2",
    );
    let inner_trust = trust(&user, "kb-1");
    for (name, trust) in [("inner", &inner_trust), ("outer", &outer_trust)] {
        let create = [
            ("Action", "CreateRole"),
            ("RoleName", name),
            ("AssumeRolePolicyDocument", trust),
        ];
        moto.iam(&create, "Arn").await;
    }
    let allow = [
        ("Action", "PutRolePolicy"),
        ("RoleName", "inner"),
        ("PolicyName", "assume"),
        ("PolicyDocument", ALLOW),
    ];
    moto.iam(&allow, "RequestId").await;
    let (id, secret) = moto.access_key("app").await;
    moto.enforce().await;

    let inner = Role {
        arn: "arn:aws:iam::123456789012:role/inner".into(),
        source: Source::AccessKey(access_key(&id, &secret)),
        ..role(&moto.url)
    };
    let (keys, end) = find(&inner).await.unwrap();
    assert!(keys.id.expose().starts_with("ASIA") && keys.session_token.is_some());
    let left = end.unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(
        left.abs_diff(inner.duration) < Duration::from_secs(60),
        "{left:?}"
    );

    let outer = Role {
        arn: "arn:aws:iam::123456789012:role/outer".into(),
        external_id: ExternalId::Given("kb-2".into()),
        source: Source::Role(Box::new(inner.clone())),
        ..inner.clone()
    };
    find(&outer).await.unwrap();

    let wrong = Role {
        external_id: ExternalId::Generated(None),
        ..inner.clone()
    };
    let told = refused(&wrong, &secret).await;
    let said = format!("`{user}` may not assume it with this deployment's external ID `");
    assert!(
        told.contains(&said) && told.contains("AccessDenied"),
        "{told}"
    );

    let not_trusted = Role {
        arn: outer.arn.clone(),
        ..inner.clone()
    };
    let told = refused(&not_trusted, &secret).await;
    assert!(
        told.contains(&format!("`{user}` may not assume it")),
        "{told}"
    );

    for (id, text, part) in [
        (
            &*id,
            "wrong",
            "`source.secret_access_key` does not belong to",
        ),
        (
            "AKIAUNKNOWN",
            &*secret,
            "does not know `source.access_key_id`",
        ),
    ] {
        let role = Role {
            source: Source::AccessKey(access_key(id, text)),
            ..inner.clone()
        };
        let told = refused(&role, &secret).await;
        assert!(told.contains(part), "{told}");
    }
}

/// What a program tells is kept for its time, unless it was of no use: then it is asked anew.
#[tokio::test]
async fn a_secret_that_was_of_no_use_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("asked");
    let asked = || std::fs::read_to_string(&log).unwrap_or_default().len();
    let script = format!("printf x >> {0}; wc -c < {0}", log.display());
    let command = Command {
        words: ["sh", "-c", &script].map(Into::into).into(),
        folder: "/".into(),
        ttl: Duration::from_secs(3600),
        format: ("secret-".into(), "".into()),
    };
    let mut key = access_key("AKIDSOURCE", "");
    key.secret = Secret::new("", Origin::Command(Arc::new(command)));
    let refuses = Arc::new(AtomicBool::new(false));
    let does = Arc::clone(&refuses);
    let server = Server::start(move |_| match does.load(Ordering::Relaxed) {
        true => refusal(403, "SignatureDoesNotMatch", "No."),
        false => session(
            "AssumeRole",
            "ASIA1",
            SystemTime::now() + Duration::from_secs(3600),
        ),
    })
    .await;
    let source = Source::Role(Box::new(Role {
        source: Source::AccessKey(key),
        ..role(&server.url("/"))
    }));
    let connection = connected("api", source.clone());
    let upstreams = Arc::new(Upstreams::default());
    let keys = KeySource::new(&connection, &aws(source), upstreams, external_ids());
    let now = SystemTime::now();
    for _ in 0..2 {
        keys.find(now).await.unwrap();
        assert_eq!(asked(), 1, "kept for its time");
    }
    refuses.store(true, Ordering::Relaxed);
    keys.find(now).await.unwrap_err();
    assert_eq!(asked(), 1);
    refuses.store(false, Ordering::Relaxed);
    keys.find(now).await.unwrap();
    assert_eq!(asked(), 2, "anew, as it was of no use");
}

#[test]
fn sts_is_asked_near_where_requests_go() {
    let in_region = |region| {
        let mut settings = aws(Source::Default);
        settings.region = region;
        super::region(&settings).to_owned()
    };
    assert_eq!(in_region(Region::One("eu-west-1".into())), "eu-west-1");
    assert_eq!(
        in_region(Region::Set("eu-west-2,us-east-1".into())),
        "eu-west-2"
    );
    assert_eq!(in_region(Region::Set("*".into())), "us-east-1");
    let role = Source::Role(Box::new(role(&"http://sts.example/".parse().unwrap())));
    assert_eq!(super::region(&aws(role)), "eu-west-1");
}

#[test]
fn keys_that_cannot_be_sent_are_named() {
    for (id, secret, named) in [
        ("AKID", "secret", None),
        ("", "secret", Some("access_key_id")),
        ("A\nB", "secret", Some("access_key_id")),
        ("AKID", "", Some("secret_access_key")),
    ] {
        assert_eq!(unusable(&access_key(id, secret).into()), named);
    }
}
