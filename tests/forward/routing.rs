//! Steps 2 and 4: which connection takes a request, and whether it may.

use super::{p, pair};
use crate::harness::{Keybearer, Setup, Upstream, connection};

#[tokio::test]
async fn the_longest_prefix_on_whole_segments_wins() {
    let upstream = Upstream::start().await;
    let none = "auth = { type = \"none\" }\n";
    let tables = [
        ("jira", ""),
        ("issues", "prefix = \"/jira/issue\""),
        ("deep", "prefix = \"/a/b/c\""),
        ("rest", "prefix = \"/\""),
    ];
    let tables = tables.map(|(name, rest)| {
        connection(
            name,
            &upstream.url(&format!("/{name}")),
            &format!("{none}{rest}"),
        )
    });
    let keybearer = Keybearer::start(&tables.concat()).await;
    for (target, arrives, why) in [
        ("/jira", "/jira", "the prefix itself"),
        ("/jira/", "/jira/", "and a slash"),
        ("/jira/x", "/jira/x", "below it"),
        ("/jira?x", "/jira?x", "with a query"),
        ("/jira/issue", "/issues", "a longer prefix"),
        ("/jira/issue/1", "/issues/1", "below the longer one"),
        (
            "/jira/issues",
            "/jira/issues",
            "half a segment belongs to the shorter one",
        ),
        ("/jirax", "/rest/jirax", "half a segment belongs to `/`"),
        (
            "/jira;v=1/x",
            "/rest/jira;v=1/x",
            "a path parameter makes another segment",
        ),
        (
            "/jira%2Fissue/1",
            "/rest/jira%2Fissue/1",
            "an encoded slash ends no segment",
        ),
        ("/a/b/c/d", "/deep/d", "three segments"),
        ("/a/b/cd", "/rest/a/b/cd", "not quite three"),
        ("/a/b", "/rest/a/b", "two of three"),
        ("/", "/rest/", "`/` takes the root"),
        ("//x", "/rest//x", "and empty segments"),
    ] {
        assert_eq!(keybearer.get(target).send().await.status, 200, "{target}");
        assert_eq!(upstream.last().target(), arrives, "{target}: {why}");
    }
}

#[tokio::test]
async fn a_root_prefix_is_pinned_too() {
    let upstream = Upstream::start().await;
    let rest = "prefix = \"/\"\nauth = { type = \"none\" }";
    let keybearer = Keybearer::start(&connection("all", &upstream.url("/base"), rest)).await;
    for target in [
        "/..",
        "/../x",
        "/%2e%2e/x",
        "/a/..%2f..%2fx",
        "/..;/x",
        "/\\x",
        "/%5c..%5c",
    ] {
        let response = keybearer.get(target).send().await;
        response.problem(400, "path-refused", "http_request_error");
    }
    assert_eq!(upstream.count(), 0);
    keybearer.get("//evil.example/x").send().await;
    assert_eq!(upstream.last().target(), "/base//evil.example/x");
}

