//! What the keys become.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;

use super::world::World;
use crate::config::{AllowedHosts, Edit, Listen, LogFormat};
use crate::connection::auth::{Auth, BodyFields};
use crate::connection::{
    Connection, Cookies, HeaderCase, HttpVersion, Limits, Timeouts, Tls, TlsVersion,
};
use crate::secret::Origin;

fn valid(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/config/valid/");
    std::fs::read_to_string(format!("{folder}{name}")).unwrap()
}

fn connection(text: &str) -> std::sync::Arc<Connection> {
    let text = format!("[connections.a]\nbase_url = \"https://a.example\"\n{text}");
    World::new().config(&text).connections.remove(0)
}

fn tcp(host: &str, port: u16) -> Listen {
    Listen::Tcp {
        host: host.into(),
        port,
    }
}

#[test]
fn defaults_are_as_documented() {
    let config = World::default().config("");
    assert_eq!(config.server.listen, [tcp("127.0.0.1", 8080)]);
    assert_eq!(config.server.threads, 0);
    let hosts = ["localhost", "127.0.0.1", "::1"].map(Into::into).into();
    assert_eq!(config.server.allowed_hosts, AllowedHosts::Names(hosts));
    assert!(config.server.allowed_origins.is_empty() && config.connections.is_empty());
    assert_eq!(config.server.shutdown_grace, Duration::from_secs(30));
    let admin = config.admin.unwrap();
    assert_eq!(admin.listen, tcp("127.0.0.1", 9080));
    assert_eq!(admin.public_url.as_str(), "http://127.0.0.1:9080/");
    assert_eq!(admin.token, None);
    let log = (config.log.level, config.log.format, config.log.access);
    assert_eq!(log, (LevelFilter::INFO, LogFormat::Text, true));

    let connection = connection("");
    assert_eq!(connection.prefix.as_str(), "/a");
    assert_eq!(connection.auth, Auth::None);
    assert_eq!(connection.http, HttpVersion::Auto);
    assert_eq!(
        (connection.cookies, connection.retries),
        (Cookies::Strip, 1)
    );
    assert_eq!(connection.timeouts, Timeouts::default());
    assert_eq!(connection.limits, Limits::default());
    assert_eq!(connection.header_case, HeaderCase::Lower);
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let config = World::new().config(&valid("everything.toml"));
    let listen = [
        tcp("127.0.0.1", 8080),
        tcp("::1", 8080),
        tcp("localhost", 0),
        tcp("localhost", 0),
        Listen::Unix("/run/keybearer.sock".into()),
    ];
    assert_eq!(config.server.listen, listen);
    let names = ["localhost", "::1", "::1", "keybearer.example", "10.0.0.1"];
    assert_eq!(
        config.server.allowed_hosts,
        AllowedHosts::Names(names.map(Into::into).into())
    );
    assert_eq!(
        config.server.allowed_origins,
        [
            "https://app.example",
            "http://localhost:3000",
            "chrome-extension://abc"
        ]
        .map(Box::<str>::from)
    );
    let admin = config.admin.unwrap();
    assert_eq!(
        admin.public_url.as_str(),
        "https://keybearer.example/console/"
    );
    assert_eq!(admin.token.unwrap().origin(), &Origin::Env("TOKEN".into()));
    assert_eq!(
        (config.log.level, config.log.format),
        (LevelFilter::DEBUG, LogFormat::Json)
    );

    let [full, dots] = &*config.connections else {
        panic!("two connections");
    };
    assert_eq!((&*full.name, full.prefix.as_str()), ("full", "/full"));
    assert_eq!(
        full.hosts,
        ["full.localhost", "full.example"].map(Box::<str>::from)
    );
    assert_eq!(full.base_url.to_string(), "https://full.example/api/");
    assert_eq!(
        (full.http, full.cookies),
        (HttpVersion::Http11, Cookies::Pass)
    );
    assert_eq!((full.retries, full.header_case), (0, HeaderCase::Preserve));
    assert!(full.allow.permits_path("/search") && !full.allow.permits_path("/x"));
    assert_eq!(full.strip.headers, ["x-legacy-key"]);
    assert_eq!(full.timeouts.connect, Duration::from_millis(250));
    assert_eq!(full.timeouts.write, Duration::from_secs(3600));
    assert_eq!(
        (full.limits.request_body, full.limits.signed_body),
        (10 << 20, 64 << 10)
    );
    assert_eq!(full.tls.ca_certificate.as_ref().unwrap().len(), 1);
    assert_eq!(
        full.tls.server_name.as_ref().unwrap().to_str(),
        "internal.example"
    );
    assert_eq!(
        (&*dots.name, dots.prefix.as_str()),
        ("with.dots", "/with.dots")
    );
    assert_eq!(
        dots.timeouts.connect,
        Duration::from_secs(1),
        "of `[defaults]`"
    );
    assert_eq!(dots.limits.signed_body, 1 << 20, "of `[defaults]`");
    assert_eq!(dots.tls.ca_certificate, None, "no TLS, so no default of it");
}

