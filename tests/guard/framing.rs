//! Step 1, guards: messages that two readers could read in two ways.

use super::row::{Expect, MINE, Row, Sight, get_with, post_with, reaches, row};

/// Heads that are malformed or frame their content ambiguously.
pub fn heads() -> Vec<Row> {
    let mut rows = Vec::new();
    for (lines, reason) in [
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "two lengths"),
        ("Content-Length: 5, 6\r\n", "two lengths in a list"),
        ("Content-Length: +5\r\n", "signed length"),
        ("Content-Length: -1\r\n", "negative length"),
        ("Content-Length: 0x5\r\n", "hexadecimal length"),
        ("Content-Length: 5a\r\n", "length with a letter"),
        ("Content-Length: 5 5\r\n", "two words of length"),
        ("Content-Length: \r\n", "no length"),
        (
            "Content-Length: 99999999999999999999999\r\n",
            "length beyond 64 bits",
        ),
        ("Transfer-Encoding: chunked, chunked\r\n", "chunked twice"),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            "a coding that would be lost",
        ),
        (
            "Transfer-Encoding: chunked, identity\r\n",
            "chunked is not last",
        ),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            "two codings",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "chunked on two lines",
        ),
        ("Transfer-Encoding: xchunked\r\n", "unknown coding"),
        ("Transfer-Encoding: identity\r\n", "obsolete coding"),
        (
            "Transfer-Encoding: chunked;q=1\r\n",
            "coding with a parameter",
        ),
        (
            "Transfer-Encoding: \u{b}chunked\r\n",
            "vertical tab before the coding",
        ),
        (
            "Transfer-Encoding:\r\n chunked\r\n",
            "coding on a folded line",
        ),
        ("Transfer-Encoding : chunked\r\n", "space before the colon"),
        ("Transfer-Encoding\t: chunked\r\n", "tab before the colon"),
        ("X-Note: a\r\n b\r\n", "folded line"),
        ("X-Note: a\r\n\tb\r\n", "line folded with a tab"),
        (" X-Note: a\r\n", "folded line without a first one"),
        ("X-Note: a\rb\r\n", "carriage return in a value"),
        ("X-Note: a\0b\r\n", "NUL in a value"),
        ("X-Note\0: a\r\n", "NUL in a name"),
        (": a\r\n", "empty name"),
        ("X Note: a\r\n", "space in a name"),
        ("X-Note\r\n", "no colon"),
        ("X(Note): a\r\n", "delimiters in a name"),
    ] {
        let request = post_with(lines, "5\r\nhello\r\n0\r\n\r\n");
        rows.push(row(reason, request, Expect::Closed(&[400])));
    }
    for (lines, after, closes, reason) in [
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "hello",
            false,
            "the same length twice",
        ),
        (
            "Content-Length: 5, 5\r\n",
            "hello",
            false,
            "the same length in a list",
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            true,
            "length, then chunked",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            true,
            "chunked, then length",
        ),
        (
            "Content-Length: 15\r\nTransfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\nGET /p/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
            true,
            "a second request hidden behind the shorter reading",
        ),
        (
            "X-Note: a\nContent-Length: 5\r\n",
            "hello",
            false,
            "one line ended by a bare LF",
        ),
        (
            "Transfer-Encoding: CHUNKED\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            false,
            "codings have no letter case",
        ),
    ] {
        let request = post_with(lines, after);
        rows.push(row(reason, request, Expect::Plain { closes }));
    }
    for (start, reason) in [
        (
            "POST /p/x HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "chunked is not in HTTP/1.0",
        ),
        (
            "GET  /p/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "two spaces",
        ),
        (
            "GET /p/x HTTP/1.2\r\nHost: localhost\r\n\r\n",
            "no such version",
        ),
        (
            "GET /p/x HTTP/9.9\r\nHost: localhost\r\n\r\n",
            "no such version at all",
        ),
        ("GET /p/x\r\nHost: localhost\r\n\r\n", "no version"),
        (
            "GET /p/x http/1.1\r\nHost: localhost\r\n\r\n",
            "version in lower case",
        ),
        (
            "G@T /p/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "a method that is no token",
        ),
        (
            "GET p/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "a target that is no path",
        ),
        (
            "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\r\n\r\n",
            "TLS on a cleartext port",
        ),
    ] {
        rows.push(row(reason, start, Expect::Closed(&[400])));
    }
    let lines = "Content-Length: 5\r\nTransfer_Encoding: chunked\r\n";
    let sight = Sight::without("Transfer-Encoding").body("hello");
    let reason = "a name that some read as the coding";
    rows.push(row(reason, post_with(lines, "hello"), Expect::Sees(sight)));
    let whole = "GET /p/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let lines = format!("Content-Length: {}\r\n", whole.len());
    let sight = Sight::default().body(whole);
    let reason = "a request inside content is content";
    rows.push(row(reason, post_with(&lines, whole), Expect::Sees(sight)));
    rows
}

