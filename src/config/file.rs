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
    ("store", Kind::Table(&STORE)),
    ("log", Kind::Table(&LOG)),
    ("traces", Kind::Table(&TRACES)),
    ("defaults", Kind::Table(&DEFAULTS)),
    ("connections", Kind::Map(&Kind::Table(&CONNECTION))),
    ("callers", Kind::Later),
    ("agents", Kind::Table(&AGENTS)),
    ("webhooks", Kind::Table(&WEBHOOKS)),
]);

static SERVER: Shape = Shape(&[
    ("listen", Kind::Texts),
    ("threads", Kind::Integer),
    ("allowed_hosts", Kind::Texts),
    ("allowed_origins", Kind::Texts),
    ("preserve_header_case", Kind::Boolean),
    ("shutdown_grace", Kind::Duration),
    ("dns", Kind::Texts),
    ("tls", Kind::Later),
    ("forward_proxy", Kind::Later),
]);

static ADMIN: Shape = Shape(&[
    ("listen", Kind::Text),
    ("public_url", Kind::Text),
    ("token", Kind::Secret(&SECRET)),
    ("allow_edit", Kind::Boolean),
]);

static STORE: Shape = Shape(&[
    ("type", Kind::Choice(&STORE_TYPE)),
    ("path", Kind::Text),
    ("url", Kind::Later),
    ("key", Kind::Secret(&SECRET)),
]);

static STORE_TYPE: Choice = Choice {
    now: &["file", "memory"],
    later: &["redis"],
};

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

static TRACES: Shape = Shape(&[
    ("endpoint", Kind::Text),
    ("headers", SECRETS),
    ("sample", Kind::Ratio),
    ("service_name", Kind::Text),
    ("attributes", Kind::Map(&Kind::Text)),
    ("tls", Kind::Table(&SERVER_TLS)),
]);

static SERVER_TLS: Shape = Shape(&[
    ("client_certificate", Kind::Text),
    ("client_key", Kind::Secret(&SECRET)),
    ("client_key_password", Kind::Secret(&SECRET)),
    ("client_identity", Kind::TextOrTable(&IDENTITY_FILE)),
    ("ca_certificate", Kind::Text),
    ("min_version", Kind::Choice(&TLS_VERSION)),
]);

static DEFAULTS: Shape = Shape(&[
    ("timeouts", Kind::Table(&TIMEOUTS)),
    ("limits", Kind::Table(&LIMITS)),
    ("tls", Kind::Table(&TLS)),
    ("network", Kind::Table(&NETWORK)),
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
    ("refresh_on", Kind::Tables(&EXPIRY_SIGNAL)),
    ("tls", Kind::Table(&TLS)),
    ("network", Kind::Table(&NETWORK)),
    ("allow", Kind::Table(&ALLOW)),
    ("strip", Kind::Table(&STRIP)),
    ("timeouts", Kind::Table(&TIMEOUTS)),
    ("limits", Kind::Table(&LIMITS)),
]);

static AGENTS: Shape = Shape(&[
    ("listen", Kind::Text),
    ("certificate", Kind::Text),
    ("key", Kind::Text),
    ("client_ca", Kind::Text),
    ("tokens", SECRETS),
]);

static WEBHOOKS: Shape = Shape(&[
    ("listen", Kind::Text),
    ("public_url", Kind::Text),
    ("tls", Kind::Table(&LISTENER_TLS)),
    ("endpoints", Kind::Map(&Kind::Table(&ENDPOINT))),
]);

static LISTENER_TLS: Shape = Shape(&[("certificate", Kind::Text), ("key", Kind::Text)]);

static ENDPOINT: Shape = Shape(&[
    ("target", Kind::Text),
    ("connection", Kind::Text),
    ("path", Kind::Text),
    ("verify", Kind::Variants(&VERIFY)),
    ("verify_token", Kind::Secret(&SECRET)),
    ("ordered", Kind::Boolean),
    ("retain", Kind::Duration),
    ("max_attempts", Kind::Integer),
    ("timeout", Kind::Duration),
    ("limits", Kind::Table(&ENDPOINT_LIMITS)),
    ("tls", Kind::Table(&SERVER_TLS)),
]);

