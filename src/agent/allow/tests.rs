use std::net::IpAddr;

use proptest::prelude::*;

use super::{Allow, Destination, InvalidRule, Special};

fn lists(rules: &[&str], asked: &str) -> bool {
    let allow = Allow::parse(rules.iter().copied()).unwrap();
    Destination::parse(asked).is_some_and(|destination| allow.lists(&destination))
}

#[test]
fn only_what_is_listed_is_opened() {
    for (rule, asked, opened) in [
        ("erp.internal:443", "erp.internal:443", true),
        ("ERP.internal.:443", "erp.INTERNAL:443", true),
        ("erp.internal:443", "erp.internal.:443", true),
        ("erp.internal:443", "erp.internal:80", false),
        ("erp.internal:443", "xerp.internal:443", false),
        ("erp.internal:443", "erp.internal.evil.example:443", false),
        ("*.internal:443", "erp.internal:443", true),
        ("*.internal:443", "a.b.internal:443", true),
        ("*.internal:443", "internal:443", false),
        ("*.internal:443", ".internal:443", false),
        ("*.internal:443", "xinternal:443", false),
        ("erp.internal:*", "erp.internal:1", true),
        ("erp.internal:8000-8100", "erp.internal:8000", true),
        ("erp.internal:8000-8100", "erp.internal:8100", true),
        ("erp.internal:8000-8100", "erp.internal:8101", false),
        ("10.1.2.3:443", "10.1.2.3:443", true),
        ("10.1.2.3:443", "10.1.2.4:443", false),
        ("10.1.2.3:443", "[::ffff:10.1.2.3]:443", true),
        ("10.1.0.0/16:443", "10.1.255.255:443", true),
        ("10.1.0.0/16:443", "10.2.0.0:443", false),
        ("[fd00::/8]:443", "[fd12::1]:443", true),
        ("[fd00::1]:443", "[fd00::1]:443", true),
        ("[fd00::1]:443", "[fd00::2]:443", false),
        // Names are matched as names: an address is no name, and a name no address.
        ("10.1.0.0/16:443", "erp.internal:443", false),
        ("*.1:443", "10.1.1.1:443", false),
        // What resolvers read as addresses is a name here, and no listed one.
        ("127.0.0.1:80", "127.1:80", false),
        ("127.0.0.1:80", "2130706433:80", false),
        ("127.0.0.1:80", "0x7f.0.0.1:80", false),
        // No network that is larger than its kind means a special address.
        ("0.0.0.0/0:80", "169.254.169.254:80", false),
        ("0.0.0.0/0:80", "127.0.0.1:80", false),
        ("0.0.0.0/0:80", "10.0.0.1:80", true),
        ("[::/0]:80", "[fe80::1]:80", false),
        ("169.254.0.0/16:80", "169.254.169.254:80", true),
        ("127.0.0.0/8:80", "127.0.0.1:80", true),
    ] {
        assert_eq!(lists(&[rule], asked), opened, "{rule} and {asked}");
    }
    assert!(!lists(&[], "erp.internal:443"));
}

#[test]
fn a_destination_has_one_port_and_one_host() {
    for asked in [
        "erp.internal",
        "erp.internal:",
        "erp.internal:*",
        "erp.internal:1-2",
        "erp.internal:65536",
        "erp.internal:+1",
        ":443",
        "*.internal:443",
        "a b:443",
        "a/b:443",
        "a@b:443",
        "[::1",
        "[a]:1",
        "fe80::1%eth0:80",
        "a..b:1",
    ] {
        assert_eq!(Destination::parse(asked), None, "{asked}");
    }
}

