//! Step 3, pin: the caller chooses nothing but what lies below the base path.

use super::row::{Expect, Row, get, reaches, row};

/// Paths that leave the base, or could be read so by some upstream.
pub fn refused() -> Vec<Row> {
    let segments = [
        ("..", "parent"),
        ("%2e%2e", "parent, encoded"),
        ("%2E%2e", "parent, encoded in both cases"),
        (".%2e", "parent, half encoded"),
        ("%2e.", "parent, the other half encoded"),
        ("%252e%252e", "parent, encoded twice"),
        ("%25252e%25252e", "parent, encoded three times"),
        ("%2525252e%2525252e", "parent, encoded four times"),
        (".%252e", "parent, half encoded twice"),
        ("..;x", "parent with a path parameter (Tomcat)"),
        ("..;", "parent with an empty path parameter"),
        ("..;v=1;w", "parent with two path parameters"),
        ("%2e%2e;x", "parent encoded, with a path parameter"),
        ("..%3bx", "parent with an encoded path parameter"),
        (".", "this"),
        ("%2e", "this, encoded"),
        ("%252e", "this, encoded twice"),
        (".;x", "this with a path parameter"),
        ("..%2f", "parent and an encoded slash"),
        ("%2e%2e%2f", "parent and slash, encoded"),
        ("%2e%2e%2Fx", "parent and slash, encoded, then more"),
        ("..%252f", "parent and a slash encoded twice"),
        ("a%2f..%2fb", "parent between encoded slashes"),
        ("a%2F%2e%2e", "parent after an encoded slash"),
        ("a%252f%252e%252e", "the same, encoded twice"),
        ("..%5c", "parent and an encoded backslash"),
        ("..\\", "parent and a backslash"),
        ("\\", "backslash"),
        ("a\\..\\b", "parent between backslashes"),
        ("%5c", "backslash, encoded"),
        ("a%5Cb", "backslash, encoded in upper case"),
        ("a%255cb", "backslash, encoded twice"),
        ("%00", "NUL"),
        ("a%00.json", "NUL that cuts a name off"),
        ("%2500", "NUL, encoded twice"),
        ("%0d%0aX-Evil:%20y", "line end: request splitting"),
        ("%250d%250a", "line end, encoded twice"),
        ("%0a", "line feed"),
        ("%09", "tab"),
        ("%01", "control character"),
        ("%1f", "last of the control characters"),
        ("%7f", "delete"),
    ];
    let mut rows = Vec::new();
    for (segment, reason) in segments {
        let refused = Expect::Refused(&[400]);
        rows.push(row(reason, get(&format!("/p/a/{segment}/x")), refused));
    }
    for segment in ["..", "%2e%2e", "..;x", ".", "..%2f", "%252e%252e"] {
        let refused = Expect::Refused(&[400]);
        let reason = format!("{segment} as the last segment");
        rows.push(row(reason, get(&format!("/p/{segment}")), refused));
        let refused = Expect::Refused(&[400]);
        let reason = format!("{segment} right before a query");
        rows.push(row(reason, get(&format!("/p/{segment}?a=1")), refused));
    }
    for (target, reason) in [
        ("/../p/x", "dot segment before the prefix"),
        ("/%2e%2e/p/x", "encoded dot segment before the prefix"),
        ("/x/../p/x", "dot segment that makes the prefix"),
        ("/p%2f..%2fx", "encoded slash ends no prefix"),
        (
            "/p/../header/x",
            "dot segment from one connection to another",
        ),
        ("//evil.example/p/x", "network-path reference is a path"),
        ("/px", "half a segment is no prefix"),
        ("/P/x", "prefixes have a letter case"),
        ("/", "no prefix takes it"),
        ("/p\\x", "backslash ends no prefix"),
    ] {
        rows.push(row(reason, get(target), Expect::Refused(&[400, 404])));
    }
    for (target, reason) in [
        ("/p/a\u{1}b", "raw control character"),
        ("/p/a\tb", "raw tab"),
        ("/p/a b", "raw space"),
        ("/p/a\rb", "raw carriage return"),
        ("/p/a\0b", "raw NUL"),
        ("/p/a\u{7f}b", "raw delete"),
    ] {
        rows.push(row(reason, get(target), Expect::Closed(&[400])));
    }
    rows.extend(other_forms());
    rows
}

