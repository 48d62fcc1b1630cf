//! Steps 5 and 6, strip and inject: what is the caller's goes, ours arrives once.

use super::our_basic;
use super::row::{Expect, MINE, Row, Sight, get, get_with, post_with, reaches, row};

/// Every name of step 5, spelled in every way that some server reads as the same.
pub fn fields() -> Vec<Row> {
    let mut rows = Vec::new();
    for name in [
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "DPoP",
        "X-Api-Key",
        "Api-Key",
        "X-Amz-Date",
        "X-Amz-Security-Token",
        "X-Amz-Content-Sha256",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Anything",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
    ] {
        for (lines, how) in spellings(name) {
            let sight = Expect::Sees(Sight::without(name));
            rows.push(row(
                format!("{name} {how}"),
                get_with("/none/x", &lines),
                sight,
            ));
        }
    }
    rows.extend(injected());
    rows.extend(nominated());
    let lines = format!("X-Legacy-Key: {MINE}\r\nx_legacy_key: {MINE}\r\n");
    let sight = Expect::Sees(Sight::without("X-Legacy-Key"));
    rows.push(row(
        "a name of `strip.headers`",
        get_with("/strip/x", &lines),
        sight,
    ));
    rows
}

/// The field lines that spell a name, and how.
fn spellings(name: &str) -> Vec<(String, &'static str)> {
    let line = |name: &str| format!("{name}: {MINE}\r\n");
    let (upper, lower) = (name.to_ascii_uppercase(), name.to_ascii_lowercase());
    let mut all = vec![
        (line(name), "as written"),
        (line(&upper), "in upper case"),
        (line(&lower), "in lower case"),
        (line(name) + &line(&lower) + &line(&upper), "repeated"),
    ];
    if name.contains('-') {
        all.push((line(&name.replace('-', "_")), "with underscores"));
        all.push((line(&upper.replace('-', "_")), "as CGI variables are"));
    }
    all
}

/// Names that the connection injects: ours arrives, once.
fn injected() -> Vec<Row> {
    let mut rows = Vec::new();
    for (lines, how) in spellings("X-Injected") {
        for prefix in ["/header/x", "/custom/x"] {
            let sight = Expect::Sees(Sight::with("X-Injected", "ours"));
            let reason = format!("X-Injected {how} at {prefix}");
            rows.push(row(reason, get_with(prefix, &lines), sight));
        }
    }
    for (lines, how) in spellings("Authorization") {
        for prefix in ["/p/x", "/custom/x"] {
            let sight = Expect::Sees(Sight::with("Authorization", &our_basic()));
            let reason = format!("Authorization {how} at {prefix}");
            rows.push(row(reason, get_with(prefix, &lines), sight));
        }
    }
    let all = Sight::with("Authorization", &our_basic())
        .and("X-Injected", "ours")
        .at("/base/x?a=1&inject-key=ours");
    let request = get("/custom/x?a=1");
    rows.push(row(
        "everything that `custom` names",
        request,
        Expect::Sees(all),
    ));
    rows
}

/// `Connection` names fields of this hop; it cannot name ours away.
fn nominated() -> Vec<Row> {
    let mut rows = Vec::new();
    for lines in [
        format!("Connection: X-Hop\r\nX-Hop: {MINE}\r\n"),
        format!("Connection: keep-alive, x-hop\r\nX-HOP: {MINE}\r\n"),
        format!("Connection: a\r\nConnection: X-Hop , b\r\nx-hop: {MINE}\r\n"),
        format!("Connection: ,,X-Hop,\r\nX-Hop: {MINE}\r\nX-Hop: {MINE}\r\n"),
    ] {
        let sight = Expect::Sees(Sight::without("X-Hop"));
        rows.push(row(
            "named by Connection",
            get_with("/none/x", &lines),
            sight,
        ));
    }
    for (prefix, name, value) in [
        ("/p/x", "authorization", our_basic()),
        ("/header/x", "x-injected", "ours".to_owned()),
        ("/custom/x", "X-Injected", "ours".to_owned()),
    ] {
        let lines = format!("Connection: {name}, Host, Content-Length\r\n");
        let sight = Expect::Sees(Sight::with(name, &value));
        let reason = format!("Connection cannot name our {name} away");
        rows.push(row(reason, get_with(prefix, &lines), sight));
    }
    let lines = "Connection: Content-Length, Content-Type\r\nContent-Length: 5\r\n";
    let reason = "Connection cannot name the length away";
    rows.push(row(
        reason,
        post_with(lines, "hello"),
        Expect::Plain { closes: false },
    ));
    rows
}