#[test]
fn a_rule_that_is_none_says_how_it_is_written() {
    for (rule, told) in [
        ("erp.internal", "lacks a port; write `erp.internal:443`"),
        ("[fd00::1]", "lacks a port"),
        ("fd00::1", "needs brackets"),
        ("fd00::/8", "needs brackets"),
        ("fd00::/8:443", "needs brackets"),
        ("*:443", "would open everything"),
        ("a*.internal:443", "neither a host name"),
        ("https://erp.internal:443", "neither a host name"),
        ("10.1.0.0/33:443", "neither a host name"),
        ("erp.internal:https", "`https` is no port"),
        ("erp.internal:9-8", "`9-8` is no port"),
        ("erp.internal:65536", "`65536` is no port"),
        ("", "lacks a port"),
        (":443", "neither a host name"),
    ] {
        let error: InvalidRule = Allow::parse([rule]).unwrap_err();
        assert!(error.to_string().contains(told), "{rule}: {error}");
    }
}

#[test]
fn a_name_leads_to_no_special_address() {
    let check = |rules: &[&str], asked: &str, address: &str| {
        let allow = Allow::parse(rules.iter().copied()).unwrap();
        let destination = Destination::parse(asked).unwrap();
        assert!(allow.lists(&destination), "{asked}");
        allow.check(&destination, address.parse().unwrap())
    };
    let erp = &["erp.internal:80", "localhost:80", "*.localhost:80"][..];
    for (address, special) in [
        ("127.0.0.1", Special::Loopback),
        ("127.255.0.9", Special::Loopback),
        ("::1", Special::Loopback),
        ("::ffff:127.0.0.1", Special::Loopback),
        ("::127.0.0.1", Special::Loopback),
        ("64:ff9b::7f00:1", Special::Loopback),
        ("2002:7f00:1::", Special::Loopback),
        ("0.0.0.0", Special::Unspecified),
        ("0.1.2.3", Special::Unspecified),
        ("::", Special::Unspecified),
        ("169.254.169.254", Special::LinkLocal),
        ("::ffff:169.254.169.254", Special::LinkLocal),
        ("fe80::1", Special::LinkLocal),
        ("febf::1", Special::LinkLocal),
        ("fd00:ec2::254", Special::Metadata),
        ("100.100.100.200", Special::Metadata),
        ("168.63.129.16", Special::Metadata),
        ("224.0.0.1", Special::Multicast),
        ("255.255.255.255", Special::Multicast),
        ("ff02::1", Special::Multicast),
    ] {
        assert_eq!(
            check(erp, "erp.internal:80", address),
            Err(special),
            "{address}"
        );
    }
    for address in [
        "10.0.0.1",
        "192.168.1.1",
        "fd00::1",
        "2001:db8::1",
        "1.2.3.4",
    ] {
        assert_eq!(check(erp, "erp.internal:80", address), Ok(()), "{address}");
    }
    assert_eq!(check(erp, "localhost:80", "127.0.0.1"), Ok(()));
    assert_eq!(check(erp, "a.localhost:80", "::1"), Ok(()));
    assert_eq!(
        check(erp, "localhost:80", "169.254.1.1"),
        Err(Special::LinkLocal)
    );
    let both = &["erp.internal:80", "127.0.0.1:80"];
    assert_eq!(check(both, "erp.internal:80", "127.0.0.1"), Ok(()));
    let other_port = &["erp.internal:80", "127.0.0.1:81"];
    assert_eq!(
        check(other_port, "erp.internal:80", "127.0.0.1"),
        Err(Special::Loopback)
    );
    let everything = &["erp.internal:80", "0.0.0.0/0:80", "[::/0]:80"];
    assert_eq!(
        check(everything, "erp.internal:80", "169.254.169.254"),
        Err(Special::LinkLocal)
    );
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(rule in "\\PC{0,40}", asked in "\\PC{0,40}", address: IpAddr) {
        let allow = Allow::parse([&*rule, "a.example:1"]).or_else(|_| Allow::parse(["a.example:1"])).unwrap();
        if let Some(destination) = Destination::parse(&asked) {
            let _ = allow.lists(&destination);
            let _ = allow.check(&destination, address);
        }
    }
}
