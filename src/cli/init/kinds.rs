//! The auth types, as a first configuration has them: what each needs to be told.

use super::Arguments;

/// An auth type.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its `type`.
    pub(super) name: &'static str,
    /// For whom it is.
    pub(super) about: &'static str,
    pub(super) fields: &'static [Field],
    /// Its secret, if it has one.
    pub(super) secret: Option<SecretField>,
    /// What else may stand in its table, to be uncommented.
    pub(super) more: &'static [&'static str],
}

/// A part of a credential that is no secret.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: Key,
    pub(super) question: &'static str,
    pub(super) need: Need,
}

/// What becomes of a field that nobody names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It is this.
    Default(&'static str),
    /// It is left out.
    Optional,
    /// There is no configuration without.
    Required,
}

/// Where a value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    AccessKeyId,
    AuthorizationUrl,
    ClientId,
    /// The name in `headers`.
    Header,
    Issuer,
    /// The name in `params`.
    Param,
    Region,
    RoleArn,
    Scopes,
    Service,
    Subject,
    Tenant,
    TokenUrl,
    Username,
}

/// The secret of a credential.
#[derive(Debug)]
pub(super) struct SecretField {
    /// Its key; for `headers` and `params`, that of the table.
    pub(super) key: &'static str,
    /// What it is called.
    pub(super) question: &'static str,
    /// The end of the environment variable's usual name.
    pub(super) suffix: &'static str,
    /// Whether it has many lines, and so usually stands in a file.
    pub(super) is_file: bool,
}

pub(super) static KINDS: [Kind; 13] = [
    Kind {
        name: "bearer",
        about: "an API key or token, sent as `Authorization: Bearer`",
        fields: &[],
        secret: Some(SecretField::of("token", "token", "TOKEN")),
        more: &[],
    },
    Kind {
        name: "basic",
        about: "user name and password, or e-mail address and API token",
        fields: &[Field::required(Key::Username, "User name")],
        secret: Some(SecretField::of("password", "password", "PASSWORD")),
        more: &[],
    },
    Kind {
        name: "header",
        about: "a key in a header field of its own, such as X-Api-Key",
        fields: &[HEADER],
        secret: Some(SecretField::of("headers", "key", "KEY")),
        more: &[],
    },
    Kind {
        name: "query",
        about: "a key in the query, such as ?api_key=…",
        fields: &[Field {
            key: Key::Param,
            question: "Name of the query parameter",
            need: Need::Default("api_key"),
        }],
        secret: Some(SecretField::of("params", "key", "KEY")),
        more: &[],
    },
    Kind {
        name: "custom",
        about: "several of header fields, parameters and members of the content",
        fields: &[HEADER],
        secret: Some(SecretField::of("headers", "key", "KEY")),
        more: &[
            "params  = { account = { env = \"ACCOUNT\" } }   # query parameters",
            "form    = { pin = { env = \"PIN\" } }           # or json: members of the caller's content",
        ],
    },
    Kind {
        name: "oauth2_client_credentials",
        about: "OAuth 2.0 for a service: client ID and secret, no person",
        fields: &[TOKEN_URL, CLIENT_ID, SCOPES],
        secret: Some(CLIENT_SECRET),
        more: &[CLIENT_AUTH, "audience    = \"https://api.example.com\""],
    },
    Kind {
        name: "oauth2_authorization_code",
        about: "OAuth 2.0 for a person's account, who consents once in a browser",
        fields: &[
            Field::required(Key::AuthorizationUrl, "Authorization URL"),
            TOKEN_URL,
            CLIENT_ID,
            SCOPES,
        ],
        secret: Some(CLIENT_SECRET),
        more: &[CLIENT_AUTH],
    },
    Kind {
        name: "oauth2_jwt_bearer",
        about: "OAuth 2.0 with a private key, such as Google's service accounts",
        fields: &[
            TOKEN_URL,
            Field::required(Key::Issuer, "Issuer (whom the provider knows the key by)"),
            Field::optional(Key::Subject, "Subject (whom to act for)"),
            SCOPES,
        ],
        secret: Some(SecretField {
            key: "private_key",
            question: "private key, in PEM",
            suffix: "PRIVATE_KEY",
            is_file: true,
        }),
        more: &[
            "key_id      = \"…\"",
            "algorithm   = \"ES256\"     # RS256 if left out",
        ],
    },
    Kind {
        name: "azure_client_credentials",
        about: "Microsoft Entra ID for a service",
        fields: &[TENANT, CLIENT_ID, SCOPES],
        secret: Some(CLIENT_SECRET),
        more: &[],
    },
    Kind {
        name: "azure_authorization_code",
        about: "Microsoft Entra ID for a person's account",
        fields: &[TENANT, CLIENT_ID, SCOPES],
        secret: Some(CLIENT_SECRET),
        more: &[],
    },
    Kind {
        name: "aws_access_key",
        about: "AWS, signed with an access key",
        fields: &[
            Field::required(Key::AccessKeyId, "Access key ID"),
            SERVICE,
            REGION,
        ],
        secret: Some(SecretField::of(
            "secret_access_key",
            "secret access key",
            "SECRET_ACCESS_KEY",
        )),
        more: &["session_token = { env = \"AWS_SESSION_TOKEN\" }   # of a temporary key"],
    },
    Kind {
        name: "aws_iam_role",
        about: "AWS, signed with the session of a role that keybearer assumes",
        fields: &[
            Field::required(Key::RoleArn, "ARN of the role"),
            SERVICE,
            REGION,
        ],
        secret: None,
        more: &[
            "source   = { access_key_id = \"…\", secret_access_key = { env = \"…\" } }   # else the SDK's chain",
        ],
    },
    Kind {
        name: "none",
        about: "no credential: the caller's is removed, none is added",
        fields: &[],
        secret: None,
        more: &[],
    },
];

