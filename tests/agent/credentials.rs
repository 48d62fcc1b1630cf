//! What an agent sees of credentials: nothing of an upstream that is reached by TLS.

use std::sync::{Arc, Mutex};

use std::io::{Read, Seek, SeekFrom};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::erp;
use crate::harness::{
    Authority, AuthorizationServer, AuthorizationSettings, Mode, OAuthClient, Setup, Site, Upstream,
};
use crate::linking;

const CANARY: &str = "canary-upstream-credential-7f3a";

/// Whether a text stands anywhere in the memory of a process.
fn memory_has(id: u32, text: &str) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{id}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{id}/mem"))
        .expect("the memory of a process of one's own can be read, unless ptrace is restricted: run as root");
    let mut read = 0;
    for line in maps.lines().filter(|line| line.contains(" r")) {
        let (from, to) = line
            .split_whitespace()
            .next()
            .unwrap()
            .split_once('-')
            .unwrap();
        let [from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // Some pages, as those of the kernel, cannot be read by anybody.
        if memory.seek(SeekFrom::Start(from)).is_err() || memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        read += bytes.len();
        if bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
        {
            return true;
        }
    }
    assert!(read > 1 << 20, "only {read} bytes of memory were read");
    false
}

/// A relay that records what passes to an upstream.
async fn recorder(upstream: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let record = Arc::<Mutex<Vec<u8>>>::default();
    let recorded = Arc::clone(&record);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(upstream).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let recorded = Arc::clone(&recorded);
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 16 << 10];
                while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                    recorded.lock().unwrap().extend_from_slice(&buffer[..count]);
                    to_server.write_all(&buffer[..count]).await.unwrap();
                }
            });
        }
    });
    (address, record)
}

#[tokio::test]
async fn an_agent_holds_and_sends_no_credential_of_an_upstream_with_tls() {
    let authority = Authority::new();
    let secure = Upstream::tls(&authority.issue(&["localhost"])).await;
    let plain = Upstream::start().await;
    let (secure_at, secure_record) = recorder(secure.address()).await;
    let (plain_at, plain_record) = recorder(plain.address()).await;
    let auth = format!("auth = {{ type = \"bearer\", token = \"{CANARY}\" }}");
    let rest = format!("{auth}\ntls.ca_certificate = \"upstream-ca.pem\"");
    let tables = [
        erp(&format!("https://localhost:{}", secure_at.port()), &rest),
        erp(&format!("http://127.0.0.1:{}", plain_at.port()), &auth).replace("erp", "plain"),
    ];
    let setup = Setup::new().file("upstream-ca.pem", authority.pem());
    let site = Site::start_with(setup, "", &tables.concat()).await;
    let agent = site.agent(&["127.0.0.1:*", "localhost:*"]).await;
    for _ in 0..20 {
        assert_eq!(site.keybearer.get("/erp/").send().await.status, 200);
    }
    let sent = secure.last();
    assert_eq!(
        sent.header("authorization"),
        Some(&*format!("Bearer {CANARY}"))
    );
    let has = |record: &Mutex<Vec<u8>>| {
        let record = record.lock().unwrap();
        assert!(record.len() > 50);
        record
            .windows(CANARY.len())
            .any(|window| window == CANARY.as_bytes())
    };
    assert!(!memory_has(agent.id(), CANARY));
    assert!(!has(&secure_record));
    assert!(
        memory_has(site.keybearer.id(), CANARY),
        "the search finds what is there"
    );
    // What goes in cleartext passes through its hands: this is what TLS is for.
    assert_eq!(site.keybearer.get("/plain/").send().await.status, 200);
    assert!(has(&plain_record));
}

#[tokio::test]
async fn tokens_are_asked_for_through_the_agent_too() {
    let client = OAuthClient::basic("app", "canary-client-secret").client_credentials();
    let server = AuthorizationServer::start(AuthorizationSettings::with(client)).await;
    let auth = format!(
        "auth = {{ type = \"oauth2_client_credentials\", token_url = \"{}\", client_id = \"app\", client_secret = \"canary-client-secret\" }}",
        server.token_url()
    );
    let site = Site::start(&erp(server.resource_url(), &auth)).await;
    let response = site.keybearer.get("/erp/x").send().await;
    assert_eq!(response.status, 503, "{response:?}");
    let detail = response.own();
    assert!(
        detail.contains("agent `dc`") && detail.contains("not connected"),
        "{detail}"
    );
    assert!(server.token_requests("client_credentials").await.is_empty());
    let agent = site.agent(&["127.0.0.1:*", "localhost:*"]).await;
    crate::harness::wait_for_state(&site.keybearer, "erp", "ready").await;
    let response = site.keybearer.get("/erp/x").send().await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(server.token_requests("client_credentials").await.len(), 1);
    let instance = &site.standing().await["instances"][0];
    assert_eq!(
        instance["streams_total"], 2,
        "one for the token, one for the request: {instance}"
    );
    for log in [agent.log(), site.keybearer.log()] {
        assert!(!log.contains("canary"), "{log}");
    }
}

#[tokio::test]
async fn a_refresh_through_an_agent_is_made_by_keybearer_itself() {
    let server = AuthorizationServer::start(linking::settings()).await;
    let auth = format!("auth = {}", linking::auth(&server, "id", ""));
    let tables = erp(server.resource_url(), &auth);
    let site = Site::start_with(linking::setup(), "", &tables).await;
    let _agent = site.agent(&["127.0.0.1:*", "localhost:*"]).await;
    linking::link(&site.keybearer, "erp").await;
    server.revoke_access_tokens().await;
    server.set_mode(Mode::hold().grant("refresh_token")).await;
    let mut caller = site.keybearer.caller().await;
    caller.send(site.keybearer.get("/erp/x").bytes()).await;
    server.wait_for_token_requests("refresh_token", 1).await;
    assert!(site.keybearer.couriers().is_empty(), "it has no tunnels");
    server.set_mode(Mode::up()).await;
    let response = caller.response().await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(server.reuses().await, 0);
    assert!(!site.keybearer.log().contains("Refreshing in this process"));
}
