//! A certified authorization server and a resource server that asks it about each token.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::{Value, json};

use super::authorization_settings::AuthorizationSettings;
use super::client::{Request, Response};
use super::eventually;
use super::node::script;
use super::process::Process;

/// A running authorization server and its resource server, killed when dropped.
pub struct AuthorizationServer {
    process: Process,
    places: Places,
}

/// What the scripts say when they are ready.
#[derive(Deserialize)]
struct Places {
    issuer: String,
    resource: String,
    control: String,
    keys: BTreeMap<String, String>,
}

/// A request to the token endpoint, without its secrets.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenRequest {
    /// When it came, in milliseconds since 1970.
    pub at: u64,
    /// When it was answered or given up; none while it is not.
    pub ended: Option<u64>,
    /// The grant type.
    pub grant_type: Option<String>,
    /// The client; none where it was not authenticated and not named in the form.
    pub client_id: Option<String>,
    /// How the client authenticated: `basic`, `post`, `private_key_jwt`, `tls` or `none`.
    pub client_auth: String,
    /// The names of all form fields, in their order.
    pub parameters: Vec<String>,
    /// `scope`.
    pub scope: Option<String>,
    /// `audience`.
    pub audience: Option<String>,
    /// `resource`, several separated by spaces.
    pub resource: Option<String>,
    /// `redirect_uri`.
    pub redirect_uri: Option<String>,
    /// Which refresh token was shown.
    pub refresh_token_sha256: Option<String>,
    /// `pending`, `issued`, `refused` (by the server's rules), or by a [`Mode`]: `unavailable`,
    /// `hung`, `closed`, `held`.
    pub outcome: String,
    /// Whether the answer was lost on its way.
    #[serde(default)]
    pub lost: bool,
    /// The status code.
    pub status: Option<u16>,
    /// The error code (RFC 6749 section 5.2).
    pub error: Option<String>,
    /// Why, in the server's own words.
    pub error_detail: Option<String>,
}

impl TokenRequest {
    /// Whether both were under way at the same time.
    pub fn overlaps(&self, other: &Self) -> bool {
        let end = |request: &Self| request.ended.unwrap_or(u64::MAX);
        self.at < end(other) && other.at < end(self)
    }
}

/// How the token endpoint behaves.
#[derive(Clone, Debug)]
pub struct Mode(Value);

impl Mode {
    /// As it should.
    pub fn up() -> Self {
        Self(json!({ "mode": "up" }))
    }

    /// Answers 503.
    pub fn refuse() -> Self {
        Self::refuse_with(503)
    }

    /// Answers with this status.
    pub fn refuse_with(status: u16) -> Self {
        Self(json!({ "mode": "refuse", "status": status }))
    }

    /// Reads the request and never answers.
    pub fn hang() -> Self {
        Self(json!({ "mode": "hang" }))
    }

    /// Reads the request and closes the connection.
    pub fn close() -> Self {
        Self(json!({ "mode": "close" }))
    }

    /// Holds requests until the next mode, then does as that says.
    pub fn hold() -> Self {
        Self(json!({ "mode": "hold" }))
    }

    /// Issues tokens, and closes the connection instead of handing them out.
    pub fn lose() -> Self {
        Self(json!({ "mode": "lose" }))
    }

    /// For this grant type only.
    #[must_use]
    pub fn grant(self, grant: &str) -> Self {
        self.with("grant", json!(grant))
    }

    /// For so many requests; then the server is up again.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        self.with("times", json!(count))
    }

    /// With this error code, where it refuses.
    #[must_use]
    pub fn error(self, error: &str) -> Self {
        self.with("error", json!(error))
    }

    /// With this `Retry-After`, where it refuses.
    #[must_use]
    pub fn retry_after(self, value: &str) -> Self {
        self.with("retry_after", json!(value))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.0[name] = value;
        self
    }
}

impl AuthorizationServer {
    /// Starts one and waits until it is ready.
    pub async fn start(settings: AuthorizationSettings) -> Self {
        let command = &mut script("oauth", "authorization_server.js", &settings.to_json());
        let mut process = Process::spawn(command);
        let places = eventually("the authorization server", async || {
            if process.ended().is_some() {
                panic!("the authorization server ended: {:?}", process.exit().await);
            }
            let stdout = process.stdout();
            let (line, _) = stdout.split_once('\n')?;
            Some(serde_json::from_str(line).unwrap())
        });
        let places = places.await;
        Self { process, places }
    }