#[test]
fn secrets_are_read_formatted_and_know_their_origin() {
    let config = World::new().config(&valid("auth.toml"));
    let auth = |name: &str| {
        let found = config.connections.iter().find(|c| &*c.name == name);
        &found.unwrap().auth
    };
    let Auth::Bearer(token) = auth("bearer") else {
        panic!("bearer");
    };
    assert_eq!(token.expose(), "hunter2", "one line end dropped");
    assert_eq!(
        token.origin(),
        &Origin::File(Arc::new("secrets/token".into()))
    );
    let Auth::Header(fields) = auth("header") else {
        panic!("header");
    };
    let fields: Vec<_> = fields
        .iter()
        .map(|f| (&*f.written, f.value.expose()))
        .collect();
    assert_eq!(
        fields,
        [
            ("X-Api-Key", "key=hunter2"),
            ("Authorization", "Token hunter2"),
            ("X-Literal", "<hunter2>")
        ],
        "in the order written"
    );
    let Auth::Query(params) = auth("query") else {
        panic!("query");
    };
    assert_eq!(params[1].value.origin(), &Origin::Env("TOKEN".into()));
    assert_eq!(params[0].value.origin(), &Origin::Literal);
    let Auth::Custom(custom) = auth("form") else {
        panic!("custom");
    };
    let Some(BodyFields::Form(form)) = &custom.body else {
        panic!("form");
    };
    assert_eq!(
        form[0].value.expose(),
        "hunter2\nhunter2",
        "a form can carry it"
    );
    let Auth::Basic(basic) = auth("basic") else {
        panic!("basic");
    };
    assert_eq!((basic.username.expose(), basic.password.expose()), ("", ""));
    assert_eq!((auth("none"), auth("absent")), (&Auth::None, &Auth::None));
}

#[test]
fn the_console_can_be_off_and_names_itself() {
    assert!(
        World::default()
            .config("admin.listen = \"off\"")
            .admin
            .is_none()
    );
    for (listen, url) in [
        ("127.0.0.1:9999", "http://127.0.0.1:9999/"),
        ("[::1]:9999", "http://[::1]:9999/"),
        ("0.0.0.0:9999", "http://localhost:9999/"),
        ("unix:/run/kb.sock", "http://localhost/"),
    ] {
        let text = format!("[admin]\nlisten = \"{listen}\"\ntoken = \"hunter2\"");
        let admin = World::default().config(&text).admin.unwrap();
        assert_eq!(admin.public_url.as_str(), url);
    }
}

#[test]
fn local_consoles_need_no_token() {
    for listen in ["localhost:1", "127.9.9.9:1", "[::1]:1", "unix:/x", "off"] {
        World::default().config(&format!("admin.listen = \"{listen}\""));
    }
    for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "a.example:1"] {
        let wrong = World::default().wrong(&format!("admin.listen = \"{listen}\""));
        assert!(wrong.contains("needs a `token`"), "{wrong}");
    }
}

