//! Proxies: what is inherited, and what the environment says.

use super::world::World;
use crate::connection::network::Road;
use crate::connection::url::Scheme::{Http, Https};

const TABLE: &str = "auth = { type = \"none\" }\nbase_url = \"https://a.example\"\n";

/// The road of the one connection, which has these lines.
fn road(world: &World, defaults: &str, lines: &str) -> Road {
    let text = format!("[defaults.network]\n{defaults}\n[connections.a]\n{TABLE}{lines}");
    world.config(&text).connections[0].road.clone()
}

/// The proxy that leads to a host, as it is shown.
fn toward(road: &Road, scheme: crate::connection::url::Scheme, host: &str) -> Option<String> {
    match road {
        Road::Agent(_) | Road::Direct => None,
        Road::Proxied(proxies) => Some(proxies.toward(scheme, host, 443)?.to_string()),
    }
}

#[test]
fn each_key_is_inherited_by_itself() {
    let world = World::new();
    let defaults = "proxy = \"http://p:1\"\nno_proxy = [\"x.example\"]";
    let inherited = road(&world, defaults, "");
    assert_eq!(
        toward(&inherited, Https, "a.example").unwrap(),
        "http://p:1"
    );
    assert_eq!(toward(&inherited, Https, "x.example"), None);

    let other = road(&world, defaults, "network.proxy = \"socks5://q:2\"");
    assert_eq!(toward(&other, Http, "a.example").unwrap(), "socks5://q:2");
    assert_eq!(toward(&other, Http, "x.example"), None);

    let all = road(&world, defaults, "network.no_proxy = []");
    assert_eq!(toward(&all, Https, "x.example").unwrap(), "http://p:1");

    for straight in ["off", "direct"] {
        let line = format!("network.proxy = \"{straight}\"");
        assert_eq!(road(&world, defaults, &line), Road::Direct);
    }
}

#[test]
fn the_environment_is_read_as_curl_does() {
    let of = |variables: &[(&str, &str)]| {
        let world = variables.iter().fold(World::new(), |world, (name, value)| {
            world.variable(name, value)
        });
        road(
            &world,
            "",
            "network = { proxy = \"env\", no_proxy = [\"y.example\"] }",
        )
    };
    assert_eq!(of(&[]), Road::Direct);
    assert_eq!(of(&[("HTTPS_PROXY", "")]), Road::Direct);
    let both = of(&[
        ("http_proxy", "plain:3128"),
        ("HTTPS_PROXY", "https://u:hunter2@secure"),
        ("https_proxy", ""),
        ("ALL_PROXY", "socks5://all"),
        ("NO_PROXY", "x.example, .z.example 10.0.0.0/8"),
    ]);
    assert_eq!(
        toward(&both, Http, "a.example").unwrap(),
        "http://plain:3128"
    );
    assert_eq!(
        toward(&both, Https, "a.example").unwrap(),
        "https://secure:443"
    );
    for host in ["x.example", "y.example", "b.z.example", "10.9.9.9"] {
        assert_eq!(toward(&both, Https, host), None, "{host}");
    }
    assert!(!format!("{both:?}").contains("hunter2"));
    let lower = of(&[("all_proxy", "one:1"), ("ALL_PROXY", "two:2")]);
    assert_eq!(toward(&lower, Https, "a.example").unwrap(), "http://one:1");
    let local = of(&[("ALL_PROXY", "one:1"), ("no_proxy", "*")]);
    assert_eq!(toward(&local, Https, "localhost"), None);
}

#[test]
fn a_variable_that_is_no_proxy_is_told_by_its_name() {
    for (name, value) in [
        ("HTTPS_PROXY", "ftp://u:hunter2@p"),
        ("HTTP_PROXY", "http://u:hunter2@p:1/hunter2"),
        ("NO_PROXY", "a.example,*.b.example"),
    ] {
        let world = World::new().variable(name, value);
        let wrong = world.wrong(&format!("[connections.a]\n{TABLE}network.proxy = \"env\""));
        assert!(
            wrong.contains(&format!("environment variable `{name}`")),
            "{wrong}"
        );
        assert!(!wrong.contains("hunter2"), "{wrong}");
        assert_eq!(wrong.matches("keybearer.toml:").count(), 1, "{wrong}");
    }
}
