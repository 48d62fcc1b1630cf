use std::time::Duration;

use http::header::{AUTHORIZATION, RETRY_AFTER};

use super::*;
use crate::auth::testing::{Server, at, response, secret};
use crate::connection::oauth2::{Algorithm, SigningKey};

const OK: &str =
    r#"{"access_token": "token-canary", "expires_in": 60, "refresh_token": "next-canary"}"#;

fn request<'a>(grant: TokenGrant<'a>, proof: ClientProof<'a>) -> TokenRequest<'a> {
    const FIELD: &[Box<str>] = &[];
    TokenRequest {
        grant,
        client_id: "app",
        proof,
        scopes: FIELD,
        audience: None,
        resource: FIELD,
        params: &[],
        field: FIELD,
    }
}

fn access_token() -> [Box<str>; 1] {
    ["access_token".into()]
}

/// The one request's form and `Authorization`.
async fn sent(request: TokenRequest<'_>) -> (String, Option<String>) {
    let server = Server::saying(200, "application/json", OK).await;
    let field = access_token();
    let request = TokenRequest {
        field: &field,
        ..request
    };
    let answer = exchange(&server.endpoint(), &request, at(1_000))
        .await
        .unwrap();
    assert_eq!(answer.token.expose(), "token-canary");
    assert!(!format!("{answer:?}").contains("canary"));
    let received = server.only();
    let authorization = received.headers.get(AUTHORIZATION);
    let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
    (received.content, authorization)
}

#[tokio::test]
async fn every_grant_is_sent_in_the_form_of_its_standard() {
    let (code, verifier, token) = (secret("c/1"), secret("v~1"), secret("r+1"));
    let grant = TokenGrant::AuthorizationCode {
        code: &code,
        redirect_uri: "http://127.0.0.1:9080/oauth/callback",
        verifier: Some(&verifier),
    };
    let scopes = ["a:read".into(), "b".into()];
    let resource = ["https://one.example".into(), "urn:two".into()];
    for (grant, form) in [
        (
            grant,
            "grant_type=authorization_code&code=c%2F1&redirect_uri=http%3A%2F%2F127.0.0.1%3A9080%2Foauth%2Fcallback&code_verifier=v~1",
        ),
        (
            TokenGrant::ClientCredentials,
            "grant_type=client_credentials&scope=a%3Aread%20b&audience=api",
        ),
        (
            TokenGrant::DeviceCode(&code),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=c%2F1",
        ),
        (
            TokenGrant::JwtBearer(&token),
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=r%2B1&scope=a%3Aread%20b&audience=api",
        ),
        (
            TokenGrant::RefreshToken(&token),
            "grant_type=refresh_token&refresh_token=r%2B1",
        ),
    ] {
        let request = TokenRequest {
            scopes: &scopes,
            audience: Some("api"),
            resource: &resource,
            ..request(grant, ClientProof::None)
        };
        let form =
            format!("{form}&resource=https%3A%2F%2Fone.example&resource=urn%3Atwo&client_id=app");
        assert_eq!(sent(request).await, (form, None));
    }
}

/// As Slack answers for a user: nested to a code, at the top to a refresh token.
#[tokio::test]
async fn a_refreshed_token_may_stand_outside_of_its_nest() {
    let field = ["authed_user".into(), "access_token".into()];
    let (code, token) = (secret("code"), secret("refresh"));
    let nested = r#"{"access_token": "bot", "authed_user": {"access_token": "person"}}"#;
    let code = TokenGrant::AuthorizationCode {
        code: &code,
        redirect_uri: "https://proxy.example/oauth/callback",
        verifier: None,
    };
    let refresh = TokenGrant::RefreshToken(&token);
    for (grant, content, expected) in [
        (code, nested, Some("person")),
        (code, OK, None),
        (refresh, nested, Some("person")),
        (refresh, OK, Some("token-canary")),
        (refresh, "{}", None),
    ] {
        let server = Server::saying(200, "application/json", content).await;
        let request = TokenRequest {
            field: &field,
            ..request(grant, ClientProof::None)
        };
        let answer = exchange(&server.endpoint(), &request, at(1_000)).await;
        match (answer, expected) {
            (Ok(answer), Some(expected)) => assert_eq!(answer.token.expose(), expected),
            (Err(fault), None) => {
                assert!(fault.to_string().contains("`authed_user.access_token`"));
            }
            (answer, _) => panic!("{content}: {answer:?}"),
        }
    }
}

/// The encoding that strict and lenient servers both read: a space as `%20`.
#[tokio::test]
async fn basic_is_percent_encoded_on_the_wire() {
    let hard = secret("p w+%41:ü~-._");
    let request = TokenRequest {
        client_id: "my app:1",
        ..request(TokenGrant::ClientCredentials, ClientProof::Basic(&hard))
    };
    let (form, authorization) = sent(request).await;
    assert_eq!(form, "grant_type=client_credentials");
    let pair = authorization.unwrap();
    let pair = BASE64_STANDARD.decode(pair.strip_prefix("Basic ").unwrap());
    assert_eq!(
        String::from_utf8(pair.unwrap()).unwrap(),
        "my%20app%3A1:p%20w%2B%2541%3A%C3%BC~-._"
    );
}

