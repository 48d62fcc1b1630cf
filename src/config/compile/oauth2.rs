//! `auth` of the OAuth 2.0 types: which grant gets a token, as which client, and where it goes.

use http::HeaderName;
use http::header::AUTHORIZATION;
use url::Url;

use super::auth::{Compiler, InvalidField, field_name};
use super::azure;
use super::endpoint::{endpoint, issuer};
use super::secret::{Secrets, around};
use crate::config::fault::Fault;
use crate::config::section::Section;
use crate::connection::auth::Parameter;
use crate::connection::oauth2::{
    AuthorizationCode, Client, ClientAuthentication, Grant, JwtBearer, OAuth2, Pkce, TokenPlace,
};

/// Form fields of token requests that the protocol sets (RFC 6749, 7521, 7636 and 8628).
const PROTOCOL: [&str; 13] = [
    "assertion",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "grant_type",
    "redirect_uri",
    "refresh_token",
    "response_type",
    "scope",
];

/// The credential of an `auth` table whose `type` is `kind`; none if it was reported.
pub(super) fn oauth2<'a>(
    section: &Section<'a>,
    kind: &str,
    compiler: &Compiler<'_, 'a>,
) -> Option<OAuth2> {
    let settings = |kind| Settings {
        section,
        compiler,
        kind,
    };
    match kind {
        "oauth2_client_credentials" => settings("oauth2_client_credentials").client_credentials(),
        "oauth2_authorization_code" => settings("oauth2_authorization_code").authorization_code(),
        "oauth2_jwt_bearer" => settings("oauth2_jwt_bearer").jwt_bearer(),
        "azure_client_credentials" => {
            azure::client_credentials(&settings("azure_client_credentials"))
        }
        "azure_authorization_code" => {
            azure::authorization_code(&settings("azure_authorization_code"))
        }
        _ => None,
    }
}

/// The table that is compiled.
pub(super) struct Settings<'s, 'a> {
    pub(super) section: &'s Section<'a>,
    compiler: &'s Compiler<'s, 'a>,
    /// The `type`.
    pub(super) kind: &'static str,
}

