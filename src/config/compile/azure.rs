//! `auth` of Microsoft's types: OAuth 2.0 with the endpoints of the Microsoft identity platform.

use url::Url;

use super::endpoint::issuer;
use super::oauth2::Settings;
use crate::connection::oauth2::{AuthorizationCode, Grant, OAuth2, Pkce};

/// Microsoft's public cloud.
const AUTHORITY_HOST: &str = "https://login.microsoftonline.com";

/// The scope without which Microsoft gives no refresh token.
const OFFLINE_ACCESS: &str = "offline_access";

pub(super) fn client_credentials(settings: &Settings<'_, '_>) -> Option<OAuth2> {
    let endpoints = Endpoints::of(settings);
    let client = settings.client("post");
    let token_url = endpoints.map(|endpoints| endpoints.token);
    settings.credential(Some(Grant::ClientCredentials), client, token_url)
}

pub(super) fn authorization_code(settings: &Settings<'_, '_>) -> Option<OAuth2> {
    let endpoints = Endpoints::of(settings);
    let client = settings.client("post");
    let (token_url, grant) = match endpoints {
        Some(endpoints) => (Some(endpoints.token), {
            let grant = AuthorizationCode {
                authorization_url: Some(endpoints.authorization),
                authorization_server: None,
                device_authorization_url: Some(endpoints.device_authorization),
                pkce: Pkce::S256,
            };
            Some(Grant::AuthorizationCode(grant))
        }),
        None => (None, None),
    };
    let mut credential = settings.credential(grant, client, token_url)?;
    let scopes = &mut credential.scopes;
    if !scopes.iter().any(|scope| &**scope == OFFLINE_ACCESS) {
        scopes.push(OFFLINE_ACCESS.into());
    }
    Some(credential)
}

/// The endpoints of a tenant.
struct Endpoints {
    authorization: Url,
    device_authorization: Url,
    token: Url,
}

impl Endpoints {
    fn of(settings: &Settings<'_, '_>) -> Option<Self> {
        let section = settings.section;
        let host = match section.has("authority_host") {
            true => section.parse("authority_host", issuer),
            false => Url::parse(AUTHORITY_HOST).ok(),
        };
        if !section.has("tenant") {
            let message = format!(
                "type `{}` needs a `tenant`: the directory's GUID or a domain name of it",
                settings.kind
            );
            section.missing("tenant", message);
        }
        let tenant = section.parse("tenant", tenant)?;
        let host = host?;
        let base = host.as_str().trim_end_matches('/');
        let endpoint = |name: &str| Url::parse(&format!("{base}/{tenant}/oauth2/v2.0/{name}")).ok();
        Some(Self {
            authorization: endpoint("authorize")?,
            device_authorization: endpoint("devicecode")?,
            token: endpoint("token")?,
        })
    }
}

/// A GUID, a domain name, `common`, `organizations` or `consumers`: one segment of a path.
fn tenant(text: &str) -> Result<&str, &'static str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
    let is_dotted = text.starts_with('.') || text.ends_with('.') || text.contains("..");
    match !text.is_empty() && text.bytes().all(fits) && !is_dotted {
        true => Ok(text),
        false => Err(
            "`tenant` is the directory's GUID, a domain name of it, or `common`, `organizations` or `consumers`",
        ),
    }
}
