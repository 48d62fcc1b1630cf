//! What is asked of the TCP connections that tunnels are, and that they lead to.

use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

/// How long a connection is silent before the system looks after it; the heartbeat is sooner, this is
/// for what it does not reach, as a peer that is gone before the hello.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Has nothing wait that is to be sent, and an end be noticed that nobody tells.
pub(super) fn prepare(stream: &TcpStream) {
    // Each makes things better only, and none is worth a connection that does without.
    let _ = stream.set_nodelay(true);
    keep_alive(stream);
    #[cfg(target_os = "linux")]
    let _ = sockopt::set_tcp_user_timeout(stream, 20_000);
}

/// Has the system look whether a silent peer is there.
pub(super) fn keep_alive(stream: &TcpStream) {
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEPALIVE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEPALIVE / 3);
    let _ = sockopt::set_tcp_keepcnt(stream, 3);
}