impl<'a> Settings<'_, 'a> {
    fn client_credentials(&self) -> Option<OAuth2> {
        let token_url = self.needed_endpoint("token_url", "");
        let client = self.client("basic");
        self.credential(Some(Grant::ClientCredentials), client, token_url)
    }

    fn authorization_code(&self) -> Option<OAuth2> {
        let server = self.section.parse("authorization_server", issuer);
        let url = |key: &str| match self.section.has("authorization_server") {
            true => self.section.parse(key, endpoint),
            false => self.needed_endpoint(key, ", or an `authorization_server` that tells it"),
        };
        let token_url = url("token_url");
        let grant = Grant::AuthorizationCode(AuthorizationCode {
            authorization_url: url("authorization_url"),
            authorization_server: server,
            device_authorization_url: self.section.parse("device_authorization_url", endpoint),
            pkce: self.pkce(),
        });
        self.credential(Some(grant), self.client("basic"), token_url)
    }

    fn pkce(&self) -> Pkce {
        match self.section.text("pkce").map(|text| text.text) {
            Some("off") => Pkce::Off,
            Some("plain") => Pkce::Plain,
            _ => Pkce::S256,
        }
    }

    fn jwt_bearer(&self) -> Option<OAuth2> {
        let token_url = self.needed_endpoint("token_url", "");
        let issuer = self.needed_word("issuer", "an `issuer`, whom the provider knows the key by");
        let subject = self.word("subject");
        let key = self.signing_key(&format!("type `{}`", self.kind));
        let grant = match (issuer, key) {
            (Some(issuer), Some(key)) => Some(Grant::JwtBearer(JwtBearer {
                issuer,
                subject,
                key,
            })),
            _ => None,
        };
        let client = Client {
            id: Box::default(),
            authentication: ClientAuthentication::None,
        };
        let mut credential = self.credential(grant, Some(client), token_url)?;
        // As it was written: servers compare it with their own text.
        credential.audience = credential
            .audience
            .or_else(|| Some(self.section.text("token_url")?.text.into()));
        Some(credential)
    }

    /// Reports endpoints in cleartext, where there is no handshake to show a certificate in.
    fn refuse_cleartext(&self) {
        for key in ["token_url", "device_authorization_url"] {
            if let Some(text) = self.section.text(key)
                && endpoint(text.text).is_ok_and(|url| url.scheme() == "http")
            {
                let message = format!(
                    "`client_auth = \"tls\"` shows a certificate, so `{key}` starts with `https://`"
                );
                self.section.refuse(text, message);
            }
        }
    }

    /// What all types have in common, and these parts. A URL that is absent may be so.
    pub(super) fn credential(
        &self,
        grant: Option<Grant>,
        client: Option<Client>,
        token_url: Option<Url>,
    ) -> Option<OAuth2> {
        let section = self.section;
        if let Some(client) = &client
            && client.authentication == ClientAuthentication::Tls
        {
            self.refuse_cleartext();
        }
        let scopes = section.parse_each("scopes", scope);
        let audience = self.word("audience");
        let resource = section.text_or_texts("resource");
        let resource = resource.map(|texts| section.parse_all(texts, resource_uri));
        let params = self.params();
        let token = self.token_place();
        let refresh_before = section.duration("refresh_before");
        let default_lifetime = section.duration("default_lifetime");
        Some(OAuth2 {
            kind: self.kind,
            grant: grant?,
            client: client?,
            token_url,
            scopes: scopes.unwrap_or_default(),
            audience,
            resource: resource.unwrap_or_default(),
            params: params?,
            token: token?,
            refresh_before,
            default_lifetime,
        })
    }

    fn params(&self) -> Option<Vec<Parameter>> {
        let Some(table) = self.section.section("params") else {
            return Some(Vec::new());
        };
        for entry in table.entries() {
            let name = entry.key.to_ascii_lowercase();
            let message = match &*name {
                "scope" => "`scope` is set by `scopes`".to_owned(),
                "audience" | "resource" if self.section.has(&name) => {
                    format!("`{name}` is in this credential twice")
                }
                _ if PROTOCOL.contains(&&*name) => {
                    format!("`{}` is set by the protocol itself", entry.key)
                }
                _ => continue,
            };
            table.report(entry.key, Fault::at(entry.key_place, message));
        }
        self.compiler.params(&table)
    }

    fn token_place(&self) -> Option<TokenPlace> {
        let section = self.section;
        let header = match section.has("token_header") {
            true => section.parse("token_header", token_header),
            false => Some((AUTHORIZATION, "Authorization")),
        };
        let format = match section.has("token_format") {
            true => section.parse("token_format", token_format),
            false => Some(("Bearer ".into(), "".into())),
        };
        let field = match section.has("token_field") {
            true => section.parse("token_field", token_field),
            false => Some(vec!["access_token".into()]),
        };
        let (header, written) = header?;
        Some(TokenPlace {
            field: field?,
            header,
            written: written.into(),
            format: format?,
        })
    }

    /// The endpoint at `key`, or what else would do.
    fn needed_endpoint(&self, key: &str, otherwise: &str) -> Option<Url> {
        if !self.section.has(key) {
            let message = format!("type `{}` needs `{key}`{otherwise}", self.kind);
            self.section.missing(key, message);
        }
        self.section.parse(key, endpoint)
    }

    /// The text at `key`; `what` is it called if it is missing.
    pub(super) fn needed_word(&self, key: &str, what: &str) -> Option<Box<str>> {
        if !self.section.has(key) {
            let message = format!("type `{}` needs {what}", self.kind);
            self.section.missing(key, message);
        }
        self.word(key)
    }

    /// A text that says something, and can be sent.
    pub(super) fn word(&self, key: &str) -> Option<Box<str>> {
        self.section.parse(key, |text| match text {
            "" => Err(format!("`{key}` is empty")),
            _ if text.contains(char::is_control) => Err(format!("`{key}` has a control character")),
            _ => Ok(text.into()),
        })
    }

    pub(super) fn secrets(&self) -> &Secrets<'a> {
        self.compiler.secrets
    }
}

/// A `scope-token` (RFC 6749 section 3.3).
fn scope(text: &str) -> Result<Box<str>, String> {
    let fits = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    match text {
        "" => Err("a scope is not empty; leave it out".to_owned()),
        _ if text.contains(' ') => Err(format!(
            "scopes stand in strings of their own: `[\"{}\"]`",
            text.split_ascii_whitespace()
                .collect::<Vec<_>>()
                .join("\", \"")
        )),
        _ if text.bytes().all(fits) => Ok(text.into()),
        _ => Err("a scope has visible ASCII characters, without `\"` and `\\`".to_owned()),
    }
}

/// A resource indicator (RFC 8707 section 2).
fn resource_uri(text: &str) -> Result<Box<str>, &'static str> {
    match Url::parse(text) {
        Ok(uri) if uri.fragment().is_none() => Ok(text.into()),
        Ok(_) => Err("a `resource` has no fragment (`#…`)"),
        Err(_) => Err("a `resource` is an absolute URI, such as `https://api.example.com`"),
    }
}

fn token_header(text: &str) -> Result<(HeaderName, &str), InvalidField> {
    Ok((field_name(text)?, text))
}

fn token_format(text: &str) -> Result<(Box<str>, Box<str>), &'static str> {
    let (before, after) =
        around(text).ok_or("`token_format` has exactly one `{}`, where the token goes")?;
    let fits = |c: char| c == '\t' || !c.is_control();
    match before.chars().chain(after.chars()).all(fits) {
        true => Ok((before.into(), after.into())),
        false => Err("`token_format` has a control character, which no header field can carry"),
    }
}

fn token_field(text: &str) -> Result<Vec<Box<str>>, &'static str> {
    match text.split('.').any(str::is_empty) {
        true => Err("`token_field` is a name, or names with `.` between them, none of them empty"),
        false => Ok(text.split('.').map(Box::from).collect()),
    }
}