/// Credentials in the query.
pub fn parameters() -> Vec<Row> {
    let mut rows = Vec::new();
    for (prefix, sent, arrives, reason) in [
        (
            "/none",
            "?a=1&access_token=M&b=2",
            "?a=1&b=2",
            "between others",
        ),
        ("/none", "?access_token=M", "", "alone"),
        ("/none", "?access_token=M&a=", "?a=", "first"),
        ("/none", "?a&access_token=M", "?a", "last"),
        (
            "/none",
            "?access_token=M&a=1&access_token=M",
            "?a=1",
            "repeated",
        ),
        ("/none", "?Access_Token=M&a=1", "?a=1", "in mixed case"),
        ("/none", "?ACCESS_TOKEN=M&a=1", "?a=1", "in upper case"),
        (
            "/none",
            "?access%5Ftoken=M&a=1",
            "?a=1",
            "underscore encoded",
        ),
        (
            "/none",
            "?ACCESS%5fTOKEN=M&a=1",
            "?a=1",
            "encoded in another case",
        ),
        (
            "/none",
            "?%61%63%63%65%73%73_token=M&a=1",
            "?a=1",
            "letters encoded",
        ),
        (
            "/none",
            "?%41ccess_token=M&a=1",
            "?a=1",
            "a capital letter encoded",
        ),
        ("/none", "?access_token&a=1", "?a=1", "without a value"),
        (
            "/none",
            "?access_token=M=M&a=1",
            "?a=1",
            "value with an equals sign",
        ),
        (
            "/none",
            "?access_token=%6d%69M&a=1",
            "?a=1",
            "value encoded",
        ),
        (
            "/none",
            "?X-Amz-Signature=M&list-type=2",
            "?list-type=2",
            "presigned",
        ),
        (
            "/none",
            "?x-amz-signature=M&list-type=2",
            "?list-type=2",
            "presigned, lower case",
        ),
        (
            "/none",
            "?X-AMZ-CREDENTIAL=M&list-type=2",
            "?list-type=2",
            "presigned, upper case",
        ),
        (
            "/none",
            "?X%2DAmz%2DSignature=M&a=1",
            "?a=1",
            "presigned, hyphens encoded",
        ),
        (
            "/none",
            "?%58-Amz-Security-Token=M&a=1",
            "?a=1",
            "presigned, letter encoded",
        ),
        (
            "/none",
            "?X_Amz_Signature=M&a=1",
            "?a=1",
            "presigned, with underscores",
        ),
        (
            "/none",
            "?X-Amz-Algorithm=M&X-Amz-Credential=M&X-Amz-Date=M&X-Amz-Expires=M&X-Amz-SignedHeaders=M&X-Amz-Signature=M&X-Amz-Security-Token=M&versionId=1",
            "?versionId=1",
            "a whole presigned URL",
        ),
        (
            "/strip",
            "?api_key=M&a=1",
            "?a=1",
            "a name of `strip.query`",
        ),
        (
            "/strip",
            "?API_KEY=M&api%5Fkey=M&a=1",
            "?a=1",
            "the same, spelled otherwise",
        ),
    ] {
        let sent = sent.replace("=M", &format!("={MINE}"));
        let expected = reaches(&format!("/base/x{arrives}"));
        rows.push(row(reason, get(&format!("{prefix}/x{sent}")), expected));
    }
    for (sent, reason) in [
        ("?my_access_token=1", "ends like one"),
        ("?access_tokens=1", "begins like one"),
        ("?x=access_token", "a value is no name"),
        ("?token=1&api_key=2", "not in the list"),
        (
            "?AWSAccessKeyId=1&Signature=2&Expires=3",
            "only of AWS connections",
        ),
    ] {
        let expected = reaches(&format!("/base/x{sent}"));
        rows.push(row(reason, get(&format!("/none/x{sent}")), expected));
    }
    let ours = "inject-key=our%20key%26more";
    for (sent, arrives, reason) in [
        ("", "?", "ours alone"),
        ("?a=1", "?a=1&", "ours after the caller's"),
        (
            "?inject-key=M&a=1",
            "?a=1&",
            "ours in place of the caller's",
        ),
        ("?a=1&INJECT-KEY=M", "?a=1&", "in upper case"),
        ("?a=1&inject%2Dkey=M", "?a=1&", "hyphen encoded"),
        ("?a=1&%69nject-%6Bey=M", "?a=1&", "letters encoded"),
        ("?inject-key=M&a=1&Inject-Key=M", "?a=1&", "repeated"),
        ("?a=1&inject_key=M", "?a=1&", "with an underscore"),
        ("?a=1&inject-key", "?a=1&", "without a value"),
    ] {
        let sent = sent.replace("=M", &format!("={MINE}"));
        let expected = reaches(&format!("/base/x{arrives}{ours}"));
        rows.push(row(reason, get(&format!("/query/x{sent}")), expected));
    }
    rows
}

/// What is nobody's credential arrives as it was sent.
pub fn kept() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, value) in [
        ("Accept", "*/*"),
        ("Accept-Encoding", "gzip, br"),
        ("User-Agent", "tests/1.0 (x; y)"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("If-None-Match", "\"abc\", W/\"def\""),
        ("Range", "bytes=0-9"),
        ("X-Request-Id", "1"),
        ("X_Custom", "underscores are allowed in names"),
        ("X-Api-Key-Id", "begins like one"),
        ("X-Amz-Meta-Name", "metadata is no credential"),
        ("X-Amz-Target", "DynamoDB_20120810.GetItem"),
        ("X-Empty", ""),
        (
            "Traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("Content-MD5", "XrY7u+Ae7tCTyyK7j1rNww=="),
        ("Authorizations", "ends otherwise"),
    ] {
        let sight = Expect::Sees(Sight::with(name, value));
        let request = get_with("/none/x", &format!("{name}: {value}\r\n"));
        rows.push(row(format!("{name} passes"), request, sight));
    }
    let twice = Sight {
        exactly: vec![("X-Tag".to_owned(), vec!["b".to_owned(), "a".to_owned()])],
        ..Sight::default()
    };
    let request = get_with("/none/x", "X-Tag: b\r\nx-tag: a\r\n");
    rows.push(row("repeated, in order", request, Expect::Sees(twice)));
    let sight = Expect::Sees(Sight::with("Cookie", "a=1; b=2"));
    let request = get_with("/cookies/x", "Cookie: a=1; b=2\r\n");
    rows.push(row("cookies = \"pass\"", request, sight));
    rows
}
