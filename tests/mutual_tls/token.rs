//! Clients whose certificate is their proof (RFC 8705 section 2), at a certified authorization server
//! behind nginx, which demands certificates.

use serde_json::json;

use super::put;
use crate::harness::nginx::Nginx;
use crate::harness::{
    Answer, Authority, AuthorizationServer, AuthorizationSettings, Keybearer, OAuthClient, Person,
    Setup, Upstream, connection, eventually, wait_for_state,
};
use crate::linking;

/// The authorization server, what stands in front of it, and who issues certificates.
struct Front {
    server: AuthorizationServer,
    nginx: Nginx,
    authority: Authority,
}

impl Front {
    async fn start() -> Self {
        let client = OAuthClient::tls("app", "CN=app")
            .client_credentials()
            .authorization_code("/oauth/callback")
            .device_code();
        let settings = AuthorizationSettings::with(client).scopes(&["read"]);
        let server = AuthorizationServer::start(settings).await;
        let authority = Authority::new();
        let directives = format!(
            "location / {{ proxy_pass {}; proxy_set_header Host $proxy_host;\n\
             proxy_set_header X-Client-Verify $ssl_client_verify;\n\
             proxy_set_header X-Client-Subject $ssl_client_s_dn;\n\
             proxy_set_header X-Client-Certificate $ssl_client_escaped_cert; }}",
            server.issuer()
        );
        let own = authority.issue(&["127.0.0.1"]);
        let nginx = Nginx::start(&own, &[&authority], &directives).await;
        Self {
            server,
            nginx,
            authority,
        }
    }

    /// A setup with the certificate `app`, whose files are of this name.
    fn setup(&self) -> Setup {
        let setup = linking::setup().file("ca.pem", self.authority.pem());
        put(&setup, "app", &self.authority.client("app", 1));
        setup
    }

    /// A connection to the resource server, in cleartext, with this `auth` table and certificate.
    fn table(&self, name: &str, auth: &str, certificate: &str) -> String {
        let rest = format!(
            "auth = {{ {auth}, client_id = \"app\", client_auth = \"tls\" }}\n\
             tls = {{ client_certificate = \"{certificate}.pem\", client_key = {{ file = \"{certificate}.key\" }}, ca_certificate = \"ca.pem\" }}"
        );
        connection(name, self.server.resource_url(), &rest)
    }
}

#[tokio::test]
async fn a_machines_certificate_is_its_proof() {
    let front = Front::start().await;
    let setup = front.setup();
    put(&setup, "other", &front.authority.client("other", 2));
    let auth = format!(
        "type = \"oauth2_client_credentials\", token_url = \"{}\", scopes = [\"read\"]",
        front.nginx.url("/token")
    );
    let tables = front.table("api", &auth, "app") + &front.table("other", &auth, "other");
    let keybearer = setup.tables(&tables).start().await;
    let response = keybearer.get("/api/x").send().await;
    assert_eq!(response.status, 200, "{response:?}");
    let shown = wait_for_state(&keybearer, "other", "misconfigured").await;
    let error = shown["last_error"].as_str().unwrap();
    assert!(
        error.contains("invalid_client") && error.contains("client_auth"),
        "{error}"
    );
    let requests = front.server.token_requests("client_credentials").await;
    let issued: Vec<_> = requests
        .iter()
        .filter(|one| one.outcome == "issued")
        .collect();
    assert_eq!(issued.len(), 1, "{requests:?}");
    assert_eq!(issued[0].client_auth, "tls");
    assert_eq!(issued[0].parameters, ["grant_type", "scope", "client_id"]);
}

