//! The fields of the types of credential that get tokens: OAuth 2.0, and OAuth 2.0 at Microsoft.

use super::fields::{AuthType, Field, Input, Literal, Need};

const TOKEN_URL: Field = Field::new(
    "auth.token_url",
    "Token URL",
    "The authorization server's token endpoint.",
    Input::Text("https://login.example.com/oauth/token"),
    Need::Required,
);
const CLIENT_ID: Field = Field::new(
    "auth.client_id",
    "Client ID",
    "The ID under which the provider knows this client.",
    Input::Text("keybearer"),
    Need::Required,
);
const CLIENT_SECRET: Field = Field::new(
    "auth.client_secret",
    "Client secret",
    "The secret that the provider gave with the ID; none for clients that are proven otherwise.",
    Input::Secret(Literal::No),
    Need::Optional,
);
const SCOPES: Field = Field::new(
    "auth.scopes",
    "Scopes",
    "The rights that are asked for, one a line.",
    Input::Texts,
    Need::Optional,
);
const AUDIENCE: Field = Field::new(
    "auth.audience",
    "Audience",
    "For whom the token is; some providers ask for it.",
    Input::Text("https://api.example.com"),
    Need::Rare,
);
const RESOURCE: Field = Field::new(
    "auth.resource",
    "Resource",
    "URIs of what the token is for (RFC 8707), one a line.",
    Input::OneOrMore,
    Need::Rare,
);
const PARAMS: Field = Field::new(
    "auth.params",
    "Further form fields",
    "Of token requests, where the provider asks for more than the standard has.",
    Input::Secrets,
    Need::Rare,
);
const CLIENT_AUTH: Field = Field::new(
    "auth.client_auth",
    "Client authentication",
    "How the client proves to be itself: its secret in a header or in the form, a signed assertion, its certificate, or not at all.",
    Input::Choice(&["basic", "post", "private_key_jwt", "tls", "none"]),
    Need::Optional,
);
const AZURE_CLIENT_AUTH: Field = Field::new(
    "auth.client_auth",
    "Client authentication",
    "The secret in the form, or none for public clients.",
    Input::Choice(&["post", "none"]),
    Need::Rare,
);
const PRIVATE_KEY: Field = Field::new(
    "auth.private_key",
    "Private key",
    "PEM, not encrypted: signs the assertion. Most often in a file.",
    Input::Secret(Literal::Key),
    Need::Rare,
);
const KEY_ID: Field = Field::new(
    "auth.key_id",
    "Key ID",
    "The kid of the assertion, by which the provider finds the key.",
    Input::Text("2026-01"),
    Need::Rare,
);
const ALGORITHM: Field = Field::new(
    "auth.algorithm",
    "Signature algorithm",
    "How the assertion is signed; has to fit the key.",
    Input::Choice(&["RS256", "PS256", "ES256", "EdDSA"]),
    Need::Rare,
);
const TENANT: Field = Field::new(
    "auth.tenant",
    "Tenant",
    "The directory's GUID or a domain name of it; or common, organizations, consumers.",
    Input::Text("contoso.onmicrosoft.com"),
    Need::Required,
);
const AUTHORITY_HOST: Field = Field::new(
    "auth.authority_host",
    "Authority host",
    "For sovereign clouds; left out: Microsoft's public one.",
    Input::Text("https://login.microsoftonline.us"),
    Need::Rare,
);
const TOKEN_HEADER: Field = Field::new(
    "auth.token_header",
    "Header of the token",
    "The field that carries the token; left out: Authorization.",
    Input::Text("Authorization"),
    Need::Rare,
);
const TOKEN_FORMAT: Field = Field::new(
    "auth.token_format",
    "Format of the token",
    "That field's value, with {} where the token goes; left out: Bearer {}.",
    Input::Text("Bearer {}"),
    Need::Rare,
);
const TOKEN_FIELD: Field = Field::new(
    "auth.token_field",
    "Member of the answer",
    "The member of the token endpoint's answer that is the token; left out: access_token.",
    Input::Text("access_token"),
    Need::Rare,
);
const REFRESH_BEFORE: Field = Field::new(
    "auth.refresh_before",
    "Renew before the end",
    "A duration such as 2m; left out: a tenth of the token's lifetime.",
    Input::Text("2m"),
    Need::Rare,
);
const DEFAULT_LIFETIME: Field = Field::new(
    "auth.default_lifetime",
    "Lifetime if none is told",
    "A duration such as 1h, for tokens that come without expires_in.",
    Input::Text("1h"),
    Need::Rare,
);

