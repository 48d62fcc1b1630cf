//! As much of an HTTP/1.1 head as the load and the upstream need: they must cost little beside the
//! proxies, and they meet only each other's messages.

/// Where the head ends, the empty line included.
pub(crate) fn end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == b'\r') {
        let at = from + at;
        if bytes[at..].starts_with(b"\r\n\r\n") {
            return Some(at + 4);
        }
        from = at + 1;
    }
    None
}

/// The values of the field `name`, which is given in lower case.
pub(crate) fn values<'a>(head: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    head.split(|&byte| byte == b'\n').filter_map(move |line| {
        let (field, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        field
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| value.trim_ascii())
    })
}

pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    let mut values = values(head, "content-length");
    let value = std::str::from_utf8(values.next()?).ok()?.parse().ok()?;
    values.next().is_none().then_some(value)
}