/// Request targets that are not in origin-form, and methods that are not for upstreams.
fn other_forms() -> Vec<Row> {
    let request = |line: &str, host: &str| format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut rows = Vec::new();
    for (line, host, statuses, reason) in [
        (
            "GET http://evil.example/p/x",
            "localhost",
            &[400, 421][..],
            "absolute-form with a foreign authority",
        ),
        (
            "GET http://evil.example/p/x",
            "evil.example",
            &[421],
            "absolute-form and Host, both foreign",
        ),
        (
            "GET http://localhost/p/x",
            "evil.example",
            &[400, 421],
            "absolute-form, foreign Host",
        ),
        (
            "GET http://{upstream}/p/x",
            "localhost",
            &[400, 421],
            "absolute-form that names the upstream",
        ),
        (
            "GET http://me@localhost/p/x",
            "localhost",
            &[400, 421],
            "userinfo in the authority",
        ),
        (
            "GET http://localhost@evil.example/p/x",
            "localhost",
            &[400, 421],
            "userinfo that looks like our name",
        ),
        (
            "GET http://localhost/p/../x",
            "localhost",
            &[400],
            "dot segment in absolute-form",
        ),
        (
            "GET http://localhost",
            "localhost",
            &[404],
            "absolute-form without a path",
        ),
        (
            "OPTIONS *",
            "localhost",
            &[400, 404],
            "asterisk-form has no prefix",
        ),
        (
            "CONNECT localhost:443",
            "localhost:443",
            &[405],
            "tunnel to ourselves",
        ),
        (
            "CONNECT evil.example:443",
            "evil.example:443",
            &[405, 421],
            "tunnel elsewhere",
        ),
        (
            "CONNECT {upstream}",
            "localhost",
            &[400, 405],
            "tunnel to the upstream",
        ),
        (
            "TRACE /p/x",
            "localhost",
            &[405],
            "TRACE would show the credential",
        ),
        ("TRACK /p/x", "localhost", &[405], "so would TRACK"),
    ] {
        rows.push(row(reason, request(line, host), Expect::Refused(statuses)));
    }
    for (line, host) in [
        ("GET http://localhost/p/x?a=1", "localhost"),
        ("GET http://{proxy}/p/x?a=1", "{proxy}"),
        ("GET HTTP://LOCALHOST/p/x?a=1", "localhost"),
    ] {
        let reason = "absolute-form of our own becomes origin-form";
        rows.push(row(reason, request(line, host), reaches("/base/x?a=1")));
    }
    for scheme in ["https", "ftp"] {
        let request = request(&format!("GET {scheme}://localhost/p/x"), "localhost");
        let either = Expect::Either(&[400, 404, 421], "/base/x".to_owned());
        rows.push(row("the caller's scheme chooses nothing", request, either));
    }
    rows
}

/// Targets that arrive as they were sent, below the base path.
pub fn passed() -> Vec<Row> {
    let mut rows = Vec::new();
    for (target, reason) in [
        ("", "the bare prefix is the base path"),
        ("/", "a final slash stays"),
        ("?a=1", "a query right after the prefix"),
        ("/x", "plain"),
        ("/x/", "a final slash stays, deeper"),
        ("/a%2Fb", "encoded slash"),
        ("/a%2fb", "encoded slash in lower case"),
        ("/a+b", "plus is plus"),
        ("/a%2Bb", "encoded plus"),
        ("/a%20b", "space"),
        ("/a//b", "empty segment"),
        ("//", "nothing but empty segments"),
        (
            "//evil.example/x",
            "empty segment, then what looks like a host",
        ),
        ("/http://evil.example/x", "a URL in a path"),
        ("/@evil.example", "what looks like userinfo"),
        ("/x;v=1", "path parameter"),
        ("/;a=1;b=2/x", "path parameters without a name"),
        ("/%E2%82%AC/%F0%9F%98%80", "UTF-8, encoded"),
        ("/%e2%82%ac", "UTF-8, encoded in lower case"),
        ("/~me:1@x!$&'()*,=-._", "every other character of a segment"),
        ("/100%25", "encoded percent sign"),
        ("/%252F", "slash encoded twice"),
        ("/%41%62", "needlessly encoded letters"),
        ("/...", "three dots are a name"),
        ("/.hidden", "a dot begins a name"),
        ("/a..b", "dots inside a name"),
        ("/..a", "dots begin a name"),
        ("/a..", "dots end a name"),
        ("/a.;v=1", "a name that ends in a dot, with a parameter"),
        (
            "/x?a=&b&&c==%20+",
            "empty values, empty pairs, spaces both ways",
        ),
        ("/x?", "empty query"),
        ("/x?q=../..&r=%2e%2e%2f", "dot segments in a query are text"),
        ("/x?q=%00%0d%0a%5c", "encoded controls in a query are text"),
        ("/x?a=b?c=d/e", "question mark and slash in a query"),
        ("/x?%61=%62", "encoded names and values"),
        ("/x?ids[]=1&ids[]=2", "brackets, as many clients send them"),
        ("/x?a=2&a=1&a=2", "repeated, in order"),
        ("/x?q=%E2%82%AC", "UTF-8 in a query"),
        ("/x?url=http://evil.example/", "a URL in a query"),
    ] {
        let sent = get(&format!("/p{target}"));
        rows.push(row(reason, sent, reaches(&format!("/base{target}"))));
    }
    for (target, reason) in [
        (
            "/%c0%ae%c0%ae/x",
            "overlong dots: refused, or passed as the bytes they are",
        ),
        (
            "/%ef%bc%8e%ef%bc%8e/x",
            "full-width dots are no dots to HTTP",
        ),
        ("/%zz", "broken encoding"),
        ("/x%2", "cut encoding"),
        ("/caf\u{e9}", "raw UTF-8"),
    ] {
        let either = Expect::Either(&[400], format!("/base{target}"));
        rows.push(row(reason, get(&format!("/p{target}")), either));
    }
    let either = Expect::Either(&[400], "/base/x".to_owned());
    rows.push(row(
        "a fragment never travels",
        get("/p/x#/../admin"),
        either,
    ));
    rows
}
