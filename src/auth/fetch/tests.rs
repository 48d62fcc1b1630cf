use std::net::SocketAddr;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::auth::testing::{Server, at, connection, endpoint, response};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

fn form() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(b"secret=canary".to_vec())
}

/// A server that reads a head, says `text` and then nothing, or closes.
async fn raw(text: &'static str, stays: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        if stays {
            std::future::pending::<()>().await;
        }
    });
    address
}

fn url(address: SocketAddr) -> Url {
    format!("http://user:canary@{address}/token?key=canary")
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_form_goes_out_plainly_and_the_answer_comes_back() {
    let server = Server::saying(200, "Application/JSON; charset=utf-8", "{}").await;
    let endpoint = endpoint(&server.url("/a%20b?tenant=x"), LONG);
    let mut authorization = HeaderValue::from_static("Basic eDp5");
    authorization.set_sensitive(true);
    let answer = endpoint.post(form(), Some(authorization)).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.media_type.as_deref(), Some("application/json"));
    assert_eq!(*answer.content, b"{}");

    let request = server.only();
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("POST", "/a%20b?tenant=x")
    );
    assert_eq!(request.content, "secret=canary");
    let mut names: Vec<_> = request.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    // No Accept-Encoding: nothing here unpacks.
    let expected = [
        "accept",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ];
    assert_eq!(names, expected);
    assert_eq!(request.headers[HOST], server.address.to_string());
    assert_eq!(request.headers[ACCEPT], "application/json");
    assert_eq!(request.headers[USER_AGENT], AGENT);
    assert_eq!(
        request.headers[CONTENT_TYPE],
        "application/x-www-form-urlencoded"
    );
}

#[tokio::test]
async fn what_fails_names_the_endpoint_and_no_secret() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{";
    for (address, words) in [
        (raw("", true).await, "it gave no whole answer within 100ms"),
        (
            raw(head, true).await,
            "it gave no whole answer within 100ms",
        ),
        (
            raw("", false).await,
            "it closed the connection before it answered",
        ),
        (raw(head, false).await, "its answer broke off"),
        (
            raw("SSH-2.0-x\r\n\r\n", true).await,
            "check scheme and port of `token_url`",
        ),
        (
            closed,
            "refused the connection; check that it runs, and the port in `token_url`",
        ),
    ] {
        let limit = if words.contains("100ms") { SHORT } else { LONG };
        let endpoint = endpoint(&url(address), limit);
        let fault = endpoint.post(form(), None).await.unwrap_err();
        let FetchFault::Unreachable(detail) = &fault else {
            panic!("{fault}");
        };
        let named = format!("token endpoint http://{address}/token: ");
        assert!(detail.starts_with(&named), "{detail}");
        assert!(detail.contains(words), "{detail}, not {words}");
        assert!(!detail.contains("upstream") && !detail.contains("base_url"));
        assert!(!format!("{fault:?} {endpoint}").contains("canary"));
    }
}