static ENDPOINT_LIMITS: Shape = Shape(&[("request_body", Kind::Size), ("queue", Kind::Size)]);

static VERIFY: Variants = Variants {
    now: &[
        ("none", Shape(&[TYPE])),
        ("hmac", HMAC),
        ("stripe", SIGNED),
        ("slack", SIGNED),
        ("github", SIGNED),
        ("standard", SIGNED),
        ("basic", Shape(&[TYPE, USERNAME, PASSWORD])),
        (
            "header",
            Shape(&[TYPE, ("header", Kind::Text), HOOK_SECRET]),
        ),
        ("query", Shape(&[TYPE, ("param", Kind::Text), HOOK_SECRET])),
    ],
    later: &[],
};

const HMAC: Shape = Shape(&[
    TYPE,
    ("header", Kind::Text),
    HOOK_SECRET,
    ("algorithm", Kind::Choice(&DIGEST)),
    ("encoding", Kind::Choice(&DIGEST_ENCODING)),
    ("prefix", Kind::Text),
    ("template", Kind::Text),
    ("timestamp", Kind::Text),
    TOLERANCE,
]);

const SIGNED: Shape = Shape(&[TYPE, HOOK_SECRET, TOLERANCE]);
const HOOK_SECRET: (&str, Kind) = ("secret", Kind::Secret(&SECRET));
const TOLERANCE: (&str, Kind) = ("tolerance", Kind::Duration);

static DIGEST: Choice = Choice {
    now: &["sha256", "sha1", "sha512"],
    later: &[],
};

static DIGEST_ENCODING: Choice = Choice {
    now: &["hex", "base64"],
    later: &[],
};

static EXPIRY_SIGNAL: Shape = Shape(&[
    ("status", Kind::Integer),
    ("header", Kind::Text),
    ("body", Kind::Text),
    ("json", Kind::Text),
    ("equals", Kind::Scalar),
]);

static HTTP: Choice = Choice {
    now: &["auto", "1.1", "2"],
    later: &[],
};

static COOKIES: Choice = Choice {
    now: &["strip", "pass"],
    later: &[],
};

static TLS: Shape = Shape(&[
    ("client_certificate", Kind::Text),
    ("client_key", Kind::Secret(&SECRET)),
    ("client_key_password", Kind::Secret(&SECRET)),
    ("client_identity", Kind::TextOrTable(&IDENTITY_FILE)),
    ("ca_certificate", Kind::Text),
    ("server_name", Kind::Text),
    ("min_version", Kind::Choice(&TLS_VERSION)),
]);

/// Certificate and key in one file.
static IDENTITY_FILE: Shape = Shape(&[("file", Kind::Text)]);

static TLS_VERSION: Choice = Choice {
    now: &["1.2", "1.3"],
    later: &[],
};

