//! Consents on another device (RFC 8628): `keybearer link NAME --device`.

use super::{World, call, drive, setup, shown};
use crate::harness::{
    AuthorizationServer, AuthorizationSettings, DEVICE_CODE, Keybearer, Person, Process, eventually,
};

/// A keybearer whose connection can be linked by a code, which lives so many seconds.
async fn start(lifetime: u32) -> World {
    let client = super::client("id").device_code();
    let settings = AuthorizationSettings::with(client)
        .scopes(&["read"])
        .lifetime("DeviceCode", lifetime);
    let server = AuthorizationServer::start(settings).await;
    let url = server.device_authorization_url();
    let more = format!(", device_authorization_url = \"{url}\"");
    let keybearer = setup().tables(&drive(&server, &more)).start().await;
    World { server, keybearer }
}

/// The command, with the address and the code that it has printed.
async fn begun(keybearer: &Keybearer) -> (Process, String, String) {
    let command = keybearer.spawn(&["link", "drive", "--device"]);
    let printed = async || {
        let stdout = command.stdout();
        let mut lines = stdout
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let mut line = || Some(lines.next()?.trim_end().to_owned());
        Some((line()?, line()?))
    };
    let (address, code) = eventually("an address and a code", printed).await;
    (command, address, code)
}

/// Where a person lands who enters a code.
fn entered(address: &str, code: &str) -> String {
    format!("{address}?user_code={code}")
}

#[tokio::test]
async fn a_person_enters_the_code() {
    let World { server, keybearer } = start(600).await;
    let (mut command, address, code) = begun(&keybearer).await;
    assert_eq!(address, format!("{}/device", server.issuer()));
    assert_eq!(code.len(), 9, "{code}");
    let landed = Person::new("jane").consent(&entered(&address, &code)).await;
    assert!(landed.body.contains("Sign-in Success"), "{landed:?}");
    let exit = command.exit().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert_eq!(exit.stdout, format!("{address}\n{code}\n"));
    assert!(exit.stderr.contains("drive is linked"), "{}", exit.stderr);
    assert_eq!(call(&keybearer, "/drive/x").await.json()["sub"], "jane");
    let log = server.token_requests(DEVICE_CODE).await;
    assert!(
        log.windows(2).all(|two| two[1].at - two[0].at >= 5000),
        "RFC 8628 section 3.5"
    );

    let world = World { server, keybearer }.restart().await;
    world.assert_works().await;
}

#[tokio::test]
async fn a_declined_code_says_so() {
    let World {
        server: _server,
        keybearer,
    } = start(600).await;
    let (mut command, address, code) = begun(&keybearer).await;
    Person::new("jane").decline(&entered(&address, &code)).await;
    let exit = command.exit().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("drive was not linked"),
        "{}",
        exit.stderr
    );
    assert!(exit.stderr.contains("access_denied"), "{}", exit.stderr);
    assert_eq!(shown(&keybearer, "drive").await["state"], "not_linked");
}

#[tokio::test]
async fn an_expired_code_says_so() {
    let World {
        server: _server,
        keybearer,
    } = start(3).await;
    let (mut command, ..) = begun(&keybearer).await;
    let exit = command.exit().await;
    assert_eq!(exit.code, Some(1), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("nobody entered the code in time"),
        "{}",
        exit.stderr
    );
}