#[test]
fn the_console_edits_only_where_it_is_told_to() {
    for (line, edit) in [
        ("", Edit::Refused),
        ("allow_edit = false", Edit::Refused),
        ("allow_edit = true", Edit::Allowed),
    ] {
        let config = World::default().config(&format!("[admin]\n{line}"));
        assert_eq!(config.admin.unwrap().edit, edit, "{line}");
    }
    World::default().config("[admin]\nlisten = \"off\"\nallow_edit = false");
    let wrong = World::default().wrong("[admin]\nlisten = \"off\"\nallow_edit = true");
    assert!(
        wrong.contains("`allow_edit` has no use with `listen"),
        "{wrong}"
    );
    let wrong = World::default().wrong("[admin]\nallow_edit = \"yes\"");
    assert!(wrong.contains("takes `true` or `false`"), "{wrong}");
}

#[test]
fn what_later_releases_bring_is_refused_by_name() {
    const SUFFIX: &str = "is not available in this version of keybearer; remove it";
    const CONNECTION: &str = "[connections.a]\nbase_url = \"https://a.example\"\n";
    for (text, named) in [
        ("[callers.x]\ntoken = \"hunter2\"", "`callers`"),
        ("[server.tls]\ncertificate = \"a.pem\"", "`tls`"),
        ("[server]\nforward_proxy = true", "`forward_proxy`"),
        ("^callers = [\"x\"]", "`callers`"),
        ("[store]\nurl = \"redis://:hunter2@localhost\"", "`url`"),
        ("[store]\ntype = \"redis\"", "`type = \"redis\"`"),
    ] {
        let wrong = World::new().wrong(&text.replace('^', CONNECTION));
        let first = wrong.lines().next().unwrap();
        assert!(
            first.ends_with(&format!("{named} {SUFFIX}")),
            "{text}: {wrong}"
        );
        assert!(
            !wrong.contains("hunter2") && !wrong.contains("keybearer.toml:1:1: unknown"),
            "{wrong}"
        );
        assert_eq!(
            wrong.matches("keybearer.toml:").count(),
            1,
            "one fault, told once: {wrong}"
        );
    }
}

#[test]
fn connections_take_the_road_of_their_agent() {
    const AGENTS: &str = "[agents]\ncertificate = \"ca.pem\"\nkey = \"key.pem\"\n";
    let connections = "[defaults.network]\nagent = \"a\"\n\
        [connections.x]\nbase_url = \"https://x.example\"\n\
        [connections.y]\nbase_url = \"http://localhost:8080\"\nnetwork.agent = \"b\"\n";
    let text = format!(
        "{AGENTS}tokens = {{ a = \"hunter2\", b = \"hunter2\", c = \"hunter2\" }}\n{connections}"
    );
    let config = World::new().config(&text);
    // A name behind an agent is that of its network, so it does not lead back here.
    let roads: Vec<_> = config
        .connections
        .iter()
        .map(|c| c.road.agent().unwrap().to_string())
        .collect();
    assert_eq!(roads, ["a", "b"]);
    let agents = config.agents.unwrap();
    assert_eq!(agents.listen.to_string(), "0.0.0.0:7443");
    assert!(
        agents
            .access
            .names
            .iter()
            .map(|name| &**name)
            .eq(["a", "b", "c"])
    );
    let shown = format!("{agents:?}");
    assert!(
        shown.contains("\"c\"") && !shown.contains("hunter2"),
        "{shown}"
    );
    // A certificate's names are not known beforehand.
    let text = format!("{AGENTS}client_ca = \"ca.pem\"\n{connections}");
    let agents = World::new().config(&text).agents.unwrap();
    assert!(
        agents
            .access
            .names
            .iter()
            .map(|name| &**name)
            .eq(["a", "b"])
    );
    assert!(World::new().config("").agents.is_none());
}

#[test]
fn secrets_and_certificates_from_one_place_are_shared() {
    let text = (0..2).fold(String::new(), |text, n| {
        text + &format!(
            "[connections.c{n}]\nbase_url = \"https://a.example\"\ntls.ca_certificate = \"ca.pem\"\n"
        )
    });
    let config = World::new().config(&text);
    let [a, b] = [0, 1].map(|n| config.connections[n].tls.ca_certificate.clone().unwrap());
    assert!(Arc::ptr_eq(&a, &b));
}

