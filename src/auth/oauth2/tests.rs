use tokio_util::task::TaskTracker;

use super::*;
use crate::auth::courier::Courier;
use crate::auth::engine::Renewing;
use crate::auth::testing::{Server, connection, secret};
use crate::connection::oauth2::{Client, ClientAuthentication, Pkce, TokenPlace};
use crate::metrics::Metrics;
use crate::store::{Key, Store};
use crate::traces::Traces;
use crate::upstream::Upstreams;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn settings(server: &Server) -> OAuth2 {
    OAuth2 {
        kind: "oauth2_authorization_code",
        grant: Grant::AuthorizationCode(AuthorizationCode {
            authorization_url: None,
            authorization_server: None,
            device_authorization_url: None,
            pkce: Pkce::S256,
        }),
        client: Client {
            id: "id".into(),
            authentication: ClientAuthentication::None,
        },
        token_url: Some(server.url("/token")),
        scopes: Vec::new(),
        audience: None,
        resource: Vec::new(),
        params: Vec::new(),
        token: TokenPlace {
            field: vec!["access_token".into()],
            header: http::header::AUTHORIZATION,
            written: "Authorization".into(),
            format: ("Bearer ".into(), "".into()),
        },
        refresh_before: None,
        default_lifetime: None,
    }
}

/// What renews a linked connection whose token of so long ago has no end.
async fn endless(server: &Server, age: Duration, refresh_token: Option<&str>) -> OAuth2Renewal {
    let kept = Kept {
        store: Store::memory(),
        key: Key::new("a"),
        grant: Arc::default(),
        exchanges: TaskTracker::new(),
        courier: Arc::new(Courier::default()),
    };
    let record = Record {
        token: secret("old"),
        refresh_token: refresh_token.map(secret),
        obtained: SystemTime::now() - age,
        expires: None,
        scope: None,
        note: None,
    };
    kept.write(&record).await.unwrap();
    let road = Road::new(&connection(), Arc::new(Upstreams::default()));
    OAuth2Renewal::new(&"api".into(), &settings(server), road, Some(kept), None)
}

/// Refresh tokens lapse that nobody uses, so one is used daily even if nobody asks for anything.
#[tokio::test]
async fn a_token_without_an_end_is_renewed_once_a_day() {
    const OK: &str = r#"{"access_token": "new", "refresh_token": "second"}"#;
    let server = Server::saying(200, "application/json", OK).await;
    for (age, refresh_token, renewed) in [
        (DAY, Some("first"), true),
        (DAY - Duration::from_secs(600), Some("first"), false),
        (DAY * 30, None, false),
    ] {
        let before = server.received().len();
        let renewal = Arc::new(endless(&server, age, refresh_token).await);
        let now = SystemTime::now();
        let lease = renewal.recall(now).await.unwrap().unwrap();
        assert_eq!(lease.renews.is_some_and(|at| at <= now), renewed, "{age:?}");
        assert_eq!(lease.renewable, refresh_token.is_some());
        let metrics = Metrics::new().unwrap().credential(&"api".into());
        let value = Renewing::new(renewal, metrics, Traces::default());
        value.begin(&tokio::runtime::Handle::current());
        let current = value.acquire().await.unwrap();
        if renewed {
            // Nobody asks: the keeper does so by itself.
            while Arc::ptr_eq(&value.acquire().await.unwrap(), &current) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert!(
                server
                    .received()
                    .last()
                    .unwrap()
                    .content
                    .contains("refresh_token=first")
            );
            let next = value.acquire().await.unwrap().renews.unwrap();
            let ahead = next.duration_since(now).unwrap();
            assert!(
                ahead >= DAY && ahead < DAY + Duration::from_secs(60),
                "{ahead:?}"
            );
        }
        assert_eq!(server.received().len(), before + usize::from(renewed));
    }
}

/// A grant belongs to a client that proves itself so; a certificate is replaced without another consent.
#[tokio::test]
async fn a_client_with_a_certificate_is_another_client() {
    let server = Server::saying(200, "application/json", "{}").await;
    let with = |authentication| {
        let mut settings = settings(&server);
        settings.client.authentication = authentication;
        key("api", &settings)
    };
    let none = with(ClientAuthentication::None);
    assert_eq!(with(ClientAuthentication::Basic(secret("a"))), none);
    assert_eq!(with(ClientAuthentication::Post(secret("b"))), none);
    assert_ne!(with(ClientAuthentication::Tls), none);
    assert_eq!(
        with(ClientAuthentication::Tls),
        with(ClientAuthentication::Tls)
    );
}
