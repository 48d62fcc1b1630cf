//! An agent in a network of its own, which the proxy cannot reach.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::erp;
use crate::harness::{Agent, Setup, Site, TOKEN, Upstream};

const PROXY: &str = "10.203.0.1";
const INSIDE: &str = "10.204.0.1";

/// Two networks joined by a cable: of the inner one, the outer knows nothing but its end of it.
struct Networks {
    outer: String,
    inner: String,
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    let output = output.expect("`ip` of iproute2, which `make test` installs");
    assert!(
        output.status.success(),
        "ip {arguments}: {}; networks can only be made by root (CAP_NET_ADMIN, CAP_SYS_ADMIN)",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Networks {
    fn make(hosts: &str) -> Self {
        let id = std::process::id();
        let networks = Self {
            outer: format!("kb-outer-{id}"),
            inner: format!("kb-inner-{id}"),
        };
        let Self { outer, inner } = &networks;
        ip(&format!("netns add {outer}"));
        ip(&format!("netns add {inner}"));
        ip(&format!(
            "link add kb0 netns {outer} type veth peer name kb0 netns {inner}"
        ));
        ip(&format!("-n {outer} address add {PROXY}/30 dev kb0"));
        ip(&format!("-n {inner} address add 10.203.0.2/30 dev kb0"));
        ip(&format!("-n {inner} address add {INSIDE}/32 dev lo"));
        for network in [outer, inner] {
            ip(&format!("-n {network} link set lo up"));
            ip(&format!("-n {network} link set kb0 up"));
        }
        // Where `ip netns exec` finds what a network's names are.
        fs::create_dir_all(networks.etc()).unwrap();
        fs::write(networks.etc().join("hosts"), hosts).unwrap();
        networks
    }

    fn etc(&self) -> PathBuf {
        PathBuf::from("/etc/netns").join(&self.inner)
    }

    /// Moves this thread into one of them, and all that it opens and starts from now on.
    fn enter(network: &str) {
        let file = fs::File::open(format!("/run/netns/{network}")).unwrap();
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).unwrap();
    }

    /// A listener in the inner network.
    fn listen_inside(&self, address: &str) -> TcpListener {
        let (network, address) = (self.inner.clone(), address.to_owned());
        let listening = std::thread::spawn(move || {
            Self::enter(&network);
            TcpListener::bind(address).unwrap()
        });
        listening.join().unwrap()
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for network in [&self.outer, &self.inner] {
            // What a test that failed has left is in nobody's way.
            let _ = Command::new("ip").args(["netns", "del", network]).status();
        }
        let _ = fs::remove_dir_all(self.etc());
    }
}

#[tokio::test]
async fn an_agent_leads_into_a_network_that_cannot_be_reached_otherwise() {
    let hosts = "127.0.0.1 localhost evil.internal\n169.254.169.254 metadata.internal\n10.204.0.1 erp.internal\n::1 six.internal\n10.204.0.1 both.internal\n127.0.0.1 both.internal\n";
    let networks = Networks::make(hosts);
    let inside = Upstream::on_listener(networks.listen_inside(&format!("{INSIDE}:80")));
    let loopback = Upstream::on_listener(networks.listen_inside("127.0.0.1:80"));
    // This test's thread, and so keybearer; other tests have threads of their own.
    Networks::enter(&networks.outer);
    let direct = tokio::net::TcpStream::connect((INSIDE, 80)).await;
    assert!(
        direct.is_err(),
        "the inner network can be reached without an agent"
    );
    let names = ["erp", "evil", "metadata", "six", "both", "unlisted"];
    let table = |name: &&str| {
        erp(&format!("http://{name}.internal"), "").replace(".erp]", &format!(".{name}]"))
    };
    let tables: String = names.iter().map(table).collect();
    let site = Site::start_at(PROXY, Setup::new(), "", &tables).await;
    let allow =
        ["erp", "evil", "metadata", "six", "both"].map(|name| format!("{name}.internal:80"));
    let mut args = vec!["--name", "dc", "--token-file", "token"];
    args.extend(allow.iter().flat_map(|rule| ["--allow", rule]));
    let agent = Agent::start(
        &site.agents.to_string(),
        &site.authority,
        &args,
        |command| {
            let mut inner = Command::new("ip");
            inner
                .current_dir(command.get_current_dir().unwrap())
                .env_clear();
            inner.env("PATH", std::env::var_os("PATH").unwrap_or_default());
            inner.args(["netns", "exec", &networks.inner]);
            inner.arg(command.get_program()).args(command.get_args());
            *command = inner;
        },
    );
    site.wait_for_connected(1).await;
    let response = site.keybearer.get("/erp/orders").send().await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(inside.last().header("host"), Some("erp.internal"));
    for (path, address, what) in [
        ("/evil/", "127.0.0.1", "the agent's own machine"),
        ("/six/", "::1", "the agent's own machine"),
        ("/metadata/", "169.254.169.254", "link-local"),
    ] {
        let response = site.keybearer.get(path).send().await;
        let detail = response.problem(502, "agent-refused", "destination_ip_prohibited");
        assert!(
            detail.contains(address) && detail.contains(what),
            "{detail}"
        );
    }
    let response = site.keybearer.get("/unlisted/").send().await;
    let detail = response.problem(502, "agent-refused", "destination_ip_prohibited");
    assert!(
        detail.contains("--allow 'unlisted.internal:80'"),
        "{detail}"
    );
    // Of a name with a good address and a bad one, the good one is taken.
    assert_eq!(site.keybearer.get("/both/").send().await.status, 200);
    assert_eq!(
        loopback.connections(),
        0,
        "nothing reaches the agent's own machine"
    );
    assert_eq!(inside.count(), 2);
    assert!(!agent.log().contains(TOKEN));
}