#[test]
fn a_client_certificate_is_inherited_replaced_and_shared() {
    let config = World::new().config(&valid("tls-client.toml"));
    let tls = |name: &str| {
        let connection = config.connections.iter().find(|one| &*one.name == name);
        connection.unwrap().tls.clone()
    };
    let subject = |name: &str| tls(name).client.unwrap().leaf().subject.clone();
    let inherited = tls("inherits");
    assert_eq!(inherited.min_version, TlsVersion::Tls13);
    assert_eq!(tls("encrypted").min_version, TlsVersion::Tls12);
    assert_eq!(&*subject("inherits"), "CN=client,O=keybearer");
    assert_eq!(&*subject("rsa"), "CN=rsa");
    // One identity, however it is written down.
    for name in ["encrypted", "identity", "old-identity"] {
        assert_eq!(tls(name).client, inherited.client, "{name}");
    }
    assert_eq!(
        tls("cleartext"),
        Tls::default(),
        "no TLS, so no default of it"
    );
    assert_eq!(
        tls("token").client,
        inherited.client,
        "its token endpoint's"
    );
    assert_eq!(tls("person").client.unwrap().chain().len(), 1);
    let origin = tls("identity").client.unwrap().origin().to_string();
    assert_eq!(origin, "file client/new.p12");

    let text = (0..2).fold(String::new(), |text, n| {
        text + &format!(
            "[connections.c{n}]\nbase_url = \"https://a.example\"\n\
             tls = {{ client_identity = \"client/new.p12\", client_key_password = \"hunter2\" }}\n"
        )
    });
    let config = World::new().config(&text);
    let [a, b] = [0, 1].map(|n| config.connections[n].tls.client.clone().unwrap());
    assert!(Arc::ptr_eq(&a, &b));
}

#[test]
fn every_file_of_a_client_certificate_is_watched() {
    for (tls, files) in [
        (
            "client_certificate = \"client/chain.pem\", client_key = { file = \"client/sec1.key\" }",
            &["client/chain.pem", "client/sec1.key"][..],
        ),
        (
            "client_identity = \"client/empty.p12\"",
            &["client/empty.p12"],
        ),
        // Half of a rotation, of which the other half must be seen, too.
        (
            "client_certificate = \"client/rsa.pem\", client_key = { file = \"client/sec1.key\" }",
            &["client/rsa.pem", "client/sec1.key"],
        ),
    ] {
        let text = format!("[connections.a]\nbase_url = \"https://a.example\"\ntls = {{ {tls} }}");
        let world = World::new().file("keybearer.toml", text);
        let sources = world.load("keybearer.toml").sources;
        for file in files {
            let seen = sources.files.iter().any(|seen| seen.ends_with(file));
            assert!(seen, "{file} is not in {:?}", sources.files);
        }
    }
}

#[test]
fn thousands_of_connections_take_no_quadratic_time() {
    let text = (0..4_000).fold(String::new(), |text, n| {
        text + &format!(
            "[connections.api-{n}]\nprefix = \"/api/{n}\"\nhosts = [\"api-{n}.localhost\"]\n\
             base_url = \"https://api-{n}.example/v1\"\nretries = 2\n\
             auth = {{ type = \"bearer\", token = {{ env = \"TOKEN\" }} }}\n\
             timeouts = {{ read = \"5s\" }}\n\n"
        )
    });
    // Without optimization these take about two seconds; a quadratic step would take minutes.
    let start = Instant::now();
    assert_eq!(World::new().config(&text).connections.len(), 4_000);
    let wrong = World::new().wrong(&text.replace("retries", "retires").replace("/api/", "api/"));
    assert_eq!(wrong.matches("keybearer.toml:").count(), 8_000);
    assert!(start.elapsed() < Duration::from_secs(60));
}