/// Content that breaks its own framing once the request is under way.
pub fn broken_contents() -> Vec<Row> {
    let mut rows = Vec::new();
    for (chunks, reason) in [
        (
            "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
            "chunk size beyond 64 bits",
        ),
        ("0x5\r\nhello\r\n0\r\n\r\n", "chunk size with a prefix"),
        ("-5\r\nhello\r\n0\r\n\r\n", "negative chunk size"),
        ("+5\r\nhello\r\n0\r\n\r\n", "signed chunk size"),
        ("\r\nhello\r\n0\r\n\r\n", "no chunk size"),
        ("g\r\nhello\r\n0\r\n\r\n", "chunk size that is no number"),
        ("5\nhello\r\n0\r\n\r\n", "chunk line ended by a bare LF"),
        ("5\r\nhello0\r\n\r\n", "no line end after a chunk"),
        ("4\r\nhello\r\n0\r\n\r\n", "a chunk longer than it says"),
    ] {
        let request = post_with("Transfer-Encoding: chunked\r\n", chunks);
        rows.push(row(reason, request, Expect::Midway));
    }
    rows
}

/// Content that is framed unusually, and well.
pub fn odd_contents() -> Vec<Row> {
    let mut rows = Vec::new();
    for (chunks, reason) in [
        ("5;ext=1\r\nhello\r\n0\r\n\r\n", "a chunk extension"),
        (
            "5;ext=\"a;b\"\r\nhello\r\n0;last\r\n\r\n",
            "a quoted chunk extension",
        ),
        ("05\r\nhello\r\n0\r\n\r\n", "a leading zero"),
        ("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "two chunks"),
        ("5\r\nhello\r\n000\r\n\r\n", "three zeros end it too"),
    ] {
        let request = post_with("Transfer-Encoding: chunked\r\n", chunks);
        let sight = Sight::default().body("hello");
        rows.push(row(reason, request, Expect::Sees(sight)));
    }
    let trailer = format!("5\r\nhello\r\n0\r\nAuthorization: {MINE}\r\nX-Api-Key: {MINE}\r\n\r\n");
    for (lines, reason) in [
        ("", "a trailer field carries no credential"),
        (
            "Trailer: Authorization, X-Api-Key\r\nTE: trailers\r\n",
            "nor one that is announced",
        ),
    ] {
        let lines = format!("Transfer-Encoding: chunked\r\n{lines}");
        let sight = Sight::without("trailer").body("hello");
        rows.push(row(
            reason,
            post_with(&lines, &trailer),
            Expect::Sees(sight),
        ));
    }
    rows
}

/// Sizes and counts of heads.
pub fn limits() -> Vec<Row> {
    let many = |count: usize| {
        (0..count)
            .map(|n| format!("X-{n}: v\r\n"))
            .collect::<String>()
    };
    let long = |length: usize| format!("X-Long: {}\r\n", "v".repeat(length));
    let target = |length: usize| format!("/p/{}", "v".repeat(length));
    vec![
        row(
            "ninety fields",
            get_with("/p/x", &many(90)),
            reaches("/base/x"),
        ),
        row(
            "too many fields",
            get_with("/p/x", &many(150)),
            Expect::Closed(&[431]),
        ),
        row(
            "very many fields",
            get_with("/p/x", &many(2000)),
            Expect::Closed(&[431]),
        ),
        row(
            "a long field",
            get_with("/p/x", &long(32_000)),
            reaches("/base/x"),
        ),
        row(
            "a field over the limit",
            get_with("/p/x", &long(70_000)),
            Expect::Closed(&[431]),
        ),
        row(
            "far over the limit",
            get_with("/p/x", &long(500_000)),
            Expect::Closed(&[431]),
        ),
        row(
            "a long target",
            get_with(&target(20_000), ""),
            reaches(&target(20_000).replacen("/p", "/base", 1)),
        ),
        row(
            "a target over the limit",
            get_with(&target(70_000), ""),
            Expect::Closed(&[414, 431]),
        ),
        row(
            "a byte beyond ASCII in a value",
            b"GET /p/x HTTP/1.1\r\nHost: localhost\r\nX-Note: caf\xe9\r\n\r\n",
            reaches("/base/x"),
        ),
        row(
            "an expectation that nobody knows",
            get_with("/p/x", "Expect: the-unexpected\r\n"),
            Expect::Refused(&[417]),
        ),
    ]
}
