//! Section 2, network: proxies on the way, names and addresses, and connections that were kept.

mod addresses;
mod failures;
mod kept;
mod names;
mod proxies;
mod roads;

use crate::harness::{Proxy, Setup, connection};

/// The connection `p` to a base URL, by way of this `network.proxy`.
fn through(base_url: &str, proxy: &str, rest: &str) -> String {
    let lines = format!(
        "auth = {{ type = \"bearer\", token = \"ours\" }}\nnetwork.proxy = {proxy}\n{rest}"
    );
    connection("p", base_url, &lines)
}

/// A setup whose `network.proxy` is `{ file = "proxy" }`, with the password in there.
fn with_login(proxy: &Proxy, login: &str) -> (Setup, &'static str) {
    let setup = Setup::new().file("proxy", &proxy.url_with(login));
    (setup, "{ file = \"proxy\" }")
}
