//! The form's fields, each once: the page, the JSON that it sends and the TOML that comes of it are
//! made from these.

use super::of_aws::{AWS_ACCESS_KEY, AWS_IAM_ROLE};
use super::of_oauth2::{
    AZURE_AUTHORIZATION_CODE, AZURE_CLIENT_CREDENTIALS, OAUTH2_AUTHORIZATION_CODE,
    OAUTH2_CLIENT_CREDENTIALS, OAUTH2_JWT_BEARER,
};

/// A field of the form.
#[derive(Debug)]
pub(super) struct Field {
    /// Its key below `[connections.NAME]`, and its path in JSON: `auth.token_url`.
    pub(super) key: &'static str,
    pub(super) label: &'static str,
    /// One line.
    pub(super) help: &'static str,
    pub(super) input: Input,
    pub(super) need: Need,
}

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// One of these words; the first of them if none is chosen.
    Choice(&'static [&'static str]),
    /// The path of a file.
    File(Content),
    /// A text, or several.
    OneOrMore,
    /// A secret: where it is.
    Secret(Literal),
    /// Names, each with a secret or a text.
    Secrets,
    /// A text; this is an example of one.
    Text(&'static str),
    /// Texts.
    Texts,
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Text.
    Pem,
    /// Bytes, which JSON has as base64.
    Pkcs12,
}

/// Whether a secret may be written out where the configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Literal {
    /// As it often is none.
    Any,
    /// As long as there is no password in it.
    Url,
    /// Only `""`, which says that there is none.
    Empty,
    /// Never, and it has many lines.
    Key,
    /// Never.
    No,
}

/// How much a field is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Optional,
    /// By few: the page folds it away.
    Rare,
    Required,
}

/// A type of credential and its fields.
#[derive(Debug)]
pub(super) struct AuthType {
    /// As `auth.type` has it.
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    /// One line.
    pub(super) help: &'static str,
    pub(super) fields: &'static [Field],
}

impl Field {
    pub(super) const fn new(
        key: &'static str,
        label: &'static str,
        help: &'static str,
        input: Input,
        need: Need,
    ) -> Self {
        Self {
            key,
            label,
            help,
            input,
            need,
        }
    }
}

impl AuthType {
    pub(super) fn of_name(name: &str) -> Option<&'static Self> {
        AUTH_TYPES.iter().find(|kind| kind.name == name)
    }
}

/// The key of the connection's name, which stands in no table.
pub(super) const NAME: &str = "name";

/// The key of the type of credential.
pub(super) const TYPE: &str = "auth.type";

/// Of every connection, but for its name.
pub(super) static CONNECTION: [Field; 2] = [
    Field::new(
        "base_url",
        "Base URL",
        "Where the API is. Callers reach what is below it, and nothing else.",
        Input::Text("https://api.example.com/v1"),
        Need::Required,
    ),
    Field::new(
        "prefix",
        "Prefix",
        "The local path under which callers reach it. Left out: / and the name.",
        Input::Text("/jira"),
        Need::Optional,
    ),
];

/// How upstreams are trusted, and what they are shown.
pub(super) static TLS: [Field; 6] = [
    Field::new(
        "tls.client_certificate",
        "Certificate file",
        "PEM: the client certificate, then those that sign it. The private key goes below.",
        Input::File(Content::Pem),
        Need::Optional,
    ),
    Field::new(
        "tls.client_key",
        "Private key",
        "PEM: PKCS#8, PKCS#1 or SEC1, most often in a file.",
        Input::Secret(Literal::Key),
        Need::Optional,
    ),
    Field::new(
        "tls.client_identity",
        "PKCS#12 file",
        "Certificate and key in one .p12 or .pfx file, instead of the two above.",
        Input::File(Content::Pkcs12),
        Need::Optional,
    ),
    Field::new(
        "tls.client_key_password",
        "Password of the key",
        "Of an encrypted private key, or of the PKCS#12 file.",
        Input::Secret(Literal::No),
        Need::Optional,
    ),
    Field::new(
        "tls.ca_certificate",
        "CA file",
        "PEM: the certificates to trust instead of the system's, for a private CA.",
        Input::File(Content::Pem),
        Need::Optional,
    ),
    Field::new(
        "tls.server_name",
        "Server name",
        "The name in the upstream's certificate, if it is not the base URL's host.",
        Input::Text("erp.internal"),
        Need::Rare,
    ),
];

/// How upstreams are reached.
pub(super) static NETWORK: [Field; 3] = [
    Field::new(
        "network.agent",
        "On-prem agent",
        "The name of the agent that leads into a private network.",
        Input::Text("datacenter-1"),
        Need::Optional,
    ),
    Field::new(
        "network.proxy",
        "Proxy",
        "http://, https:// or socks5://; env for what HTTPS_PROXY says. With a password: let it come from elsewhere, in a format.",
        Input::Secret(Literal::Url),
        Need::Optional,
    ),
    Field::new(
        "network.no_proxy",
        "Hosts without the proxy",
        "Names, suffixes such as .internal, addresses or networks; one a line.",
        Input::Texts,
        Need::Rare,
    ),
];