/// Makes the access token invalid, and waits until a call goes through with another.
async fn renew(front: &Front, keybearer: &Keybearer) {
    front.server.revoke_access_tokens().await;
    eventually("a call that goes through", async || {
        let response = keybearer.get("/api/x").send().await;
        (response.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_persons_grant_is_kept_by_the_same_certificate_and_by_its_successor() {
    let front = Front::start().await;
    let auth = format!(
        "type = \"oauth2_authorization_code\", authorization_url = \"{}\", token_url = \"{}\", scopes = [\"read\"]",
        front.server.authorization_url(),
        front.nginx.url("/token")
    );
    let setup = front.setup().tables(&front.table("api", &auth, "app"));
    let keybearer = setup.start().await;
    linking::link(&keybearer, "api").await;
    let code = &front.server.token_requests("authorization_code").await[0];
    assert_eq!((&*code.client_auth, &*code.outcome), ("tls", "issued"));

    // A refresh is a courier's, which is handed certificate and key.
    renew(&front, &keybearer).await;
    let refreshes = front.server.token_requests("refresh_token").await;
    assert_eq!(refreshes.len(), 1, "{refreshes:?}");
    assert_eq!(
        (&*refreshes[0].client_auth, &*refreshes[0].outcome),
        ("tls", "issued")
    );
    assert!(
        !keybearer.log().contains("Refreshing in this process"),
        "{}",
        keybearer.log()
    );

    // Another certificate for the same client needs no other consent.
    put(keybearer.setup(), "app", &front.authority.client("app", 9));
    assert_eq!(keybearer.reload().await.status, 200);
    wait_for_state(&keybearer, "api", "ready").await;
    let shown = keybearer
        .ask("GET", "/api/connections/api")
        .send()
        .await
        .json();
    assert_eq!(shown["client_certificate"]["serial"], "09");
    renew(&front, &keybearer).await;
    let refreshes = front.server.token_requests("refresh_token").await;
    assert!(refreshes.len() >= 2, "{refreshes:?}");
    assert!(
        refreshes
            .iter()
            .all(|one| one.client_auth == "tls" && one.outcome == "issued")
    );
    assert_eq!(
        front
            .server
            .token_requests("authorization_code")
            .await
            .len(),
        1
    );

    // A client that proves itself in another way is another one.
    let other = front
        .table("api", &auth, "app")
        .replace("client_auth = \"tls\"", "client_auth = \"none\"")
        .lines()
        .filter(|line| !line.starts_with("tls = "))
        .collect::<Vec<_>>()
        .join("\n");
    keybearer.reconfigure(&other).await;
    wait_for_state(&keybearer, "api", "not_linked").await;
}

#[tokio::test]
async fn the_aliases_for_certificates_are_used() {
    let front = Front::start().await;
    let issuer = Upstream::start().await;
    let metadata = json!({
        "issuer": issuer.url(""),
        "authorization_endpoint": front.server.authorization_url(),
        "token_endpoint": front.server.token_url(),
        "device_authorization_endpoint": front.server.device_authorization_url(),
        "mtls_endpoint_aliases": {
            "token_endpoint": front.nginx.url("/token"),
            "device_authorization_endpoint": front.nginx.url("/device/auth"),
        },
    });
    let json = "Content-Type: application/json\r\n";
    let answer = Answer::sized("200 OK", json, &metadata.to_string());
    issuer.on("/.well-known/oauth-authorization-server", answer);
    let auth = format!(
        "type = \"oauth2_authorization_code\", authorization_server = \"{}\", scopes = [\"read\"]",
        issuer.url("")
    );
    let setup = front.setup().tables(&front.table("api", &auth, "app"));
    let keybearer = setup.start().await;
    let mut command = keybearer.spawn(&["link", "api", "--device"]);
    let (address, code) = eventually("an address and a code", async || {
        let stdout = command.stdout();
        let (address, rest) = stdout.split_once('\n')?;
        let (code, _) = rest.split_once('\n')?;
        Some((address.to_owned(), code.to_owned()))
    })
    .await;
    let page = format!("{address}?user_code={code}");
    Person::new("jane").consent(&page).await;
    let exit = command.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let response = keybearer.get("/api/x").send().await;
    assert_eq!(response.json()["sub"], "jane", "{response:?}");
    let log = front.server.log().await;
    assert!(log.iter().all(|one| one.client_auth == "tls"), "{log:?}");
}