pub(super) const OAUTH2_CLIENT_CREDENTIALS: AuthType = AuthType {
    name: "oauth2_client_credentials",
    label: "OAuth 2.0: client credentials",
    help: "The client's own ID and secret get tokens, which are renewed before they end.",
    fields: &[
        TOKEN_URL,
        CLIENT_ID,
        CLIENT_AUTH,
        CLIENT_SECRET,
        SCOPES,
        AUDIENCE,
        RESOURCE,
        PRIVATE_KEY,
        KEY_ID,
        ALGORITHM,
        PARAMS,
        TOKEN_HEADER,
        TOKEN_FORMAT,
        TOKEN_FIELD,
        REFRESH_BEFORE,
        DEFAULT_LIFETIME,
    ],
};

pub(super) const OAUTH2_AUTHORIZATION_CODE: AuthType = AuthType {
    name: "oauth2_authorization_code",
    label: "OAuth 2.0: a person consents (authorization code)",
    help: "A person logs in and consents once; refresh tokens keep it. Register {admin.public_url}/oauth/callback at the provider.",
    fields: &[
        Field::new(
            "auth.authorization_server",
            "Authorization server",
            "The issuer's URL, whose metadata tell the URLs below; or fill those in.",
            Input::Text("https://accounts.example.com"),
            Need::Optional,
        ),
        Field::new(
            "auth.authorization_url",
            "Authorization URL",
            "Where the person is sent; its own query is kept.",
            Input::Text("https://login.example.com/oauth/authorize"),
            Need::Optional,
        ),
        Field {
            need: Need::Optional,
            ..TOKEN_URL
        },
        CLIENT_ID,
        CLIENT_AUTH,
        CLIENT_SECRET,
        SCOPES,
        Field::new(
            "auth.device_authorization_url",
            "Device authorization URL",
            "For machines without a browser (RFC 8628).",
            Input::Text("https://login.example.com/oauth/device"),
            Need::Rare,
        ),
        Field::new(
            "auth.pkce",
            "PKCE",
            "How the code verifier is shown (RFC 7636); S256 unless the provider refuses it.",
            Input::Choice(&["S256", "plain", "off"]),
            Need::Rare,
        ),
        AUDIENCE,
        RESOURCE,
        PRIVATE_KEY,
        KEY_ID,
        ALGORITHM,
        PARAMS,
        TOKEN_HEADER,
        TOKEN_FORMAT,
        TOKEN_FIELD,
        REFRESH_BEFORE,
        DEFAULT_LIFETIME,
    ],
};

pub(super) const OAUTH2_JWT_BEARER: AuthType = AuthType {
    name: "oauth2_jwt_bearer",
    label: "OAuth 2.0: signed assertion (JWT bearer)",
    help: "A signed assertion is exchanged for a token, as Google's service accounts do.",
    fields: &[
        TOKEN_URL,
        Field::new(
            "auth.issuer",
            "Issuer",
            "The iss of the assertion: by whom the provider knows the key.",
            Input::Text("keybearer@project.iam.gserviceaccount.com"),
            Need::Required,
        ),
        Field::new(
            "auth.subject",
            "Subject",
            "The sub of the assertion: for whom the token acts.",
            Input::Text("person@example.com"),
            Need::Optional,
        ),
        Field {
            need: Need::Required,
            ..PRIVATE_KEY
        },
        SCOPES,
        Field {
            help: "The aud of the assertion; left out: the token URL as it is written.",
            ..AUDIENCE
        },
        KEY_ID,
        ALGORITHM,
        PARAMS,
        TOKEN_HEADER,
        TOKEN_FORMAT,
        TOKEN_FIELD,
        REFRESH_BEFORE,
        DEFAULT_LIFETIME,
    ],
};

pub(super) const AZURE_CLIENT_CREDENTIALS: AuthType = AuthType {
    name: "azure_client_credentials",
    label: "Microsoft Entra: client credentials",
    help: "An application of its own right; Microsoft's endpoints are filled in.",
    fields: &[
        TENANT,
        CLIENT_ID,
        CLIENT_SECRET,
        Field {
            help: "One that ends in /.default, such as https://graph.microsoft.com/.default.",
            ..SCOPES
        },
        AZURE_CLIENT_AUTH,
        AUTHORITY_HOST,
        PARAMS,
        TOKEN_HEADER,
        TOKEN_FORMAT,
        TOKEN_FIELD,
        REFRESH_BEFORE,
        DEFAULT_LIFETIME,
    ],
};

pub(super) const AZURE_AUTHORIZATION_CODE: AuthType = AuthType {
    name: "azure_authorization_code",
    label: "Microsoft Entra: a person consents",
    help: "A person logs in at Microsoft and consents once. Register {admin.public_url}/oauth/callback there.",
    fields: AZURE_PERSON,
};

const AZURE_PERSON: &[Field] = &[
    TENANT,
    CLIENT_ID,
    CLIENT_SECRET,
    SCOPES,
    AZURE_CLIENT_AUTH,
    AUTHORITY_HOST,
    PARAMS,
    TOKEN_HEADER,
    TOKEN_FORMAT,
    TOKEN_FIELD,
    REFRESH_BEFORE,
    DEFAULT_LIFETIME,
];