const HEADERS: Field = Field::new(
    "auth.headers",
    "Headers",
    "Names of header fields, and what each carries.",
    Input::Secrets,
    Need::Required,
);

const PARAMS: Field = Field::new(
    "auth.params",
    "Query parameters",
    "Names of parameters, and what each carries.",
    Input::Secrets,
    Need::Required,
);

/// Every type, the plainest first.
pub(super) static AUTH_TYPES: [AuthType; 13] = [
    AuthType {
        name: "none",
        label: "None",
        help: "Adds nothing; what callers send of their own is still taken out.",
        fields: &[],
    },
    AuthType {
        name: "basic",
        label: "Basic: user name and password",
        help: "Authorization: Basic, as most APIs with a user name and a password or API token take it.",
        fields: &[
            Field::new(
                "auth.username",
                "User name",
                "Without a colon; where the API key is the user name, let it come from elsewhere.",
                Input::Secret(Literal::Any),
                Need::Required,
            ),
            Field::new(
                "auth.password",
                "Password",
                "Password or API token; some APIs want it empty.",
                Input::Secret(Literal::Empty),
                Need::Required,
            ),
        ],
    },
    AuthType {
        name: "bearer",
        label: "Bearer token",
        help: "Authorization: Bearer, with a token that does not change.",
        fields: &[Field::new(
            "auth.token",
            "Token",
            "The token without the word Bearer.",
            Input::Secret(Literal::No),
            Need::Required,
        )],
    },
    AuthType {
        name: "header",
        label: "Headers, such as X-Api-Key",
        help: "Header fields of any name, each with a secret.",
        fields: &[HEADERS],
    },
    AuthType {
        name: "query",
        label: "Query parameters, such as ?api_key=",
        help: "Parameters of the URL, each with a secret.",
        fields: &[PARAMS],
    },
    AuthType {
        name: "custom",
        label: "Custom: several of these, or in the content",
        help: "Any of headers, parameters, Basic, and fields of a form or of JSON; at least one.",
        fields: &[
            Field {
                need: Need::Optional,
                ..HEADERS
            },
            Field {
                need: Need::Optional,
                ..PARAMS
            },
            Field::new(
                "auth.basic.username",
                "Basic user name",
                "For Authorization: Basic beside the others.",
                Input::Secret(Literal::Any),
                Need::Optional,
            ),
            Field::new(
                "auth.basic.password",
                "Basic password",
                "The password that goes with it; may be empty.",
                Input::Secret(Literal::Empty),
                Need::Optional,
            ),
            Field::new(
                "auth.form",
                "Form fields",
                "Merged into content of the type application/x-www-form-urlencoded.",
                Input::Secrets,
                Need::Optional,
            ),
            Field::new(
                "auth.json",
                "JSON members",
                "Merged into content that is a JSON object; not beside form fields.",
                Input::Secrets,
                Need::Optional,
            ),
        ],
    },
    OAUTH2_CLIENT_CREDENTIALS,
    OAUTH2_AUTHORIZATION_CODE,
    OAUTH2_JWT_BEARER,
    AZURE_CLIENT_CREDENTIALS,
    AZURE_AUTHORIZATION_CODE,
    AWS_ACCESS_KEY,
    AWS_IAM_ROLE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys_of_auth;
    use std::collections::BTreeSet;

    #[test]
    fn every_type_and_every_key_of_it_has_a_field() {
        let known = keys_of_auth();
        let names: BTreeSet<_> = known.iter().map(|(name, _)| *name).collect();
        let ours: BTreeSet<_> = AUTH_TYPES.iter().map(|kind| kind.name).collect();
        assert_eq!(names, ours);
        for (name, keys) in known {
            let kind = AuthType::of_name(name).unwrap();
            let first = |field: &Field| field.key.split('.').nth(1).unwrap_or_default().to_owned();
            let ours: BTreeSet<_> = kind.fields.iter().map(first).collect();
            let keys: BTreeSet<_> = keys.into_iter().map(str::to_owned).collect();
            assert_eq!(ours, keys, "{name}");
        }
    }

    #[test]
    fn every_field_is_explained_in_a_line() {
        let of_types = AUTH_TYPES.iter().flat_map(|kind| kind.fields);
        for field in of_types.chain(&CONNECTION).chain(&TLS).chain(&NETWORK) {
            let Field { key, help, .. } = field;
            assert!(help.ends_with('.') && !help.contains('\n'), "{key}: {help}");
        }
        for kind in &AUTH_TYPES {
            let keys: BTreeSet<_> = kind.fields.iter().map(|field| field.key).collect();
            assert_eq!(keys.len(), kind.fields.len(), "{}: a key twice", kind.name);
        }
    }
}