    /// The issuer identifier, which is also its base URL.
    pub fn issuer(&self) -> &str {
        &self.places.issuer
    }

    /// The authorization endpoint.
    pub fn authorization_url(&self) -> String {
        self.url("/auth")
    }

    /// The token endpoint.
    pub fn token_url(&self) -> String {
        self.url("/token")
    }

    /// The device authorization endpoint.
    pub fn device_authorization_url(&self) -> String {
        self.url("/device/auth")
    }

    /// The base URL of the resource server, which takes every path.
    pub fn resource_url(&self) -> &str {
        &self.places.resource
    }

    /// The private key of a client that signs, as PKCS#8 in PEM; its `kid` is `test-key`.
    pub fn private_key(&self, client_id: &str) -> &str {
        &self.places.keys[client_id]
    }

    /// Sends a form to an endpoint, with these further fields.
    pub async fn post(
        &self,
        endpoint: &str,
        form: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Response {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let endpoint = url::Url::parse(endpoint).unwrap();
        let request = Request::new(address(self.issuer()), "POST", endpoint.path());
        let add = |request: Request, (name, value): &(&str, &str)| request.header(name, value);
        let request = fields.iter().fold(request, add);
        let form_type = "application/x-www-form-urlencoded";
        request.body(form_type, form).send().await
    }

    /// Asks the resource server for `target` with this access token.
    pub async fn call(&self, target: &str, access_token: &str) -> Response {
        Request::new(address(self.resource_url()), "GET", target)
            .header("Authorization", &format!("Bearer {access_token}"))
            .send()
            .await
    }

    /// Every request to the token endpoint so far, in order of arrival.
    pub async fn log(&self) -> Vec<TokenRequest> {
        serde_json::from_value(self.control("GET", "/log", &json!({})).await).unwrap()
    }

    /// Those with this grant type.
    pub async fn token_requests(&self, grant: &str) -> Vec<TokenRequest> {
        let mut log = self.log().await;
        log.retain(|request| request.grant_type.as_deref() == Some(grant));
        log
    }

    /// Waits until so many requests with this grant type have ended or are held up, and gives them.
    pub async fn wait_for_token_requests(&self, grant: &str, count: usize) -> Vec<TokenRequest> {
        eventually(&format!("{count} token requests"), async || {
            let log = self.token_requests(grant).await;
            let decided = log.iter().filter(|request| request.outcome != "pending");
            (decided.count() >= count).then_some(log)
        })
        .await
    }

    /// How many requests an endpoint of the authorization server has had, by path.
    pub async fn requests_to(&self, path: &str) -> u64 {
        let counters = self.control("GET", "/counters", &json!({})).await;
        counters["endpoints"][path].as_u64().unwrap_or_default()
    }

    /// How many requests the resource server has accepted, and how many it has refused for their token.
    pub async fn resource_requests(&self) -> (u64, u64) {
        let counters = &self.control("GET", "/counters", &json!({})).await["resource"];
        let count = |name: &str| counters[name].as_u64().unwrap();
        (count("accepted"), count("refused"))
    }

    /// How often a consumed refresh token was shown again.
    pub async fn reuses(&self) -> u64 {
        let counters = self.control("GET", "/counters", &json!({})).await;
        counters["reuses"].as_u64().unwrap()
    }

    /// Makes the token endpoint behave so from now on.
    pub async fn set_mode(&self, mode: Mode) {
        self.control("POST", "/mode", &mode.0).await;
    }

    /// Ends all access tokens, while refresh tokens stay; gives how many there were.
    pub async fn revoke_access_tokens(&self) -> u64 {
        self.revoke("/revoke-access-tokens").await
    }

    /// Ends all grants of people, with their access and refresh tokens; gives how many there were.
    pub async fn revoke_grants(&self) -> u64 {
        self.revoke("/revoke-grants").await
    }

    /// Ends it, as a machine that goes away does.
    pub async fn kill(&mut self) {
        self.process.signal(rustix::process::Signal::KILL);
        self.process.exit().await;
    }

    async fn revoke(&self, what: &str) -> u64 {
        let done = self.control("POST", what, &json!({})).await;
        done["revoked"].as_u64().unwrap()
    }

    async fn control(&self, method: &str, target: &str, what: &Value) -> Value {
        let request = Request::new(address(&self.places.control), method, target);
        let request = request.body("application/json", what.to_string());
        let response = request.send().await;
        assert_eq!(response.status, 200, "{target}: {response:?}");
        response.json()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer())
    }
}

/// The address in a URL with an IPv4 host.
fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}
