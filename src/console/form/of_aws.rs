//! The fields of the types of credential that sign for AWS.

use super::fields::{AuthType, Field, Input, Literal, Need};

const SERVICE: Field = Field::new(
    "auth.service",
    "Service",
    "The name that is signed, such as s3 or sqs; left out: as the base URL's host tells.",
    Input::Text("execute-api"),
    Need::Optional,
);
const REGION: Field = Field::new(
    "auth.region",
    "Region",
    "Such as eu-west-1; several, one a line; left out: as the base URL's host tells.",
    Input::OneOrMore,
    Need::Optional,
);
const PAYLOAD: Field = Field::new(
    "auth.payload",
    "Payload",
    "How content is covered by the signature.",
    Input::Choice(&["auto", "signed", "chunked", "unsigned"]),
    Need::Rare,
);
const ROLE_ARN: Field = Field::new(
    "auth.role_arn",
    "Role",
    "The ARN of the role that is assumed.",
    Input::Text("arn:aws:iam::123456789012:role/reader"),
    Need::Required,
);
const EXTERNAL_ID: Field = Field::new(
    "auth.external_id",
    "External ID",
    "What the role's trust policy demands; left out: one that keybearer makes once for this deployment.",
    Input::Text("customer-4711"),
    Need::Optional,
);
const SCOPE: Field = Field::new(
    "auth.external_id.scope",
    "Scope of the external ID",
    "Instead of an external ID: one that is made once for this scope.",
    Input::Text("project-x"),
    Need::Rare,
);
const SESSION_NAME: Field = Field::new(
    "auth.session_name",
    "Session name",
    "What CloudTrail shows; left out: keybearer- and the connection's name.",
    Input::Text("keybearer-reports"),
    Need::Rare,
);
const DURATION: Field = Field::new(
    "auth.duration",
    "Duration of a session",
    "15m to 12h; left out: 1h.",
    Input::Text("1h"),
    Need::Rare,
);
const STS_ENDPOINT: Field = Field::new(
    "auth.sts_endpoint",
    "STS endpoint",
    "Where the role is assumed; left out: AWS's own of the region.",
    Input::Text("https://sts.eu-west-1.amazonaws.com"),
    Need::Rare,
);
const ACCESS_KEY_ID: Field = Field::new(
    "auth.access_key_id",
    "Access key ID",
    "AKIA…, or ASIA… of a temporary key.",
    Input::Secret(Literal::Any),
    Need::Required,
);
const SECRET_ACCESS_KEY: Field = Field::new(
    "auth.secret_access_key",
    "Secret access key",
    "The longer one of the two.",
    Input::Secret(Literal::No),
    Need::Required,
);
const SESSION_TOKEN: Field = Field::new(
    "auth.session_token",
    "Session token",
    "Of a temporary key only.",
    Input::Secret(Literal::No),
    Need::Rare,
);

pub(super) const AWS_ACCESS_KEY: AuthType = AuthType {
    name: "aws_access_key",
    label: "AWS: access key",
    help: "Signs each request (Signature Version 4) with an access key.",
    fields: &[
        ACCESS_KEY_ID,
        SECRET_ACCESS_KEY,
        SERVICE,
        REGION,
        SESSION_TOKEN,
        PAYLOAD,
    ],
};

pub(super) const AWS_IAM_ROLE: AuthType = AuthType {
    name: "aws_iam_role",
    label: "AWS: IAM role",
    help: "Assumes a role and signs with its session, which is renewed. Without a key below, what AWS SDKs find on this machine assumes it.",
    fields: &[
        ROLE_ARN,
        EXTERNAL_ID,
        SERVICE,
        REGION,
        Field {
            key: "auth.source.access_key_id",
            help: "Of the key that assumes the role; left out: what AWS SDKs find.",
            need: Need::Optional,
            ..ACCESS_KEY_ID
        },
        Field {
            key: "auth.source.secret_access_key",
            need: Need::Optional,
            ..SECRET_ACCESS_KEY
        },
        Field {
            key: "auth.source.session_token",
            ..SESSION_TOKEN
        },
        SCOPE,
        Field {
            key: "auth.source.role_arn",
            label: "Role between",
            help: "A role that is assumed first, and assumes this one; instead of a key.",
            need: Need::Rare,
            ..ROLE_ARN
        },
        Field {
            key: "auth.source.external_id",
            label: "External ID of the role between",
            need: Need::Rare,
            ..EXTERNAL_ID
        },
        SESSION_NAME,
        DURATION,
        STS_ENDPOINT,
        PAYLOAD,
    ],
};
