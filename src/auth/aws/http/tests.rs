use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::auth::aws::testing::deaf;
use crate::auth::testing::{Server, connection, response};
use crate::connection::proxy::{Proxy, Written};
use crate::secret::Origin;

fn connector(connection: &Connection, read: Option<Duration>) -> (RoadClient, Connector) {
    let client = RoadClient::new(connection, Arc::new(Upstreams::default()));
    let connector = Connector {
        road: Arc::clone(&client.0),
        connect: None,
        read,
    };
    (client, connector)
}

fn request(url: &str) -> HttpRequest {
    let mut request = HttpRequest::new(SdkBody::from("Action=AssumeRole&token=canary"));
    request.set_method("POST").unwrap();
    request.set_uri(url).unwrap();
    request
        .headers_mut()
        .insert("x-amz-date", "20300101T000000Z");
    request
}

async fn fault(connector: &Connector, url: &str) -> (FetchFault, bool) {
    let error = connector.call(request(url)).await.unwrap_err();
    let is_io = error.is_io();
    let fault = error.into_source().downcast::<FetchFault>().unwrap();
    assert!(!fault.to_string().contains("canary"), "{fault}");
    (*fault, is_io)
}

#[tokio::test]
async fn a_request_goes_out_as_it_was_signed() {
    let server = Server::saying(201, "text/xml", "<a/>").await;
    let (client, connector) = connector(&connection(), None);
    let answer = connector.call(request(server.url("/a%20b?x=%2F").as_str()));
    let answer = answer.await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    assert_eq!(answer.body().bytes(), Some(&b"<a/>"[..]));

    let sent = server.only();
    assert_eq!(
        (sent.method.as_str(), sent.target.as_str()),
        ("POST", "/a%20b?x=%2F")
    );
    assert_eq!(sent.headers["host"], server.address.to_string());
    assert_eq!(sent.headers["x-amz-date"], "20300101T000000Z");
    assert_eq!(sent.content, "Action=AssumeRole&token=canary");
    let ahead = client.take_ahead().unwrap();
    assert!(ahead.distance() < Duration::from_secs(60), "{ahead:?}");
    assert_eq!(client.take_ahead(), None);
}

#[tokio::test]
async fn answers_are_bounded_and_redirects_not_followed() {
    let server = Server::start(|request| match &*request.target {
        "/long" => response(200, "text/xml", &"x".repeat(MAX_ANSWER + 1)),
        _ => Response::builder()
            .status(307)
            .header("location", "http://elsewhere.example/?canary")
            .body(String::new())
            .unwrap(),
    })
    .await;
    let (_, connector) = connector(&connection(), None);
    for (path, why) in [
        ("/long", "its answer is longer than 1048576 bytes"),
        ("/moved", "it redirects (307), and no redirect is followed"),
    ] {
        let (fault, is_io) = fault(&connector, server.url(path).as_str()).await;
        let FetchFault::Unusable(text) = &fault else {
            panic!("{fault}");
        };
        assert!(text.contains(why) && !is_io, "{text}");
        assert!(
            text.starts_with(&format!("http://{}: ", server.address)),
            "{text}"
        );
    }
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn silence_ends_with_the_timeout_of_the_sdk() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (_, connector) = connector(&connection(), Some(Duration::from_millis(100)));
    let (fault, is_io) = fault(&connector, &url).await;
    assert!(
        matches!(fault, FetchFault::Unreachable(_)) && is_io,
        "{fault}"
    );
    let text = fault.to_string();
    assert!(
        text.ends_with("it did not answer in time (100ms)"),
        "{text}"
    );

    let (_reserved, url) = deaf();
    let (fault, _) = self::fault(&connector, url.as_str()).await;
    let text = fault.to_string();
    assert!(
        text.contains("refused the connection") && text.contains("the port in its URL"),
        "{text}"
    );
}

/// A server with a certificate for `127.0.0.1` that gives each connection one answer.
async fn tls_server() -> (String, rustls_pki_types::CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
            let _ = stream.shutdown().await;
        }
    });
    (url, cert.der().clone())
}

#[tokio::test]
async fn tls_trusts_what_the_connection_trusts() {
    let (url, certificate) = tls_server().await;
    let mut own = connection();
    own.tls.ca_certificate = Some([certificate].into());
    let (_, trusting) = connector(&own, None);
    let answer = trusting.call(request(&url)).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);

    let (_, other) = connector(&connection(), None);
    let (fault, _) = fault(&other, &url).await;
    assert!(
        fault.to_string().contains("set tls.ca_certificate"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_proxy_is_on_the_way_to_sts_and_not_to_this_machines_own_services() {
    let proxy = Server::saying(200, "text/xml", "<a/>").await;
    let straight = Server::saying(200, "text/xml", "<a/>").await;
    let mut connection = connection();
    let url = format!("http://{}", proxy.address);
    let parsed = Proxy::parse(&url, Written::Key, "network.proxy", &Origin::Literal).unwrap();
    connection.road = network::Road::through(parsed);
    let (_, connector) = connector(&connection, None);
    for url in ["http://sts.example/", straight.url("/").as_str()] {
        connector.call(request(url)).await.unwrap();
    }
    assert_eq!(proxy.only().target, "http://sts.example/");
    assert_eq!(straight.only().target, "/");
    for (host, want) in [
        ("169.254.169.254", true),
        ("169.254.170.2", true),
        ("169.254.170.23", true),
        ("fd00:ec2::254", true),
        ("fd00:ec2::23", true),
        ("localhost", true),
        ("10.0.0.1", false),
        ("sts.amazonaws.com", false),
        ("169.254.169.254.example", false),
    ] {
        assert_eq!(is_of_this_machine(host), want, "{host}");
    }
}
