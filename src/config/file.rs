//! The shape of a configuration as typed: every key there is, in the order of the reference.
//!
//! One list serves three ends: [`check`](super::check::check) reports what does not fit it, the
//! compiler reads by it, and [`mask`](super::mask) shows of a line only what it knows to be harmless.
//! Keys and names that a later release brings stand here too, so that they are refused by name and
//! never accepted and ignored.

use super::shape::{Choice, Kind, Shape, Variants};

/// A whole file.
pub(crate) static ROOT: Shape = Shape(&[
    ("include", Kind::Texts),
    ("server", Kind::Table(&SERVER)),
    ("admin", Kind::Table(&ADMIN)),
    ("store", Kind::Later),
    ("log", Kind::Table(&LOG)),
    ("defaults", Kind::Table(&DEFAULTS)),
    ("connections", Kind::Map(&Kind::Table(&CONNECTION))),
    ("callers", Kind::Later),
    ("agents", Kind::Later),
    ("webhooks", Kind::Later),
]);

static SERVER: Shape = Shape(&[
    ("listen", Kind::Texts),
    ("threads", Kind::Integer),
    ("allowed_hosts", Kind::Texts),
    ("allowed_origins", Kind::Texts),
    ("preserve_header_case", Kind::Boolean),
    ("shutdown_grace", Kind::Duration),
    ("tls", Kind::Later),
    ("forward_proxy", Kind::Later),
]);

static ADMIN: Shape = Shape(&[
    ("listen", Kind::Text),
    ("public_url", Kind::Text),
    ("token", Kind::Secret(&SECRET)),
    ("allow_edit", Kind::Later),
]);

static LOG: Shape = Shape(&[
    ("level", Kind::Choice(&LOG_LEVEL)),
    ("format", Kind::Choice(&LOG_FORMAT)),
    ("access", Kind::Boolean),
]);

static LOG_LEVEL: Choice = Choice {
    now: &["off", "error", "warn", "info", "debug", "trace"],
    later: &[],
};

static LOG_FORMAT: Choice = Choice {
    now: &["text", "json"],
    later: &[],
};

static DEFAULTS: Shape = Shape(&[
    ("timeouts", Kind::Table(&TIMEOUTS)),
    ("limits", Kind::Table(&LIMITS)),
    ("tls", Kind::Table(&TLS)),
    ("network", Kind::Later),
]);

static CONNECTION: Shape = Shape(&[
    ("prefix", Kind::Text),
    ("hosts", Kind::Texts),
    ("base_url", Kind::Text),
    ("auth", Kind::Variants(&AUTH)),
    ("http", Kind::Choice(&HTTP)),
    ("cookies", Kind::Choice(&COOKIES)),
    ("retries", Kind::Integer),
    ("callers", Kind::Later),
    ("refresh_on", Kind::Later),
    ("tls", Kind::Table(&TLS)),
    ("network", Kind::Later),
    ("allow", Kind::Table(&ALLOW)),
    ("strip", Kind::Table(&STRIP)),
    ("timeouts", Kind::Table(&TIMEOUTS)),
    ("limits", Kind::Table(&LIMITS)),
]);

static HTTP: Choice = Choice {
    now: &["auto", "1.1"],
    later: &["2"],
};

static COOKIES: Choice = Choice {
    now: &["strip", "pass"],
    later: &[],
};

static TLS: Shape = Shape(&[
    ("client_certificate", Kind::Later),
    ("client_key", Kind::Later),
    ("client_key_password", Kind::Later),
    ("client_identity", Kind::Later),
    ("ca_certificate", Kind::Text),
    ("server_name", Kind::Text),
    ("min_version", Kind::Later),
]);

static ALLOW: Shape = Shape(&[("methods", Kind::Texts), ("paths", Kind::Texts)]);

static STRIP: Shape = Shape(&[("headers", Kind::Texts), ("query", Kind::Texts)]);

static TIMEOUTS: Shape = Shape(&[
    ("connect", Kind::Duration),
    ("read", Kind::Duration),
    ("write", Kind::Duration),
    ("idle", Kind::Duration),
]);

static LIMITS: Shape = Shape(&[("request_body", Kind::Size), ("signed_body", Kind::Size)]);

static AUTH: Variants = Variants {
    now: &[
        ("none", Shape(&[TYPE])),
        ("basic", Shape(&[TYPE, USERNAME, PASSWORD])),
        ("bearer", Shape(&[TYPE, ("token", Kind::Secret(&SECRET))])),
        ("header", Shape(&[TYPE, ("headers", SECRETS)])),
        ("query", Shape(&[TYPE, ("params", SECRETS)])),
        ("custom", CUSTOM),
    ],
    later: &[
        "oauth2_client_credentials",
        "oauth2_authorization_code",
        "azure_client_credentials",
        "azure_authorization_code",
        "oauth2_jwt_bearer",
        "aws_access_key",
        "aws_iam_role",
    ],
};

const TYPE: (&str, Kind) = ("type", Kind::Text);
const USERNAME: (&str, Kind) = ("username", Kind::Secret(&SECRET));
const PASSWORD: (&str, Kind) = ("password", Kind::Secret(&SECRET));
const SECRETS: Kind = Kind::Map(&Kind::Secret(&SECRET));

const CUSTOM: Shape = Shape(&[
    TYPE,
    ("headers", SECRETS),
    ("params", SECRETS),
    ("basic", Kind::Table(&BASIC)),
    ("form", SECRETS),
    ("json", SECRETS),
]);

static BASIC: Shape = Shape(&[USERNAME, PASSWORD]);

/// A secret that is not a plain string.
pub(crate) static SECRET: Shape = Shape(&[
    ("env", Kind::Variable),
    ("file", Kind::Text),
    ("value", Kind::Secret(&SECRET)),
    ("command", Kind::Later),
    ("ttl", Kind::Later),
    ("format", Kind::Format),
]);
