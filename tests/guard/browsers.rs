//! Step 1, guards: Origin and Sec-Fetch-Site. `https://app.example` is allowed in this table.

use super::row::{Expect, Row, get_with, reaches, row};

/// What browsers and other callers say about where a request comes from.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (lines, reason) in [
        ("", "no browser, nothing said"),
        ("Sec-Fetch-Site: none\r\n", "typed by the user"),
        ("Sec-Fetch-Site: same-origin\r\n", "a page of ours"),
        (
            "Sec-Fetch-Site: same-origin\r\nOrigin: http://{proxy}\r\n",
            "a page of ours that sends Origin",
        ),
        (
            "Origin: http://{proxy}\r\n",
            "a page of ours in a browser without fetch metadata",
        ),
        ("Origin: https://app.example\r\n", "allowed"),
        (
            "Origin: https://app.example\r\nSec-Fetch-Site: cross-site\r\n",
            "allowed although another site",
        ),
        ("Referer: https://evil.example/\r\n", "Referer says nothing"),
    ] {
        let request = String::from_utf8(get_with("/p/x", lines)).unwrap();
        let request = request.replace("Host: localhost", "Host: {proxy}");
        rows.push(row(reason, request, reaches("/base/x")));
    }
    for (lines, reason) in [
        ("Sec-Fetch-Site: cross-site\r\n", "an image on another site"),
        (
            "Sec-Fetch-Site: same-site\r\n",
            "another port or subdomain of ours",
        ),
        ("sec-fetch-site: CROSS-SITE\r\n", "in another letter case"),
        (
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
            "a link on another site",
        ),
        ("Origin: https://evil.example\r\n", "another site"),
        ("Origin: null\r\n", "a sandboxed frame or a file"),
        (
            "Origin: http://localhost:1\r\n",
            "another port of ours is another origin",
        ),
        (
            "Origin: https://app.example.evil.example\r\n",
            "begins like an allowed one",
        ),
        (
            "Origin: https://evil-app.example\r\n",
            "ends like an allowed one",
        ),
        (
            "Origin: http://app.example\r\n",
            "allowed name, other scheme",
        ),
        (
            "Origin: https://app.example:8443\r\n",
            "allowed name, other port",
        ),
        (
            "Origin: https://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
            "the two disagree",
        ),
        (
            "Origin: null\r\nSec-Fetch-Site: cross-site\r\n",
            "both say another site",
        ),
        (
            "Origin: https://app.example\r\nOrigin: https://evil.example\r\n",
            "two origins, one allowed",
        ),
        (
            "Origin: https://app.example https://evil.example\r\n",
            "a list of origins, one allowed",
        ),
        (
            "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n",
            "two sites",
        ),
    ] {
        let refused = Expect::Refused(&[400, 403]);
        rows.push(row(reason, get_with("/p/x", lines), refused));
    }
    let preflight = "OPTIONS /p/x HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    rows.push(row(
        "a preflight of another site",
        preflight,
        Expect::Refused(&[403]),
    ));
    rows
}