#[tokio::test]
async fn an_answer_is_read_up_to_a_length() {
    let fits = Server::saying(200, "text/plain", "x".repeat(MAX_ANSWER)).await;
    let answer = endpoint(&fits.url("/"), LONG).get().await.unwrap();
    assert_eq!(answer.content.len(), MAX_ANSWER);

    let exceeds = Server::saying(200, "text/plain", "x".repeat(MAX_ANSWER + 1)).await;
    let fault = endpoint(&exceeds.url("/"), LONG).get().await.unwrap_err();
    assert!(matches!(fault, FetchFault::Unusable(_)));
    assert!(fault.to_string().contains("longer than 1048576 bytes"));
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    for (location, to) in [
        (
            "https://u:p@login.example/v2?code=canary#x",
            "`https://login.example/v2`",
        ),
        ("/v2/token?x=canary", "/v2/token`"),
        ("https://[", "a place that is no URL"),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let server = Server::start(move |_| {
                let mut redirect = response(status, "text/html", "moved");
                redirect
                    .headers_mut()
                    .insert(LOCATION, HeaderValue::from_static(location));
                redirect
            })
            .await;
            let fault = server.endpoint().post(form(), None).await.unwrap_err();
            let FetchFault::Unusable(detail) = fault else {
                panic!("{fault}");
            };
            assert!(detail.contains(&format!("({status})")), "{detail}");
            assert!(detail.contains(to), "{detail}, not {to}");
            assert!(detail.ends_with("write the final URL into `token_url`"));
            assert!(!detail.contains("canary") && !detail.contains("u:p"));
            assert_eq!(server.received().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_compressed_answer_is_refused() {
    let server = Server::start(|_| {
        let mut packed = response(200, "application/json", "\u{1f}");
        packed
            .headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        packed
    })
    .await;
    let fault = server.endpoint().get().await.unwrap_err();
    assert!(fault.to_string().contains("compressed"), "{fault}");
}

/// A TLS server with a certificate for `name`, and that certificate.
async fn tls_server(name: &str) -> (SocketAddr, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return;
        };
        let _ = stream.read(&mut [0; 4096]).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer).await.unwrap();
        stream.flush().await.unwrap();
        let _ = stream.read(&mut [0; 1]).await;
    });
    (address, cert.der().clone())
}

#[tokio::test]
async fn tls_trusts_what_the_connection_trusts_but_by_the_endpoints_own_name() {
    let own = |certificate: CertificateDer<'static>| {
        let mut connection = connection();
        connection.tls.ca_certificate = Some([certificate].into());
        connection.tls.server_name = Some(ServerName::try_from("api.internal").unwrap());
        connection
    };
    let fetch = async |address: SocketAddr, connection: &Connection| {
        let url = format!("https://{address}/token").parse().unwrap();
        let upstreams = Upstreams::default();
        let endpoint = Endpoint::new(&upstreams, connection, Role::Token, &url, LONG).unwrap();
        endpoint.get().await
    };
    let (address, certificate) = tls_server("127.0.0.1").await;
    assert_eq!(fetch(address, &own(certificate)).await.unwrap().status, 200);

    let (address, _) = tls_server("127.0.0.1").await;
    let untrusted = fetch(address, &connection()).await.unwrap_err().to_string();
    assert!(
        untrusted.contains("set tls.ca_certificate to the issuer's certificate"),
        "{untrusted}"
    );

    let (address, certificate) = tls_server("elsewhere.example").await;
    let misnamed = fetch(address, &own(certificate)).await.unwrap_err();
    let misnamed = misnamed.to_string();
    assert!(
        misnamed.ends_with("is not for `127.0.0.1`; check the host in `token_url`"),
        "{misnamed}"
    );
}

#[test]
fn a_url_that_leads_to_no_server_is_refused() {
    for text in ["builtin:echo", "ftp://as.example/", "data:,x"] {
        let fault = Endpoint::new(
            &Upstreams::default(),
            &connection(),
            Role::Token,
            &text.parse().unwrap(),
            LONG,
        )
        .unwrap_err();
        assert!(matches!(fault, FetchFault::Unusable(_)), "{fault}");
    }
}

#[test]
fn a_wait_is_read_in_seconds_and_as_a_date() {
    for (text, wait) in [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("Thu, 01 Jan 1970 00:17:40 GMT", Some(60)),
        ("Thu, 01 Jan 1970 00:00:01 GMT", Some(0)),
        ("99999999999", Some(MAX_WAIT.as_secs())),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
    ] {
        let value = HeaderValue::from_str(text).unwrap();
        let expected = wait.map(Duration::from_secs);
        assert_eq!(retry_after(&value, at(1_000)), expected, "{text}");
    }
}

#[test]
fn a_media_type_is_shown_only_if_it_is_one() {
    for (text, shown) in [
        ("text/HTML; charset=x", Some("text/html")),
        ("", None),
        ("a\tb/c", None),
        ("<script>/x", None),
    ] {
        let headers = [(CONTENT_TYPE, HeaderValue::from_str(text).unwrap())];
        assert_eq!(media_type(&HeaderMap::from_iter(headers)).as_deref(), shown);
    }
}
