//! What an authorization server is to be like: its clients, lifetimes and rules.

use serde_json::{Value, json};

/// The settings of an [`AuthorizationServer`](super::AuthorizationServer); the default has no client,
/// wants PKCE, rotates refresh tokens, and issues tokens that live for an hour.
#[derive(Clone, Debug)]
pub struct AuthorizationSettings(Value);

/// A client as it is registered (RFC 7591).
#[derive(Clone, Debug)]
pub struct OAuthClient(Value);

/// The device authorization grant (RFC 8628).
pub const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The JWT bearer grant (RFC 7523).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl AuthorizationSettings {
    /// The default with this client.
    pub fn with(client: OAuthClient) -> Self {
        Self(json!({ "clients": [], "scopes": [], "ttl": {} })).client(client)
    }

    /// With one more client.
    #[must_use]
    pub fn client(mut self, client: OAuthClient) -> Self {
        self.0["clients"].as_array_mut().unwrap().push(client.0);
        self
    }

    /// With these scopes, beside `openid` and `offline_access`.
    #[must_use]
    pub fn scopes(self, scopes: &[&str]) -> Self {
        self.set("scopes", json!(scopes))
    }

    /// With these resources (RFC 8707); any other is an `invalid_target`.
    #[must_use]
    pub fn resources(self, resources: &[&str]) -> Self {
        self.set("resources", json!(resources))
    }

    /// Access tokens of every grant live so many seconds: up to one less, as the server counts whole ones.
    #[must_use]
    pub fn access_token_lifetime(self, seconds: u32) -> Self {
        self.lifetime("AccessToken", seconds)
            .lifetime("ClientCredentials", seconds)
    }

    /// What the server calls `kind` (`AuthorizationCode`, `RefreshToken`, …) lives so many seconds.
    #[must_use]
    pub fn lifetime(mut self, kind: &str, seconds: u32) -> Self {
        self.0["ttl"][kind] = json!(seconds);
        self
    }

    /// Does not ask for PKCE.
    #[must_use]
    pub fn without_pkce(self) -> Self {
        self.set("pkce_required", json!(false))
    }

    /// Gives the same refresh token for ever.
    #[must_use]
    pub fn without_rotation(self) -> Self {
        self.set("rotate", json!(false))
    }

    /// The resource server refuses tokens so, instead of with 401 and `invalid_token`.
    #[must_use]
    pub fn refusal(self, status: u16, content_type: &str, body: &str) -> Self {
        let fields = json!({ "content-type": content_type });
        let refusal = json!({ "status": status, "fields": fields, "body": body });
        self.set("refusal", refusal)
    }

    /// As the server's argument.
    pub fn to_json(&self) -> String {
        self.0.to_string()
    }

    fn set(mut self, name: &str, value: Value) -> Self {
        self.0[name] = value;
        self
    }
}

impl OAuthClient {
    /// One that sends its secret in `Authorization: Basic`.
    pub fn basic(id: &str, secret: &str) -> Self {
        Self::new(id, "client_secret_basic").set("client_secret", json!(secret))
    }

    /// One that sends its secret in the form.
    pub fn post(id: &str, secret: &str) -> Self {
        Self::new(id, "client_secret_post").set("client_secret", json!(secret))
    }

    /// One that signs assertions by this algorithm; the server makes the key pair.
    pub fn private_key_jwt(id: &str, algorithm: &str) -> Self {
        Self::new(id, "private_key_jwt")
            .set("token_endpoint_auth_signing_alg", json!(algorithm))
            .set("key_algorithm", json!(algorithm))
    }

    /// One that shows a certificate for this subject to the proxy in front (RFC 8705 section 2.1).
    pub fn tls(id: &str, subject: &str) -> Self {
        Self::new(id, "tls_client_auth").set("tls_client_auth_subject_dn", json!(subject))
    }

    /// A public client.
    pub fn public(id: &str) -> Self {
        Self::new(id, "none")
    }

    /// The issuer of assertions for the JWT bearer grant; the server makes the key pair.
    pub fn jwt_bearer(issuer: &str, algorithm: &str) -> Self {
        Self::public(issuer)
            .set("key_algorithm", json!(algorithm))
            .grant(JWT_BEARER)
    }

    /// May use the client credentials grant.
    #[must_use]
    pub fn client_credentials(self) -> Self {
        self.grant("client_credentials")
    }

    /// May use the authorization code grant and refresh tokens, with redirects to this path on any
    /// loopback port (RFC 8252 section 7.3).
    #[must_use]
    pub fn authorization_code(self, callback: &str) -> Self {
        let redirects = ["127.0.0.1", "localhost"].map(|host| format!("http://{host}{callback}"));
        self.grant("authorization_code")
            .grant("refresh_token")
            .set("application_type", json!("native"))
            .set("redirect_uris", json!(redirects))
            .set("response_types", json!(["code"]))
    }

    /// May use the device authorization grant and refresh tokens.
    #[must_use]
    pub fn device_code(self) -> Self {
        self.grant(DEVICE_CODE).grant("refresh_token")
    }

    fn new(id: &str, authentication: &str) -> Self {
        Self(json!({
            "client_id": id,
            "token_endpoint_auth_method": authentication,
            "grant_types": [],
            "redirect_uris": [],
            "response_types": [],
        }))
    }

    fn grant(mut self, grant: &str) -> Self {
        let grants = self.0["grant_types"].as_array_mut().unwrap();
        if !grants.contains(&json!(grant)) {
            grants.push(json!(grant));
        }
        self
    }

    fn set(mut self, name: &str, value: Value) -> Self {
        self.0[name] = value;
        self
    }
}
