//! Section 3, steps 2, 4, 7 and 8: routing, streaming both ways, and the way back.

mod answers;
mod contents;
mod departures;
mod duplex;
mod failures;
mod reuse;
mod routing;
mod streams;

use crate::harness::{Keybearer, Upstream, connection};

/// One upstream and the connection `p` to its `/base`, with more lines if wanted.
async fn pair(rest: &str) -> (Upstream, Keybearer) {
    let upstream = Upstream::start().await;
    let keybearer = Keybearer::start(&p(&upstream, rest)).await;
    (upstream, keybearer)
}

/// The connection `p` to an upstream's `/base`.
fn p(upstream: &Upstream, rest: &str) -> String {
    let rest = format!("auth = {{ type = \"bearer\", token = \"ours\" }}\n{rest}");
    connection("p", &upstream.url("/base"), &rest)
}