static NETWORK: Shape = Shape(&[
    ("proxy", Kind::Secret(&SECRET)),
    ("no_proxy", Kind::Texts),
    ("agent", Kind::Text),
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

pub(super) static AUTH: Variants = Variants {
    now: &[
        ("none", Shape(&[TYPE])),
        ("basic", Shape(&[TYPE, USERNAME, PASSWORD])),
        ("bearer", Shape(&[TYPE, ("token", Kind::Secret(&SECRET))])),
        ("header", Shape(&[TYPE, ("headers", SECRETS)])),
        ("query", Shape(&[TYPE, ("params", SECRETS)])),
        ("custom", CUSTOM),
        ("oauth2_client_credentials", OAUTH2_CLIENT_CREDENTIALS),
        ("oauth2_authorization_code", OAUTH2_AUTHORIZATION_CODE),
        ("oauth2_jwt_bearer", OAUTH2_JWT_BEARER),
        ("azure_client_credentials", AZURE_CLIENT_CREDENTIALS),
        ("azure_authorization_code", AZURE_AUTHORIZATION_CODE),
        ("aws_access_key", AWS_ACCESS_KEY),
        ("aws_iam_role", AWS_IAM_ROLE),
    ],
    later: &[],
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

const OAUTH2_CLIENT_CREDENTIALS: Shape = Shape(&[
    TYPE,
    TOKEN_URL,
    CLIENT_ID,
    CLIENT_SECRET,
    SCOPES,
    AUDIENCE,
    RESOURCE,
    PARAMS,
    CLIENT_AUTH,
    PRIVATE_KEY,
    KEY_ID,
    ALGORITHM,
    TOKEN_HEADER,
    TOKEN_FORMAT,
    TOKEN_FIELD,
    REFRESH_BEFORE,
    DEFAULT_LIFETIME,
]);

const OAUTH2_AUTHORIZATION_CODE: Shape = Shape(&[
    TYPE,
    TOKEN_URL,
    ("authorization_url", Kind::Text),
    ("authorization_server", Kind::Text),
    ("device_authorization_url", Kind::Text),
    ("pkce", Kind::Choice(&PKCE)),
    CLIENT_ID,
    CLIENT_SECRET,
    SCOPES,
    AUDIENCE,
    RESOURCE,
    PARAMS,
    CLIENT_AUTH,
    PRIVATE_KEY,
    KEY_ID,
    ALGORITHM,
    TOKEN_HEADER,
    TOKEN_FORMAT,
    TOKEN_FIELD,
    REFRESH_BEFORE,
    DEFAULT_LIFETIME,
]);

const OAUTH2_JWT_BEARER: Shape = Shape(&[
    TYPE,
    TOKEN_URL,
    ("issuer", Kind::Text),
    ("subject", Kind::Text),
    AUDIENCE,
    SCOPES,
    PARAMS,
    PRIVATE_KEY,
    KEY_ID,
    ALGORITHM,
    TOKEN_HEADER,
    TOKEN_FORMAT,
    TOKEN_FIELD,
    REFRESH_BEFORE,
    DEFAULT_LIFETIME,
]);

const AZURE_CLIENT_CREDENTIALS: Shape = Shape(&[
    TYPE,
    TENANT,
    CLIENT_ID,
    CLIENT_SECRET,
    SCOPES,
    PARAMS,
    AZURE_CLIENT_AUTH,
    AUTHORITY_HOST,
    TOKEN_HEADER,
    TOKEN_FORMAT,
    TOKEN_FIELD,
    REFRESH_BEFORE,
    DEFAULT_LIFETIME,
]);

const AZURE_AUTHORIZATION_CODE: Shape = Shape(&[
    TYPE,
    TENANT,
    CLIENT_ID,
    CLIENT_SECRET,
    SCOPES,
    PARAMS,
    AZURE_CLIENT_AUTH,
    AUTHORITY_HOST,
    TOKEN_HEADER,
    TOKEN_FORMAT,
    TOKEN_FIELD,
    REFRESH_BEFORE,
    DEFAULT_LIFETIME,
]);

const TOKEN_URL: (&str, Kind) = ("token_url", Kind::Text);
const CLIENT_ID: (&str, Kind) = ("client_id", Kind::Text);
const CLIENT_SECRET: (&str, Kind) = ("client_secret", Kind::Secret(&SECRET));
const SCOPES: (&str, Kind) = ("scopes", Kind::Texts);
const AUDIENCE: (&str, Kind) = ("audience", Kind::Text);
const RESOURCE: (&str, Kind) = ("resource", Kind::TextOrTexts);
const PARAMS: (&str, Kind) = ("params", SECRETS);
const CLIENT_AUTH: (&str, Kind) = ("client_auth", Kind::Choice(&CLIENT_AUTHENTICATION));
const AZURE_CLIENT_AUTH: (&str, Kind) = ("client_auth", Kind::Choice(&AZURE_CLIENT_AUTHENTICATION));
const PRIVATE_KEY: (&str, Kind) = ("private_key", Kind::Secret(&SECRET));
const KEY_ID: (&str, Kind) = ("key_id", Kind::Text);
const ALGORITHM: (&str, Kind) = ("algorithm", Kind::Choice(&SIGNATURE));
const TENANT: (&str, Kind) = ("tenant", Kind::Text);
const AUTHORITY_HOST: (&str, Kind) = ("authority_host", Kind::Text);
const TOKEN_HEADER: (&str, Kind) = ("token_header", Kind::Text);
const TOKEN_FORMAT: (&str, Kind) = ("token_format", Kind::Format);
const TOKEN_FIELD: (&str, Kind) = ("token_field", Kind::Text);
const REFRESH_BEFORE: (&str, Kind) = ("refresh_before", Kind::Duration);
const DEFAULT_LIFETIME: (&str, Kind) = ("default_lifetime", Kind::Duration);

static CLIENT_AUTHENTICATION: Choice = Choice {
    now: &["basic", "post", "private_key_jwt", "tls", "none"],
    later: &[],
};

static AZURE_CLIENT_AUTHENTICATION: Choice = Choice {
    now: &["post", "none"],
    later: &["private_key_jwt", "tls"],
};

static PKCE: Choice = Choice {
    now: &["S256", "plain", "off"],
    later: &[],
};

static SIGNATURE: Choice = Choice {
    now: &["RS256", "PS256", "ES256", "EdDSA"],
    later: &[],
};

const AWS_ACCESS_KEY: Shape = Shape(&[
    TYPE,
    SERVICE,
    REGION,
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    PAYLOAD,
]);

const AWS_IAM_ROLE: Shape = Shape(&[
    TYPE,
    SERVICE,
    REGION,
    ROLE_ARN,
    EXTERNAL_ID,
    SESSION_NAME,
    DURATION,
    SOURCE,
    STS_ENDPOINT,
    PAYLOAD,
]);

/// Whose keys assume a role: an access key, or another role.
static AWS_SOURCE: Shape = Shape(&[
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    ROLE_ARN,
    EXTERNAL_ID,
    SESSION_NAME,
    DURATION,
    // Not the constant below, which needs this.
    ("source", Kind::TextOrTable(&AWS_SOURCE)),
    STS_ENDPOINT,
]);

static AWS_EXTERNAL_ID: Shape = Shape(&[("scope", Kind::Text)]);

const SERVICE: (&str, Kind) = ("service", Kind::Text);
const REGION: (&str, Kind) = ("region", Kind::TextOrTexts);
const ACCESS_KEY_ID: (&str, Kind) = ("access_key_id", Kind::Secret(&SECRET));
const SECRET_ACCESS_KEY: (&str, Kind) = ("secret_access_key", Kind::Secret(&SECRET));
const SESSION_TOKEN: (&str, Kind) = ("session_token", Kind::Secret(&SECRET));
const ROLE_ARN: (&str, Kind) = ("role_arn", Kind::Text);
const EXTERNAL_ID: (&str, Kind) = ("external_id", Kind::TextOrTable(&AWS_EXTERNAL_ID));
const SESSION_NAME: (&str, Kind) = ("session_name", Kind::Text);
const DURATION: (&str, Kind) = ("duration", Kind::Duration);
const SOURCE: (&str, Kind) = ("source", Kind::TextOrTable(&AWS_SOURCE));
const STS_ENDPOINT: (&str, Kind) = ("sts_endpoint", Kind::Text);
const PAYLOAD: (&str, Kind) = ("payload", Kind::Choice(&AWS_PAYLOAD));

static AWS_PAYLOAD: Choice = Choice {
    now: &["auto", "signed", "chunked", "unsigned"],
    later: &[],
};

/// A secret that is not a plain string.
pub(crate) static SECRET: Shape = Shape(&[
    ("env", Kind::Variable),
    ("file", Kind::Text),
    ("value", Kind::Secret(&SECRET)),
    ("command", Kind::Command),
    ("ttl", Kind::Duration),
    ("format", Kind::Format),
]);