const HEADER: Field = Field {
    key: Key::Header,
    question: "Name of the header field",
    need: Need::Default("X-Api-Key"),
};
const TOKEN_URL: Field = Field::required(Key::TokenUrl, "Token URL");
const CLIENT_ID: Field = Field::required(Key::ClientId, "Client ID");
const SCOPES: Field = Field::optional(Key::Scopes, "Scopes, with spaces between");
const TENANT: Field = Field::required(Key::Tenant, "Tenant (GUID or domain of the directory)");
const SERVICE: Field = Field::optional(Key::Service, "Service, if the host does not tell it");
const REGION: Field = Field::optional(Key::Region, "Region, if the host does not tell it");
const CLIENT_SECRET: SecretField =
    SecretField::of("client_secret", "client secret", "CLIENT_SECRET");
const CLIENT_AUTH: &str = "client_auth = \"post\"     # where the provider does not take \"basic\"";

/// All names, for the help.
pub(super) fn names() -> [&'static str; KINDS.len()] {
    std::array::from_fn(|index| KINDS[index].name)
}

/// The type of a name.
pub(super) fn of(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

// === impl Field ===

impl Field {
    const fn required(key: Key, question: &'static str) -> Self {
        Self {
            key,
            question,
            need: Need::Required,
        }
    }

    const fn optional(key: Key, question: &'static str) -> Self {
        Self {
            key,
            question,
            need: Need::Optional,
        }
    }
}

// === impl SecretField ===

impl SecretField {
    const fn of(key: &'static str, question: &'static str, suffix: &'static str) -> Self {
        Self {
            key,
            question,
            suffix,
            is_file: false,
        }
    }
}

// === impl Key ===

impl Key {
    pub(super) const ALL: [Self; 14] = [
        Self::AccessKeyId,
        Self::AuthorizationUrl,
        Self::ClientId,
        Self::Header,
        Self::Issuer,
        Self::Param,
        Self::Region,
        Self::RoleArn,
        Self::Scopes,
        Self::Service,
        Self::Subject,
        Self::Tenant,
        Self::TokenUrl,
        Self::Username,
    ];

    /// The key in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AccessKeyId => "access_key_id",
            Self::AuthorizationUrl => "authorization_url",
            Self::ClientId => "client_id",
            Self::Header => "headers",
            Self::Issuer => "issuer",
            Self::Param => "params",
            Self::Region => "region",
            Self::RoleArn => "role_arn",
            Self::Scopes => "scopes",
            Self::Service => "service",
            Self::Subject => "subject",
            Self::Tenant => "tenant",
            Self::TokenUrl => "token_url",
            Self::Username => "username",
        }
    }

    /// The option that gives it.
    pub(super) fn option(self) -> &'static str {
        match self {
            Self::AccessKeyId => "--access-key-id",
            Self::AuthorizationUrl => "--authorization-url",
            Self::ClientId => "--client-id",
            Self::Header => "--header",
            Self::Issuer => "--issuer",
            Self::Param => "--param",
            Self::Region => "--region",
            Self::RoleArn => "--role-arn",
            Self::Scopes => "--scope",
            Self::Service => "--service",
            Self::Subject => "--subject",
            Self::Tenant => "--tenant",
            Self::TokenUrl => "--token-url",
            Self::Username => "--username",
        }
    }

    /// Its value, if the option was given.
    pub(super) fn given(self, arguments: &Arguments) -> Option<String> {
        let given = match self {
            Self::AccessKeyId => &arguments.access_key_id,
            Self::AuthorizationUrl => &arguments.authorization_url,
            Self::ClientId => &arguments.client_id,
            Self::Header => &arguments.header,
            Self::Issuer => &arguments.issuer,
            Self::Param => &arguments.param,
            Self::Region => &arguments.region,
            Self::RoleArn => &arguments.role_arn,
            Self::Scopes => {
                let scopes = &arguments.scope;
                return (!scopes.is_empty()).then(|| scopes.join(" "));
            }
            Self::Service => &arguments.service,
            Self::Subject => &arguments.subject,
            Self::Tenant => &arguments.tenant,
            Self::TokenUrl => &arguments.token_url,
            Self::Username => &arguments.username,
        };
        given.clone()
    }
}
