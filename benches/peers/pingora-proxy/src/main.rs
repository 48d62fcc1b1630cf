//! The end-to-end bench's contestant on `pingora-proxy`: the same job as the others, in the fewest
//! lines that `pingora-proxy` asks for it.
//!
//! Arguments: LISTEN PLAIN_UPSTREAM TLS_UPSTREAM CA_FILE SERVER_NAME AUTHORIZATION

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, plain, tls, ca, server_name, authorization] = arguments.as_slice() else {
        panic!("LISTEN PLAIN_UPSTREAM TLS_UPSTREAM CA_FILE SERVER_NAME AUTHORIZATION")
    };
    let conf = ServerConf {
        ca_file: Some(ca.clone()),
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        threads: 1,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let peer = Peer {
        plain: Upstream::new(plain, false, server_name),
        tls: Upstream::new(tls, true, server_name),
        authorization: authorization.clone(),
    };
    let mut service = http_proxy_service(&server.configuration, peer);
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}

struct Peer {
    plain: Upstream,
    tls: Upstream,
    authorization: String,
}

struct Upstream {
    host: String,
    peer: HttpPeer,
}

impl Upstream {
    fn new(address: &str, tls: bool, server_name: &str) -> Self {
        let server_name = if tls { server_name } else { "" };
        Self {
            host: address.to_owned(),
            peer: HttpPeer::new(address, tls, server_name.to_owned()),
        }
    }
}

#[async_trait]
impl ProxyHttp for Peer {
    /// The upstream that the request's prefix named, and the path under its base.
    type CTX = Option<(bool, String)>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        let target = session
            .req_header()
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let routed = [("/api/", false), ("/tls/", true)]
            .into_iter()
            .find_map(|(prefix, tls)| target.strip_prefix(prefix).map(|rest| (tls, rest)));
        let Some((tls, rest)) = routed else {
            session.respond_error(404).await?;
            return Ok(true);
        };
        *ctx = Some((tls, format!("/base/{rest}")));
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream(ctx).peer.clone()))
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let host = &self.upstream(ctx).host;
        if let Some((_, path)) = ctx {
            head.set_raw_path(path.as_bytes())?;
        }
        head.remove_header("cookie");
        head.insert_header("authorization", self.authorization.as_str())?;
        head.insert_header("host", host.as_str())?;
        Ok(())
    }
}

impl Peer {
    fn upstream(&self, ctx: &Option<(bool, String)>) -> &Upstream {
        match ctx {
            Some((true, _)) => &self.tls,
            _ => &self.plain,
        }
    }
}