#[tokio::test]
async fn post_and_none_stay_in_the_form() {
    let password = secret("p w");
    let post = request(TokenGrant::ClientCredentials, ClientProof::Post(&password));
    let form = "grant_type=client_credentials&client_id=app&client_secret=p%20w".to_owned();
    assert_eq!(sent(post).await, (form, None));
    let nameless = TokenRequest {
        client_id: "",
        ..request(TokenGrant::ClientCredentials, ClientProof::None)
    };
    let form = "grant_type=client_credentials".to_owned();
    assert_eq!(sent(nameless).await, (form, None));
}

fn signer() -> Signer {
    let key = secret(include_str!("../../../tests/data/keys/p256.pem"));
    let settings = SigningKey {
        key: key.clone(),
        id: None,
        algorithm: Algorithm::Es256,
    };
    Signer::new(&key, &settings).unwrap()
}

#[tokio::test]
async fn a_client_with_a_key_sends_an_assertion_for_the_endpoint() {
    let signer = signer();
    let proof = ClientProof::PrivateKeyJwt {
        signer: &signer,
        audience: "https://as.example/token",
    };
    let (form, authorization) = sent(request(TokenGrant::ClientCredentials, proof)).await;
    assert_eq!(authorization, None);
    let (before, assertion) = form.split_once("&client_assertion=").unwrap();
    assert_eq!(
        before,
        "grant_type=client_credentials&client_id=app&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    );
    assert_eq!(assertion.split('.').count(), 3);
}

#[tokio::test]
async fn the_operators_own_fields_come_last_and_instead_of_ours() {
    let params = [("grant_type", "account_credentials"), ("account_id", "a&b")];
    let params = params.map(|(name, value)| Parameter {
        name: name.into(),
        value: secret(value),
    });
    let request = TokenRequest {
        params: &params,
        ..request(TokenGrant::ClientCredentials, ClientProof::None)
    };
    let form = "client_id=app&grant_type=account_credentials&account_id=a%26b".to_owned();
    assert_eq!(sent(request).await, (form, None));
}

async fn fault(server: &Server, request: TokenRequest<'_>) -> TokenFault {
    let field = access_token();
    let request = TokenRequest {
        field: &field,
        ..request
    };
    let fault = exchange(&server.endpoint(), &request, at(1_000)).await;
    fault.unwrap_err()
}

/// A server that repeats all it was sent: as text, as a form, decoded, in every member.
async fn echoing(status: u16) -> Server {
    Server::start(move |request| {
        let decoded: Vec<_> = url::form_urlencoded::parse(request.content.as_bytes())
            .map(|(name, value)| format!("{name} is {value}"))
            .collect();
        let authorization = request.headers.get(AUTHORIZATION);
        let authorization = authorization.map_or("", |value| value.to_str().unwrap());
        let all = format!(
            "{authorization} {} {}",
            request.content,
            decoded.join("\r\n\u{1b}[31m")
        );
        let answer = serde_json::json!({
            "error": format!("invalid_grant {all}"),
            "error_description": all,
            "error_uri": format!("https://as.example/?{}", request.content),
        });
        response(status, "application/json", &answer.to_string())
    })
    .await
}

#[tokio::test]
async fn what_a_server_repeats_is_taken_out_and_what_it_says_is_made_plain() {
    let secrets = ["canary one", "canary+two", "canary%33", "canary\u{e9}4"].map(secret);
    let [client, code, verifier, param] = &secrets;
    let params = [Parameter {
        name: "extra".into(),
        value: param.clone(),
    }];
    let signer = signer();
    let key = ClientProof::PrivateKeyJwt {
        signer: &signer,
        audience: "aud",
    };
    let grants = [
        TokenGrant::AuthorizationCode {
            code,
            redirect_uri: "http://x",
            verifier: Some(verifier),
        },
        TokenGrant::DeviceCode(code),
        TokenGrant::JwtBearer(code),
        TokenGrant::RefreshToken(code),
    ];
    for status in [200, 400, 401, 503] {
        let server = echoing(status).await;
        for grant in grants {
            for proof in [ClientProof::Basic(client), ClientProof::Post(client), key] {
                let request = TokenRequest {
                    params: &params,
                    ..request(grant, proof)
                };
                let fault = fault(&server, request).await;
                let shown = format!("{fault} {fault:?}");
                assert!(shown.contains("[redacted]"), "{shown}");
                // Of an assertion, nothing beyond its first part, which says the algorithm.
                for leak in ["canary", "Y2FuYXJ5", ".eyJ", "YXBwOm"] {
                    assert!(!shown.contains(leak), "{leak} in {shown}");
                }
                assert!(!fault.to_string().chars().any(char::is_control));
                assert!(fault.to_string().chars().count() < 1_000);
            }
        }
    }
}

#[tokio::test]
async fn every_fault_means_exactly_one_thing() {
    #[derive(Debug, PartialEq)]
    enum Class {
        Dead,
        Misconfigured,
        Pending,
        Transient,
    }
    for (status, error, class) in [
        (400, "invalid_grant", Class::Dead),
        (200, "bad_refresh_token", Class::Dead),
        (400, "interaction_required", Class::Dead),
        (400, "expired_token", Class::Dead),
        (401, "invalid_client", Class::Misconfigured),
        (400, "unauthorized_client", Class::Misconfigured),
        (400, "unsupported_grant_type", Class::Misconfigured),
        (400, "invalid_scope", Class::Misconfigured),
        (400, "invalid_request", Class::Misconfigured),
        (400, "invalid_target", Class::Misconfigured),
        (403, "access_denied", Class::Misconfigured),
        (400, "something_new", Class::Misconfigured),
        (404, "", Class::Misconfigured),
        (405, "", Class::Misconfigured),
        (302, "", Class::Misconfigured),
        (200, "", Class::Misconfigured),
        (400, "authorization_pending", Class::Pending),
        (200, "slow_down", Class::Pending),
        (400, "temporarily_unavailable", Class::Transient),
        (400, "server_error", Class::Transient),
        (500, "invalid_grant", Class::Transient),
        (429, "", Class::Transient),
        (503, "", Class::Transient),
    ] {
        let content = serde_json::json!({"error": error}).to_string();
        let server = Server::saying(status, "application/json", content).await;
        let fault = fault(
            &server,
            request(TokenGrant::ClientCredentials, ClientProof::None),
        )
        .await;
        let classes = [
            (fault.is_grant_dead(), Class::Dead),
            (fault.is_misconfigured(), Class::Misconfigured),
            (fault.is_pending(), Class::Pending),
            (fault.is_transient(), Class::Transient),
        ];
        let classes: Vec<_> = classes
            .into_iter()
            .filter_map(|(is, class)| is.then_some(class))
            .collect();
        assert_eq!(classes, [class], "{status} {error}: {fault}");
        assert_eq!(fault.is_slow_down(), error == "slow_down");
        assert_eq!(fault.is_denied(), error == "access_denied");
        assert_eq!(fault.is_expired(), error == "expired_token");
    }
}

#[tokio::test]
async fn a_refusal_says_who_refused_why_and_what_to_do() {
    let content = r#"{"error": "invalid_client", "error_description": "AADSTS7000215: no\nsuch secret.", "error_uri": "https://as.example/e"}"#;
    let server = Server::saying(401, "application/json", content).await;
    let fault = fault(
        &server,
        request(TokenGrant::ClientCredentials, ClientProof::None),
    )
    .await;
    assert_eq!(
        fault.to_string(),
        format!(
            "token endpoint http://{}/token: refused with `invalid_client` (AADSTS7000215: no such secret.), see https://as.example/e; check `client_id`, the client's secret or key, and `client_auth`",
            server.address
        )
    );
}

#[tokio::test]
async fn nonsense_is_told_by_its_type_and_never_shown() {
    for (status, kind, content) in [
        (200, "text/html", "<html>canary=canary</html>"),
        (404, "text/html", "<html>canary</html>"),
        (200, "text/plain", "canary canary"),
        (200, "text/plain", "canary=canary"),
        (200, "application/json", r#"{"canary": "canary"}"#),
        (
            200,
            "application/json",
            r#"{"access_token": "canary\u0007"}"#,
        ),
    ] {
        let server = Server::saying(status, kind, content).await;
        let fault = fault(
            &server,
            request(TokenGrant::ClientCredentials, ClientProof::None),
        )
        .await;
        let detail = format!("{fault} {fault:?}");
        assert!(matches!(fault, TokenFault::Unusable { .. }), "{detail}");
        assert!(
            detail.contains(&format!(
                "token endpoint http://{}/token: its ",
                server.address
            )) || detail.contains(&format!("it answered {status} with {kind}")),
            "{detail}"
        );
        assert!(
            !detail.contains("canary") && !detail.contains("{key}"),
            "{detail}"
        );
    }
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_back() {
    for status in [429, 503] {
        let server = Server::start(move |_| {
            let mut busy = response(status, "text/html", "<html>canary");
            busy.headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("17"));
            busy
        })
        .await;
        let fault = fault(
            &server,
            request(TokenGrant::ClientCredentials, ClientProof::None),
        )
        .await;
        assert_eq!(fault.retry_after(), Some(Duration::from_secs(17)));
        assert!(
            fault
                .to_string()
                .ends_with(&format!("it answered {status}"))
        );
    }
}

#[test]
fn a_request_shows_no_secret() {
    let canary = secret("canary");
    let request = request(
        TokenGrant::RefreshToken(&canary),
        ClientProof::Post(&canary),
    );
    assert!(!format!("{request:?}").contains("canary"));
}