#[tokio::test]
async fn an_unknown_path_names_no_connection() {
    let (upstream, keybearer) = pair("").await;
    for target in ["/", "/unknown", "/P", "/p%2Fx"] {
        let response = keybearer.get(target).send().await;
        response.problem(404, "no-route", "destination_not_found");
        assert!(response.json().get("connection").is_none());
        let text = response.text();
        assert!(!text.contains("/base") && !text.contains("`p`") && !text.contains("/p\""));
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_host_of_its_own_takes_the_whole_path() {
    let upstream = Upstream::start().await;
    let hosts = "hosts = [\"jira.localhost\", \"Git.Example\"]\nauth = { type = \"none\" }";
    let tables = connection("jira", &upstream.url("/base"), hosts) + &p(&upstream, "");
    let keybearer = Keybearer::start(&tables).await;
    let port = keybearer.proxy().port();
    let own_address = upstream.address().to_string();
    for (host, target, arrives, why) in [
        (
            "jira.localhost",
            "/x",
            "/base/x",
            "the whole path goes below the base",
        ),
        ("jira.localhost", "/", "/base/", "the root"),
        (
            "jira.localhost",
            "/jira/x",
            "/base/jira/x",
            "its prefix is a name like any other",
        ),
        (
            "jira.localhost",
            "/p/x",
            "/base/p/x",
            "so is another connection's",
        ),
        (
            "JIRA.LocalHost",
            "/x",
            "/base/x",
            "names have no letter case",
        ),
        (
            &format!("jira.localhost:{port}"),
            "/x",
            "/base/x",
            "with a port",
        ),
        ("git.example", "/x", "/base/x", "named, so allowed"),
        ("localhost", "/jira/x", "/base/x", "by prefix too"),
    ] {
        let response = keybearer.get(target).host(host).send().await;
        assert_eq!(response.status, 200, "{host}{target}: {}", response.text());
        let seen = upstream.last();
        assert_eq!(seen.target(), arrives, "{host}{target}: {why}");
        assert_eq!(seen.header("host"), Some(own_address.as_str()));
    }
    let response = keybearer.get("/x").host("other.localhost").send().await;
    response.problem(421, "host-refused", "http_request_denied");
    let response = keybearer.get("/../x").host("jira.localhost").send().await;
    response.problem(400, "path-refused", "http_request_error");
}

#[tokio::test]
async fn any_host_may_be_allowed() {
    let upstream = Upstream::start().await;
    let setup = Setup::new().server("allowed_hosts = [\"*\"]");
    let keybearer = setup.tables(&p(&upstream, "")).start().await;
    let response = keybearer.get("/p/x").host("anything.example").send().await;
    assert_eq!(response.status, 200);
    let setup = Setup::new().server("allowed_hosts = [\"only.example\"]");
    let keybearer = setup.tables(&p(&upstream, "")).start().await;
    let address = keybearer.proxy().to_string();
    for (host, status, why) in [
        ("only.example", 200, "named"),
        (
            address.as_str(),
            200,
            "the listener's own address always is",
        ),
        ("localhost", 421, "not named any more"),
    ] {
        let response = keybearer.get("/p/x").host(host).send().await;
        assert_eq!(response.status, status, "{host}: {why}");
    }
}

#[tokio::test]
async fn only_what_is_allowed_passes() {
    let allow = "allow = { methods = [\"GET\", \"POST\"], paths = [\"/issue/**\", \"/search\"] }";
    let (upstream, keybearer) = pair(allow).await;
    for (method, target, allowed, why) in [
        ("GET", "/p/issue/1", true, "both match"),
        (
            "POST",
            "/p/issue/1/comment",
            true,
            "two stars cross segments",
        ),
        ("GET", "/p/search?q=1", true, "the query does not count"),
        ("DELETE", "/p/issue/1", false, "method"),
        ("HEAD", "/p/issue/1", false, "HEAD is a method of its own"),
        ("GET", "/p/admin", false, "path"),
        ("GET", "/p/search/x", false, "an exact path is exact"),
        ("GET", "/p", false, "the base itself"),
        (
            "GET",
            "/p/issue%2F1",
            false,
            "readable in two ways, one of them not allowed",
        ),
        ("GET", "/p/%61dmin", false, "spelled otherwise"),
        ("GET", "/p/ISSUE/1", false, "in another letter case"),
    ] {
        upstream.take();
        let response = keybearer.request(method, target).send().await;
        assert_eq!(upstream.count() == 1, allowed, "{method} {target}: {why}");
        match (allowed, method) {
            (true, _) => assert_eq!(response.status, 200),
            (false, "HEAD") => assert_eq!(response.status, 403),
            (false, _) => {
                response.problem(403, "not-allowed", "http_request_denied");
                assert_eq!(response.json()["connection"], "p");
            }
        }
    }
}

#[tokio::test]
async fn field_names_keep_their_letter_case_where_that_is_asked_for() {
    let upstream = Upstream::start().await;
    let rest = "auth = { type = \"header\", headers = { \"X-OuRs\" = \"v\" } }";
    let tables = connection("p", &upstream.url("/base"), rest);
    let setup = Setup::new().server("preserve_header_case = true");
    let keybearer = setup.tables(&tables).start().await;
    let request = keybearer
        .get("/p/x")
        .header("X-MiXeD", "1")
        .header("x-low", "2");
    assert_eq!(request.send().await.status, 200);
    let raw = String::from_utf8(upstream.last().head.raw).unwrap();
    for line in ["X-MiXeD: 1\r\n", "x-low: 2\r\n", "X-OuRs: v\r\n", "Host: "] {
        assert!(raw.contains(line), "{line:?} is not in {raw}");
    }
}

#[tokio::test]
async fn a_base_url_joins_with_or_without_a_final_slash() {
    for (base, target, arrives) in [
        ("", "/p", "/"),
        ("", "/p/", "/"),
        ("", "/p/x", "/x"),
        ("/", "/p/x", "/x"),
        ("/base/", "/p/x", "/base/x"),
        ("/base/", "/p//x", "/base//x"),
        ("/a%2Fb/c", "/p/x", "/a%2Fb/c/x"),
    ] {
        let upstream = Upstream::start().await;
        let rest = "auth = { type = \"none\" }";
        let keybearer = Keybearer::start(&connection("p", &upstream.url(base), rest)).await;
        assert_eq!(keybearer.get(target).send().await.status, 200);
        assert_eq!(upstream.last().target(), arrives, "{base} {target}");
    }
}
