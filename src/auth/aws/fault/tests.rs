use aws_sdk_sts::error::ErrorMetadata;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::body::SdkBody;

use super::*;
use crate::auth::aws::testing::{access_key, role};
use crate::auth::testing::secret;

fn keys() -> Keys {
    Keys {
        id: secret("AKIDCANARY"),
        secret: secret("canary-secret"),
        session_token: Some(secret("canary-token")),
    }
}

/// What is told of a refusal.
fn told(role: &Role, under: &str, external_id: Option<&str>, code: &str, message: &str) -> Fault {
    let meta = ErrorMetadata::builder().code(code).message(message).build();
    let raw = HttpResponse::new(403.try_into().unwrap(), SdkBody::empty());
    let error = SdkError::service_error(AssumeRoleError::generic(meta), raw);
    let keys = keys();
    let asked = Asked {
        role,
        under,
        external_id,
        keys: &keys,
        ahead: None,
    };
    let fault = asked.fault(&error);
    let text = &fault.detail;
    assert!(
        !text.contains("canary") && !text.contains("AKIDCANARY"),
        "{text}"
    );
    assert!(text.contains(&*role.arn) && text.contains(code), "{text}");
    assert!(!text.ends_with('.'), "{text}");
    fault
}

fn any_role() -> Role {
    role(&"http://sts.example/".parse().unwrap())
}

#[test]
fn denied_says_who_asked_with_which_external_id_and_what_to_write() {
    let message =
        "User: arn:aws:iam::1:user/app is not authorized to perform: sts:AssumeRole on resource: x";
    let generated = |scope: Option<&str>| ExternalId::Generated(scope.map(Into::into));
    for (setting, sent, parts) in [
        (
            generated(None),
            Some("kb-7"),
            [
                "with this deployment's external ID `kb-7`",
                "{\"StringEquals\": {\"sts:ExternalId\": \"kb-7\"}}",
                "`keybearer external-id` prints the policy",
            ],
        ),
        (
            generated(Some("x")),
            Some("kb-8"),
            [
                "with the external ID `kb-8` of the scope `x`",
                "{\"StringEquals\": {\"sts:ExternalId\": \"kb-8\"}}",
                "`keybearer external-id --scope x` prints the policy",
            ],
        ),
        (
            ExternalId::Given("mine".into()),
            Some("mine"),
            [
                "with the external ID `mine`",
                "{\"StringEquals\": {\"sts:ExternalId\": \"mine\"}}",
                "it stands in `source.external_id`",
            ],
        ),
        (
            ExternalId::None,
            None,
            [
                "without an external ID",
                "under no condition on `sts:ExternalId`",
                "write it into `source.external_id`",
            ],
        ),
    ] {
        let mut role = any_role();
        role.external_id = setting;
        let fault = told(&role, "source.", sent, "AccessDenied", message);
        assert_eq!(fault.lapse, Lapse::Misconfigured);
        assert!(
            fault
                .detail
                .contains("`arn:aws:iam::1:user/app` may not assume it"),
            "{}",
            fault.detail
        );
        for part in parts {
            assert!(fault.detail.contains(part), "{part}: {}", fault.detail);
        }
    }
    let fault = told(
        &any_role(),
        "",
        Some("kb-1"),
        "AccessDenied",
        "Access denied",
    );
    assert!(
        fault.detail.contains("the identity that asked may not"),
        "{}",
        fault.detail
    );
}

#[test]
fn each_refusal_says_what_to_do() {
    use Lapse::{Misconfigured, Passing};
    for (code, message, lapse, part) in [
        (
            "ExpiredToken",
            "expired canary-token",
            Misconfigured,
            "replace them with `source.session_token`",
        ),
        (
            "InvalidClientTokenId",
            "The security token is invalid.",
            Misconfigured,
            "it does not know `source.access_key_id`",
        ),
        (
            "SignatureDoesNotMatch",
            "Canonical: x-amz-security-token:canary-token",
            Misconfigured,
            "`source.secret_access_key` does not belong to",
        ),
        (
            "SignatureDoesNotMatch",
            "Credential should be scoped to a valid region.",
            Misconfigured,
            "another region than `eu-west-1`",
        ),
        (
            "SignatureDoesNotMatch",
            "Signature expired: a is now earlier than b",
            Passing,
            "set this machine's clock",
        ),
        (
            "RequestTimeTooSkewed",
            "",
            Passing,
            "set this machine's clock",
        ),
        (
            "RegionDisabledException",
            "STS is not activated",
            Misconfigured,
            "`sts_endpoint` to that of a region where it is",
        ),
        (
            "MalformedPolicyDocument",
            "bad policy.",
            Misconfigured,
            "bad policy",
        ),
        (
            "ValidationError",
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            Misconfigured,
            "`duration` (1h) does not fit",
        ),
        (
            "ValidationError",
            "1 validation error detected: Value 'x' at 'roleArn'",
            Misconfigured,
            "check `role_arn`",
        ),
        ("Throttling", "Rate exceeded", Passing, "Rate exceeded"),
        ("InternalFailure", "oh", Passing, "oh"),
        (
            "Surprise",
            "line\nbreak AKIDCANARY",
            Misconfigured,
            "line break …",
        ),
    ] {
        let fault = told(&any_role(), "", Some("kb-1"), code, message);
        assert_eq!(fault.lapse, lapse, "{}", fault.detail);
        assert!(fault.detail.contains(part), "{part}: {}", fault.detail);
    }
}

#[test]
fn whose_keys_were_refused_is_told_by_where_they_come_from() {
    use Lapse::{Misconfigured, Passing};
    let chained = Source::Role(Box::new(any_role()));
    for (source, code, lapse, part) in [
        (
            Source::Default,
            "ExpiredToken",
            Passing,
            "renew them where they come from",
        ),
        (
            Source::Default,
            "InvalidClientTokenId",
            Misconfigured,
            "that the default chain found",
        ),
        (
            Source::Default,
            "SignatureDoesNotMatch",
            Misconfigured,
            "that the default chain found",
        ),
        (
            chained.clone(),
            "ExpiredToken",
            Passing,
            "the session of `arn:",
        ),
        (
            chained.clone(),
            "InvalidClientTokenId",
            Passing,
            "the session of `arn:",
        ),
        (
            chained.clone(),
            "SignatureDoesNotMatch",
            Misconfigured,
            "changes requests",
        ),
    ] {
        let mut role = any_role();
        role.source = source;
        let fault = told(&role, "", None, code, "no");
        assert_eq!(fault.lapse, lapse, "{}", fault.detail);
        assert!(fault.detail.contains(part), "{part}: {}", fault.detail);
    }
    let mut role = any_role();
    role.source = chained;
    let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
    let fault = told(&role, "", None, "ValidationError", message);
    assert!(
        fault.detail.contains("1h at most for a role that another"),
        "{}",
        fault.detail
    );

    let mut key = access_key("x", "y");
    key.session_token = Some(secret("z"));
    role.source = Source::AccessKey(key);
    let fault = told(&role, "", None, "InvalidClientTokenId", "no");
    assert!(
        fault
            .detail
            .contains("`source.session_token` is not the one"),
        "{}",
        fault.detail
    );
}
