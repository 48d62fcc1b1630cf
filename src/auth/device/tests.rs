use super::*;
use crate::auth::testing::{Server, at, secret};

fn request(proof: ClientProof<'_>) -> DeviceRequest<'_> {
    DeviceRequest {
        client_id: "app",
        proof,
        scopes: &[],
        audience: None,
        resource: &[],
        params: &[],
    }
}

async fn told(content: &str) -> Result<DeviceAuthorization, TokenFault> {
    let server = Server::saying(200, "application/json", content).await;
    authorize(&server.endpoint(), &request(ClientProof::None), at(0)).await
}

#[tokio::test]
async fn a_device_is_told_what_to_show_and_how_to_poll() {
    let content = r#"{"device_code": "canary", "user_code": "WDJB-MJHT", "verification_uri": "https://as.example/device",
        "verification_uri_complete": "https://as.example/device?user_code=WDJB-MJHT", "expires_in": "1800", "interval": 7}"#;
    let server = Server::saying(200, "application/json", content).await;
    let password = secret("p w");
    let scopes = ["a".into(), "b".into()];
    let request = DeviceRequest {
        scopes: &scopes,
        ..request(ClientProof::Post(&password))
    };
    let made = authorize(&server.endpoint(), &request, at(0))
        .await
        .unwrap();
    assert_eq!(
        server.only().content,
        "client_id=app&client_secret=p%20w&scope=a%20b"
    );
    assert_eq!(made.device_code.expose(), "canary");
    assert_eq!(made.user_code, "WDJB-MJHT");
    assert_eq!(made.verification_uri, "https://as.example/device");
    assert!(made.verification_uri_complete.is_some());
    assert_eq!(
        (made.lifetime.as_secs(), made.interval.as_secs()),
        (1800, 7)
    );
    assert!(!format!("{made:?}").contains("canary"));
}

#[tokio::test]
async fn what_is_missing_has_the_standards_defaults_or_is_told() {
    let made = told(r#"{"device_code": "d", "user_code": "u", "verification_url": "https://g.example/", "verification_uri_complete": "javascript:1", "interval": 0}"#)
        .await
        .unwrap();
    assert_eq!((made.interval, made.lifetime), (INTERVAL, LIFETIME));
    assert_eq!(made.verification_uri, "https://g.example/");
    assert_eq!(made.verification_uri_complete, None);

    let fault =
        told(r#"{"device_code": "d", "user_code": "u", "verification_uri": "javascript:1"}"#)
            .await
            .unwrap_err();
    assert!(
        fault
            .to_string()
            .contains("its answer has no `verification_uri`"),
        "{fault}"
    );
    let fault = told(r#"{"error": "invalid_scope"}"#).await.unwrap_err();
    assert!(fault.is_misconfigured());
}
